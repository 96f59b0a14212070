/// The options of the samplers, and their validation.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// A sampler that `SamplingOptions::samplers` can name. Mirostat and the grammar are not in this
/// list: mirostat replaces the list, the grammar comes on top of it.
enum class SamplerKind : std::uint8_t {
  kPenalties,
  kDry,
  kTopNSigma,
  kTopK,
  kTypicalP,
  kTopP,
  kMinP,
  kXtc,
  kTemperature,
  kInfill,     ///< in no default order.
  kAdaptiveP,  ///< always the last one, wherever the list names it.
};

/// llama.cpp's name of a sampler.
std::string_view to_string(SamplerKind kind);

/// The sampler of that name: llama.cpp's own, or one of its other spellings ("top-k", "topk",
/// "nucleus", "temp", "typ"). Throws InvalidArgument naming the valid ones.
SamplerKind parse_sampler(std::string_view name);

/// All names that `to_string` gives, in llama.cpp's default order; infill is in no such order.
std::vector<std::string_view> sampler_names();

/// The options of the sampler chain. Names, defaults and meanings are llama.cpp's, except that by
/// default no sampler changes the logits and the temperature is 0.
struct SamplingOptions {
  float temperature = 0.0F;  ///< 0: the most probable token (greedy).
  /// The temperature lies within this distance of `temperature`, by the entropy of what is left;
  /// 0: fixed.
  float dynatemp_range = 0.0F;
  float dynatemp_exponent = 1.0F;  ///< of the entropy, in dynamic temperature.
  int top_k = 0;                   ///< keep the k most probable; 0 or less: off.
  float top_p = 1.0F;              ///< nucleus; 1: off.
  float min_p = 0.0F;              ///< relative to the most probable; 0: off.
  float typical_p = 1.0F;          ///< locally typical tokens up to this probability; 1: off.
  float top_n_sigma = -1.0F;       ///< standard deviations below the largest logit; <= 0: off.
  int min_keep = 0;                ///< tokens that top-p, min-p, typical-p and XTC leave at least.
  float xtc_probability = 0.0F;    ///< chance that XTC acts at a position; 0: off.
  float xtc_threshold = 0.1F;      ///< XTC drops all but the last token above this; > 0.5: off.
  int repeat_last_n = 64;          ///< tokens that penalties see, prompt included; -1: all; 0: off.
  float repeat_penalty = 1.0F;     ///< 1: off.
  float presence_penalty = 0.0F;   ///< 0: off.
  float frequency_penalty = 0.0F;  ///< 0: off.
  float dry_multiplier = 0.0F;     ///< of the penalty for repeated sequences; 0: off.
  float dry_base = 1.75F;          ///< penalty: multiplier * base^(length - allowed length).
  int dry_allowed_length = 2;      ///< repeated tokens that cost nothing.
  int dry_penalty_last_n = 64;     ///< tokens that DRY sees, prompt included; -1: all; 0: off.
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};  ///< bytes.
  int mirostat = 0;               ///< 1 or 2: only bias, temperature and mirostat choose; 0: off.
  float mirostat_tau = 5.0F;      ///< target surprise, in bits.
  float mirostat_eta = 0.1F;      ///< learning rate.
  float adaptive_target = -1.0F;  ///< probability near which tokens are chosen; negative: off.
  float adaptive_decay = 0.9F;    ///< of the average over the chosen tokens' probabilities.
  /// The samplers that run, in this order. Empty optional: llama.cpp's order, then adaptive-p.
  std::optional<std::vector<SamplerKind>> samplers;
  std::map<Token, float> logit_bias;  ///< added to the logits first; -inf forbids a token.
  std::string grammar;                ///< GBNF with a `root` rule; empty: none.
  std::string lark;                   ///< Lark with a `start` rule, instead of GBNF; empty: none.
  std::uint64_t seed = 0;             ///< key of the noise; no effect at temperature 0.

  bool has_grammar() const { return !grammar.empty() || !lark.empty(); }
};

/// At a lower temperature, logits divided by the temperature could overflow.
inline constexpr float kMinTemperature = 1e-6F;

/// Each breaker of DRY costs a pass over the vocabulary when a session opens. llama.cpp would cut
/// off longer ones.
inline constexpr std::size_t kMostBreakers = 64;
inline constexpr std::size_t kLongestBreaker = 40;

/// A longer list of samplers has no use.
inline constexpr std::size_t kMostSamplers = 64;

/// Throws InvalidArgument for the first option that is out of range, token ids excepted.
void check_sampling(const SamplingOptions& options);

}  // namespace specbranch
