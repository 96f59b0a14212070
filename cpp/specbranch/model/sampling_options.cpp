#include "specbranch/model/sampling_options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <utility>

#include "specbranch/model/refuse.h"

namespace specbranch {
namespace {

/// In llama.cpp's default order, in which infill is not.
constexpr std::array<std::pair<SamplerKind, std::string_view>, 11> kSamplers{{
    {SamplerKind::kPenalties, "penalties"},
    {SamplerKind::kDry, "dry"},
    {SamplerKind::kTopNSigma, "top_n_sigma"},
    {SamplerKind::kTopK, "top_k"},
    {SamplerKind::kTypicalP, "typ_p"},
    {SamplerKind::kTopP, "top_p"},
    {SamplerKind::kMinP, "min_p"},
    {SamplerKind::kXtc, "xtc"},
    {SamplerKind::kTemperature, "temperature"},
    {SamplerKind::kInfill, "infill"},
    {SamplerKind::kAdaptiveP, "adaptive_p"},
}};

constexpr std::array<std::pair<std::string_view, SamplerKind>, 4> kOtherNames{{
    {"nucleus", SamplerKind::kTopP},
    {"temp", SamplerKind::kTemperature},
    {"typ", SamplerKind::kTypicalP},
    {"typicalp", SamplerKind::kTypicalP},
}};

/// Small letters without the signs between words.
std::string plain_name(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c == '_' || c == '-') continue;
    plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain;
}

void check_truncation(const SamplingOptions& s) {
  require_setting(s.top_p > 0 && s.top_p <= 1, "top_p", s.top_p, "it must be in (0, 1]");
  require_setting(s.min_p >= 0 && s.min_p <= 1, "min_p", s.min_p, "it must be in [0, 1]");
  require_setting(s.typical_p >= 0 && s.typical_p <= 1, "typical_p", s.typical_p,
                  "it must be in [0, 1]; 1 is off");
  require_setting(std::isfinite(s.top_n_sigma), "top_n_sigma", s.top_n_sigma,
                  "it must be a finite number; 0 or less is off");
  require_setting(s.min_keep >= 0, "min_keep", s.min_keep, "it must be at least 0");
  require_setting(s.xtc_probability >= 0 && s.xtc_probability <= 1, "xtc_probability",
                  s.xtc_probability, "it must be in [0, 1]; 0 is off");
  require_setting(s.xtc_threshold >= 0 && s.xtc_threshold <= 1, "xtc_threshold", s.xtc_threshold,
                  "it must be in [0, 1]; above 0.5 is off");
}

void check_temperature(const SamplingOptions& s) {
  require_setting(
      std::isfinite(s.temperature) && (s.temperature == 0 || s.temperature >= kMinTemperature),
      "temperature", s.temperature, "it must be 0, or a finite number >= 1e-06");
  require_setting(std::isfinite(s.dynatemp_range) && s.dynatemp_range >= 0 &&
                      std::isfinite(s.temperature + s.dynatemp_range),
                  "dynatemp_range", s.dynatemp_range, "it must be a finite number >= 0");
  require_setting(std::isfinite(s.dynatemp_exponent) && s.dynatemp_exponent >= 0,
                  "dynatemp_exponent", s.dynatemp_exponent, "it must be a finite number >= 0");
}

void check_penalties(const SamplingOptions& s) {
  require_setting(s.repeat_last_n >= -1, "repeat_last_n", s.repeat_last_n,
                  "it must be at least -1; -1 is the whole text, 0 is off");
  require_setting(std::isfinite(s.repeat_penalty) && s.repeat_penalty > 0, "repeat_penalty",
                  s.repeat_penalty, "it must be a finite number > 0");
  require_setting(std::isfinite(s.presence_penalty), "presence_penalty", s.presence_penalty,
                  "it must be a finite number");
  require_setting(std::isfinite(s.frequency_penalty), "frequency_penalty", s.frequency_penalty,
                  "it must be a finite number");
}

void check_dry(const SamplingOptions& s) {
  require_setting(std::isfinite(s.dry_multiplier) && s.dry_multiplier >= 0, "dry_multiplier",
                  s.dry_multiplier, "it must be a finite number >= 0; 0 is off");
  require_setting(std::isfinite(s.dry_base) && s.dry_base >= 1, "dry_base", s.dry_base,
                  "it must be a finite number >= 1");
  require_setting(s.dry_allowed_length >= 0, "dry_allowed_length", s.dry_allowed_length,
                  "it must be at least 0");
  require_setting(s.dry_penalty_last_n >= -1, "dry_penalty_last_n", s.dry_penalty_last_n,
                  "it must be at least -1; -1 is the whole text, 0 is off");
  const auto& breakers = s.dry_sequence_breakers;
  require_setting(breakers.size() <= kMostBreakers, "the number of dry_sequence_breakers",
                  breakers.size(), "it must be at most " + std::to_string(kMostBreakers));
  for (std::size_t i = 0; i < breakers.size(); ++i) {
    const std::string name = "dry_sequence_breakers[" + std::to_string(i) + "]";
    const std::string bytes = std::to_string(breakers[i].size()) + " bytes long";
    require_setting(!breakers[i].empty() && breakers[i].size() <= kLongestBreaker, name, bytes,
                    "it must have 1 to " + std::to_string(kLongestBreaker) + " bytes");
    require_setting(breakers[i].find('\0') == std::string::npos, name, bytes,
                    "it must not have a zero byte");
  }
}

void check_adapting(const SamplingOptions& s) {
  require_setting(s.mirostat >= 0 && s.mirostat <= 2, "mirostat", s.mirostat,
                  "it must be 0 (off), 1 or 2");
  require_setting(std::isfinite(s.mirostat_tau) && s.mirostat_tau >= 0, "mirostat_tau",
                  s.mirostat_tau, "it must be a finite number >= 0");
  require_setting(std::isfinite(s.mirostat_eta) && s.mirostat_eta >= 0, "mirostat_eta",
                  s.mirostat_eta, "it must be a finite number >= 0");
  require_setting(std::isfinite(s.adaptive_target) && s.adaptive_target <= 1, "adaptive_target",
                  s.adaptive_target, "it must be at most 1; a negative number is off");
  require_setting(s.adaptive_decay >= 0 && s.adaptive_decay <= 0.99F, "adaptive_decay",
                  s.adaptive_decay, "it must be in [0, 0.99]");
}

}  // namespace

std::string_view to_string(SamplerKind kind) {
  for (const auto& [value, name] : kSamplers) {
    if (value == kind) return name;
  }
  return "unknown";
}

SamplerKind parse_sampler(std::string_view name) {
  const std::string plain = plain_name(name);
  for (const auto& [kind, known] : kSamplers) {
    if (plain_name(known) == plain) return kind;
  }
  for (const auto& [known, kind] : kOtherNames) {
    if (known == plain) return kind;
  }
  std::string valid;
  for (const std::string_view known : sampler_names()) {
    valid += valid.empty() ? "" : ", ";
    valid += known;
  }
  throw InvalidArgument("samplers has '" + std::string(name.substr(0, 60)) + "'; it may have " +
                        valid);
}

std::vector<std::string_view> sampler_names() {
  std::vector<std::string_view> names;
  names.reserve(kSamplers.size());
  for (const auto& [kind, name] : kSamplers) names.push_back(name);
  return names;
}

void check_sampling(const SamplingOptions& options) {
  check_temperature(options);
  check_truncation(options);
  check_penalties(options);
  check_dry(options);
  check_adapting(options);
  if (!options.grammar.empty() && !options.lark.empty()) {
    throw InvalidArgument("grammar and lark are given; only one of them can rule the text");
  }
  if (options.samplers) {
    require_setting(options.samplers->size() <= kMostSamplers, "the number of samplers",
                    options.samplers->size(),
                    "it must be at most " + std::to_string(kMostSamplers));
  }
}

}  // namespace specbranch
