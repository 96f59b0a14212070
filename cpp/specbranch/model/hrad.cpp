#include "specbranch/model/hrad.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

constexpr std::size_t kLabels = 3;
// Independent sums, so that the compiler may use vectors without leave to reorder additions.
constexpr std::size_t kLanes = 16;
constexpr int kMaxLayers = 1 << 10;
constexpr int kMaxWidth = 1 << 20;

float dot(const float* a, const float* b, std::size_t n) {
  std::array<float, kLanes> sums{};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) sums[j] += a[i + j] * b[i + j];
  }
  float rest = 0.0F;
  for (; i < n; ++i) rest += a[i] * b[i];
  for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0] + rest;
}

/// outputs = weights * inputs + bias, below 0 cut off if `relu`.
void dense(std::span<const float> weights, std::span<const float> bias,
           std::span<const float> inputs, std::span<float> outputs, bool relu) {
  for (std::size_t row = 0; row < outputs.size(); ++row) {
    const float value =
        bias[row] + dot(weights.data() + row * inputs.size(), inputs.data(), inputs.size());
    outputs[row] = relu && !(value > 0.0F) && !std::isnan(value) ? 0.0F : value;
  }
}

void check_range(const char* what, int value, int high) {
  if (value >= 1 && value <= high) return;
  throw InvalidArgument(std::string("[HradWeights] ") + what + " is " + std::to_string(value) +
                        "; it must be in 1 .. " + std::to_string(high));
}

void check_size(const char* what, std::size_t size, std::size_t wanted) {
  if (size == wanted) return;
  throw InvalidArgument(std::string("[HradWeights] ") + what + " has " + std::to_string(size) +
                        " numbers; it must have " + std::to_string(wanted));
}

}  // namespace

void validate(const HradWeights& weights) {
  check_range("n_layers", weights.n_layers, kMaxLayers);
  check_range("n_embd", weights.n_embd, kMaxWidth);
  const auto inputs =
      static_cast<std::int64_t>(weights.n_layers + 1) * static_cast<std::int64_t>(weights.n_embd);
  if (inputs > kMaxWidth) {
    throw InvalidArgument("[HradWeights] there are " + std::to_string(inputs) +
                          " inputs, (n_layers + 1) * n_embd; they must be at most " +
                          std::to_string(kMaxWidth));
  }
  const auto n_inputs = static_cast<std::size_t>(inputs);
  check_size("mean", weights.mean.size(), n_inputs);
  check_size("scale", weights.scale.size(), n_inputs);
  check_range("the size of b1", static_cast<int>(std::min<std::size_t>(weights.b1.size(), 1 << 30)),
              kMaxWidth);
  check_range("the size of b2", static_cast<int>(std::min<std::size_t>(weights.b2.size(), 1 << 30)),
              kMaxWidth);
  check_size("w1", weights.w1.size(), weights.b1.size() * n_inputs);
  check_size("w2", weights.w2.size(), weights.b2.size() * weights.b1.size());
  check_size("b3", weights.b3.size(), kLabels);
  check_size("w3", weights.w3.size(), kLabels * weights.b2.size());
}

HradClassifier::HradClassifier(std::shared_ptr<const HradWeights> weights)
    : weights_(std::move(weights)) {
  if (!weights_) throw InvalidArgument("[HradClassifier] there are no weights");
  validate(*weights_);
  inputs_.resize(static_cast<std::size_t>(weights_->n_inputs()));
  hidden1_.resize(weights_->b1.size());
  hidden2_.resize(weights_->b2.size());
}

std::array<float, 3> HradClassifier::probabilities(std::span<const float> features) {
  const HradWeights& w = *weights_;
  if (features.size() != inputs_.size()) {
    throw InvalidArgument("[HradClassifier::probabilities] there are " +
                          std::to_string(features.size()) + " features; " +
                          std::to_string(inputs_.size()) + " are needed, (" +
                          std::to_string(w.n_layers) + " + 1) * " + std::to_string(w.n_embd));
  }
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    inputs_[i] = (features[i] - w.mean[i]) * w.scale[i];
  }
  dense(w.w1, w.b1, inputs_, hidden1_, /*relu=*/true);
  dense(w.w2, w.b2, hidden1_, hidden2_, /*relu=*/true);
  std::array<float, kLabels> scores{};
  dense(w.w3, w.b3, hidden2_, scores, /*relu=*/false);

  if (!std::ranges::all_of(scores, [](float score) { return std::isfinite(score); })) {
    return {0.0F, 1.0F, 0.0F};
  }
  const float most = *std::ranges::max_element(scores);
  float sum = 0.0F;
  for (float& score : scores) sum += score = std::exp(score - most);
  for (float& score : scores) score /= sum;
  return scores;
}

}  // namespace specbranch
