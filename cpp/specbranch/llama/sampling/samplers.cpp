#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/llama/sampling/logit_adjustments.h"
#include "specbranch/llama/sampling/sampler.h"
#include "specbranch/llama/sampling/token_counts.h"

namespace specbranch::llama {
namespace {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();

/// A token this far below the best has no probability that a float could add to another.
constexpr float kNoShare = -87.0F;

/// llama.cpp sorts by integers that larger logits overflow.
constexpr float kMostSortable = 1e8F;

constexpr int kXtcStream = 0;

/// One of llama.cpp's samplers that is a function of the tokens alone.
class PlainSampler : public Sampler {
 public:
  explicit PlainSampler(llama_sampler* sampler) : sampler_(sampler) {}

  void apply(KeptTokens& kept, const ChoicePoint& /*point*/) const override {
    if (!kept.sorted && largest_logit(kept) > kMostSortable) sort_by_logit(kept);
    llama_token_data_array array{kept.items.data(), kept.items.size(), -1, kept.sorted};
    llama_sampler_apply(sampler_.get(), &array);
    kept.items.resize(array.size);
    kept.sorted = array.sorted;
    // An infinite factor makes no number of a token that is impossible.
    for (llama_token_data& item : kept.items) {
      if (std::isnan(item.logit)) item.logit = kNoLogit;
    }
  }

 private:
  SamplerHandle sampler_;
};

/// llama.cpp computes the entropy with 0 * log(0) = NaN where a token has no probability, and then
/// keeps any tokens. So such tokens go first.
class TypicalSampler final : public PlainSampler {
 public:
  using PlainSampler::PlainSampler;

  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    const float top = largest_logit(kept);
    std::erase_if(kept.items,
                  [top](const llama_token_data& item) { return item.logit - top < kNoShare; });
    PlainSampler::apply(kept, point);
  }
};

class TemperatureSampler final : public Sampler {
 public:
  explicit TemperatureSampler(float temperature) : temperature_(temperature) {}

  void apply(KeptTokens& kept, const ChoicePoint& /*point*/) const override {
    for (llama_token_data& item : kept.items) {
      if (item.logit != kNoLogit) item.logit = bounded_logit(item.logit / temperature_);
    }
  }

 private:
  float temperature_;
};

/// A temperature near 0 makes logits infinite: then the best token alone is left.
class DynamicTemperatureSampler final : public PlainSampler {
 public:
  using PlainSampler::PlainSampler;

  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    PlainSampler::apply(kept, point);  // sorts
    if (kept.items.size() < 2 || std::abs(kept.items.front().logit) <= kLargestLogit) return;
    for (llama_token_data& item : kept.items) item.logit = kNoLogit;
    kept.items.front().logit = 0.0F;
  }
};

class PenaltySampler final : public Sampler {
 public:
  explicit PenaltySampler(const SamplingOptions& options) : options_(options) {}

  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    counts_.count(penalty_window(options_, point.history));
    for (llama_token_data& item : kept.items) {
      const int count = counts_.of(item.id);
      if (count > 0 && item.logit != kNoLogit) {
        item.logit = penalised(item.logit, count, options_);
      }
    }
    kept.sorted = false;
  }

 private:
  SamplingOptions options_;
  mutable TokenCounts counts_;
};

class DrySampler final : public Sampler {
 public:
  explicit DrySampler(std::shared_ptr<const DryPenalty> penalty) : penalty_(std::move(penalty)) {
    if (!penalty_) throw PreconditionError("[DrySampler] DRY needs the model's vocabulary");
  }

  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    for (llama_token_data& item : kept.items) item.p = item.logit;
    penalty_->apply(kept.items, point.history);
    // A penalty beyond all floats makes no token impossible that was not.
    for (llama_token_data& item : kept.items) {
      if (item.p != kNoLogit) item.logit = bounded_logit(item.logit);
    }
    kept.sorted = false;
  }

 private:
  std::shared_ptr<const DryPenalty> penalty_;
};

/// Drops all probable tokens but the least probable of them. llama.cpp tosses the coin with a
/// generator of its own; here the position decides, so that every model and mode sees the same
/// coin. At threshold 0 llama.cpp would keep a token that cannot be chosen.
class XtcSampler final : public Sampler {
 public:
  explicit XtcSampler(const SamplingOptions& options)
      : probability_(options.xtc_probability),
        threshold_(options.xtc_threshold),
        min_keep_(static_cast<std::size_t>(options.min_keep)) {}

  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    if (kept.items.size() < 2) return;
    if (point.noise.uniform(kXtcStream) >= static_cast<double>(probability_)) return;
    set_probabilities(kept);
    const auto is_probable = [this](const llama_token_data& item) {
      return item.p >= threshold_ && item.logit != kNoLogit;
    };
    const llama_token_data* last = nullptr;  // of the probable ones, best first
    std::size_t n_probable = 0;
    for (const llama_token_data& item : kept.items) {
      if (!is_probable(item)) continue;
      ++n_probable;
      if (last == nullptr || is_better(*last, item)) last = &item;
    }
    if (n_probable < 2 || kept.items.size() - (n_probable - 1) < min_keep_) return;
    const Token stays = last->id;
    std::erase_if(kept.items, [&](const llama_token_data& item) {
      return is_probable(item) && item.id != stays;
    });
  }

 private:
  float probability_;
  float threshold_;
  std::size_t min_keep_;
};

std::unique_ptr<Sampler> make_temperature(const SamplingOptions& options) {
  if (options.dynatemp_range <= 0.0F) {
    return std::make_unique<TemperatureSampler>(options.temperature);
  }
  return std::make_unique<DynamicTemperatureSampler>(llama_sampler_init_temp_ext(
      options.temperature, options.dynatemp_range, options.dynatemp_exponent));
}

std::unique_ptr<Sampler> make_sampler(SamplerKind kind, const SamplingOptions& options,
                                      const std::shared_ptr<const DryPenalty>& dry,
                                      const Vocabulary* vocabulary) {
  const auto min_keep = static_cast<std::size_t>(options.min_keep);
  switch (kind) {
    case SamplerKind::kPenalties:
      return std::make_unique<PenaltySampler>(options);
    case SamplerKind::kDry:
      return std::make_unique<DrySampler>(dry);
    case SamplerKind::kTopNSigma:
      return std::make_unique<PlainSampler>(llama_sampler_init_top_n_sigma(options.top_n_sigma));
    case SamplerKind::kTopK:
      return std::make_unique<PlainSampler>(llama_sampler_init_top_k(options.top_k));
    case SamplerKind::kTypicalP:
      return std::make_unique<TypicalSampler>(
          llama_sampler_init_typical(options.typical_p, min_keep));
    case SamplerKind::kTopP:
      return std::make_unique<PlainSampler>(llama_sampler_init_top_p(options.top_p, min_keep));
    case SamplerKind::kMinP:
      return std::make_unique<PlainSampler>(llama_sampler_init_min_p(options.min_p, min_keep));
    case SamplerKind::kXtc:
      return std::make_unique<XtcSampler>(options);
    case SamplerKind::kTemperature:
      return make_temperature(options);
    case SamplerKind::kInfill:
      if (vocabulary == nullptr) {
        throw PreconditionError("[make_sampler] infill needs the model's vocabulary");
      }
      return make_infill(*vocabulary);
    case SamplerKind::kAdaptiveP:
      return make_adaptive_p(options);
  }
  throw PreconditionError("[make_sampler] there is no such sampler");
}

}  // namespace

bool is_better(const llama_token_data& a, const llama_token_data& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

float largest_logit(const KeptTokens& kept) {
  return kept.sorted ? kept.items.front().logit
                     : std::ranges::max(kept.items, {}, &llama_token_data::logit).logit;
}

float bounded_logit(float logit) { return std::clamp(logit, -kLargestLogit, kLargestLogit); }

SamplerState Sampler::after(const KeptTokens& /*kept*/, std::size_t /*index*/,
                            const ChoicePoint& point) const {
  return point.state;
}

void sort_by_logit(KeptTokens& kept) {
  if (kept.sorted) return;
  std::ranges::sort(kept.items, is_better);
  kept.sorted = true;
}

void set_probabilities(KeptTokens& kept) {
  const float top = largest_logit(kept);
  float sum = 0.0F;
  for (llama_token_data& item : kept.items) {
    item.p = std::exp(item.logit - top);
    sum += item.p;
  }
  for (llama_token_data& item : kept.items) item.p /= sum;
}

std::vector<std::unique_ptr<Sampler>> make_samplers(std::span<const SamplerKind> kinds,
                                                    const SamplingOptions& options,
                                                    const std::shared_ptr<const DryPenalty>& dry,
                                                    const Vocabulary* vocabulary) {
  std::vector<std::unique_ptr<Sampler>> samplers;
  samplers.reserve(kinds.size());
  for (const SamplerKind kind : kinds) {
    samplers.push_back(make_sampler(kind, options, dry, vocabulary));
  }
  return samplers;
}

}  // namespace specbranch::llama
