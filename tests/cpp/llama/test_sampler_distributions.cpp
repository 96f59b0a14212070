// The choices of every sampler follow the distribution that llama.cpp's own sampler has.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "own_samplers.h"
#include "specbranch/llama/sampling/sampler_chain.h"
#include "specbranch/llama/sampling/sampler_plan.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int kSamples = 20000;

/// Few tokens have a chance: each is drawn often enough to count.
constexpr std::size_t kRow = 64;
constexpr std::size_t kLikely = 12;

/// A prompt and what was accepted after it. Tokens occur 0 to 4 times, and the last three have two
/// other ends before. None is among DRY's usual breakers.
const std::vector<Token> kPrompt{9, 8, 8, 5, 1, 3, 6, 4, 7, 8, 1, 3};
const std::vector<Token> kAccepted{6, 7, 8, 4, 7, 1, 3, 6};

using Distribution = std::map<Token, double>;

struct Setting {
  std::string name;
  std::function<void(SamplingOptions&)> set;
};

/// Each with the sampler alone; the last ones with several.
std::vector<Setting> settings() {
  using O = SamplingOptions;
  return {
      {"temperature below 1", [](O& o) { o.temperature = 0.6F; }},
      {"temperature above 1", [](O& o) { o.temperature = 1.7F; }},
      {"dynamic temperature",
       [](O& o) {
         o.temperature = 0.8F;
         o.dynatemp_range = 0.6F;
       }},
      {"dynamic temperature with an exponent",
       [](O& o) {
         o.dynatemp_range = 0.9F;
         o.dynatemp_exponent = 2.0F;
       }},
      {"top-k", [](O& o) { o.top_k = 5; }},
      {"top-p", [](O& o) { o.top_p = 0.8F; }},
      {"top-p with min_keep",
       [](O& o) {
         o.top_p = 0.3F;
         o.min_keep = 4;
       }},
      {"min-p", [](O& o) { o.min_p = 0.25F; }},
      {"min-p with min_keep",
       [](O& o) {
         o.min_p = 0.9F;
         o.min_keep = 3;
       }},
      {"typical-p", [](O& o) { o.typical_p = 0.55F; }},
      {"top-n-sigma", [](O& o) { o.top_n_sigma = 0.3F; }},
      {"XTC always",
       [](O& o) {
         o.xtc_probability = 1.0F;
         o.xtc_threshold = 0.1F;
       }},
      {"XTC with its coin",
       [](O& o) {
         o.xtc_probability = 0.4F;
         o.xtc_threshold = 0.15F;
       }},
      {"repeat penalty", [](O& o) { o.repeat_penalty = 1.4F; }},
      {"repeat penalty below 1", [](O& o) { o.repeat_penalty = 0.8F; }},
      {"frequency penalty", [](O& o) { o.frequency_penalty = 0.4F; }},
      {"negative frequency penalty", [](O& o) { o.frequency_penalty = -0.2F; }},
      {"presence penalty", [](O& o) { o.presence_penalty = 0.9F; }},
      {"all penalties, of the last tokens",
       [](O& o) {
         o.repeat_penalty = 1.2F;
         o.frequency_penalty = 0.3F;
         o.presence_penalty = 0.5F;
         o.repeat_last_n = 6;
       }},
      {"penalties of the whole text",
       [](O& o) {
         o.repeat_penalty = 1.2F;
         o.frequency_penalty = 0.2F;
         o.repeat_last_n = -1;
       }},
      {"DRY", [](O& o) { o.dry_multiplier = 0.8F; }},
      {"DRY of short sequences",
       [](O& o) {
         o.dry_multiplier = 0.3F;
         o.dry_base = 1.3F;
         o.dry_allowed_length = 1;
       }},
      {"DRY of the last tokens",
       [](O& o) {
         o.dry_multiplier = 1.5F;
         o.dry_allowed_length = 1;
         o.dry_penalty_last_n = 12;
       }},
      {"DRY with a breaker in the sequence",
       [](O& o) {
         o.dry_multiplier = 0.8F;
         o.dry_base = 1.5F;
         o.dry_sequence_breakers = {vocabulary().piece(1)};
       }},
      {"logit bias", [](O& o) { o.logit_bias = {{0, -1.0F}, {2, -kInf}, {11, 2.0F}}; }},
      {"mirostat 1",
       [](O& o) {
         o.mirostat = 1;
         o.mirostat_tau = 2.8F;
       }},
      {"mirostat 2",
       [](O& o) {
         o.mirostat = 2;
         o.mirostat_tau = 1.2F;
       }},
      {"adaptive-p", [](O& o) { o.adaptive_target = 0.15F; }},
      {"adaptive-p of low probability",
       [](O& o) {
         o.adaptive_target = 0.02F;
         o.adaptive_decay = 0.5F;
       }},
      {"penalties, DRY, cuts and temperature",
       [](O& o) {
         o.repeat_penalty = 1.1F;
         o.dry_multiplier = 0.5F;
         o.top_k = 10;
         o.top_p = 0.95F;
         o.min_p = 0.05F;
         o.temperature = 1.3F;
       }},
      {"everything",
       [](O& o) {
         o.presence_penalty = 0.3F;
         o.dry_multiplier = 0.4F;
         o.top_n_sigma = 3.0F;
         o.top_k = 11;
         o.typical_p = 0.97F;
         o.top_p = 0.98F;
         o.min_p = 0.01F;
         o.xtc_probability = 0.5F;
         o.xtc_threshold = 0.12F;
         o.temperature = 0.9F;
         o.dynatemp_range = 0.3F;
         o.adaptive_target = 0.2F;
       }},
  };
}

std::vector<float> likely_logits() {
  std::vector<float> logits(kRow, -20.0F);
  // No two neighbours are equally likely, and negative ones are penalised by another formula.
  for (std::size_t i = 0; i < kLikely; ++i) logits[i] = 1.6F - 0.3F * static_cast<float>(i);
  return logits;
}

std::vector<Token> whole_text() {
  std::vector<Token> text = kPrompt;
  text.insert(text.end(), kAccepted.begin(), kAccepted.end());
  return text;
}

/// llama.cpp's chain ends in one of these, which has the probabilities.
SamplerHandle own_last(const SamplingOptions& o) {
  switch (o.mirostat) {
    case 1:
      return SamplerHandle(llama_sampler_init_mirostat(static_cast<int>(kRow), 1, o.mirostat_tau,
                                                       o.mirostat_eta, 100));
    case 2:
      return SamplerHandle(llama_sampler_init_mirostat_v2(1, o.mirostat_tau, o.mirostat_eta));
    default:
      break;
  }
  if (o.adaptive_target >= 0.0F) {
    return SamplerHandle(llama_sampler_init_adaptive_p(o.adaptive_target, o.adaptive_decay, 1));
  }
  return SamplerHandle(llama_sampler_init_dist(1));
}

Distribution own_distribution(std::vector<SamplerKind> order, const SamplingOptions& options) {
  std::vector<float> logits = likely_logits();
  for (const auto& [token, bias] : options.logit_bias) {
    logits[static_cast<std::size_t>(token)] += bias;
  }
  if (options.mirostat > 0) order = {SamplerKind::kTemperature};
  Distribution expected;
  // With and without XTC's action: the mixture is the distribution.
  for (const bool acts : {false, true}) {
    const auto chance = static_cast<double>(options.xtc_probability);
    const double weight = acts ? chance : 1.0 - chance;
    if (weight == 0.0) continue;
    SamplingOptions fixed = options;
    fixed.xtc_probability = acts ? 1.0F : 0.0F;
    std::vector<float> left(logits.size(), -kInf);
    for (const auto& [token, logit] : own_result(order, fixed, logits, whole_text())) {
      left[static_cast<std::size_t>(token)] = logit;
    }
    const SamplerHandle last = own_last(options);
    for (const llama_token_data& item : own_draw(last.get(), left, 1.0F).kept) {
      expected[item.id] += weight * static_cast<double>(item.p);
    }
  }
  return expected;
}

std::map<Token, int> our_counts(SamplingOptions options, DryFactory& dry) {
  std::mt19937_64 random(17);
  std::vector<float> logits = likely_logits();
  std::map<Token, int> counts;
  for (int i = 0; i < kSamples; ++i) {
    options.seed = random();
    SamplerChain chain(vocabulary(), options, kPrompt, &dry);
    for (const Token token : kAccepted) chain.accept(token);
    ++counts[chain.choose(logits).value()];
  }
  return counts;
}

struct ChiSquare {
  double sum = 0.0;
  int freedom = -1;

  /// True for all but one of some ten thousand runs in which the distributions are the same.
  bool is_usual() const { return sum < freedom + 4.0 * std::sqrt(2.0 * freedom) + 6.0; }
};

/// Of the counts against the expected ones; rare tokens count together.
ChiSquare chi_square(const std::map<Token, int>& counts, const Distribution& expected) {
  ChiSquare result;
  double n_rare_expected = 0.0;
  int n_rare = kSamples;
  for (const auto& [token, p] : expected) {
    const double n_expected = p * kSamples;
    if (n_expected < 10.0) {
      n_rare_expected += n_expected;
      continue;
    }
    const auto found = counts.find(token);
    const int n = found == counts.end() ? 0 : found->second;
    n_rare -= n;
    result.sum += std::pow(n - n_expected, 2) / n_expected;
    ++result.freedom;
  }
  result.sum += std::pow(n_rare - n_rare_expected, 2) / std::max(n_rare_expected, 1.0);
  if (n_rare_expected >= 1.0) ++result.freedom;
  return result;
}

void check_choices(const Setting& setting, const std::vector<SamplerKind>& order, bool listed,
                   DryFactory& dry) {
  CAPTURE(setting.name);
  CAPTURE(listed);
  SamplingOptions options;
  options.temperature = 1.0F;
  const Distribution plain = own_distribution(order, options);
  setting.set(options);
  const Distribution expected = own_distribution(order, options);
  if (listed) {
    options.samplers = order;
    options.samplers->push_back(SamplerKind::kAdaptiveP);
  }
  const std::map<Token, int> counts = our_counts(options, dry);
  for (const auto& [token, count] : counts) {
    CAPTURE(token);
    REQUIRE(expected.contains(token));
    CHECK(expected.at(token) > 0.0);
  }
  const ChiSquare found = chi_square(counts, expected);
  CAPTURE(found.sum);
  CAPTURE(found.freedom);
  REQUIRE(found.freedom > 0);
  CHECK(found.is_usual());
  CHECK(!chi_square(counts, plain).is_usual());  // the samples tell the sampler from none
}

TEST_CASE("every sampler acts in a setting of these tests") {
  SPECBRANCH_NEEDS_MODELS();
  std::set<SamplerKind> acting{SamplerKind::kInfill};  // only cuts: test_samplers.cpp
  for (const Setting& setting : settings()) {
    SamplingOptions options;
    options.temperature = 1.0F;
    setting.set(options);
    const SamplerPlan plan = plan_samplers(options);
    acting.insert(plan.adjustments.begin(), plan.adjustments.end());
    acting.insert(plan.rest.begin(), plan.rest.end());
    if (plan.remembers && !plan.mirostat) acting.insert(SamplerKind::kAdaptiveP);
  }
  CHECK(acting.size() == sampler_names().size());
}

TEST_CASE("the choices of every sampler follow the distribution of llama.cpp's") {
  SPECBRANCH_NEEDS_MODELS();
  DryFactory dry(vocabulary(), 4096);
  const std::vector<SamplerKind> order(kPlainSamplers.begin(), kPlainSamplers.end());
  for (const Setting& setting : settings()) check_choices(setting, order, false, dry);
}

TEST_CASE("... and so in another order, which the quick ways do not know") {
  SPECBRANCH_NEEDS_MODELS();
  DryFactory dry(vocabulary(), 4096);
  const std::vector<SamplerKind> order(kPlainSamplers.rbegin(), kPlainSamplers.rend());
  for (const Setting& setting : settings()) check_choices(setting, order, true, dry);
}

}  // namespace
}  // namespace specbranch::llama
