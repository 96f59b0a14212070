// `auto` beside other texts: the draft rests while they share the batches of the target.
#include <string>

#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/auto/schedule_choice.h"
#include "specbranch/planner/cost_model.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A pair whose draft is right 90 times of 100, and costs a tenth of a step.
struct Pair {
  PairProfile profile = flat_profile();
  CostModel costs{&profile};
  AcceptanceModel acceptance{&profile.acceptance[0]};
  std::int64_t now_us = 0;

  Pair() {
    for (int i = 0; i < 1'000; ++i) {
      const Candidate first{i % 10 == 0 ? 2 : 1, 0.9F};
      acceptance.observe(std::span(&first, 1), 1);
    }
  }

  /// A step of the target, which a token of each of `n_others` other texts shares.
  void step(int n_others) {
    profile.others.n_running = n_others;
    now_us += 1'000;
    StepTime time{ModelRole::kTarget, 1, 0, now_us - 1'000, now_us, 0.0};
    time.n_others = n_others;
    costs.on_step(time);
  }
};

}  // namespace

TEST_CASE("the draft rests while other texts share the batches") {
  Pair pair;
  ScheduleChoice choice(pair.costs, pair.acceptance, 17, /*switching=*/true);
  REQUIRE(choice.schedule() == Schedule::kParallel);
  pair.step(2);
  choice.on_verification(pair.now_us, 1);
  CHECK(choice.schedule() == Schedule::kAutoregressive);
  CHECK_FALSE(choice.drafts());
  CHECK(choice.mode_reason().find("other texts share") != std::string::npos);
  // No probe, however long it takes.
  for (int i = 0; i < 2'000; ++i) {
    pair.step(2);
    choice.on_verification(pair.now_us, 1);
    REQUIRE_FALSE(choice.drafts());
  }
  // It goes on where it was, as soon as the others have gone.
  pair.step(0);
  choice.on_verification(pair.now_us, 1);
  CHECK(choice.schedule() == Schedule::kParallel);
}

TEST_CASE("a text that begins beside others does not begin with the draft") {
  Pair pair;
  pair.step(3);
  ScheduleChoice choice(pair.costs, pair.acceptance, 17, /*switching=*/true);
  CHECK_FALSE(choice.drafts());
  // A pair that was paused stays paused when the others have gone.
  pair.profile.acceptance[0].paused = true;
  pair.step(0);
  choice.on_verification(pair.now_us, 1);
  CHECK(choice.schedule() == Schedule::kAutoregressive);
  CHECK(choice.mode_reason().find("other texts share") == std::string::npos);
}

TEST_CASE("a planner that may not switch does not rest") {
  Pair pair;
  pair.step(3);
  ScheduleChoice choice(pair.costs, pair.acceptance, 17, /*switching=*/false);
  choice.on_verification(pair.now_us, 1);
  CHECK(choice.drafts());
}
