// `auto` where texts differ: one after another in one engine, some easy for the draft, some not.
#include <string>
#include <vector>

#include "specbranch/simulation/simulate.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr double kStepUs = 10'000.0;
constexpr int kTokens = 120;

struct Text {
  double alpha = 0.9;
  double concentration = 2.0;  ///< small: the draft is either sure or in doubt.
  int n_hard = 0;              ///< so many tokens first of which it knows hardly any.
};

/// A cheap draft, and a target for which two tokens take longer than one token twice.
std::vector<SimulationResult> decode(const std::vector<Text>& texts, double slowdown,
                                     std::uint64_t seed = 0) {
  std::vector<Simulation> simulations;
  for (const Text& text : texts) {
    Simulation& one = simulations.emplace_back();
    one.machine.costs.target_us = {10'000, 22'000, 23'500, 25'000, 27'000,
                                   29'000, 31'000, 33'000, 35'000};
    one.machine.costs.draft_us = {600, 1'200, 1'400, 1'600};
    one.machine.costs.target_slowdown = one.machine.costs.draft_slowdown = slowdown;
    one.pair = synthetic_pair(text.alpha, seed + simulations.size());
    one.pair.concentration = text.concentration;
    one.pair.segments = {{text.n_hard, 0.1}, {kTokens, text.alpha}};
    if (text.n_hard == 0) one.pair.segments.clear();
    one.pair.n_ctx = 4096;
    one.request = auto_request(kTokens, 8, 4);
  }
  return simulate_texts(simulations);
}

/// Speed over plain decoding of the texts from `first` on.
double speed(const std::vector<SimulationResult>& texts, std::size_t first) {
  double us = 0.0;
  for (std::size_t i = first; i < texts.size(); ++i) us += texts[i].time_us;
  return static_cast<double>(texts.size() - first) * kTokens * kStepUs / us;
}

bool speculates(const SimulationResult& text) {
  return text.mode_reason.find("autoregressive") != 0;
}

}  // namespace

TEST_CASE("auto: a text that begins badly ends speculation in this text alone") {
  std::vector<Text> texts(5);
  texts.push_back({.n_hard = 12});
  texts.push_back({});
  // With this seed the beginning costs the text more than it may.
  const std::vector<SimulationResult> got = decode(texts, 2.0, 500);
  REQUIRE(speculates(got[4]));
  CAPTURE(got[5].mode_reason);
  CHECK(got[5].mode_reason.find("autoregressive: speculation reached 0.") == 0);
  CHECK(speed({got[5]}, 0) >= 0.9);
  CAPTURE(got[6].mode_reason);
  CHECK(speculates(got[6]));
  CHECK(speed(got, 6) >= 1.15);
}

TEST_CASE("auto: easy and hard texts in turn, the easy ones gain and the hard ones lose little") {
  for (const double slowdown : {1.0, 2.0}) {
    INFO("slow-down ", slowdown);
    std::vector<Text> texts;
    for (int i = 0; i < 40; ++i) texts.push_back({i % 4 == 3 ? 0.4 : 0.9});
    CHECK(speed(decode(texts, slowdown), 4) >= 1.1);
  }
}

TEST_CASE("auto: when all texts have become hard, speculation ends in all of them") {
  for (const double slowdown : {1.0, 2.0}) {
    INFO("slow-down ", slowdown);
    std::vector<Text> texts(5);
    texts.insert(texts.end(), 20, {0.3});
    const std::vector<SimulationResult> got = decode(texts, slowdown);
    CHECK(speed(got, 5) >= 0.97);
    CHECK(speed(got, 10) >= 0.985);
    CHECK_FALSE(speculates(got.back()));
  }
}

TEST_CASE("auto asks a draft that knows when it is right, though it is often wrong") {
  // Hardly any chain pays on the mean, but many tokens are sure, and the draft says which.
  for (const double slowdown : {1.0, 2.0}) {
    INFO("slow-down ", slowdown);
    const std::vector<SimulationResult> got = decode(std::vector<Text>(8, {0.75, 0.15}), slowdown);
    CAPTURE(got.back().mode_reason);
    CHECK(speed(got, 1) >= 1.1);
  }
}
