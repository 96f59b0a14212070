// The measurement of step costs without a draft: only the target works.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "specbranch/decoder/cost_measurement.h"
#include "specbranch/engine/worker.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

struct Measured {
  StepCosts costs;
  std::vector<int> lengths;  ///< of all steps.
  Pos left = 0;              ///< cells of the target afterwards.
};

Measured measure(const FakeOptions& options, std::int64_t step_us, std::int64_t budget_us) {
  const auto target = make_fake_target(options);
  const ModelLimits limits{target->capabilities(), std::nullopt};
  CostMeasurement measurement(limits, dummy_tokens({}, limits), budget_us);
  Measured found;
  std::int64_t now_us = 0;
  Commands commands = measurement.start(0);
  while (!measurement.done()) {
    CHECK_FALSE(commands.draft);
    REQUIRE(commands.target);
    Event event = execute(*target, *commands.target);
    event.begin_us = now_us;
    event.ops_us = 0;  // was measured by a real clock
    if (const auto* verify = std::get_if<VerifyCommand>(&commands.target->body)) {
      found.lengths.push_back(verify->n_tokens());
      now_us += step_us + step_us / 10 * verify->n_tokens();
    }
    event.end_us = now_us;
    commands = measurement.on(event);
    if (now_us > budget_us && !measurement.stopping() && !measurement.done()) {
      // The answer to the command under way is still awaited.
      static_cast<void>(measurement.stop());
    }
  }
  found.costs = measurement.costs();
  found.left = target->length(0);
  return found;
}

}  // namespace

TEST_CASE("measurement without a draft: all lengths of a quick target, and the cells are gone") {
  for (const bool whole_states : {false, true}) {
    FakeOptions options;
    options.n_ctx = 400;
    options.whole_states = whole_states;
    const Measured got = measure(options, 1000, 2'000'000);
    REQUIRE(got.costs.target_known());
    CHECK_FALSE(got.costs.known());
    CHECK(got.costs.draft_us.empty());
    CHECK(got.costs.target_slowdown == 1.0);
    REQUIRE(got.costs.target_us.size() == CostMeasurement::kMaxTokens);
    for (const int n : {1, 2, 4, 9, 17}) {
      CAPTURE(n);
      CHECK(std::ranges::count(got.lengths, n) > 0);
      CHECK(got.costs.target_us[static_cast<std::size_t>(n) - 1] == 1000 + 100 * n);
    }
    CHECK(got.left == 0);
  }
}

TEST_CASE("measurement without a draft: a slow target gets a single step") {
  FakeOptions options;
  options.n_ctx = 400;
  const Measured got = measure(options, 1'500'000, 2'000'000);
  CHECK(got.costs.target_known());
  CHECK(got.lengths.size() <= 2);
  CHECK(got.left == 0);
}
