// Recurrent and hybrid models with random weights, written by the test: Mamba, whose sequences are
// copied and dropped as a whole, and LFM2, which also takes back tokens of its last batch.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ggml.h"
#include "gguf.h"
#include "recurrent_models.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/models/footprint.h"
#include "specbranch/model/single_session.h"
#include "specbranch/simulation/virtual_run.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;
namespace fs = std::filesystem;

/// Of logits up to 50; those after a wrong state differ by whole numbers.
constexpr float kRounding = 2e-3F;

TEST_CASE("a hybrid model verifies drafts, and takes back what its last batch decoded") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 model;
  CHECK(!model.weights->can_roll_back());
  LlamaTarget target(model.weights, model.options, {.max_batch = 6});
  const Capabilities limits = target.capabilities();
  CHECK(limits.rollback == Rollback::kLastBatch);
  CHECK_FALSE(limits.pads);
  CHECK(limits.max_batch == 6);
  CHECK(LlamaTarget(model.weights, model.options, {}).capabilities().max_batch == 8);
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    CAPTURE(seed);
    const Request request = request_of(code_prompt(200), hot(seed));
    const auto text = generate(target, request, 60);
    REQUIRE(text.size() == 60);
    for (const double hit_rate : {0.0, 0.6, 1.0}) {
      CAPTURE(hit_rate);
      const auto drafted =
          generate_with_drafts(target, request, text, 5, hit_rate, static_cast<unsigned>(seed));
      CHECK(std::equal(text.begin(), text.end(), drafted.begin()));
    }
  }
}

TEST_CASE("a rollback of a hybrid model leaves the state of a model that never decoded more") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 model;
  LlamaTarget target(model.weights, model.options, {});
  LlamaTarget clean(model.weights, model.options, {});
  const auto prompt = code_prompt(60);
  std::mt19937 random(3);
  const int n_vocab = target.capabilities().n_vocab;
  for (int i = 0; i < 40; ++i) {
    const auto n = static_cast<Pos>(2 + random() % 7);
    const auto kept = static_cast<Pos>(1 + random() % static_cast<unsigned>(n));
    CAPTURE(n);
    CAPTURE(kept);
    Request request = request_of(prompt);
    begin(target, request);
    // Right tokens up to `kept`, so that the text goes on there; wrong ones after it.
    std::vector<Token> path{prompt.back()};
    while (static_cast<Pos>(path.size()) < kept) {
      begin(clean, request);
      const auto choices = verify(clean, clean.length(0), path).choices;
      REQUIRE(choices.size() == path.size());
      path.push_back(choices.back().token);
    }
    begin(clean, request);
    const auto right = verify(clean, clean.length(0), path).choices;
    while (static_cast<Pos>(path.size()) < n) {
      path.push_back((right.back().token + 1 + static_cast<Token>(random() % 50)) % n_vocab);
    }
    const Pos base = target.length(0);
    const auto choices = verify(target, base, path).choices;
    REQUIRE(static_cast<Pos>(choices.size()) == kept);
    target.truncate({0, target.length(0), base + kept});
    const Token next = choices.back().token;
    verify(target, base + kept, std::span(&next, 1));
    verify(clean, base + kept, std::span(&next, 1));
    const auto a = target.logits(0);
    const auto b = clean.logits(0);
    for (std::size_t k = 0; k < a.size(); ++k) CHECK(std::abs(a[k] - b[k]) <= kRounding);
  }
}

template <class Model>
void check_scores_leave_states() {
  const Model model;
  ModelOptions options = model.options;
  options.n_batch = options.n_ubatch = 256;
  LlamaTarget target(model.weights, options, {.prefill_chunk = 200});
  const Request plain = request_of(code_prompt(450));
  Request scored = plain;
  scored.prompt_logprobs = 1;
  std::vector<std::vector<float>> after;
  std::vector<TokenScore> before;
  for (const Request& request : {plain, scored, scored}) {
    const int n_reused = begin(target, request);
    CHECK((n_reused == 0 || !request.scores_prompt()));
    const Token last = request.prompt.back();
    const auto scores = target.take_prompt_scores(kSingleSession);
    CHECK(scores.size() == (request.scores_prompt() ? 449 : 0));
    verify(target, target.length(0), std::span(&last, 1));
    const auto row = target.logits(0);
    after.emplace_back(row.begin(), row.end());
    REQUIRE((before.empty() || before.size() == scores.size()));
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(before[i].logprob == scores[i].logprob);
    before = scores;
  }
  CHECK(after[0] == after[1]);
  CHECK(after[0] == after[2]);
}

TEST_CASE("scores of a prompt leave the states that a prompt without scores leaves") {
  SPECBRANCH_NEEDS_MODELS();
  check_scores_leave_states<Lfm2>();
  check_scores_leave_states<Mamba>();
}

TEST_CASE("a hybrid model refuses what llama.cpp would get wrong without a word") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 model;
  LlamaTarget target(model.weights, model.options, {.max_batch = 4});
  const auto prompt = code_prompt(40);
  begin(target, request_of(prompt));
  const std::vector<Token> path{prompt.back(), 5, 6, 7};
  CHECK_THROWS_AS(target.truncate({0, 39, 30}), PreconditionError);  // a part of the prompt
  CHECK_THROWS_AS(verify(target, 39, std::span(path).first(2), 1), PreconditionError);  // padding
  verify(target, 39, path);
  CHECK_THROWS_AS(target.truncate({0, 43, 39}), PreconditionError);  // its first row
  target.truncate({0, 43, 42});
  CHECK_THROWS_AS(target.truncate({0, 42, 41}), PreconditionError);  // twice
  CHECK(target.length(0) == 42);
  target.truncate({0, 42, 0});
  CHECK(target.length(0) == 0);
  // A new prompt starts anew: it is shorter than a chunk, and has no checkpoint.
  CHECK(begin(target, request_of(prompt)) == 0);
  CHECK_NOTHROW(verify(target, 39, path));
}

/// The text of every mode over these weights as target and as draft. The draft is the target, so
/// that a wrong state of either shows as a rejection or as another text.
void check_itself_as_draft(const std::shared_ptr<const Weights>& weights,
                           const ModelOptions& options) {
  LlamaTarget target(weights, options, {});
  LlamaDraft draft(weights, options, {});
  CHECK(draft.capabilities().rollback == Rollback::kCopies);
  std::int64_t n_drafted = 0;
  std::int64_t n_rolled_back = 0;
  std::int64_t n_hits = 0;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Request request = request_of(code_prompt(80), hot(seed));
    request.max_tokens = 60;
    request.mode = Mode::kAutoregressive;
    const VirtualResult plain = run_virtually(request, target, nullptr);
    REQUIRE(plain.tokens.size() == 60);
    for (const Mode mode : {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch, Mode::kAuto}) {
      CAPTURE(to_string(mode));
      request.mode = mode;
      request.max_branches = 4;
      const VirtualResult got = run_virtually(request, target, &draft);
      CHECK(!got.error);
      CHECK(!got.draft_error);
      CHECK(got.tokens == plain.tokens);
      n_drafted += got.counters.n_drafted;
      n_rolled_back += got.counters.n_rolled_back;
      n_hits += got.counters.branch_hits;
    }
  }
  MESSAGE(n_drafted << " drafted, " << n_rolled_back << " rolled back, " << n_hits << " hits");
  CHECK(n_drafted > 400);
  CHECK(n_rolled_back < n_drafted / 50);  // rounding, at near-ties
}

/// Another draft: most of what it says is rejected, and the target takes it back.
void check_with_attention_draft(const std::shared_ptr<const Weights>& weights,
                                const ModelOptions& options) {
  LlamaTarget target(weights, options, {});
  LlamaDraft draft(draft_weights(), small_options(draft_path()), {});
  std::int64_t n_rolled_back = 0;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    Request request = request_of(code_prompt(80), hot(seed));
    request.max_tokens = 60;
    request.mode = Mode::kAutoregressive;
    const VirtualResult plain = run_virtually(request, target, nullptr);
    REQUIRE(plain.tokens.size() == 60);
    for (const Mode mode : {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch, Mode::kAuto}) {
      CAPTURE(to_string(mode));
      request.mode = mode;
      const VirtualResult got = run_virtually(request, target, &draft);
      CHECK(!got.error);
      CHECK(!got.draft_error);
      CHECK(got.tokens == plain.tokens);
      n_rolled_back += got.counters.n_rolled_back;
    }
  }
  CHECK(n_rolled_back > 100);  // the draft knows nothing of these weights
}

TEST_CASE("a footprint counts recurrent states and their snapshots") {
  SPECBRANCH_NEEDS_MODELS();
  const auto path = temporary_file("specbranch_test_states.gguf").string();
  write_lfm2(path);
  ModelOptions options = small_options(path);
  options.use_mmap = false;
  TargetOptions alone;
  alone.max_batch = 1;
  const Footprint with = target_footprint(options, {});
  const Footprint without = target_footprint(options, alone);
  // Two layers keep the last two inputs of the convolution, 64 floats each.
  CHECK(with.host.context - without.host.context == kMostSnapshots * 2 * 2 * 64 * sizeof(float));
  const LlamaTarget target(Weights::load(options), options, {});
  fs::remove(path);
  const Footprint loaded = footprint_of(target.context());
  CHECK(with.host.context == loaded.host.context);
  CHECK(with.host.compute == loaded.host.compute);
  CHECK(with.host.weights + with.host.repacked == loaded.host.weights + loaded.host.repacked);
}

TEST_CASE("a hybrid target gives the same text in all modes") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 model;
  check_with_attention_draft(model.weights, model.options);
}

TEST_CASE("a hybrid draft copies its states to branches, in all modes") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 model;
  check_itself_as_draft(model.weights, model.options);
}

TEST_CASE("a recurrent model without snapshots speculates on copies, as target and as draft") {
  SPECBRANCH_NEEDS_MODELS();
  const Mamba model;
  CHECK(!model.weights->can_roll_back());
  CHECK(LlamaTarget(model.weights, model.options, {}).capabilities().rollback == Rollback::kCopies);
  check_with_attention_draft(model.weights, model.options);
  check_itself_as_draft(model.weights, model.options);
}

TEST_CASE("a copied state goes on as the one that it was copied from") {
  SPECBRANCH_NEEDS_MODELS();
  const Mamba mamba;
  const Lfm2 lfm2;
  for (const auto& [weights, options] :
       {std::pair(mamba.weights, mamba.options), std::pair(lfm2.weights, lfm2.options)}) {
    std::atomic<bool> abort = false;
    LlamaContext context(weights, options, {.n_seq = 4, .n_cells = 256, .n_outputs = 4}, &abort);
    const auto prompt = code_prompt(40);
    std::vector<BatchToken> batch;
    for (Pos pos = 0; pos < 40; ++pos) {
      batch.push_back({prompt[static_cast<std::size_t>(pos)], 0, pos, false});
    }
    context.decode(batch);
    context.fork({0, 1, 0, 0, 40});
    context.fork({1, 2, 0, 0, 40});
    // Two of them go on at once, with different tokens; the third comes later.
    const BatchToken both[] = {{5, 0, 40, true}, {6, 1, 40, true}};
    context.decode(both);
    const auto row = context.logits(0);
    const std::vector<float> expected(row.begin(), row.end());
    const BatchToken third[] = {{5, 2, 40, true}};
    context.decode(third);
    const auto later = context.logits(0);
    for (std::size_t i = 0; i < later.size(); ++i) {
      CHECK(std::abs(later[i] - expected[i]) <= kRounding);
    }
    // Onto a sequence that holds another text, and onto one that holds a prefix.
    context.fork({2, 1, 0, 41, 41});
    const BatchToken again[] = {{7, 1, 41, true}, {7, 2, 41, true}};
    context.decode(again);
    const auto a = context.logits(0);
    const auto b = context.logits(1);
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::abs(a[i] - b[i]) <= kRounding);
    CHECK_THROWS_AS(context.fork({2, 3, 0, 0, 20}), PreconditionError);    // in part
    CHECK_THROWS_AS(context.fork({2, 1, 20, 42, 42}), PreconditionError);  // onto a part
    CHECK_THROWS_AS(context.truncate({2, 42, 41}), PreconditionError);
    CHECK(context.length(2) == 42);
  }
}

/// Three texts have the states 0, 1 and 2, in the order of `seqs`. A pass over the first and the
/// last of them brings their states together, so that the one between them changes places.
void check_state_between(const Written& model, const std::vector<SeqId>& seqs) {
  constexpr Pos kLength = 30;
  const auto all = code_prompt(60);
  const auto text = [&](Pos i) { return std::vector<Token>(all.begin() + 15 * i, all.end()); };
  const auto read = [&](LlamaContext& context, SeqId seq, Pos i) {
    std::vector<BatchToken> batch;
    for (Pos pos = 0; pos < kLength; ++pos) {
      batch.push_back({text(i)[static_cast<std::size_t>(pos)], seq, pos, false});
    }
    context.decode(batch);
  };
  const auto logits_of = [](LlamaContext& context, SeqId seq) {
    const BatchToken next[] = {{7, seq, kLength, true}};
    context.decode(next);
    const auto row = context.logits(0);
    return std::vector<float>(row.begin(), row.end());
  };
  std::atomic<bool> abort = false;
  const ContextShape shape{.n_seq = 3, .n_cells = 256, .n_outputs = 3};
  LlamaContext context(model.weights, model.options, shape, &abort);
  for (Pos i = 0; i < 3; ++i) read(context, seqs[static_cast<std::size_t>(i)], i);
  abort = true;
  const BatchToken outer[] = {{5, seqs[0], kLength, true}, {6, seqs[2], kLength, true}};
  try {
    context.decode(outer);
  } catch (const Aborted&) {
  }
  abort = false;
  LlamaContext fresh(model.weights, model.options, shape, &abort);
  read(fresh, 0, 1);
  CHECK(largest_difference(logits_of(context, seqs[1]), logits_of(fresh, 0)) <= kRounding);
  // Where nothing lies between the states, a pass ends early.
  abort = true;
  std::vector<BatchToken> batch;
  for (const SeqId seq : seqs) batch.push_back({5, seq, context.length(seq), true});
  CHECK_THROWS_AS(context.decode(batch), Aborted);
  for (const SeqId seq : seqs) CHECK(context.length(seq) == 0);
}

TEST_CASE("an abort of a pass over two texts leaves the state of a third one as it was") {
  SPECBRANCH_NEEDS_MODELS();
  check_state_between(Lfm2(), {0, 1, 2});
  check_state_between(Mamba(), {0, 2, 1});  // one pass takes neighbours only
}

TEST_CASE("a recurrent model refuses what would spoil its state, and survives an abort") {
  SPECBRANCH_NEEDS_MODELS();
  const Mamba model;
  LlamaTarget target(model.weights, model.options, {});
  const Request request = request_of(code_prompt(200), hot(1));
  const auto text = generate(target, request, 20);
  REQUIRE(text.size() == 20);
  CHECK(generate(target, request, 20) == text);

  begin(target, request);
  const std::vector<Token> two{request.prompt.back(), text.front()};
  CHECK_THROWS_AS(verify(target, 199, two, 1), PreconditionError);  // padding
  CHECK_THROWS_AS(target.truncate({0, 199, 100}), PreconditionError);
  target.request_abort();
  CHECK(target.length(0) == 199);
  CHECK_THROWS_AS(verify(target, 199, std::span(&request.prompt.back(), 1)), Aborted);
  CHECK(target.length(0) == 0);
  target.clear_abort();
  CHECK(generate(target, request, 20) == text);

  LlamaDraft draft(model.weights, model.options, {.n_seq = 3});
  begin(draft, request);
  const SequenceInput input{kNoNode, 0, 199, {request.prompt.back()}, kSingleSession};
  draft.request_abort();
  CHECK_THROWS_AS(draft.draft(std::span(&input, 1), 3), Aborted);
  CHECK(draft.length(0) == 0);
  draft.clear_abort();
  CHECK_NOTHROW(begin(draft, request));
  CHECK(draft.draft(std::span(&input, 1), 3).front().size() == 3);
}

}  // namespace
}  // namespace specbranch::llama
