// What the draft's sequences hold, command by command, where they share cells and can be cut.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "support/audited_run.h"
#include "support/chaos_planner.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("every sequence of every mode continues just the path of its node") {
  const int n = scaled(500);
  int n_forks = 0;
  int n_inputs = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 60'000);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      AuditedRun audited(scenario, mode, nullptr);
      audited.run();
      if (mode == Mode::kSpeculative || mode == Mode::kPearl) CHECK(audited.n_forks() == 0);
      n_forks += audited.n_forks();
      n_inputs += audited.n_inputs();
    }
  }
  CHECK(n_forks > n);
  CHECK(n_inputs > 5 * n);
}

TEST_CASE("so does every sequence of `auto` where all it does pays") {
  const int n = scaled(1'000);
  int n_forks = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 80'000);
    scenario.draft.n_seq = 1 + i % 5;
    INFO(describe(scenario));
    PairProfile profile = flat_profile();
    AuditedRun audited(scenario, Mode::kAuto, make_eager_auto(scenario.request, &profile));
    audited.run();
    if (scenario.draft.n_seq == 1) CHECK(audited.n_forks() == 0);
    n_forks += audited.n_forks();
  }
  CHECK(n_forks > n);
}

TEST_CASE("so does every sequence of a later turn, which copies no prefix again") {
  const int n = scaled(300);
  int n_forks = 0;
  int n_kept = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 90'000);
    const TurnCounts counts = run_audited_turns(std::move(scenario));
    n_forks += counts.n_forks;
    n_kept += counts.n_kept;
  }
  CHECK(n_forks > n);
  CHECK(n_kept > n);
}

TEST_CASE("so does every sequence of a planner without any order") {
  const int n = scaled(1'000);
  int n_forks = 0;
  int n_inputs = 0;
  for (int i = 0; i < n; ++i) {
    const Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 70'000);
    INFO(describe(scenario));
    AuditedRun audited(scenario, Mode::kSpecBranch, make_chaos(scenario.seed));
    audited.run();
    n_forks += audited.n_forks();
    n_inputs += audited.n_inputs();
  }
  CHECK(n_forks > n);
  CHECK(n_inputs > 5 * n);
}
