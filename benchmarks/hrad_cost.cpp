// What one prediction of H-RAD's classifier costs: microseconds by the target's width.
//
//   cmake --preset llama && cmake --build --preset llama --target specbranch_hrad_cost
//   build/llama/specbranch_hrad_cost
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "specbranch/model/hrad.h"

namespace {

constexpr int kLayers = 4;
constexpr std::size_t kHidden1 = 256;
constexpr std::size_t kHidden2 = 64;
constexpr int kCalls = 101;

std::shared_ptr<specbranch::HradWeights> make_weights(int n_embd) {
  auto weights = std::make_shared<specbranch::HradWeights>();
  weights->n_layers = kLayers;
  weights->n_embd = n_embd;
  const auto n_inputs = static_cast<std::size_t>(weights->n_inputs());
  weights->mean.assign(n_inputs, 0.0F);
  weights->scale.assign(n_inputs, 1.0F);
  weights->w1.assign(kHidden1 * n_inputs, 1e-3F);
  weights->b1.assign(kHidden1, 0.0F);
  weights->w2.assign(kHidden2 * kHidden1, 1e-3F);
  weights->b2.assign(kHidden2, 0.0F);
  weights->w3.assign(3 * kHidden2, 1e-3F);
  weights->b3.assign(3, 0.0F);
  return weights;
}

struct Cost {
  double least_us;
  double median_us;
};

Cost measure(int n_embd) {
  specbranch::HradClassifier classifier(make_weights(n_embd));
  const std::vector<float> features(static_cast<std::size_t>(classifier.n_inputs()), 0.5F);
  std::vector<double> times;
  for (int i = 0; i < kCalls; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const auto predicted = classifier.probabilities(features);
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    if (!(predicted[0] >= 0.0F)) std::abort();  // keeps the call
    times.push_back(time.count());
  }
  std::ranges::sort(times);
  return {times.front(), times[kCalls / 2]};
}

}  // namespace

int main() {
  std::printf("n_embd  n_inputs  weights_MB    least_us  median_us\n");
  for (const int n_embd : {256, 1024, 2048, 4096, 8192}) {
    const int n_inputs = (kLayers + 1) * n_embd;
    const Cost cost = measure(n_embd);
    std::printf("%6d  %8d  %10.1f  %10.1f  %9.1f\n", n_embd, n_inputs,
                static_cast<double>(n_inputs) * kHidden1 * sizeof(float) / 1e6, cost.least_us,
                cost.median_us);
  }
  return 0;
}
