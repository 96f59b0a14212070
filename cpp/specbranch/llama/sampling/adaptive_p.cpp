// Adaptive-p, with llama.cpp's arithmetic (https://github.com/ggml-org/llama.cpp/pull/17927).
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "specbranch/llama/sampling/sampler.h"

namespace specbranch::llama {
namespace {

constexpr float kWidth = 0.3F;
constexpr float kPeakLogit = 5.0F;
constexpr float kSharpness = 10.0F;

/// The nearer a token's probability is to the target, the larger its logit. The target moves away
/// from what was chosen so far, so that the average stays where it is wanted.
class AdaptiveSampler final : public Sampler {
 public:
  explicit AdaptiveSampler(const SamplingOptions& options)
      : target_(options.adaptive_target), decay_(options.adaptive_decay) {}

  /// Leaves the probabilities of before in `p`.
  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    set_probabilities(kept);
    const SamplerState& state = point.state;
    const float target = std::clamp(
        state.adaptive_weight == 0.0F ? target_
                                      : 2.0F * target_ - state.adaptive_sum / state.adaptive_weight,
        0.0F, 1.0F);
    for (llama_token_data& item : kept.items) {
      if (item.logit == -std::numeric_limits<float>::infinity()) continue;
      const float distance = std::abs((item.p - target) * (1.0F / kWidth));
      item.logit = kPeakLogit - kSharpness * distance * distance / (1.0F + distance);
    }
    kept.sorted = false;
  }

  SamplerState after(const KeptTokens& kept, std::size_t index,
                     const ChoicePoint& point) const override {
    SamplerState state = point.state;
    state.adaptive_sum = kept.items[index].p + decay_ * state.adaptive_sum;
    state.adaptive_weight = 1.0F + decay_ * state.adaptive_weight;
    return state;
  }

 private:
  float target_;
  float decay_;
};

}  // namespace

SamplerState initial_state(const SamplingOptions& options) {
  SamplerState state;
  state.mirostat_mu = 2.0F * options.mirostat_tau;
  state.adaptive_sum = options.adaptive_target / (1.0F - options.adaptive_decay);
  state.adaptive_weight = 1.0F / (1.0F - options.adaptive_decay);
  return state;
}

std::unique_ptr<Sampler> make_adaptive_p(const SamplingOptions& options) {
  return std::make_unique<AdaptiveSampler>(options);
}

}  // namespace specbranch::llama
