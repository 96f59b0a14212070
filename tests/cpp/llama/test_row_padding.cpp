// Which batches give a token the logits of single tokens, and targets that decode no others.
#include <atomic>
#include <vector>

#include "ggml.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/models/exact_target.h"
#include "specbranch/llama/models/row_padding.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

constexpr int kPath = 18;

std::vector<RowTrial> trials_of(const ModelOptions& options, bool all = false) {
  return test_rows(target_weights(), options, {kPath, kRowMultiples, all, {}});
}

/// Texts without drafts and with right and wrong ones are equal under `padding`, and so are their
/// last logits.
void check_padding(const ModelOptions& options, const RowPadding& padding) {
  const Request request = request_of(code_prompt(400));
  TargetOptions exact;
  exact.row_multiple = padding.multiple;
  exact.max_batch = padding.max_path;
  LlamaTarget alone(target_weights(), options, exact);
  const auto truth = generate(alone, request, 200);
  for (unsigned seed = 1; seed <= 3; ++seed) {
    LlamaTarget target(target_weights(), options, exact);
    auto text = generate_with_drafts(target, request, truth, padding.max_path - 1, 0.8, seed);
    text.resize(truth.size());  // the last verification may go beyond it
    CHECK(text == truth);
  }
}

TEST_CASE("rows are rounded up to a multiple") {
  CHECK(padded_rows(1, 1) == 1);
  CHECK(padded_rows(1, 4) == 4);
  CHECK(padded_rows(4, 4) == 4);
  CHECK(padded_rows(5, 4) == 8);
}

TEST_CASE("one thread needs no padding with Q8_0 weights") {
  SPECBRANCH_NEEDS_MODELS();
  if (target_weights()->file().quantization != "q8_0") return;
  const auto options = small_options(target_path());
  const auto trials = trials_of(options);
  REQUIRE(trials.size() == 1);  // the first was enough
  CHECK(trials[0].padding == RowPadding{1, kPath});
  CHECK(trials[0].single_us > 0.0);
  CHECK(trials_of(options, /*all=*/true).size() == std::size(kRowMultiples));
}

TEST_CASE("two threads split the attention of a single token, with both kinds of float caches") {
  SPECBRANCH_NEEDS_MODELS();
  if (target_weights()->file().quantization != "q8_0") return;
  auto options = small_options(target_path());
  options.n_threads = 2;
  for (const int type : {GGML_TYPE_F16, GGML_TYPE_F32}) {
    options.type_k = options.type_v = type;
    const auto trials = trials_of(options);
    REQUIRE(trials.size() == 2);
    CHECK(trials[0].padding.max_path == 1);
    CHECK(trials[1].padding == RowPadding{2, kPath});
    check_padding(options, trials[1].padding);
  }
}

TEST_CASE("a path is bounded where n_ubatch would leave one token of it to itself") {
  SPECBRANCH_NEEDS_MODELS();
  if (target_weights()->file().quantization != "q8_0") return;
  auto options = small_options(target_path());
  options.n_threads = 2;
  options.n_ubatch = 3;
  const auto trials = trials_of(options, /*all=*/true);
  const auto best = best_trial(trials);
  REQUIRE(best);
  const RowPadding padding = trials[*best].padding;
  CHECK(padding.max_path >= 2);
  CHECK(padding.max_path < kPath);
  check_padding(options, padding);
}

TEST_CASE("no context is too short for the test") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(target_path());
  for (const int n_ctx : {1, 2, 64}) {
    options.n_ctx = n_ctx;
    CHECK(best_trial(trials_of(options)));
  }
}

TEST_CASE("the test of rows stops when told to") {
  SPECBRANCH_NEEDS_MODELS();
  int n_asked = 0;
  const RowTest test{kPath, kRowMultiples, false, [&] { return ++n_asked == 5; }};
  CHECK_THROWS_AS(test_rows(target_weights(), small_options(target_path()), test), Aborted);
  CHECK(n_asked == 5);
}

TEST_CASE("the best trial verifies enough tokens, in the least time") {
  CHECK(!best_trial({}));
  const std::vector<RowTrial> useless = {{{1, 1}, 5.0, 5.0}, {{2, 0}, 5.0, 5.0}};
  CHECK(!best_trial(useless));
  const std::vector<RowTrial> trials = {{{1, 3}, 1.0, 2.0},
                                        {{2, 18}, 9.0, 20.0},
                                        {{4, kUsefulPath}, 10.0, 18.0},
                                        {{8, 18}, 20.0, 20.0}};
  CHECK(best_trial(trials) == 2);
  CHECK(best_trial(std::span(trials).first(1)) == 0);  // short paths are better than none
}

TEST_CASE("weights are loaded without repacking where their rows agree no further") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(target_path());
  options.n_ubatch = 1;  // every row is computed alone, so that all paths agree
  auto weights = target_weights();
  int n_loaded = 0;
  const LoadWeights load = [&](const ModelOptions& wanted) {
    ++n_loaded;
    CHECK(wanted.path == options.path);
    return target_weights();
  };
  CHECK(find_exact_rows(weights, options, kPath, load, {}).padding == RowPadding{1, kPath});
  CHECK(n_loaded == 0);
  CHECK(options.use_extra_bufts);
  CHECK_THROWS_AS(find_exact_rows(weights, options, kPath, load, [] { return true; }), Aborted);
}

}  // namespace
}  // namespace specbranch::llama
