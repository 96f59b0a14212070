// Every sampler in any order leaves what llama.cpp's own samplers leave.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
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

std::map<Token, float> our_result(const SamplingOptions& options, std::vector<float> logits,
                                  const std::vector<Token>& history) {
  DryFactory dry(vocabulary(), 4096);
  const std::vector<float> before = logits;
  std::map<Token, float> kept;
  for (const Scored& item : TokenDistribution(options, &dry).candidates(logits, history)) {
    if (item.score != -kInf) kept[item.token] = item.score;
  }
  CHECK(logits == before);
  return kept;
}

void check_same(const std::map<Token, float>& found, const std::map<Token, float>& expected) {
  REQUIRE(found.size() == expected.size());
  for (const auto& [token, logit] : expected) {
    REQUIRE(found.contains(token));
    REQUIRE(found.at(token) == logit);
  }
}

TEST_CASE("each sampler alone leaves what llama.cpp's leaves") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(20261127);
  for (const SamplerKind kind : kPlainSamplers) {
    CAPTURE(to_string(kind));
    int n_effective = 0;
    for (int run = 0; run < 25; ++run) {
      CAPTURE(run);
      SamplingOptions options = some_options(random);
      options.samplers = {kind};
      const auto logits = some_logits(random);
      const auto history = some_history(random);
      const auto found = our_result(options, logits, history);
      check_same(found, own_result({kind}, options, logits, history));
      const auto all = own_result({}, options, logits, history);
      n_effective += found != all ? 1 : 0;
    }
    CHECK(n_effective > 2);  // the sampler does something
  }
}

TEST_CASE("samplers in any order leave what llama.cpp's leave") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(7);
  for (int run = 0; run < 300; ++run) {
    CAPTURE(run);
    SamplingOptions options = some_options(random);
    std::vector<SamplerKind> order = some_order(random);
    if (run % 7 == 0) order.push_back(order.front());  // llama.cpp takes a sampler twice, too
    options.samplers = order;
    std::string names;
    for (const SamplerKind kind : order) names += std::string(to_string(kind)) + " ";
    CAPTURE(names);
    const auto logits = some_logits(random);
    const auto history = some_history(random);
    check_same(our_result(options, logits, history), own_result(order, options, logits, history));
  }
}

TEST_CASE("without a list the order is llama.cpp's") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(9);
  for (int run = 0; run < 60; ++run) {
    CAPTURE(run);
    SamplingOptions options = some_options(random);
    const std::vector<SamplerKind> order(kPlainSamplers.begin(), kPlainSamplers.end());
    const auto logits = some_logits(random);
    const auto history = some_history(random);
    check_same(our_result(options, logits, history), own_result(order, options, logits, history));
  }
}

TEST_CASE("XTC leaves a token that can be chosen, also at threshold 0") {
  SPECBRANCH_NEEDS_MODELS();
  SamplingOptions options;
  options.temperature = 1.0F;
  options.xtc_probability = 1.0F;
  options.xtc_threshold = 0.0F;
  std::vector<float> logits(static_cast<std::size_t>(vocabulary().size()), -kInf);
  for (std::size_t i = 3; i < 9; ++i) logits[i] = static_cast<float>(i);
  CHECK(our_result(options, logits, {1}) == std::map<Token, float>{{3, 3.0F}});
}

TEST_CASE("typical-p sees only tokens that can be chosen") {
  SPECBRANCH_NEEDS_MODELS();
  SamplingOptions options;
  options.temperature = 1.0F;
  options.typical_p = 0.5F;
  std::vector<float> logits(static_cast<std::size_t>(vocabulary().size()), -kInf);
  for (std::size_t i = 0; i < 8; ++i) logits[i] = static_cast<float>(i) * 0.5F;
  const auto expected = our_result(options, logits, {1});
  CHECK(expected.size() < 8);
  for (std::size_t i = 8; i < 500; ++i) logits[i] = -1e6F;  // the same to a float
  CHECK(our_result(options, logits, {1}) == expected);
}

TEST_CASE("a draft with the target's logits proposes the target's choice first, with any sampler") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(31);
  DryFactory dry(vocabulary(), 4096);
  for (int run = 0; run < 150; ++run) {
    CAPTURE(run);
    SamplingOptions options = some_options(random);
    options.xtc_probability = 0.5F;
    if (run % 4 == 0) options.temperature = 0.0F;
    if (run % 4 == 0) options.dynatemp_range = 0.0F;
    std::vector<SamplerKind> order = some_order(random);
    options.samplers = order;
    options.seed = random();
    std::vector<float> logits = some_logits(random);
    const auto history = some_history(random);
    const TokenDistribution distribution(options, &dry);
    SamplerState state = distribution.initial();
    const auto ranked = distribution.rank(logits, history, 3);
    REQUIRE_FALSE(ranked.empty());
    CHECK(ranked.front().token == distribution.choose(logits, history, state));
  }
}

TEST_CASE("infill leaves what llama.cpp's infill leaves") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(41);
  std::vector<Token> ends;
  for (Token token = 0; token < vocabulary().size(); ++token) {
    if (vocabulary().is_end(token)) ends.push_back(token);
  }
  REQUIRE_FALSE(ends.empty());
  std::map<std::string, int> n_of;
  for (int run = 0; run < 400; ++run) {
    CAPTURE(run);
    SamplingOptions options;
    options.top_k = pick(random, 1, 5, 40, 200);
    options.samplers = {SamplerKind::kTopK, SamplerKind::kInfill};
    std::vector<float> logits = some_logits(random);
    const auto raise = [&](Token token, float by) {
      logits[static_cast<std::size_t>(token)] += by;
    };
    // A few likely tokens, some of which begin others; sometimes an end.
    const int n_likely = pick(random, 0, 1, 2, 4);
    for (int i = 0; i < n_likely; ++i) raise(static_cast<Token>(random() % 600), 9.0F);
    if (run % 3 == 0) raise(ends[random() % ends.size()], pick(random, 2.0F, 6.0F, 10.0F));
    const auto found = our_result(options, logits, {1});
    check_same(found, own_result(*options.samplers, options, logits, {1}));
    const bool has_end = vocabulary().is_end(found.begin()->first);
    ++n_of[found.size() > 1 ? "several" : has_end ? "an end" : "a word"];
  }
  CHECK(n_of.size() == 3);
}

TEST_CASE("infill ends no text that may not end, and keeps something") {
  SPECBRANCH_NEEDS_MODELS();
  std::vector<float> logits(static_cast<std::size_t>(vocabulary().size()), 0.0F);
  logits[77] = 1.0F;
  SamplingOptions options;
  options.top_k = 20;
  options.samplers = {SamplerKind::kTopK, SamplerKind::kInfill};
  auto found = our_result(options, logits, {1});
  REQUIRE(found.size() == 1);
  CHECK(vocabulary().is_end(found.begin()->first));  // nothing is certain
  for (Token token = 0; token < vocabulary().size(); ++token) {
    if (vocabulary().is_end(token)) options.logit_bias[token] = -kInf;
  }
  found = our_result(options, logits, {1});
  CHECK(found == std::map<Token, float>{{77, 1.0F}});
  options.samplers = {SamplerKind::kInfill};  // of the whole vocabulary
  CHECK(our_result(options, logits, {1}) == found);
  CHECK_THROWS_AS(TokenDistribution{options}, PreconditionError);
}

TEST_CASE("sequence breakers are prepared once for each setting") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(37);
  DryFactory dry(vocabulary(), 4096);
  const auto history = some_history(random);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 6; ++i) {  // more settings than stay
      SamplingOptions options;
      options.temperature = 1.0F;
      options.dry_multiplier = 1.0F + static_cast<float>(i);
      options.dry_sequence_breakers = {std::string(1, static_cast<char>('a' + i))};
      std::vector<float> logits = some_logits(random);
      std::map<Token, float> found;
      for (const Scored& item : TokenDistribution(options, &dry).candidates(logits, history)) {
        found[item.token] = item.score;
      }
      check_same(found, own_result({SamplerKind::kDry}, options, logits, history));
    }
  }
}

TEST_CASE("DRY without a vocabulary is an error, not a crash") {
  SamplingOptions options;
  options.dry_multiplier = 1.0F;
  CHECK_THROWS_AS(TokenDistribution{options}, PreconditionError);
  options.samplers = {SamplerKind::kTopK};  // DRY does not run
  CHECK_NOTHROW(TokenDistribution{options});
}

}  // namespace
}  // namespace specbranch::llama
