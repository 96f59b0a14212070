// Curves of step times: between what was measured, kept up to date, never absurd.
#include "specbranch/planner/auto/cost_model.h"

#include <vector>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

StepTime step(ModelRole role, int n, double us, double overlap = 0.0) {
  return {role, n, 1'000'000, 1'000'000 + static_cast<std::int64_t>(us), overlap};
}

}  // namespace

TEST_CASE("lengths between and beyond the measured ones lie on lines") {
  StepCosts costs;
  costs.target_us = {100, 0, 0, 160, 0, 200};
  costs.draft_us = {10};
  const CostModel model(&costs);
  CHECK(model.target(1) == doctest::Approx(100));
  CHECK(model.target(2) == doctest::Approx(120));
  CHECK(model.target(5) == doctest::Approx(180));
  CHECK(model.target(11) == doctest::Approx(300));
  CHECK(model.draft(1) == doctest::Approx(10));
  CHECK(model.draft(3) > 10);
  CHECK(model.draft(3) < 20);
  CHECK(model.known());
}

TEST_CASE("a falling curve is never continued below what was measured") {
  StepCosts costs;
  costs.target_us = {200, 100};
  const CostModel model(&costs);
  CHECK(model.target(40) == doctest::Approx(100));
}

TEST_CASE("a verification is padded to the quickest length that is allowed") {
  StepCosts costs;
  costs.target_us = {100, 141, 171, 118, 168};
  const CostModel model(&costs);
  CHECK(model.pad(1, 10) == 0);
  CHECK(model.pad(2, 10) == 2);
  CHECK(model.pad(2, 3) == 0);
  CHECK(model.pad(3, 4) == 1);
  CHECK(model.pad(4, 10) == 0);
  CHECK(model.padded_target(3, 10) == doctest::Approx(118));
}

TEST_CASE("with nothing known every time is positive, and steps are learnt from") {
  StepCosts costs;
  CostModel model(&costs);
  CHECK_FALSE(model.known());
  CHECK(model.target(1) > 0);
  CHECK(model.draft(16) > 0);
  model.on_step(step(ModelRole::kTarget, 1, 800));
  CHECK(model.target(1) == doctest::Approx(800));
  CHECK(model.draft(1) == doctest::Approx(100));
  CHECK_FALSE(model.known());
  model.on_step(step(ModelRole::kDraft, 1, 50));
  CHECK(model.known());
  CHECK(model.draft(1) == doctest::Approx(50));
  CHECK(costs.target_us.at(0) == doctest::Approx(800));
  model.on_step(step(ModelRole::kTarget, 0, 10));
  model.on_step(step(ModelRole::kTarget, 5000, 10));
  model.on_step(step(ModelRole::kTarget, 1, 0));
  CHECK(model.target(1) == doctest::Approx(800));
}

TEST_CASE("steps alone refresh the curve; an outlier is ignored until it is the rule") {
  StepCosts costs;
  costs.target_us = {100, 120};
  CostModel model(&costs);
  for (int i = 0; i < 60; ++i) model.on_step(step(ModelRole::kTarget, 1, 150));
  CHECK(model.target(1) == doctest::Approx(150).epsilon(0.01));
  // The other lengths follow a little.
  CHECK(model.target(2) > 121);
  CHECK(model.target(2) < 140);
  model.on_step(step(ModelRole::kTarget, 1, 9000));
  CHECK(model.target(1) == doctest::Approx(150).epsilon(0.01));
  for (int i = 0; i < 3; ++i) model.on_step(step(ModelRole::kTarget, 1, 9000));
  CHECK(model.target(1) == doctest::Approx(9000).epsilon(0.01));
}

TEST_CASE("steps beside the other model tell the slow-down, not the curve") {
  StepCosts costs;
  costs.target_us = {1000};
  costs.draft_us = {100};
  CostModel model(&costs);
  CHECK(model.interference() == doctest::Approx(0));
  for (int i = 0; i < 200; ++i) {
    // Half of 1,500 at full speed, the other half at a third of it.
    model.on_step(step(ModelRole::kTarget, 1, 1500, 0.5));
    model.on_step(step(ModelRole::kDraft, 1, 130, 1.0));
  }
  CHECK(model.target(1) == doctest::Approx(1000));
  CHECK(model.target_slowdown() == doctest::Approx(3.0).epsilon(0.01));
  CHECK(model.draft_slowdown() == doctest::Approx(1.3).epsilon(0.01));
  CHECK(model.interference() == doctest::Approx(1.3 * 2 / 3).epsilon(0.02));
  for (int i = 0; i < 200; ++i) model.on_step(step(ModelRole::kTarget, 1, 900, 1.0));
  CHECK(model.target_slowdown() == doctest::Approx(1.0).epsilon(0.01));
}

TEST_CASE("a length seen only beside the other model counts for what it took alone") {
  StepCosts costs;
  costs.target_us = {1000};
  costs.target_slowdown = 2.0;
  CostModel model(&costs);
  model.on_step(step(ModelRole::kTarget, 4, 2400, 1.0));
  CHECK(model.target(4) == doctest::Approx(1200));
}

TEST_CASE("scattering times beside the other model do not look like a slow-down") {
  StepCosts costs;
  costs.target_us = {1000};
  costs.draft_us = {100};
  CostModel model(&costs);
  Random random(7);
  double sum = 0.0;
  for (int i = 0; i < 2000; ++i) {
    model.on_step(step(ModelRole::kTarget, 1, 1000.0 * (0.9 + 0.2 * random.uniform()), 0.4));
    sum += model.target_slowdown();
  }
  CHECK(sum / 2000 < 1.03);
}

TEST_CASE("long steps beside the other model move their own length, not the slow-down") {
  StepCosts costs;
  costs.target_us = {1000, 1500, 2000, 2500};
  costs.draft_us = {100};
  costs.target_slowdown = 1.25;
  CostModel model(&costs);
  for (int i = 0; i < 300; ++i) model.on_step(step(ModelRole::kTarget, 4, 4000, 1.0));
  CHECK(model.target_slowdown() == doctest::Approx(1.25));
  CHECK(model.target(4) == doctest::Approx(3200).epsilon(0.02));
}
