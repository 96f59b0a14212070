// Simulated times against closed forms.
#include <cmath>
#include <limits>

#include "specbranch/base/errors.h"
#include "specbranch/simulation/simulate.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr double kTarget = 10000.0;
constexpr double kDraft = 1000.0;

Simulation simulation(Mode mode, double alpha, int n_tokens = 500) {
  Simulation s;
  s.request.prompt = {1, 2, 3, 4, 5};
  s.request.max_tokens = n_tokens;
  s.request.mode = mode;
  s.request.policy.kind = PolicyOptions::Kind::kFixed;
  s.pair.alpha = alpha;
  s.machine.costs.target_us = {kTarget};
  s.machine.costs.draft_us = {kDraft};
  return s;
}

void use_gamma(Simulation& s, int gamma) {
  s.request.policy.gamma = gamma;
  s.request.max_draft = gamma;
}

}  // namespace

TEST_CASE("autoregressive takes a step and a hop a token") {
  Simulation s = simulation(Mode::kAutoregressive, 0.7, 100);
  s.machine.costs.target_us = {kTarget, 3 * kTarget};
  CHECK(simulate(s).time_us == 100 * kTarget);
  s.machine.target_latency_us = 500;
  CHECK(simulate(s).time_us == 100 * (kTarget + 500));
  s.machine.hop_us = 20;
  const SimulationResult result = simulate(s);
  CHECK(result.time_us == 100 * (kTarget + 500 + 20));
  CHECK(result.target_busy_us == 100 * (kTarget + 500));
  CHECK(result.target_idle_us == 100 * 20);
  CHECK(result.draft_busy_us == 0.0);
  CHECK(result.counters.n_generated == 100);
}

TEST_CASE("a verification takes longer after one of another length") {
  Simulation s = simulation(Mode::kAutoregressive, 0.7, 100);
  s.machine.costs.target_us = {kTarget};
  s.machine.rebuild_us = 300;
  CHECK(simulate(s).time_us == 100 * kTarget);
  // All drafted tokens are right: 25 verifications of 4 tokens, or 24 of them and one of 2.
  for (const int n_tokens : {100, 98}) {
    s = simulation(Mode::kSpeculative, 1.0, n_tokens);
    use_gamma(s, 3);
    const double before = simulate(s).time_us;
    s.machine.rebuild_us = 300;
    CHECK(simulate(s).time_us == before + (n_tokens == 100 ? 0 : 300));
  }
}

TEST_CASE("a chain of gamma gives the tokens a step that the formula says") {
  const int n = 20000;
  Sweep sweep;
  for (const double alpha : {0.4, 0.7, 0.9}) {
    for (const int gamma : {1, 3, 7}) {
      if (sweep.skips()) continue;
      CAPTURE(alpha);
      CAPTURE(gamma);
      Simulation s = simulation(Mode::kSpeculative, alpha, n);
      use_gamma(s, gamma);
      s.pair.concentration = 1e6;  // the same chance at every place, as in the formula
      const SimulationResult result = simulate(s);
      const double tokens = (1.0 - std::pow(alpha, gamma + 1)) / (1.0 - alpha);
      const auto steps = static_cast<double>(result.counters.n_target_steps);
      CHECK(n / steps == doctest::Approx(tokens).epsilon(0.03));
      // The last round may be shorter. Nothing overlaps, nothing else takes time.
      const double expected = n / tokens * (kTarget + gamma * kDraft);
      CHECK(result.time_us == doctest::Approx(expected).epsilon(0.03));
      CHECK(result.overlap_us == 0.0);
      CHECK(result.target_busy_us + result.draft_busy_us == result.time_us);
    }
  }
}

TEST_CASE("a perfect draft hides behind the target and gives gamma tokens a target step") {
  Simulation s = simulation(Mode::kPearl, 1.0, 1000);
  use_gamma(s, 10);
  const SimulationResult result = simulate(s);
  CHECK(result.time_us / 1000 == doctest::Approx(kTarget / 10).epsilon(0.05));
  CHECK(result.counters.n_rolled_back == 0);
}

TEST_CASE("overlap slows both models down as asked") {
  Simulation s = simulation(Mode::kPearl, 1.0, 1000);
  use_gamma(s, 10);
  s.machine.costs.target_slowdown = 1.5;
  s.machine.costs.draft_slowdown = 1.5;
  CHECK(simulate(s).time_us / 1000 == doctest::Approx(1.5 * kTarget / 10).epsilon(0.05));
  // What never overlaps is not slowed down.
  Simulation serial = simulation(Mode::kSpeculative, 0.7);
  const double alone = simulate(serial).time_us;
  serial.machine.costs.target_slowdown = 2.0;
  serial.machine.costs.draft_slowdown = 2.0;
  CHECK(simulate(serial).time_us == alone);
}

TEST_CASE("the prompt is not in the time; the slower prefill is what comes before") {
  Simulation s = simulation(Mode::kPearl, 0.7);
  const SimulationResult without = simulate(s);
  s.machine.target_prefill_us = 300;
  s.machine.draft_prefill_us = 100;
  const SimulationResult with = simulate(s);
  CHECK(with.time_us == without.time_us);
  CHECK(with.prefill_us == 4 * 300);
}

TEST_CASE("the same numbers give the same result, another seed another") {
  Simulation s = simulation(Mode::kSpecBranch, 0.6);
  s.request.policy.kind = PolicyOptions::Kind::kConfidence;
  const SimulationResult first = simulate(s);
  const SimulationResult again = simulate(s);
  CHECK(first.time_us == again.time_us);
  CHECK(first.counters == again.counters);
  s.pair.seed = 99;
  CHECK_FALSE(simulate(s).counters == first.counters);
}

TEST_CASE("a replay of what a run met gives that run again") {
  for (const Mode mode : kDraftingModes) {
    CAPTURE(to_string(mode));
    Simulation s = simulation(mode, 0.7, 400);
    s.request.policy.kind = PolicyOptions::Kind::kConfidence;
    s.request.trace = true;
    const SimulationResult law = simulate(s);
    for (const TraceRound& round : law.rounds) {
      CHECK(round.proposals.size() == round.committed.size());
      s.pair.replay.insert(s.pair.replay.end(), round.proposals.begin(), round.proposals.end());
    }
    CHECK(s.pair.replay.size() == 400);
    const SimulationResult again = simulate(s);
    CHECK(again.time_us == doctest::Approx(law.time_us).epsilon(0.05));
    CHECK(again.counters.n_accepted ==
          doctest::Approx(static_cast<double>(law.counters.n_accepted)).epsilon(0.05));
  }
}

TEST_CASE("a curve goes on at its mean slope") {
  CHECK(step_us({5}, 7) == 5);
  CHECK(step_us({10, 12, 14}, 2) == 12);
  CHECK(step_us({10, 12, 14}, 5) == 18);
  CHECK(step_us({10, 4}, 5) == 4);  // never below what was measured
}

TEST_CASE("the longest steps of a long text have a sum that fits") {
  Simulation s = simulation(Mode::kPearl, 0.0, scaled(10'000));
  use_gamma(s, 32);
  // Steps over more tokens than the curve has would take many times as long.
  s.machine.costs.target_us = s.machine.costs.draft_us = {1.0, 1e9};
  s.machine.costs.target_slowdown = s.machine.costs.draft_slowdown = 100.0;
  s.machine.target_latency_us = s.machine.draft_latency_us = s.machine.hop_us = 1e9;
  const SimulationResult result = simulate(s);
  const auto n_steps = static_cast<double>(result.counters.n_target_steps);
  CHECK(result.time_us >= 2e9 * n_steps);
  CHECK(result.time_us <= 34 * 100 * 2e9 * n_steps);
  s.machine.costs.target_us = {1e9 + 1.0};
  CHECK_THROWS_AS(simulate(s), InvalidArgument);
}

TEST_CASE("what cannot be simulated is refused") {
  const auto refused = [](auto change) {
    Simulation s = simulation(Mode::kSpeculative, 0.5, 10);
    change(s);
    CHECK_THROWS_AS(simulate(s), InvalidArgument);
  };
  refused([](Simulation& s) { s.machine.costs.target_us.clear(); });
  refused([](Simulation& s) { s.machine.costs.draft_us = {0.0}; });
  refused([](Simulation& s) { s.machine.costs.target_slowdown = 0.5; });
  refused([](Simulation& s) { s.machine.hop_us = -1.0; });
  refused([](Simulation& s) { s.machine.rebuild_us = -1.0; });
  refused([](Simulation& s) { s.machine.hop_us = std::numeric_limits<double>::quiet_NaN(); });
  refused([](Simulation& s) { s.machine.hop_us = 1e12; });
  refused([](Simulation& s) { s.machine.abort_us = std::numeric_limits<double>::quiet_NaN(); });
  refused([](Simulation& s) { s.request.max_tokens = -1; });
  refused([](Simulation& s) { s.request.prompt.clear(); });
  refused([](Simulation& s) { s.pair.alpha = 2.0; });
  CHECK_NOTHROW(simulate(simulation(Mode::kSpeculative, 0.5, 10)));
}
