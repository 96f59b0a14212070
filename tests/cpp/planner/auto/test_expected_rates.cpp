// Expected rates against closed forms, and against decoding itself.
#include "specbranch/planner/auto/expected_rates.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A target step takes 1,000 for one token and as the curve says for more.
PairProfile costs_of(double draft_us, double slope, double slowdown = 1.0) {
  PairProfile profile;
  StepCosts& costs = profile.costs;
  for (int n = 1; n <= 32; ++n) {
    costs.target_us.push_back(1000.0 * (1.0 + slope * (n - 1)));
    costs.draft_us.push_back(draft_us);
  }
  costs.target_slowdown = costs.draft_slowdown = slowdown;
  return profile;
}

/// The best chain of one length, all first choices being right with the same chance.
double best_fixed(const CostModel& costs, double alpha, int longest) {
  double best = 1.0 / costs.target(1);
  double tokens = 1.0;
  for (int n = 2; n <= longest; ++n) {
    tokens += std::pow(alpha, n - 1);
    best = std::max(best, tokens / ((n - 1) * costs.draft(1) + costs.target(n)));
  }
  return best;
}

}  // namespace

TEST_CASE("equal chances: the best policy is the best length") {
  for (const double alpha : {0.3, 0.6, 0.8, 0.9}) {
    for (const double slope : {0.0, 0.1, 0.5}) {
      for (const double draft_us : {20.0, 150.0}) {
        CAPTURE(alpha);
        CAPTURE(slope);
        CAPTURE(draft_us);
        PairProfile costs = costs_of(draft_us, slope);
        const CostModel model(&costs);
        const std::vector<AcceptanceClass> classes{{1.0, alpha}};
        const ExpectedRates found = expected_rates(model, classes, 12);
        CHECK(found.autoregressive == doctest::Approx(1e-3));
        CHECK(found.sequential == doctest::Approx(best_fixed(model, alpha, 12)).epsilon(0.02));
        CHECK(found.parallel >= found.sequential);
      }
    }
  }
}

TEST_CASE("a draft that knows when it is right is worth more than one that does not") {
  // Four of five tokens are sure, one never is right: verify until that one.
  PairProfile costs = costs_of(1.0, 0.5);
  const CostModel model(&costs);
  const std::vector<AcceptanceClass> knows{{0.2, 0.0}, {0.8, 0.995}};
  const std::vector<AcceptanceClass> guesses{{1.0, 0.796}};
  const ExpectedRates sharp = expected_rates(model, knows, 16);
  const ExpectedRates blunt = expected_rates(model, guesses, 16);
  CHECK(sharp.sequential > 1.1 * blunt.sequential);
  // Chains of geometric length L: E[L + 1] tokens in 1 + E[L] / 2 steps, but for the longest.
  CHECK(sharp.sequential == doctest::Approx(5.0 / 3.0 * 1e-3).epsilon(0.05));
}

TEST_CASE("a slow-down takes the overlap's gain away, down to the serial rate") {
  const std::vector<AcceptanceClass> classes{{0.3, 0.4}, {0.7, 0.95}};
  double last = 1.0;
  for (const double slowdown : {1.0, 1.2, 1.5, 2.0}) {
    PairProfile costs = costs_of(100.0, 0.1, slowdown);
    const CostModel model(&costs);
    const ExpectedRates found = expected_rates(model, classes, 16);
    CHECK(found.parallel < last);
    CHECK(found.parallel >= found.sequential * 0.999);
    last = found.parallel;
  }
  PairProfile costs = costs_of(100.0, 0.1, 2.0);
  const CostModel model(&costs);
  const ExpectedRates found = expected_rates(model, classes, 16);
  CHECK(found.parallel == doctest::Approx(found.sequential).epsilon(0.01));
}

TEST_CASE("what cannot pay promises plain decoding, and no token comes quicker than its draft") {
  PairProfile slow = costs_of(1200.0, 0.1);
  const CostModel slow_model(&slow);
  const std::vector<AcceptanceClass> good{{1.0, 0.9}};
  CHECK(expected_rates(slow_model, good, 8).sequential == doctest::Approx(1e-3));
  CHECK(expected_rates(slow_model, good, 8).parallel <= 1.0 / 1200.0 + 1e-12);
  PairProfile quick = costs_of(100.0, 0.1);
  const CostModel quick_model(&quick);
  const std::vector<AcceptanceClass> hopeless{{1.0, 0.0}};
  CHECK(expected_rates(quick_model, hopeless, 8).best() == doctest::Approx(1e-3));
}

TEST_CASE("what is promised is about what auto reaches") {
  Sweep sweep;
  for (const double alpha : {0.6, 0.8, 0.9}) {
    for (const double slope : {0.05, 0.3}) {
      if (sweep.skips()) continue;
      CAPTURE(alpha);
      CAPTURE(slope);
      PairProfile profile = costs_of(125.0, slope);
      VirtualOptions options;
      options.target_us = [&](const Command& command) {
        const auto* verify = std::get_if<VerifyCommand>(&command.body);
        const auto n = verify == nullptr ? 1 : verify->n_tokens();
        return std::llround(1000.0 * (1.0 + slope * (n - 1)));
      };
      options.draft_us = [](const Command&) { return 125; };
      options.profile = &profile;
      const Request request = auto_request(2000, 16);
      const SyntheticOptions pair = synthetic_pair(alpha);
      const auto target = make_synthetic_target(pair);
      const auto draft = make_synthetic_draft(pair);
      const VirtualResult got = run_virtually(request, *target, draft.get(), options);
      const double reached = 2000.0 / static_cast<double>(got.time_us);
      const AcceptanceModel acceptance(&profile.acceptance[0]);
      PairProfile known = costs_of(125.0, slope);
      const CostModel model(&known);
      const double promised = expected_rates(model, acceptance.acceptance_classes(0.0), 17).best();
      CHECK(reached == doctest::Approx(promised).epsilon(0.2));
    }
  }
}
