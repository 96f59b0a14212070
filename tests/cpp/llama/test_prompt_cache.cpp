// Texts that leave their sequence are copied into host memory, and back for prompts like them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "recurrent_models.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/models/prompt_cache.h"
#include "specbranch/model/single_session.h"
#include "support.h"
#include "windowed_model.h"

namespace specbranch::llama {
namespace {

using namespace testing;

constexpr float kRounding = 0.2F;  ///< of logits, where the cells of a text lie elsewhere.
constexpr int kChunk = 16;

using Loaded = std::pair<std::shared_ptr<const Weights>, ModelOptions>;

/// One of each kind: attention alone, recurrent layers alone, both.
std::vector<Loaded> all_kinds() {
  const Mamba mamba;
  const Lfm2 lfm2;
  return {{target_weights(), small_options(target_path())},
          {mamba.weights, mamba.options},
          {lfm2.weights, lfm2.options}};
}

/// And with sliding windows, of which all cells are kept, or the window alone.
std::vector<Loaded> all_kinds_and_windows() {
  std::vector<Loaded> kinds = all_kinds();
  kinds.emplace_back(gemma().weights, gemma().full);
  kinds.emplace_back(gemma().weights, gemma().windows);
  return kinds;
}

ModelOptions with_cache(ModelOptions options, std::optional<int> mib = 1000) {
  options.cache_ram = mib;
  return options;
}

/// A prompt of `n` tokens that has the first `n_common` in common with the others.
std::vector<Token> prompt_of(int which, int n, int n_common = 0) {
  std::vector<Token> prompt = code_prompt(n);
  for (int i = n_common; i < n; ++i) {
    Token& token = prompt[static_cast<std::size_t>(i)];
    token = 5 + (token + 31 * which) % 400;
  }
  return prompt;
}

int open(LlamaTarget& target, GenerationId id, SeqId seq, const std::vector<Token>& prompt) {
  const Capabilities model = target.capabilities();
  std::vector<SeqId> seqs{seq};
  if (model.rollback == Rollback::kCopies) seqs.push_back(model.spare_of(seq));
  return begin(target, id, std::make_shared<const Request>(request_of(prompt)), seqs);
}

/// The logits after the prompt of session `id`.
std::vector<float> logits_of(LlamaTarget& target, GenerationId id, SeqId seq,
                             const std::vector<Token>& prompt) {
  const Segment segment =
      path_segment(id, seq, static_cast<Pos>(prompt.size()) - 1, std::span(prompt).last(1));
  REQUIRE(!target.verify(std::span(&segment, 1), 0).front().error);
  const auto row = target.logits(0);
  return {row.begin(), row.end()};
}

TEST_CASE("a text that another one has replaced is read from its copy, bit by bit") {
  SPECBRANCH_NEEDS_MODELS();
  const auto first = prompt_of(0, 200);
  const auto second = prompt_of(1, 150);
  for (const auto& [weights, options] : all_kinds()) {
    CAPTURE(weights->file().architecture);
    LlamaTarget target(weights, with_cache(options), {.prefill_chunk = kChunk});
    CHECK(open(target, 1, 0, first) == 0);
    const std::vector<float> expected = logits_of(target, 1, 0, first);
    target.close(1, /*forget=*/false);
    CHECK(open(target, 2, 0, second) == 0);
    target.close(2, /*forget=*/false);
    REQUIRE(target.cache()->texts().size() == 1);
    const int n_reused = open(target, 3, 0, first);
    CHECK(n_reused >= 192);  // the last border of a chunk, or all
    CHECK(logits_of(target, 3, 0, first) == expected);
    target.close(3, /*forget=*/false);
    CHECK(target.cache()->texts().size() == 2);
    // One that goes on like it, and one that parts from it in its middle.
    auto longer = first;
    longer.insert(longer.end(), 40, 9);
    CHECK(open(target, 4, 0, second) >= 128);
    target.close(4, /*forget=*/false);
    CHECK(open(target, 5, 0, longer) >= 192);
    const std::vector<float> reused = logits_of(target, 5, 0, longer);
    LlamaTarget fresh(weights, with_cache(options, 0), {.prefill_chunk = kChunk});
    open(fresh, 1, 0, longer);
    CHECK(logits_of(fresh, 1, 0, longer) == reused);
  }
}

TEST_CASE("many texts take turns, and none is read anew") {
  SPECBRANCH_NEEDS_MODELS();
  for (const auto& [weights, options] : all_kinds()) {
    CAPTURE(weights->file().architecture);
    LlamaTarget target(weights, with_cache(options), {.prefill_chunk = kChunk});
    GenerationId id = 0;
    for (int turn = 0; turn < 2; ++turn) {
      for (int which = 0; which < 6; ++which) {
        const auto prompt = prompt_of(which, 150 + 20 * turn);
        const int n_reused = open(target, ++id, 0, prompt);
        CHECK(n_reused == (turn == 0 ? 0 : 144));
        logits_of(target, id, 0, prompt);  // and the begin of an answer
        target.close(id, /*forget=*/false);
      }
    }
  }
}

TEST_CASE("a text that loses little is not copied") {
  SPECBRANCH_NEEDS_MODELS();
  const auto options = with_cache(small_options(target_path()));
  LlamaTarget target(target_weights(), options, {.prefill_chunk = 128});
  const auto prompt = prompt_of(0, 500);
  open(target, 1, 0, prompt);
  target.close(1, /*forget=*/false);
  // It goes on; 499 tokens are no whole number of chunks.
  auto next = prompt;
  next.insert(next.end(), 30, 9);
  CHECK(open(target, 2, 0, next) == 384);
  target.close(2, /*forget=*/false);
  auto other = next;
  std::fill(other.begin() + 480, other.end(), 11);  // the last 50 of 529 are others
  CHECK(open(target, 3, 0, other) == 384);
  CHECK(target.cache()->texts().empty());
  std::fill(other.begin() + 400, other.end(), 12);
  open(target, 4, 0, other);
  CHECK(target.cache()->texts().size() == 1);
}

TEST_CASE("while others run, an opening session copies one ended text at most") {
  SPECBRANCH_NEEDS_MODELS();
  const auto options = with_cache(small_options(target_path()));
  LlamaTarget target(target_weights(), options, {.prefill_chunk = kChunk, .n_seq = 5});
  for (int i = 0; i < 4; ++i) {
    open(target, static_cast<GenerationId>(i) + 1, i, prompt_of(i, 100));
  }
  for (GenerationId id = 1; id < 4; ++id) target.close(id, /*forget=*/false);
  open(target, 5, 4, prompt_of(4, 100));
  CHECK(target.cache()->texts().size() == 1);
  target.close(4, /*forget=*/false);
  target.close(5, /*forget=*/false);
  open(target, 6, 4, prompt_of(5, 100));
  CHECK(target.cache()->texts().size() == 5);
  for (SeqId seq = 0; seq < 4; ++seq) CHECK(target.length(seq) == 0);
}

TEST_CASE(
    "what comes back of a window comes back as a whole, and not where bits have to be equal") {
  SPECBRANCH_NEEDS_MODELS();
  const ModelOptions options = with_cache(gemma().full);
  const LlamaTarget exact(gemma().weights, options, {.prefill_chunk = kChunk});
  CHECK(exact.cache() == nullptr);
  LlamaTarget target(gemma().weights, options,
                     {.prefix_reuse = PrefixReuse::kFast, .prefill_chunk = kChunk});
  LlamaTarget fresh(gemma().weights, gemma().full, {.prefill_chunk = kChunk});
  auto first = prompt_of(0, 200);
  open(target, 1, 0, first);
  target.close(1, /*forget=*/false);
  open(target, 2, 0, prompt_of(1, 100));
  target.close(2, /*forget=*/false);
  first.insert(first.end(), 20, 9);
  CHECK(open(target, 3, 0, first) == 199);
  const std::vector<float> logits = logits_of(target, 3, 0, first);
  open(fresh, 1, 0, first);
  CHECK(largest_difference(logits, logits_of(fresh, 1, 0, first)) < kRounding);
  // Its cells before the last window of the copy are gone, also for itself.
  CHECK(target.context().least_prefix(0) == 199);
  CHECK(!target.context().can_truncate(0, 198));
  CHECK_THROWS_WITH_AS(target.truncate({0, target.length(0), 150}),
                       doctest::Contains("lack cells of the prefix"), PreconditionError);
  target.close(3, /*forget=*/false);
  const std::vector<Token> part(first.begin(), first.begin() + 150);
  CHECK(open(target, 4, 0, part) == 0);
  const std::vector<float> of_part = logits_of(target, 4, 0, part);
  open(fresh, 2, 0, part);
  CHECK(largest_difference(of_part, logits_of(fresh, 2, 0, part)) < kRounding);
}

TEST_CASE("a text that ends with rejected tokens comes back without them") {
  SPECBRANCH_NEEDS_MODELS();
  for (const auto& [weights, options] : all_kinds_and_windows()) {
    CAPTURE(weights->file().architecture);
    CAPTURE(options.swa_full);
    const TargetOptions fast{.prefix_reuse = PrefixReuse::kFast, .prefill_chunk = kChunk};
    LlamaTarget target(weights, with_cache(options), fast);
    auto text = prompt_of(0, 200);
    const std::vector<Token> truth = generate(target, request_of(text), 2);
    target.close(kSingleSession, /*forget=*/true);
    REQUIRE(truth.size() == 2);
    const Token wrong = truth[1] == 7 ? 8 : 7;
    open(target, 1, 0, text);
    const std::vector<Token> path{text.back(), truth[0], wrong, 9};
    const Segment segment = path_segment(1, 0, 199, path);
    CHECK(target.verify(std::span(&segment, 1), 0).front().verification.choices.size() == 2);
    CHECK(target.length(0) == 203);
    const bool cuts = target.context().can_truncate(0, 201);
    target.close(1, /*forget=*/false);
    CHECK(target.length(0) == (cuts ? 201 : 203));
    open(target, 2, 0, prompt_of(1, 100));
    target.close(2, /*forget=*/false);
    text.insert(text.end(), truth.begin(), truth.end());
    text.insert(text.end(), 20, 9);
    CHECK(open(target, 3, 0, text) == (cuts ? 201 : 192));
    LlamaTarget fresh(weights, with_cache(options, 0), fast);
    open(fresh, 1, 0, text);
    CHECK(largest_difference(logits_of(target, 3, 0, text), logits_of(fresh, 1, 0, text)) <
          kRounding);
  }
}

TEST_CASE("texts that have ended leave the cells to those that run") {
  SPECBRANCH_NEEDS_MODELS();
  const auto options = small_options(target_path());
  LlamaTarget target(target_weights(), with_cache(options), {.prefill_chunk = kChunk, .n_seq = 3});
  const auto first = prompt_of(0, 200, 100);
  const auto second = prompt_of(1, 200, 100);
  const auto third = prompt_of(2, 200, 100);
  open(target, 1, 0, first);
  open(target, 2, 1, second);
  CHECK(target.cache()->texts().empty());
  target.close(1, /*forget=*/false);
  CHECK(target.length(0) == 199);  // nobody needs its cells yet
  // The common beginning is shared, and what is left of the first text goes.
  CHECK(open(target, 3, 2, third) == 96);
  CHECK(target.length(0) == 0);
  CHECK(target.length(1) == 199);
  REQUIRE(target.cache()->texts().size() == 1);
  CHECK(target.cache()->texts().front().copy.tokens.size() == 199);
  CHECK(target.cache()->n_bytes() == target.cache()->texts().front().copy.n_bytes);
  target.close(2, /*forget=*/true);
  CHECK(target.length(1) == 0);
  CHECK(open(target, 4, 1, first) == 199);
  CHECK(target.cache()->texts().size() == 1);  // a text that is forgotten is not copied
  CHECK(target.length(2) == 199);              // it runs
}

TEST_CASE("what was generated is not copied where it cannot be used again") {
  SPECBRANCH_NEEDS_MODELS();
  const auto options = with_cache(small_options(target_path()));
  const auto prompt = prompt_of(0, 100);
  for (const PrefixReuse reuse : {PrefixReuse::kExact, PrefixReuse::kFast}) {
    LlamaTarget target(target_weights(), options,
                       {.prefix_reuse = reuse, .prefill_chunk = kChunk, .n_seq = 2});
    const std::vector<Token> answer = generate(target, request_of(prompt), 70);
    REQUIRE(answer.size() == 70);
    target.close(kSingleSession, /*forget=*/false);
    const bool exact = reuse == PrefixReuse::kExact;
    CHECK(target.length(0) == (exact ? 99 : 169));
    open(target, 1, 1, prompt_of(1, 40));
    target.close(1, /*forget=*/false);
    REQUIRE(target.cache()->texts().size() == 1);
    auto next = prompt;
    next.insert(next.end(), answer.begin(), answer.end());
    next.insert(next.end(), 30, 7);
    CHECK(open(target, 2, 1, next) == (exact ? 96 : 169));
  }
}

TEST_CASE("copies take no more memory than they may, and the oldest goes first") {
  SPECBRANCH_NEEDS_MODELS();
  const auto options = small_options(target_path());
  constexpr std::uint64_t kMost = 3 << 20;
  LlamaTarget target(target_weights(), with_cache(options, 3), {.prefill_chunk = kChunk});
  GenerationId id = 0;
  const auto reads = [&](int which, int n = 300) {
    const int n_reused = open(target, ++id, 0, prompt_of(which, n));
    target.close(id, /*forget=*/false);
    CHECK(target.cache()->n_bytes() <= kMost);
    return n_reused;
  };
  for (int which = 0; which < 4; ++which) CHECK(reads(which) == 0);
  REQUIRE(target.cache()->texts().size() == 2);  // of 1 and 2
  CHECK(reads(0) == 0);                          // and of 3, so that 1 is gone
  CHECK(reads(2) == 299);
  CHECK(reads(3) == 299);
  CHECK(reads(1) == 0);
  // The place of one that comes back is free for the one that leaves: so three take turns.
  for (int turn = 0; turn < 2; ++turn) {
    for (const int which : {3, 2, 1}) CHECK((reads(which) == 299 || turn == 0));
  }
  REQUIRE(target.cache()->texts().size() == 2);
  CHECK(target.cache()->n_bytes() > kMost / 3 * 2);
  CHECK(reads(7, 900) == 0);
  CHECK(reads(4) == 0);  // the long one has no room
  CHECK(reads(7, 900) == 0);

  // The copy of a text goes when the text has become longer.
  LlamaTarget other(target_weights(), with_cache(options), {.prefill_chunk = kChunk});
  auto longer = prompt_of(0, 96);
  open(other, 1, 0, longer);
  open(other, 2, 0, prompt_of(1, 120));
  longer.insert(longer.end(), 100, 9);
  CHECK(open(other, 3, 0, longer) >= 80);
  open(other, 4, 0, prompt_of(1, 120));
  CHECK(other.cache()->texts().size() == 2);

  // Its KV cache is small.
  CHECK(cache_limit(other.context(), options) == 256 << 20);
  CHECK(cache_limit(other.context(), with_cache(options, -1)) > std::uint64_t{1} << 60);
  CHECK(cache_limit(other.context(), with_cache(options, 0)) == 0);
  const LlamaTarget none(target_weights(), options, {.prefix_reuse = PrefixReuse::kOff});
  CHECK(none.cache() == nullptr);
  const LlamaTarget off(target_weights(), with_cache(options, 0), {});
  CHECK(off.cache() == nullptr);
}

TEST_CASE("texts for which there is no room stay in their sequences") {
  SPECBRANCH_NEEDS_MODELS();
  const auto options = with_cache(small_options(target_path()), 3);
  LlamaTarget target(target_weights(), options, {.prefill_chunk = kChunk, .n_seq = 5});
  for (int i = 0; i < 4; ++i) {
    open(target, static_cast<GenerationId>(i) + 1, i, prompt_of(i, 300));
  }
  for (GenerationId id = 1; id <= 4; ++id) target.close(id, /*forget=*/false);
  open(target, 5, 4, prompt_of(4, 100));
  CHECK(target.cache()->texts().size() == 2);
  int n_held = 0;
  for (SeqId seq = 0; seq < 4; ++seq) n_held += target.length(seq) == 299 ? 1 : 0;
  CHECK(n_held == 2);
  target.close(5, /*forget=*/false);
  CHECK(open(target, 6, 4, prompt_of(0, 300)) == 299);
}

TEST_CASE("branches of a text that came back leave those of other texts alone") {
  SPECBRANCH_NEEDS_MODELS();
  const ModelOptions options = with_cache(gemma().full);
  LlamaTarget target(
      gemma().weights, options,
      {.prefix_reuse = PrefixReuse::kFast, .prefill_chunk = kChunk, .n_seq = 3, .max_branches = 2});
  const auto first = prompt_of(0, 200);
  open(target, 1, 0, first);
  target.close(1, /*forget=*/false);
  open(target, 2, 0, prompt_of(1, 100));
  target.close(2, /*forget=*/false);
  auto longer = first;
  longer.insert(longer.end(), 20, 9);
  const std::vector<Token> shorter(first.begin(), first.begin() + 90);
  open(target, 3, 1, shorter);
  REQUIRE(open(target, 4, 0, longer) == 199);
  REQUIRE(target.context().least_prefix(0) == 199);
  std::vector<Token> texts[] = {longer, shorter};
  const auto verifies = [&](SeqId seq, bool branches) {
    std::vector<Token>& text = texts[seq];
    const auto pos = static_cast<Pos>(text.size()) - 1;
    target.truncate({seq, target.length(seq), std::min(target.length(seq), pos)});
    Segment segment{seq == 0 ? GenerationId{4} : GenerationId{3}, seq, pos, {{text.back()}, {8}}};
    if (branches) segment.rows.push_back({9, true, 0});
    const SegmentResult result = std::move(target.verify(std::span(&segment, 1), 0).front());
    REQUIRE(!result.error);
    for (const Choice& choice : result.verification.choices) text.push_back(choice.token);
  };
  for (const bool branches : {false, true}) {
    verifies(0, /*branches=*/true);
    verifies(1, branches);
  }
  verifies(0, /*branches=*/true);
}

TEST_CASE("a copy for which the cells do not suffice is read anew") {
  SPECBRANCH_NEEDS_MODELS();
  ModelOptions options = with_cache(small_options(target_path()));
  options.n_ctx = options.n_ctx_total = 512;
  LlamaTarget target(target_weights(), options, {.prefill_chunk = kChunk, .n_seq = 2});
  const auto text = prompt_of(0, 400);
  open(target, 1, 0, text);
  target.close(1, /*forget=*/false);
  open(target, 2, 1, prompt_of(1, 450));
  CHECK(target.length(0) == 0);
  // Another session takes more of the cells than the engine would allow beside the first one.
  const std::vector<Token> part(text.begin(), text.begin() + 150);
  CHECK(open(target, 3, 0, part) == 0);
  const std::vector<float> logits = logits_of(target, 3, 0, part);
  LlamaTarget fresh(target_weights(), options, {.prefill_chunk = kChunk});
  open(fresh, 1, 0, part);
  CHECK(largest_difference(logits, logits_of(fresh, 1, 0, part)) < kRounding);
}

TEST_CASE("a draft reads what it has read before from a copy") {
  SPECBRANCH_NEEDS_MODELS();
  const auto first = prompt_of(0, 200);
  const auto second = prompt_of(1, 150);
  const Mamba mamba;
  const Lfm2 lfm2;
  for (auto [weights, options] :
       {Loaded(draft_weights(), small_options(draft_path())), Loaded(mamba.weights, mamba.options),
        Loaded(lfm2.weights, lfm2.options)}) {
    CAPTURE(weights->file().architecture);
    options.n_batch = options.n_ubatch = kChunk;
    LlamaDraft draft(weights, with_cache(options), {.n_seq = 4});
    CHECK(begin(draft, request_of(first)) == 0);
    // Branches end differently.
    draft.fork({0, 1, draft.length(1), draft.length(1), draft.length(0)});
    const SequenceInput inputs[] = {{kNoNode, 0, draft.length(0), {first.back()}},
                                    {kNoNode, 1, draft.length(1), {5}}};
    static_cast<void>(draft.draft(inputs, 4));
    const auto row = draft.logits(0);
    const std::vector<float> expected(row.begin(), row.end());
    draft.close(kSingleSession, /*forget=*/false);
    CHECK(begin(draft, request_of(second)) == 0);
    draft.close(kSingleSession, /*forget=*/false);
    REQUIRE(draft.cache()->texts().size() == 1);
    CHECK(begin(draft, request_of(first)) >= 192);
    const SequenceInput again{kNoNode, 0, draft.length(0), {first.back()}};
    static_cast<void>(draft.draft(std::span(&again, 1), 4));
    const auto now = draft.logits(0);
    CHECK(largest_difference(expected, {now.begin(), now.end()}) < kRounding);
    CHECK(draft.cache()->texts().size() == 2);
  }
}

TEST_CASE("random conversations have the logits of a model that reads each anew") {
  SPECBRANCH_NEEDS_MODELS();
  for (const auto& [weights, options] : all_kinds_and_windows()) {
    CAPTURE(weights->file().architecture);
    for (const auto& [n_seq, mib] : {std::pair(1, 1000), {3, 1000}, {3, 1}}) {
      if (n_seq > 1 && !options.swa_full) continue;
      std::mt19937 random(static_cast<unsigned>(n_seq) + 7);
      const auto below = [&random](unsigned n) { return static_cast<int>(random() % n); };
      const bool has_windows = weights->window() > 0;
      LlamaTarget target(weights, with_cache(options, mib),
                         {.prefix_reuse = has_windows ? PrefixReuse::kFast : PrefixReuse::kExact,
                          .max_batch = 4,
                          .prefill_chunk = kChunk,
                          .n_seq = n_seq});
      LlamaTarget fresh(weights, with_cache(options, 0), {.max_batch = 4, .prefill_chunk = kChunk});
      std::vector<std::vector<Token>> texts;
      for (int i = 0; i < 5; ++i) texts.push_back(prompt_of(i, 70 + below(150), below(70)));
      std::vector<GenerationId> open_ids(static_cast<std::size_t>(n_seq), 0);
      int n_reused = 0;
      constexpr int kTurns = 20;
      for (int turn = 0; turn < kTurns; ++turn) {
        const int seq = below(static_cast<unsigned>(n_seq));
        GenerationId& id = open_ids[static_cast<std::size_t>(seq)];
        if (id > 0) target.close(id, /*forget=*/below(8) == 0);
        id = static_cast<GenerationId>(turn) + 1;
        std::vector<Token>& text = texts[static_cast<std::size_t>(below(5))];
        if (below(3) == 0) text.resize(text.size() - static_cast<std::size_t>(below(60)));
        for (int i = below(50); i > 0; --i) text.push_back(5 + below(400));
        if (text.size() > 400) text.resize(70);
        n_reused += open(target, id, seq, text) > 0 ? 1 : 0;
        const std::vector<float> logits = logits_of(target, id, seq, text);
        open(fresh, 1, 0, text);
        const std::vector<float> expected = logits_of(fresh, 1, 0, text);
        fresh.close(1, /*forget=*/true);
        if (n_seq == 1 && !has_windows) {
          REQUIRE(logits == expected);
        } else {
          REQUIRE(largest_difference(logits, expected) < kRounding);
        }
      }
      CHECK(n_reused > kTurns / 4);
      if (mib > 1) CHECK(target.cache()->n_restored() > 0);
    }
  }
}

}  // namespace
}  // namespace specbranch::llama
