// Without a barrier anywhere: the text, the preconditions and the counts must still hold.
#include <string>

#include "support/chaos_planner.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("without any barrier: the text, the preconditions and the counts hold") {
  const int n = scaled(2'500);
  Counters sum;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 20'000);
    INFO(describe(scenario));
    const Expected expected = reference(scenario);
    for (std::uint64_t shuffle = 0; shuffle < 4; ++shuffle) {
      CAPTURE(shuffle);
      const VirtualResult got = run(scenario, Mode::kSpecBranch, shuffled(shuffle),
                                    make_chaos(scenario.seed * 10 + shuffle));
      CHECK(message_of(got.error) == "");
      CHECK(got.tokens == expected.tokens);
      CHECK(got.finish == expected.finish);
      check_result(got, Mode::kSpecBranch);
      sum.branch_hits += got.counters.branch_hits;
      sum.n_accepted += got.counters.n_accepted;
      sum.n_rolled_back += got.counters.n_rolled_back;
    }
  }
  CHECK(sum.branch_hits > n);
  CHECK(sum.n_accepted > n);
  CHECK(sum.n_rolled_back > n);
}

TEST_CASE("without any barrier: a perfect draft is never rolled back") {
  const int n = scaled(2'000);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_perfect_scenario(static_cast<std::uint64_t>(i) + 30'000);
    INFO(describe(scenario));
    const VirtualResult got =
        run(scenario, Mode::kSpecBranch, shuffled(scenario.seed), make_chaos(scenario.seed));
    CHECK(message_of(got.error) == "");
    CHECK(got.counters.n_rolled_back == 0);
    check_result(got, Mode::kSpecBranch);
  }
}

TEST_CASE("without any barrier: a cancel anywhere leaves the models fit for the next") {
  const int n = scaled(1'000);
  for (int i = 0; i < n; ++i) {
    const Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 40'000);
    check_cancels(scenario, Mode::kSpecBranch,
                  [&](std::uint64_t run) { return make_chaos(scenario.seed * 10 + run); });
  }
}
