#include "specbranch/llama/models/draft.h"

#include <algorithm>
#include <cmath>

#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

std::vector<float> copy(std::span<const float> logits) { return {logits.begin(), logits.end()}; }

/// The draft's logits after `path` in a context that never saw anything else.
std::vector<float> clean_logits(const std::vector<Token>& prompt, std::vector<Token> path) {
  LlamaDraft draft(draft_weights(), small_options(draft_path()), {.n_seq = 1});
  begin(draft, request_of(prompt));
  const SequenceInput input{1, 0, draft.length(0), std::move(path)};
  draft.draft(std::span(&input, 1), 1);
  return copy(draft.logits(0));
}

/// Cells that fill the holes of dropped branches stand in another order: sums round differently.
void check_close(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  // A wrong cell moves the logits by whole units; rounding moves single ones by some hundredths.
  float largest = 0.0F;
  float sum = 0.0F;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    largest = std::max(largest, difference);
    sum += difference;
  }
  CHECK(largest < 0.25F);
  CHECK(sum < 0.05F * static_cast<float>(a.size()));
}

TEST_CASE("lazy forks onto stale sequences give the logits of a clean context") {
  SPECBRANCH_NEEDS_MODELS();
  const auto prompt = code_prompt(200);
  LlamaDraft draft(draft_weights(), small_options(draft_path()), {.n_seq = 4});
  begin(draft, request_of(prompt));
  const Pos base = draft.length(0);
  const Token last = prompt.back();

  // 0: last 11 12 13; 1: forked after 11, then 21 22; 0 is cut back and goes another way.
  SequenceInput input{1, 0, base, {last, 11}};
  draft.draft(std::span(&input, 1), 3);
  draft.fork({.from = 0, .to = 1, .shared = 0, .to_length = 0, .length = base + 2});
  std::vector<SequenceInput> inputs = {{2, 0, base + 2, {12, 13}}, {3, 1, base + 2, {21}}};
  draft.draft(inputs, 3);
  CHECK(copy(draft.logits(0)) == clean_logits(prompt, {last, 11, 12, 13}));
  CHECK(copy(draft.logits(1)) == clean_logits(prompt, {last, 11, 21}));

  // 2 copies the tail of 1 and 0 then copies onto its own stale tail.
  draft.fork({.from = 1, .to = 2, .shared = 0, .to_length = 0, .length = base + 3});
  draft.fork({.from = 2, .to = 0, .shared = base + 2, .to_length = base + 4, .length = base + 3});
  CHECK(draft.length(0) == base + 3);
  inputs = {{4, 0, base + 3, {31}}, {5, 2, base + 3, {32, 33}}, {6, 1, base + 3, {34}}};
  draft.draft(inputs, 3);
  check_close(copy(draft.logits(0)), clean_logits(prompt, {last, 11, 21, 31}));
  check_close(copy(draft.logits(1)), clean_logits(prompt, {last, 11, 21, 32, 33}));
  check_close(copy(draft.logits(2)), clean_logits(prompt, {last, 11, 21, 34}));
  const auto other = clean_logits(prompt, {last, 11, 12, 34});
  CHECK(std::abs(other[7] - draft.logits(2)[7]) > 0.05F);
}

TEST_CASE("a fork or a truncation is a constant number of llama.cpp calls") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaDraft draft(draft_weights(), small_options(draft_path()), {.n_seq = 3});
  for (const int n : {50, 900}) {
    begin(draft, request_of(code_prompt(n)));
    const Pos base = draft.length(0);
    auto calls = draft.context().n_memory_calls();
    const Pos kept = draft.length(1);
    draft.fork({0, 1, kept, kept, base});
    CHECK(draft.context().n_memory_calls() - calls == 1);
    calls = draft.context().n_memory_calls();
    draft.fork({0, 1, base - 5, base, base});
    CHECK(draft.context().n_memory_calls() - calls == 2);
    calls = draft.context().n_memory_calls();
    draft.fork({0, 1, base, base, base});
    CHECK(draft.context().n_memory_calls() - calls == 0);
    draft.truncate({1, base, base - 20});
    CHECK(draft.context().n_memory_calls() - calls == 1);
  }
}

TEST_CASE("a new prompt takes over the longest prefix that any branch holds") {
  SPECBRANCH_NEEDS_MODELS();
  const auto prompt = code_prompt(100);
  LlamaDraft draft(draft_weights(), small_options(draft_path()), {.n_seq = 4});
  begin(draft, request_of(prompt));
  const Pos base = draft.length(0);
  draft.fork({0, 2, 0, 0, base});
  const std::vector<SequenceInput> inputs = {{1, 0, base, {prompt.back(), 40}},
                                             {2, 2, base, {prompt.back(), 50, 51}}};
  draft.draft(inputs, 2);
  auto next = prompt;
  next.insert(next.end(), {50, 51, 52, 53});
  CHECK(begin(draft, request_of(next)) == base + 3);
  CHECK(draft.length(0) == static_cast<Pos>(next.size()) - 1);
  CHECK(draft.length(1) == 0);
  CHECK(draft.length(2) == base + 3);
  CHECK(draft.length(3) == 0);
  const SequenceInput input{3, 0, draft.length(0), {53}};
  const auto candidates = draft.draft(std::span(&input, 1), 4);
  CHECK(candidates.front().size() == 4);
  const auto clean = clean_logits(next, {53});
  const auto logits = draft.logits(0);
  // Cells from generation are kept: equal up to rounding.
  check_close(copy(logits), clean);
}

TEST_CASE("a later turn copies to no sequence what the sequence holds") {
  SPECBRANCH_NEEDS_MODELS();
  const auto prompt = code_prompt(300);
  LlamaDraft draft(draft_weights(), small_options(draft_path()), {.n_seq = 4});
  begin(draft, request_of(prompt));
  const Pos base = draft.length(0);
  draft.fork({0, 1, 0, 0, base});
  draft.fork({0, 2, 0, 0, base});
  const std::vector<SequenceInput> inputs = {{1, 0, base, {prompt.back(), 40}},
                                             {2, 1, base, {prompt.back(), 50, 51}}};
  draft.draft(inputs, 2);
  auto next = prompt;
  next.insert(next.end(), {40, 41, 42});
  const auto calls = draft.context().n_memory_calls();
  CHECK(begin(draft, request_of(next)) == base + 2);
  // Sequence 1 is cut after the prompt; no other sequence holds more than the new text.
  CHECK(draft.context().n_memory_calls() - calls == 1);
  CHECK(draft.length(0) == base + 3);
  CHECK(draft.length(1) == base + 1);
  CHECK(draft.length(2) == base);
  CHECK(draft.length(3) == 0);
  draft.fork({0, 1, base + 1, base + 1, base + 3});
  draft.fork({0, 2, base, base, base + 3});
  CHECK(draft.context().n_memory_calls() - calls == 3);
  const std::vector<SequenceInput> again = {{3, 1, base + 3, {42}}, {4, 2, base + 3, {60}}};
  draft.draft(again, 2);
  check_close(copy(draft.logits(0)), clean_logits(next, {42}));
  check_close(copy(draft.logits(1)), clean_logits(next, {60}));
}

TEST_CASE("a prompt that shares nothing empties every sequence in one call") {
  SPECBRANCH_NEEDS_MODELS();
  const auto prompt = code_prompt(200);
  LlamaDraft draft(draft_weights(), small_options(draft_path()), {.n_seq = 4});
  begin(draft, request_of(prompt));
  for (SeqId seq = 1; seq < 4; ++seq) draft.fork({0, seq, 0, 0, draft.length(0)});
  std::vector<Token> other(prompt.begin() + 100, prompt.end());
  other[0] = prompt[0] + 1;
  const auto calls = draft.context().n_memory_calls();
  CHECK(begin(draft, request_of(other)) == 0);
  CHECK(draft.context().n_memory_calls() - calls == 1);
  CHECK(draft.length(0) == static_cast<Pos>(other.size()) - 1);
  for (SeqId seq = 1; seq < 4; ++seq) CHECK(draft.length(seq) == 0);
  const SequenceInput input{1, 0, draft.length(0), {other.back()}};
  draft.draft(std::span(&input, 1), 1);
  CHECK(copy(draft.logits(0)) == clean_logits(other, {other.back()}));
}

TEST_CASE("kept prefixes take no cells of their own, turn after turn") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(draft_path());
  options.n_ctx = 240;
  LlamaDraft draft(draft_weights(), options, {.n_seq = 8, .reserve = 16});
  REQUIRE(draft.context().n_cells() == 256);
  const auto text = code_prompt(240);
  // Every turn leaves a tail of its own in each sequence: without the cuts, the cache would be
  // full.
  for (const int n : {100, 120, 140, 90, 160, 200, 230}) {
    begin(draft, request_of({text.begin(), text.begin() + n}));
    const Pos base = draft.length(0);
    std::vector<SequenceInput> inputs;
    for (SeqId seq = 0; seq < 8; ++seq) {
      const Pos held = draft.length(seq);
      if (seq > 0) draft.fork({0, seq, held, held, base});
      inputs.push_back({seq, seq, base, {100 + seq, 200 + seq}});
    }
    CHECK_NOTHROW(draft.draft(inputs, 1));
  }
}

TEST_CASE("candidates: order, confidences, mask, penalties, noise") {
  SPECBRANCH_NEEDS_MODELS();
  const auto prompt = code_prompt(80);
  const auto weights = draft_weights();
  const auto options = small_options(draft_path());
  const auto propose = [&](const SamplingOptions& sampling, DraftOptions shape, int k) {
    LlamaDraft draft(weights, options, shape);
    begin(draft, request_of(prompt, sampling));
    const SequenceInput input{1, 0, draft.length(0), {prompt.back()}};
    return draft.draft(std::span(&input, 1), k).front();
  };
  const auto clean = clean_logits(prompt, {prompt.back()});
  const auto top = static_cast<Token>(std::max_element(clean.begin(), clean.end()) - clean.begin());

  const auto greedy = propose({}, {.n_seq = 1}, 5);
  REQUIRE(greedy.size() == 5);
  CHECK(greedy.front().token == top);
  double sum = 0.0;
  for (std::size_t i = 0; i < 5; ++i) {
    sum += greedy[i].confidence;
    if (i > 0) CHECK(greedy[i - 1].confidence >= greedy[i].confidence);
  }
  CHECK(sum <= 1.0 + 1e-9);

  SUBCASE("tokens that the target lacks are never proposed") {
    for (const Candidate& candidate : propose({}, {.n_seq = 1, .n_common = top}, 5)) {
      CHECK(candidate.token < top);
    }
  }
  SUBCASE("tokens with another text in the target are never proposed, whatever the settings") {
    SamplingOptions greedy_biased;
    greedy_biased.logit_bias[top] = 1000.0F;
    SamplingOptions hot;
    hot.temperature = 3.0F;
    SamplingOptions cut = hot;
    cut.top_k = 2;
    cut.repeat_penalty = 0.5F;
    SamplingOptions nucleus = hot;
    nucleus.top_p = 0.5F;
    SamplingOptions tail = hot;
    tail.min_p = 0.5F;
    std::vector<Token> never;
    for (std::size_t i = 0; i < 3; ++i) never.push_back(greedy[i].token);
    for (const SamplingOptions& sampling :
         {SamplingOptions(), greedy_biased, hot, cut, nucleus, tail}) {
      const auto candidates = propose(sampling, {.n_seq = 1, .never_proposed = never}, 5);
      CHECK(!candidates.empty());
      for (const Candidate& candidate : candidates) {
        CHECK(std::find(never.begin(), never.end(), candidate.token) == never.end());
      }
    }
    CHECK(propose({}, {.n_seq = 1, .never_proposed = never}, 1).front().token == greedy[3].token);
  }
  SUBCASE("bias and penalties") {
    SamplingOptions sampling;
    sampling.logit_bias[7] = 1000.0F;
    CHECK(propose(sampling, {.n_seq = 1}, 1).front().token == 7);
    sampling.logit_bias = {{top, -1000.0F}};
    CHECK(propose(sampling, {.n_seq = 1}, 1).front().token != top);
    sampling = {};
    sampling.presence_penalty = 1000.0F;
    for (const Candidate& candidate : propose(sampling, {.n_seq = 1}, 5)) {
      CHECK(std::find(prompt.end() - 64, prompt.end(), candidate.token) == prompt.end());
    }
  }
  SUBCASE("noise belongs to seed and position") {
    SamplingOptions sampling;
    sampling.temperature = 1.0F;
    sampling.seed = 77;
    const PositionNoise noise(77, static_cast<Pos>(prompt.size()));
    const auto best = perturbed_top(ScoreRow(clean), 1.0F, noise, kDraftCandidates);
    const auto expected = with_confidences(best, 5);
    const auto found = propose(sampling, {.n_seq = 1}, 5);
    REQUIRE(found.size() == 5);
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(found[i].token == expected[i].token);
      CHECK(found[i].confidence == doctest::Approx(expected[i].confidence));
    }
  }
  SUBCASE("truncation is loosened") {
    SamplingOptions sampling;
    sampling.temperature = 1.0F;
    sampling.top_k = 2;
    CHECK(propose(sampling, {.n_seq = 1}, 10).size() == 4);
    sampling.top_k = 0;
    sampling.min_p = 1.0F;
    for (const Candidate& candidate : propose(sampling, {.n_seq = 1}, 10)) {
      CHECK(clean[static_cast<std::size_t>(candidate.token)] >=
            clean[static_cast<std::size_t>(top)] + std::log(0.5F) - 1e-4F);
    }
  }
}

TEST_CASE("broken preconditions of the draft are refused and change nothing") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaDraft draft(draft_weights(), small_options(draft_path()), {.n_seq = 2});
  const auto prompt = code_prompt(50);
  SequenceInput input{1, 0, 0, {1}};
  CHECK_THROWS_AS(draft.draft(std::span(&input, 1), 1), PreconditionError);
  begin(draft, request_of(prompt));
  const std::vector<std::vector<SequenceInput>> wrong = {
      {},
      {{1, 0, 48, {1}}},
      {{1, 0, 50, {1}}},
      {{1, 0, 49, {}}},
      {{1, 2, 0, {1}}},
      {{1, -1, 0, {1}}},
      {{1, 0, 49, {-1}}},
      {{1, 0, 49, {1 << 20}}},
      {{1, 0, 49, {1}}, {2, 0, 50, {2}}},
      {{1, 0, 49, std::vector<Token>(1000, 1)}},
  };
  for (const auto& inputs : wrong) CHECK_THROWS_AS(draft.draft(inputs, 1), PreconditionError);
  const std::vector<Fork> forks = {
      {0, 0, 0, 49, 49}, {0, 1, 0, 3, 49}, {0, 1, 0, 0, 50},
      {0, 1, 1, 0, 49},  {0, 2, 0, 0, 49}, {1, 0, 10, 49, 5},
  };
  for (const Fork& op : forks) CHECK_THROWS_AS(draft.fork(op), PreconditionError);
  CHECK(draft.length(0) == 49);
  CHECK(draft.length(1) == 0);
  draft.fork({0, 1, 0, 0, 10});
  const SequenceInput other{1, 1, 10, {prompt[10] + 1}};
  draft.draft(std::span(&other, 1), 1);
  // The eleventh tokens differ.
  CHECK_THROWS_AS(draft.fork({0, 1, 11, 11, 49}), PreconditionError);
  draft.fork({0, 1, 10, 11, 49});
  CHECK(draft.length(1) == 49);
}

TEST_CASE("a sequence that is longer than a batch is read in several") {
  SPECBRANCH_NEEDS_MODELS();
  const auto text = code_prompt(400);
  const auto at = [&](int n) { return text.begin() + n; };
  const std::vector<Token> prompt(at(0), at(100));
  ModelOptions options = small_options(draft_path());
  options.n_batch = options.n_ubatch = 64;
  LlamaDraft draft(draft_weights(), options, {.n_seq = 3});
  begin(draft, request_of(prompt));
  const Pos base = draft.length(0);
  draft.fork({0, 1, 0, 0, base});
  const std::vector<SequenceInput> inputs = {{1, 0, base, {at(99), at(400)}},   // 301 tokens
                                             {2, 1, base, {at(99), at(180)}}};  // 81 tokens
  const auto found = draft.draft(inputs, 3);
  REQUIRE(found.size() == 2);
  CHECK(draft.length(0) == 400);
  CHECK(draft.length(1) == 180);
  check_close(copy(draft.logits(0)), clean_logits(prompt, {at(99), at(400)}));
  check_close(copy(draft.logits(1)), clean_logits(prompt, {at(99), at(180)}));

  // Cut short in the middle, nothing of it is left.
  draft.truncate({0, 400, base});
  draft.truncate({1, 180, base});
  draft.request_abort();
  CHECK_THROWS_AS(draft.draft(inputs, 3), Aborted);
  draft.clear_abort();
  CHECK(draft.length(0) == base);
  CHECK(draft.length(1) == base);
  CHECK(draft.draft(inputs, 3)[0][0].token == found[0][0].token);
}

TEST_CASE("an abort or a full cache leaves every sequence as it was") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(draft_path());
  options.n_ctx = 500;
  LlamaDraft draft(draft_weights(), options, {.n_seq = 3, .reserve = 12});
  REQUIRE(draft.context().n_cells() == 512);
  const auto prompt = code_prompt(490);
  begin(draft, request_of(prompt));
  draft.fork({0, 1, 0, 0, 489});
  std::vector<SequenceInput> inputs = {{1, 0, 489, {prompt.back(), 5}}, {2, 1, 489, {6, 7, 8}}};

  draft.request_abort();
  CHECK_THROWS_AS(draft.draft(inputs, 1), Aborted);
  draft.clear_abort();
  CHECK(draft.length(0) == 489);
  CHECK(draft.length(1) == 489);
  draft.draft(inputs, 1);
  CHECK(copy(draft.logits(1)) == clean_logits(prompt, {6, 7, 8}));

  inputs = {{3, 0, 491, std::vector<Token>(9, 3)},
            {4, 1, 492, std::vector<Token>(8, 4)},
            {5, 2, 0, std::vector<Token>(20, 5)}};
  CHECK_THROWS_WITH_AS(draft.draft(inputs, 1), doctest::Contains("KV cache is full"), DecodeError);
  CHECK(draft.length(0) == 491);
  CHECK(draft.length(1) == 492);
  CHECK(draft.length(2) == 0);
  const SequenceInput input{6, 0, 491, {9}};
  draft.draft(std::span(&input, 1), 1);
  CHECK(copy(draft.logits(0)) == clean_logits(prompt, {prompt.back(), 5, 9}));
}

}  // namespace
}  // namespace specbranch::llama
