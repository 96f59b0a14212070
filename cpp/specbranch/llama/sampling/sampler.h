/// A sampler over the tokens that are left of the vocabulary.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "llama.h"
#include "specbranch/base/types.h"
#include "specbranch/llama/sampling/dry_penalty.h"
#include "specbranch/model/sampling_options.h"
#include "specbranch/sampling/noise.h"
#include "specbranch/sampling/sampler_state.h"

namespace specbranch::llama {

/// The tokens that earlier samplers left. -inf is the logit of a token that cannot be chosen. At
/// least one logit is finite, and none is above `kLargestLogit`.
struct KeptTokens {
  std::vector<llama_token_data> items;
  bool sorted = false;  ///< best first.
};

/// Order of tokens: the largest logit first, the lowest id first among equal ones.
bool is_better(const llama_token_data& a, const llama_token_data& b);

void sort_by_logit(KeptTokens& kept);

float largest_logit(const KeptTokens& kept);

/// Sets `p` of every token, in the arithmetic of llama.cpp.
void set_probabilities(KeptTokens& kept);

/// What samplers could push a finite logit to. Far from every model's, and far from infinity even
/// when it is divided by the smallest temperature.
inline constexpr float kLargestLogit = 1e30F;

/// `logit` after a sampler's arithmetic, which was finite before.
float bounded_logit(float logit);

/// The state before the first token.
SamplerState initial_state(const SamplingOptions& options);

/// Where a token is chosen.
struct ChoicePoint {
  std::span<const Token> history;  ///< the tokens before it.
  PositionNoise noise;
  SamplerState state;
  /// Of the whole row: -inf where a token is forbidden.
  std::span<const float> scores = {};  // NOLINT(readability-redundant-member-init): GCC warns
};

/// *Thread safety:* one thread at a time.
class Sampler {
 public:
  Sampler() = default;
  virtual ~Sampler() = default;
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  /// Drops tokens, or changes their logits. A function of its arguments alone.
  virtual void apply(KeptTokens& kept, const ChoicePoint& point) const = 0;

  /// The state after token `index` of what this sampler left was chosen. Only the last sampler of a
  /// list is asked.
  virtual SamplerState after(const KeptTokens& kept, std::size_t index,
                             const ChoicePoint& point) const;
};

/// The samplers of `kinds`, in this order. `dry`: of DRY among them; `vocabulary`: of infill among
/// them. At temperature 0 `kinds` has no temperature.
std::vector<std::unique_ptr<Sampler>> make_samplers(std::span<const SamplerKind> kinds,
                                                    const SamplingOptions& options,
                                                    const std::shared_ptr<const DryPenalty>& dry,
                                                    const Vocabulary* vocabulary);

/// Mirostat 1 or 2, as `options` say. It gets all tokens of the vocabulary.
std::unique_ptr<Sampler> make_mirostat(const SamplingOptions& options);

/// For text between two texts. `vocabulary` outlives the sampler.
std::unique_ptr<Sampler> make_infill(const Vocabulary& vocabulary);

/// Prefers tokens near a probability.
std::unique_ptr<Sampler> make_adaptive_p(const SamplingOptions& options);

}  // namespace specbranch::llama
