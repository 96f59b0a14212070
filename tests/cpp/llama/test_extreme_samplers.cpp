// No setting that is allowed makes a sampler fail.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "own_samplers.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/sampling/sampler.h"
#include "specbranch/llama/sampling/sampler_chain.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST_CASE("extreme settings give a token and never NaN") {
  SPECBRANCH_NEEDS_MODELS();
  constexpr float kMost = std::numeric_limits<float>::max();
  std::mt19937 random(29);
  for (int run = 0; run < 1500; ++run) {
    CAPTURE(run);
    SamplingOptions o;
    o.temperature = pick(random, 0.0F, 1e-6F, 1e-3F, 1.0F, kMost / 4);
    o.dynatemp_range = pick(random, 0.0F, 1e-30F, 1e-6F, 1.0F, kMost / 4);
    o.dynatemp_exponent = pick(random, 0.0F, 1.0F, 100.0F, kMost);
    o.top_k = pick(random, 0, 1, 2, 2147483647);
    o.top_p = pick(random, 1e-30F, 0.5F, 1.0F);
    o.min_p = pick(random, 0.0F, 1e-38F, 1.0F);
    o.typical_p = pick(random, 0.0F, 1e-30F, 0.99F, 1.0F);
    o.top_n_sigma = pick(random, -kMost, 0.0F, 1e-30F, 1.0F, kMost);
    o.min_keep = pick(random, 0, 1, 2147483647);
    o.xtc_probability = pick(random, 0.0F, 0.5F, 1.0F);
    o.xtc_threshold = pick(random, 0.0F, 1e-30F, 0.5F, 1.0F);
    o.repeat_last_n = pick(random, -1, 0, 1, 2147483647);
    o.repeat_penalty = pick(random, 1e-38F, 1.0F, kMost);
    o.presence_penalty = pick(random, -kMost, 0.0F, kMost);
    o.frequency_penalty = pick(random, -kMost, 0.0F, kMost);
    o.dry_multiplier = pick(random, 0.0F, 1e-30F, 1.0F, kMost);
    o.dry_base = pick(random, 1.0F, 1.0000005F, 1.75F, kMost);
    o.dry_allowed_length = pick(random, 0, 1, 2147483647);
    o.dry_penalty_last_n = pick(random, -1, 0, 1, 2147483647);
    o.dry_sequence_breakers = {};
    o.mirostat = pick(random, 0, 0, 0, 1, 2);
    o.mirostat_tau = pick(random, 0.0F, 1e-30F, 5.0F, kMost);
    o.mirostat_eta = pick(random, 0.0F, 0.1F, kMost);
    o.adaptive_target = pick(random, -kMost, -1.0F, 0.0F, 0.5F, 1.0F);
    o.adaptive_decay = pick(random, 0.0F, 0.99F);
    if (random() % 2 == 0) {
      std::vector<SamplerKind> order(kPlainSamplers.begin(), kPlainSamplers.end());
      order.push_back(SamplerKind::kAdaptiveP);
      order.insert(order.end(), order.begin(), order.end() - 1);
      std::ranges::shuffle(order, random);
      order.resize(random() % order.size());
      o.samplers = order;
    }
    for (auto i = random() % 3; i > 0; --i) {
      o.logit_bias[static_cast<Token>(random() % 200)] = pick(random, kMost, -kMost, -kInf, 1e9F);
    }
    o.seed = random();
    CHECK_NOTHROW(check_sampling(o));
    std::vector<float> logits(300);
    std::normal_distribution<float> normal(0.0F, pick(random, 0.0F, 1.0F, 50.0F));
    for (float& logit : logits) logit = normal(random);
    std::vector<Token> history = some_history(random);
    DryFactory dry(vocabulary(), 4096);
    const TokenDistribution distribution(o, &dry);
    SamplerState state = distribution.initial();
    for (int step = 0; step < 4; ++step) {
      const std::vector<float> before = logits;
      const Token token = distribution.choose(logits, history, state);
      CHECK(logits == before);
      REQUIRE(token >= 0);
      REQUIRE(token < 300);
      CHECK_FALSE(std::isnan(state.mirostat_mu));
      CHECK_FALSE(std::isnan(state.adaptive_sum));
      const auto ranked = distribution.rank(logits, history, 5);
      REQUIRE_FALSE(ranked.empty());
      for (const Candidate& one : ranked) CHECK(one.confidence >= 0.0);
      history.push_back(token);
    }
  }
}

TEST_CASE("an infinite temperature leaves a token impossible that was") {
  SPECBRANCH_NEEDS_MODELS();
  // Rounded, the entropy of so many tokens is above that of equal ones, and a power of it infinite.
  std::vector<float> logits(32'000, 1.0F);
  const std::vector<Token> history{1, 2, 3};
  for (const auto& [temperature, range, exponent] :
       {std::tuple(3e38F, 1e37F, 1e38F), std::tuple(1.7014e38F, 1.7014e38F, 300.0F)}) {
    for (const bool adaptive : {false, true}) {
      CAPTURE(exponent);
      CAPTURE(adaptive);
      SamplingOptions o;
      o.temperature = temperature;
      o.dynatemp_range = range;
      o.dynatemp_exponent = exponent;
      o.samplers = {SamplerKind::kTemperature, SamplerKind::kTemperature};
      if (adaptive) o.samplers->push_back(SamplerKind::kAdaptiveP);
      o.adaptive_target = 0.9F;
      o.logit_bias[5] = -kInf;
      CHECK_NOTHROW(check_sampling(o));
      DryFactory dry(vocabulary(), 4096);
      const TokenDistribution distribution(o, &dry);
      SamplerState state = distribution.initial();
      for (std::uint32_t seed = 0; seed < 20; ++seed) {
        const Token token = distribution.choose(logits, history, state);
        CHECK(token >= 0);
        CHECK(token != 5);
        for (const Candidate& one : distribution.rank(logits, history, 5)) {
          CHECK(std::isfinite(one.confidence));
        }
      }
    }
  }
}

}  // namespace
}  // namespace specbranch::llama
