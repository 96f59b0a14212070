// Mirostat (Basu et al., 2021, arXiv:2007.14966), with llama.cpp's arithmetic.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "specbranch/llama/sampling/sampler.h"

namespace specbranch::llama {
namespace {

/// The exponent of Zipf's law is estimated from so many tokens.
constexpr std::size_t kZipfTokens = 100;

constexpr float kLn2 = 0.69314718F;

/// The probabilities before a cut. The sum does not depend on the order of the tokens, as
/// llama.cpp's does, which sorts all of them.
struct Normaliser {
  float top = 0.0F;
  double sum = 0.0;

  explicit Normaliser(const KeptTokens& kept) : top(largest_logit(kept)) {
    for (const llama_token_data& item : kept.items) sum += std::exp(item.logit - top);
  }

  float probability(float logit) const { return std::exp(logit - top) / static_cast<float>(sum); }
};

void sort_best(KeptTokens& kept, std::size_t n) {
  if (kept.sorted) return;
  const auto end = kept.items.begin() + static_cast<std::ptrdiff_t>(std::min(n, kept.items.size()));
  std::partial_sort(kept.items.begin(), end, kept.items.end(), is_better);
}

void keep_best(KeptTokens& kept, std::size_t n) {
  n = std::min(n, kept.items.size());
  if (!kept.sorted && n < kept.items.size()) {
    std::ranges::nth_element(kept.items, kept.items.begin() + static_cast<std::ptrdiff_t>(n),
                             is_better);
  }
  kept.items.resize(n);
  sort_by_logit(kept);
}

/// The surprise of the chosen token moves the largest surprise towards the target.
class MirostatSampler : public Sampler {
 public:
  explicit MirostatSampler(const SamplingOptions& options)
      : tau_(options.mirostat_tau), eta_(options.mirostat_eta) {}

  SamplerState after(const KeptTokens& kept, std::size_t index,
                     const ChoicePoint& point) const override {
    SamplerState state = point.state;
    const float surprise = -std::log2(kept.items[index].p);
    const float mu = state.mirostat_mu - eta_ * (surprise - tau_);
    if (std::isfinite(mu)) state.mirostat_mu = mu;
    return state;
  }

 private:
  float tau_;
  float eta_;
};

/// Version 1: estimates from the best tokens how many tokens give the wanted surprise.
class MirostatSampler1 final : public MirostatSampler {
 public:
  using MirostatSampler::MirostatSampler;

  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    sort_best(kept, kZipfTokens);
    keep_best(kept, number(kept, point.state.mirostat_mu));
    set_probabilities(kept);
  }

 private:
  std::size_t number(const KeptTokens& kept, float mu) const {
    const Normaliser all(kept);
    float sum_products = 0.0F;
    float sum_squares = 0.0F;
    const std::size_t n = std::min(kZipfTokens, kept.items.size());
    for (std::size_t i = 0; i + 1 < n; ++i) {
      const float t = std::log(static_cast<float>(i + 2) / static_cast<float>(i + 1));
      const float b =
          std::log(all.probability(kept.items[i].logit) / all.probability(kept.items[i + 1].logit));
      sum_products += t * b;
      sum_squares += t * t;
    }
    const float s = sum_products / sum_squares;
    const float epsilon = s - 1.0F;
    const auto n_all = static_cast<float>(kept.items.size());  // of the vocabulary
    const float k =
        std::pow((epsilon * std::pow(2.0F, mu)) / (1.0F - std::pow(n_all, -epsilon)), 1.0F / s);
    // llama.cpp converts numbers beyond an int, too, which is undefined. They mean: all tokens.
    if (k >= n_all) return kept.items.size();
    return k >= 1.0F ? static_cast<std::size_t>(k) : 1;  // also where a probability is 0
  }
};

/// Version 2: drops tokens that would surprise too much.
class MirostatSampler2 final : public MirostatSampler {
 public:
  using MirostatSampler::MirostatSampler;

  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    const float mu = point.state.mirostat_mu;
    const Normaliser all(kept);
    if (!kept.sorted) {
      // Sort only what may stay; a margin covers the rounding.
      const float least = all.top + std::log(static_cast<float>(all.sum)) - mu * kLn2 - 0.01F;
      std::erase_if(kept.items, [&](const llama_token_data& item) {
        return item.logit < least && item.logit < all.top;
      });
    }
    sort_by_logit(kept);
    const auto end = std::ranges::find_if(kept.items, [&](const llama_token_data& item) {
      return -std::log2(all.probability(item.logit)) > mu;
    });
    const auto n = static_cast<std::size_t>(end - kept.items.begin());
    kept.items.resize(std::max<std::size_t>(n, 1));
    set_probabilities(kept);
  }
};

}  // namespace

std::unique_ptr<Sampler> make_mirostat(const SamplingOptions& options) {
  if (options.mirostat == 1) return std::make_unique<MirostatSampler1>(options);
  return std::make_unique<MirostatSampler2>(options);
}

}  // namespace specbranch::llama
