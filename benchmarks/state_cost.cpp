// What copies of a recurrent state cost, beside a step of the model: a checkpoint of a draft
// branch, a copy onto a sequence that held another text, and a state in host memory and back. And
// what a rollback costs where llama.cpp keeps snapshots of the state.
//
//   build/llama/specbranch_state_cost HYBRID.gguf [n_ctx]
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "model_main.h"
#include "specbranch/llama/context/context.h"
#include "timing.h"

namespace {

using namespace specbranch;
using namespace specbranch::llama;
using bench::median_us;

constexpr int kRepeats = 201;
constexpr int kSteps = 21;
constexpr int kSequences = 16;
constexpr int kVerified = 8;    // tokens of a step that is rolled back
constexpr int kRolledBack = 4;  // the last of them

void measure_copies(const std::shared_ptr<const Weights>& weights, const ModelOptions& options) {
  const int n_ctx = options.n_ctx;
  const std::atomic<bool> abort{false};
  LlamaContext context(weights, options, {kSequences, n_ctx + kRepeats + kSteps, 1}, &abort);

  std::printf("n_ctx %d, %d sequences; medians in microseconds\n", n_ctx, kSequences);
  std::printf("| used | step | copy onto a prefix | share of the step | copy onto another text | ");
  std::printf(
      "share of the step | save | restore |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const int used : {512, 2048, 8192, 32768}) {
    if (used > n_ctx) break;
    context.clear();
    bench::fill(context, 0, used, 5);
    const double step_us = median_us(kSteps, [&](int) { bench::fill(context, 0, 1, 6); });
    // A checkpoint: the other sequence lags a token behind.
    context.fork({0, 1, 0, 0, context.length(0)});
    std::vector<double> copies;
    for (int i = 0; i < kSteps; ++i) {
      bench::fill(context, 0, 1, 7);
      const Pos held = context.length(1);
      copies.push_back(
          median_us(1, [&](int) { context.fork({0, 1, held, held, context.length(0)}); }));
    }
    std::ranges::sort(copies);
    const double prefix_us = copies[copies.size() / 2];
    // A rejected branch: nothing of it stays.
    bench::fill(context, 1, 4, 8);
    const double other_us = median_us(
        kRepeats, [&](int) { context.fork({0, 1, 0, context.length(1), context.length(0)}); });
    std::vector<std::uint8_t> state;
    const double save_us = median_us(kSteps, [&](int) { state = context.save_state(0); });
    const Pos length = context.length(0);
    bench::fill(context, 0, 4, 9);
    const double restore_us = median_us(1, [&](int) { context.restore_state(0, length, state); });
    std::printf("| %d | %.0f | %.1f | %.2f %% | %.0f | %.2f %% | %.0f (%.1f MB) | %.0f |\n", used,
                step_us, prefix_us, 100.0 * prefix_us / step_us, other_us,
                100.0 * other_us / step_us, save_us, static_cast<double>(state.size()) / 1e6,
                restore_us);
  }
}

void measure_rollbacks(const std::shared_ptr<const Weights>& weights, const ModelOptions& options) {
  const int n_ctx = options.n_ctx;
  const std::atomic<bool> abort{false};
  ContextShape shape;
  shape.n_cells = n_ctx + (kSteps * 2 * kVerified);
  shape.n_rollback = kVerified - 1;
  LlamaContext context(weights, options, shape, &abort);
  if (context.max_rollback() < kRolledBack) {
    std::printf("\nllama.cpp keeps no snapshots of this model's state\n");
    return;
  }
  std::printf("\nwith snapshots for a rollback of up to %d tokens\n", shape.n_rollback);
  std::printf("| used | step | step of %d tokens | rollback of %d | share of the step | ",
              kVerified, kRolledBack);
  std::printf("step after it |\n| --- | --- | --- | --- | --- | --- |\n");
  for (const int used : {512, 2048, 8192, 32768}) {
    if (used > n_ctx) break;
    context.clear();
    bench::fill(context, 0, used, 5);
    const double step_us = median_us(kSteps, [&](int) { bench::fill(context, 0, 1, 6); });
    std::vector<double> verifications;
    std::vector<double> rollbacks;
    std::vector<double> steps_after;
    for (int i = 0; i < kSteps; ++i) {
      verifications.push_back(median_us(1, [&](int) { bench::fill(context, 0, kVerified, 7); }));
      const Pos held = context.length(0);
      rollbacks.push_back(
          median_us(1, [&](int) { context.truncate({0, held, held - kRolledBack}); }));
      steps_after.push_back(median_us(1, [&](int) { bench::fill(context, 0, 1, 8); }));
    }
    const double rollback_us = bench::median(rollbacks);
    std::printf("| %d | %.0f | %.0f | %.1f | %.3f %% | %.0f |\n", used, step_us,
                bench::median(verifications), rollback_us, 100.0 * rollback_us / step_us,
                bench::median(steps_after));
  }
}

void run(const std::string& path, int n_ctx) {
  ModelOptions options;
  options.path = path;
  options.n_ctx = n_ctx;
  options.n_threads = 1;
  const auto weights = Weights::load(options, [](float) { return true; });
  if (weights->can_roll_back()) throw std::runtime_error("the model has no recurrent state");
  measure_copies(weights, options);
  measure_rollbacks(weights, options);
}

}  // namespace

int main(int argc, char** argv) {
  return specbranch::bench::model_main(argc, argv, "HYBRID.gguf", run);
}
