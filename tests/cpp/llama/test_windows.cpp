// A target whose layers with a sliding window keep only about a window of cells (swa_full off):
// Gemma 2 with random weights, whose layers take turns, with a window of 64.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/footprint.h"
#include "specbranch/model/single_session.h"
#include "specbranch/simulation/virtual_run.h"
#include "support.h"
#include "windowed_model.h"

namespace specbranch::llama {
namespace {

using namespace testing;

/// Of logits up to 30; those after a cell is lost differ by whole numbers.
constexpr float kRounding = 0.05F;

std::vector<float> logits_after(LlamaTarget& target, Pos pos, Token token) {
  verify(target, pos, std::span(&token, 1));
  const auto row = target.logits(0);
  return {row.begin(), row.end()};
}

TEST_CASE("a cache of windows is smaller, and can take back its last batch") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  CHECK(model.weights->window() == kWindow);
  LlamaTarget target(model.weights, model.windows, {});
  CHECK(target.context().window() == kWindow);
  CHECK(target.capabilities().rollback == Rollback::kLastBatch);
  CHECK(target.capabilities().pads);
  CHECK(target.capabilities().max_batch == 63);
  CHECK(LlamaTarget(model.weights, model.full, {}).capabilities().rollback == Rollback::kAnywhere);
  // Two of four layers keep 256 cells instead of 1,280: 2 x 32 numbers of 2 bytes a cell.
  const auto saved = model.footprint_full.host.context - model.footprint_windows.host.context;
  CHECK(saved == 2 * (1280 - 256) * 2 * 32 * 2);
  CHECK(footprint_of(target.context()).host.context == model.footprint_windows.host.context);
  // A checkpoint is the windows alone; where all cells are kept there is none.
  CHECK(model.footprint_windows.host.checkpoints ==
        PromptCheckpoints::most(1) * 2 * 256 * 2 * 32 * 2);
  CHECK(model.footprint_full.host.checkpoints == 0);
  ModelOptions narrow = model.windows;
  narrow.n_ubatch = 16;
  CHECK(LlamaTarget(model.weights, narrow, {}).capabilities().max_batch == 16);
}

TEST_CASE("a text beyond many windows is the same, whatever was drafted and taken back") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  LlamaTarget full(model.weights, model.full, {});
  LlamaTarget target(model.weights, model.windows, {});
  for (std::uint64_t seed = 0; seed < 2; ++seed) {
    CAPTURE(seed);
    const Request request = request_of(code_prompt(300), hot(seed));
    const auto text = generate(full, request, 400);
    REQUIRE(text.size() > 300);
    CHECK(generate(target, request, 400) == text);
    for (const double hit_rate : {0.0, 0.6, 1.0}) {
      CAPTURE(hit_rate);
      const auto drafted = generate_with_drafts(target, request, text, 12, hit_rate, 7);
      REQUIRE(drafted.size() >= text.size());
      CHECK(std::equal(text.begin(), text.end(), drafted.begin()));
    }
  }
}

TEST_CASE("scores of a prompt find and leave every cell that is looked back to") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  ModelOptions wide = model.windows;
  wide.n_batch = wide.n_ubatch = 256;
  // A chunk is decoded twice, and needs cells that its scoring has dropped.
  LlamaTarget target(model.weights, wide, {.prefill_chunk = 200});
  LlamaTarget full(model.weights, model.full, {.prefill_chunk = 200});
  const Request plain = request_of(code_prompt(500));
  Request scored = plain;
  scored.prompt_logprobs = 0;
  begin(full, scored);
  const auto expected = full.take_prompt_scores(kSingleSession);
  begin(target, scored);
  const auto scores = target.take_prompt_scores(kSingleSession);
  REQUIRE(scores.size() == 499);
  REQUIRE(expected.size() == 499);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    CHECK(std::abs(scores[i].logprob - expected[i].logprob) <= kRounding);
  }
  begin(full, plain);
  const Token last = plain.prompt.back();
  CHECK(largest_difference(logits_after(target, target.length(0), last),
                           logits_after(full, full.length(0), last)) <= kRounding);
}

TEST_CASE("after a rollback every cell that the next token looks back to is there") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  LlamaTarget full(model.weights, model.full, {});
  LlamaTarget target(model.weights, model.windows, {});
  const auto prompt = code_prompt(250);
  begin(full, request_of(prompt));
  begin(target, request_of(prompt));
  std::mt19937 random(11);
  const int n_vocab = target.capabilities().n_vocab;
  Token last = prompt.back();
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    const Pos base = target.length(0);
    std::vector<Token> path{last};
    const std::size_t n = 1 + random() % 60;
    while (path.size() < n) {
      path.push_back(static_cast<Token>(random() % static_cast<unsigned>(n_vocab)));
    }
    const auto choices = verify(target, base, path).choices;
    const auto n_right = static_cast<Pos>(choices.size());
    target.truncate({0, target.length(0), base + n_right});
    const Verification same = verify(full, base, std::span(path).first(choices.size()));
    REQUIRE(same.choices.size() == choices.size());
    REQUIRE(same.choices.back().token == choices.back().token);
    last = choices.back().token;
    const auto a = logits_after(target, base + n_right, last);
    const auto b = logits_after(full, base + n_right, last);
    CHECK(largest_difference(a, b) <= kRounding);
    last = static_cast<Token>(std::ranges::max_element(a) - a.begin());
  }
  CHECK(target.length(0) > 250 + 100);
}

TEST_CASE("a text keeps the cells behind its windows, whatever other texts read") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  const std::atomic<bool> abort{false};
  const auto text = code_prompt(400);
  // Reads on to `end`; returns the logits after the last token.
  const auto read = [&](LlamaContext& context, SeqId seq, Pos end) {
    std::size_t n = 0;
    while (context.length(seq) < end) {
      std::vector<BatchToken> batch;
      const Pos begin = context.length(seq);
      for (Pos pos = begin; pos < std::min(end, begin + 50); ++pos) {
        batch.push_back({text[static_cast<std::size_t>(pos)], seq, pos, pos + 1 == end});
      }
      context.decode(batch);
      n = batch.size();
    }
    const auto row = context.logits(static_cast<int>(n) - 1);
    return std::vector<float>(row.begin(), row.end());
  };
  LlamaContext clean(model.weights, model.full, {.n_seq = 2, .n_cells = 1024}, &abort);
  const auto expected = read(clean, 0, 101);
  LlamaContext context(model.weights, model.full, {.n_seq = 2, .n_cells = 1024, .n_texts = 2},
                       &abort);
  read(context, 1, 100);
  read(context, 0, 300);
  context.truncate({1, 100, 50});
  read(context, 1, 300);  // into the cells that were left; the next ones are the other text's
  context.truncate({0, 300, 100});
  CHECK(largest_difference(read(context, 0, 101), expected) <= kRounding);
  // The cells of a text that has taken them over from another one.
  context.fork({1, 0, 0, 101, 300});
  context.truncate({1, 300, 0});
  read(context, 1, 400);
  context.truncate({0, 300, 100});
  CHECK(largest_difference(read(context, 0, 101), expected) <= kRounding);
}

TEST_CASE("of several texts every sequence of a draft has a guard of its cells") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  ModelOptions wide = model.full;
  wide.n_batch = wide.n_ubatch = 256;
  const auto n_seq = [&](DraftOptions options) {
    return LlamaDraft(model.weights, wide, options).capabilities().n_seq;
  };
  CHECK(n_seq({.n_seq = 256, .n_texts = 1}) == 256);
  CHECK(n_seq({.n_seq = 256, .n_texts = 16}) == 128);
  CHECK(n_seq({.n_seq = 256, .n_texts = 3}) == 126);
  CHECK(n_seq({.n_seq = 60, .n_texts = 3}) == 60);
  const std::atomic<bool> abort{false};
  const ContextShape shape{.n_seq = 200, .n_cells = 1024, .n_texts = 100};
  CHECK_THROWS_WITH_AS(LlamaContext(model.weights, wide, shape, &abort),
                       doctest::Contains("too few sequence ids are left to keep the cells of 100"),
                       InvalidArgument);
}

TEST_CASE("a cache of windows refuses what llama.cpp would get wrong without a word") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  const std::atomic<bool> abort = false;
  LlamaContext context(model.weights, model.windows, {.n_seq = 2, .n_cells = 512, .n_outputs = 2},
                       &abort);
  const auto tokens = code_prompt(300);
  const auto decode = [&](Pos from, Pos to) {
    std::vector<BatchToken> batch;
    for (Pos pos = from; pos < to; ++pos) {
      batch.push_back({tokens[static_cast<std::size_t>(pos)], 0, pos, false});
    }
    context.decode(batch);
  };
  decode(0, 40);
  decode(40, 60);
  CHECK_THROWS_AS(context.fork({0, 1, 0, 0, 60}), PreconditionError);
  CHECK(context.can_truncate(0, 10));  // nothing is out of the window yet
  context.truncate({0, 60, 10});
  decode(10, 70);
  decode(70, 80);
  CHECK(context.can_truncate(0, 70));
  CHECK_FALSE(context.can_truncate(0, 69));
  CHECK_THROWS_AS(context.truncate({0, 80, 69}), PreconditionError);
  CHECK(context.length(0) == 80);
  context.truncate({0, 80, 75});
  context.truncate({0, 75, 70});  // more than once
  // 200 tokens are passes of 64, 64, 64 and 8: all but the last one dropped cells.
  decode(70, 270);
  CHECK_FALSE(context.can_truncate(0, 262));
  CHECK(context.can_truncate(0, 269));
  context.truncate({0, 270, 0});
  decode(0, 64);
  CHECK(context.can_truncate(0, 30));

  ModelOptions draft = model.windows;
  CHECK_THROWS_AS(LlamaDraft(model.weights, draft, {}), InvalidArgument);
}

TEST_CASE("a prompt goes on from saved windows of the one before") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  LlamaTarget target(model.weights, model.windows, {.prefill_chunk = 32});
  LlamaTarget fresh(model.weights, model.full,
                    {.prefix_reuse = PrefixReuse::kOff, .prefill_chunk = 32});
  const auto expect = [&](const std::vector<Token>& prompt, int n_reused) {
    CHECK(begin(target, request_of(prompt)) == n_reused);
    begin(fresh, request_of(prompt));
    const auto pos = static_cast<Pos>(prompt.size()) - 1;
    CHECK(largest_difference(logits_after(target, pos, prompt.back()),
                             logits_after(fresh, pos, prompt.back())) <= kRounding);
  };
  const auto prompt = code_prompt(300);
  expect(prompt, 0);
  generate(target, request_of(prompt), 100);
  expect(prompt, 288);  // the last border of the prompt
  auto longer = prompt;
  longer.insert(longer.end(), {5, 6, 7, 8});
  expect(longer, 288);
  auto other = prompt;
  other.resize(200);
  other.insert(other.end(), 90, 9);
  expect(other, 0);  // no window of the place where they part was saved
  other.resize(200);
  other.insert(other.end(), 90, 11);
  expect(other, 192);
  // A short text has lost nothing.
  const std::vector<Token> small(prompt.begin(), prompt.begin() + 60);
  LlamaTarget anew(model.weights, model.windows, {.prefill_chunk = 16});
  begin(anew, request_of(small));
  CHECK(begin(anew, request_of({small.begin(), small.begin() + 40})) == 32);
}

TEST_CASE("all modes write the same text over a cache of windows") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  LlamaTarget target(model.weights, model.windows, {});
  LlamaDraft same(model.weights, model.full, {});
  LlamaDraft other(draft_weights(), small_options(draft_path()), {});
  for (std::uint64_t seed = 0; seed < 2; ++seed) {
    Request request = request_of(code_prompt(200), hot(seed));
    request.max_tokens = 150;
    request.mode = Mode::kAutoregressive;
    const VirtualResult plain = run_virtually(request, target, nullptr);
    REQUIRE(plain.tokens.size() > 100);
    for (LlamaDraft* draft : {&same, &other}) {
      for (const Mode mode : {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch, Mode::kAuto}) {
        CAPTURE(to_string(mode));
        request.mode = mode;
        const VirtualResult got = run_virtually(request, target, draft);
        CHECK(!got.error);
        CHECK(!got.draft_error);
        CHECK(got.tokens == plain.tokens);
      }
    }
  }
}

TEST_CASE("an aborted pass over a cache of windows leaves what the next one needs") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  LlamaTarget target(model.weights, model.windows, {});
  const Request request = request_of(code_prompt(300), hot(3));
  const auto text = generate(target, request, 30);
  begin(target, request);
  target.request_abort();
  const std::vector<Token> path{request.prompt.back(), 5, 6, 7, 8};
  CHECK_THROWS_AS(verify(target, 299, path), Aborted);
  target.clear_abort();
  CHECK(target.length(0) == 299);
  Token last = request.prompt.back();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto choices = verify(target, target.length(0), std::span(&last, 1)).choices;
    REQUIRE(choices.size() == 1);
    last = choices.front().token;
    CHECK(last == text[i]);
  }
}

TEST_CASE("after an aborted pass nothing is taken back beyond its begin") {
  SPECBRANCH_NEEDS_MODELS();
  const Gemma& model = gemma();
  ModelOptions windows = model.windows;
  windows.n_batch = windows.n_ubatch = 128;  // with the window of 64: room for one pass
  std::atomic<bool> abort{false};
  const ContextShape shape{.n_seq = 1, .n_cells = 1024, .n_outputs = 1};
  LlamaContext context(model.weights, windows, shape, &abort);
  ModelOptions all = windows;
  all.swa_full = true;
  LlamaContext full(model.weights, all, shape, &abort);
  const auto tokens = code_prompt(520);
  const auto decode = [&](LlamaContext& to, Pos from, Pos end) {
    std::vector<BatchToken> batch;
    for (Pos pos = from; pos < end; ++pos) {
      batch.push_back({tokens[static_cast<std::size_t>(pos)], 0, pos, pos + 1 == end});
    }
    to.decode(batch);
    const auto row = to.logits(static_cast<int>(batch.size()) - 1);
    return std::vector<float>(row.begin(), row.end());
  };
  for (Pos begin = 0; begin < 384; begin += 128) {
    decode(context, begin, begin + 128);
    decode(full, begin, begin + 128);
  }
  CHECK(context.can_truncate(0, 256));
  abort = true;
  CHECK_THROWS_AS(decode(context, 384, 512), Aborted);
  abort = false;
  REQUIRE(context.length(0) == 384);
  // The cells of the aborted pass have taken the place of those that position 256 looks back to.
  CHECK_FALSE(context.can_truncate(0, 256));
  CHECK_THROWS_AS(context.truncate({0, 384, 256}), PreconditionError);
  CHECK(largest_difference(decode(context, 384, 500), decode(full, 384, 500)) <= kRounding);
}

}  // namespace
}  // namespace specbranch::llama
