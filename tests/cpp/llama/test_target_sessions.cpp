// Several sessions of the target in one context.
#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <memory>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/target.h"
#include "specbranch/llama/models/target_session.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

/// Logits of one text differ by so much at most when its cells lie elsewhere in the cache.
constexpr float kRounding = 0.2F;

std::shared_ptr<const Request> shared_request(const std::vector<Token>& prompt) {
  return std::make_shared<const Request>(request_of(prompt));
}

int open(LlamaTarget& target, GenerationId id, SeqId seq,
         const std::shared_ptr<const Request>& request) {
  return begin(target, id, request, std::span(&seq, 1));
}

TEST_CASE("two sessions in one batch write the texts that each writes alone, but for rounding") {
  SPECBRANCH_NEEDS_MODELS();
  constexpr std::size_t kTokens = 40;
  const auto options = small_options(target_path());
  const auto prompt = code_prompt(300);
  const std::shared_ptr<const Request> requests[] = {
      shared_request({prompt.begin(), prompt.begin() + 150}),
      shared_request({prompt.begin() + 20, prompt.end()})};
  LlamaTarget alone(target_weights(), options, {});
  std::vector<Token> guess[2];
  for (int i = 0; i < 2; ++i) guess[i] = generate(alone, *requests[i], kTokens);

  LlamaTarget both(target_weights(), options, {.n_seq = 2});
  CHECK(both.capabilities().n_seq == 2);
  std::vector<Token> texts[2];
  for (SeqId i = 0; i < 2; ++i) {
    open(both, static_cast<GenerationId>(i) + 5, i, requests[i]);
    texts[i] = requests[i]->prompt;
  }
  const auto n_generated = [&](int i) { return texts[i].size() - requests[i]->prompt.size(); };
  // One session drafts right tokens, the other one wrong ones; every other round one of them
  // decodes its last two tokens again.
  for (int round = 0; n_generated(0) < kTokens || n_generated(1) < kTokens; ++round) {
    std::vector<Segment> segments;
    for (SeqId i = 0; i < 2; ++i) {
      const std::size_t done = n_generated(i);
      if (done >= kTokens) continue;
      const auto n_text = static_cast<Pos>(texts[i].size());
      const Pos pos = round % 2 == i && done > 2 ? n_text - 3 : n_text - 1;
      both.truncate({i, both.length(i), std::min(pos, both.length(i))});
      Segment segment{static_cast<GenerationId>(i) + 5, i, both.length(i), {}};
      for (Pos at = segment.pos; at < n_text; ++at) {
        segment.rows.push_back({texts[i][static_cast<std::size_t>(at)], at + 1 == n_text});
      }
      for (std::size_t k = done; k < std::min(done + 2, kTokens); ++k) {
        segment.rows.push_back({i == 0 ? guess[i][k] : guess[i][k] + 1});
      }
      segments.push_back(std::move(segment));
    }
    const std::vector<SegmentResult> results = both.verify(segments, round % 3);
    REQUIRE(results.size() == segments.size());
    for (std::size_t k = 0; k < results.size(); ++k) {
      REQUIRE(!results[k].error);
      REQUIRE(results[k].generation_id == segments[k].generation_id);
      std::vector<Token>& text = texts[segments[k].seq];
      for (const Choice& choice : results[k].verification.choices) text.push_back(choice.token);
    }
  }
  for (int i = 0; i < 2; ++i) {
    const auto n_prompt = static_cast<Pos>(requests[i]->prompt.size());
    begin(alone, *requests[i]);
    const auto path = std::span<const Token>(texts[i]).subspan(
        static_cast<std::size_t>(n_prompt - 1), kTokens + 1);
    verify(alone, n_prompt - 1, path);
    for (std::size_t k = 0; k < kTokens; ++k) {
      CAPTURE(i);
      CAPTURE(k);
      const auto logits = alone.logits(static_cast<int>(k));
      const float best = *std::max_element(logits.begin(), logits.end());
      CHECK(logits[static_cast<std::size_t>(path[k + 1])] >= best - kRounding);
    }
  }

  // Each sequence keeps what its own prefill computed.
  both.close(5, false);
  both.close(6, true);
  CHECK(both.length(1) == 0);
  CHECK(open(both, 7, 0, requests[0]) == 149);
  CHECK(open(both, 8, 1, requests[1]) == 0);
}

TEST_CASE("a target refuses rows that are not those of the text") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {.n_seq = 2});
  const auto prompt = code_prompt(40);
  const SeqId seqs[] = {0, 2};
  const auto request = shared_request(prompt);
  CHECK_THROWS_AS(target.open(1, request, std::span(seqs, 2)), PreconditionError);
  CHECK_THROWS_AS(target.open(1, request, std::span(seqs + 1, 1)), PreconditionError);
  CHECK_THROWS_AS(target.prefill(1, 0, 39), PreconditionError);
  target.open(1, request, std::span(seqs, 1));
  for (const auto& [begin, end] : {std::pair<Pos, Pos>{1, 39}, {0, 40}, {0, 0}}) {
    CHECK_THROWS_AS(target.prefill(1, begin, end), PreconditionError);
  }
  target.prefill(1, 0, 39);
  target.truncate({0, 39, 37});
  const auto refuses = [&](const std::vector<Segment>& segments) {
    CHECK_THROWS_AS(static_cast<void>(target.verify(segments, 0)), PreconditionError);
    CHECK(target.length(0) == 37);
  };
  const Row a{prompt[37], false};
  const Row b{prompt[38], false};
  const Row last{prompt[39]};
  refuses({});
  refuses({{1, 0, 37, {a, b}}});                         // no choice is wanted
  refuses({{1, 0, 37, {a, last}}});                      // one is missing
  refuses({{1, 0, 37, {b, a, last}}});                   // other tokens
  refuses({{1, 0, 37, {a, b, last, {5, false}, {6}}}});  // unwanted among the drafted
  refuses({{1, 1, 37, {a, b, last}}});                   // another sequence
  refuses({{2, 0, 37, {a, b, last}}});                   // another session
  refuses({{1, 0, 37, {a, b, last}}, {1, 0, 37, {a, b, last}}});
  const std::vector<Segment> right{{1, 0, 37, {a, b, last}}};
  CHECK(target.verify(right, 0).front().verification.choices.size() == 1);
  target.close(1, false);
  CHECK_THROWS_AS(static_cast<void>(target.verify(right, 0)), PreconditionError);
}

TEST_CASE("a target for many sessions needs a model that can roll back") {
  SPECBRANCH_NEEDS_MODELS();
  CHECK_THROWS_AS(LlamaTarget(target_weights(), small_options(target_path()), {.n_seq = 0}),
                  InvalidArgument);
}

}  // namespace
TEST_CASE("a prompt that begins like that of another session takes over its cells") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(target_path());
  options.n_batch = options.n_ubatch = 32;
  const auto prompt = code_prompt(300);
  const std::vector<Token> first(prompt.begin(), prompt.begin() + 200);
  std::vector<Token> second(prompt.begin(), prompt.begin() + 150);
  second.insert(second.end(), prompt.begin() + 220, prompt.begin() + 260);
  for (const bool together : {false, true}) {
    CAPTURE(together);
    LlamaTarget both(target_weights(), options, {.n_seq = 2});
    const SeqId seqs[] = {0, 1};
    const auto n_decodes = [&both] { return both.context().n_decodes(); };
    if (together) {
      // Both are read chunk by chunk, in turns.
      CHECK(both.open(1, shared_request(first), std::span(seqs, 1)) == 0);
      CHECK(both.open(2, shared_request(second), std::span(seqs + 1, 1)) == 0);
      for (Pos begin = 0; begin < 199; begin += 32) {
        both.prefill(1, begin, std::min<Pos>(begin + 32, 199));
        const auto before = n_decodes();
        if (begin < 189) both.prefill(2, begin, std::min<Pos>(begin + 32, 189));
        const bool decoded = n_decodes() > before;
        CHECK(decoded == (begin + 32 > 150 && begin < 189));
        CHECK(both.take_shared(1) == 0);
        CHECK(both.take_shared(2) == (decoded || begin >= 189 ? 0 : 32));
      }
    } else {
      open(both, 1, 0, shared_request(first));
      // Whole chunks: the rest of a chunk was computed in another batch.
      CHECK(both.open(2, shared_request(second), std::span(seqs + 1, 1)) == 128);
      both.prefill(2, 128, 160);
      both.prefill(2, 160, 189);
    }
    // What the other session does afterwards changes nothing here.
    both.truncate({0, both.length(0), 10});
    both.close(1, /*forget=*/true);
    CHECK(both.length(1) == 189);
    const Segment segment = path_segment(2, 1, 189, std::span(second).subspan(189));
    const auto shared = both.verify(std::span(&segment, 1), 0);

    LlamaTarget alone(target_weights(), options, {});
    begin(alone, Request{request_of(second)});
    const auto expected = verify(alone, 189, std::span(second).subspan(189));
    CHECK(shared.front().verification.choices.front().token == expected.choices.front().token);
  }
}

TEST_CASE("logits that are no numbers end a text after the choices before them") {
  SPECBRANCH_NEEDS_MODELS();
  const auto prompt = code_prompt(30);
  const Token token = prompt[5];
  Request request = request_of(prompt);
  request.sampling.logit_bias[token] = 1000.0F;  // it is always chosen
  const auto shared = std::make_shared<const Request>(request);
  std::vector<Token> path(6, token);
  path.front() = prompt.back();
  std::vector<BatchToken> batch;
  for (Pos pos = 0; pos < 35; ++pos) {
    const auto i = static_cast<std::size_t>(pos);
    batch.push_back({pos < 29 ? prompt[i] : path[i - 29], 0, pos, pos >= 29});
  }
  const std::atomic<bool> abort = false;
  const auto options = small_options(target_path());
  LlamaContext context(target_weights(), options, {.n_cells = 256, .n_outputs = 6}, &abort);
  const Vocabulary& vocabulary = target_weights()->vocabulary();
  DryFactory dry(vocabulary, 256);
  for (const int bad : {0, 1, 4, 6}) {
    CAPTURE(bad);
    context.clear();
    context.decode(batch);
    if (bad < 6) context.logits(29 + bad)[0] = std::numeric_limits<float>::quiet_NaN();
    TargetSession session(vocabulary, dry, shared, 0);
    const Segment segment = path_segment(1, 0, 29, path);
    const auto choose = [&] {
      return session.choose(segment, 29, context, nullptr, [] { return false; });
    };
    if (bad == 0) {
      CHECK_THROWS_AS(choose(), DecodeError);
      continue;
    }
    const SegmentResult result = choose();
    const Verification& verification = result.verification;
    CHECK_FALSE(result.error);
    CHECK(verification.choices.size() == static_cast<std::size_t>(bad));
    for (const Choice& choice : verification.choices) CHECK(choice.token == token);
    CHECK(session.failed() == (bad < 6));
    if (bad == 6) {
      CHECK_FALSE(verification.error);
      continue;
    }
    REQUIRE(verification.error);
    CHECK_THROWS_AS(std::rethrow_exception(verification.error), DecodeError);
    CHECK_THROWS_AS(session.check(segment), PreconditionError);
  }
}

TEST_CASE("a prompt whose scores are wanted is read, whoever else has read it") {
  SPECBRANCH_NEEDS_MODELS();
  const auto options = small_options(target_path());
  LlamaTarget both(target_weights(), options, {.n_seq = 2});
  const auto prompt = code_prompt(100);
  open(both, 1, 0, shared_request(prompt));
  Request request = request_of(prompt);
  request.prompt_logprobs = 0;
  const SeqId seq = 1;
  const auto scored = std::make_shared<const Request>(request);
  CHECK(both.open(2, scored, std::span(&seq, 1)) == 0);
  both.prefill(2, 0, 99);
  CHECK(both.take_prompt_scores(2).size() == 99);  // of every token but the first
}

}  // namespace specbranch::llama
