// Models whose kernels are compiled or loaded when a step of a new length needs them, as on GPUs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "support/cost_bench.h"

namespace specbranch::test {
namespace {

constexpr std::int64_t kWarmUp = CostMeasurement::kWarmUpUs;

std::int64_t target_us(int n) { return 30'000 + 1'000 * n; }
std::int64_t draft_us(int n) { return 4'000 + 100 * n; }

struct Lazy {
  explicit Lazy(std::int64_t kernels_us) {
    target.warms_up = true;
    draft.warms_up = true;
    draft.n_seq = 16;
    clock.target_us = target_us;
    clock.draft_us = draft_us;
    clock.kernels_us = [kernels_us](int n) { return kernels_us / n; };
  }
  FakeOptions target;
  FakeOptions draft;
  Clockwork clock;
};

void check_costs(const StepCosts& costs) {
  REQUIRE(costs.known());
  for (const int n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 17}) {
    CAPTURE(n);
    CHECK(costs.target_us[static_cast<std::size_t>(n - 1)] == static_cast<double>(target_us(n)));
  }
  for (const int n : {1, 2, 3, 4, 6, 8, 9, 12, 16}) {
    CAPTURE(n);
    CHECK(costs.draft_us[static_cast<std::size_t>(n - 1)] == static_cast<double>(draft_us(n)));
  }
}

TEST_CASE("warm-up: the first step of a length counts for nothing where it prepares kernels") {
  for (const std::int64_t kernels_us : {20'000, 500'000, 3'000'000}) {
    CAPTURE(kernels_us);
    Lazy lazy(kernels_us);
    Bench bench(lazy.target, lazy.draft, lazy.clock);
    check_costs(bench.run().costs());
    bench.check_empty();
  }
}

TEST_CASE("warm-up: single steps are measured when the device has recorded them") {
  for (const std::int64_t record_us : {50, 500}) {
    CAPTURE(record_us);
    Lazy lazy(20'000);
    lazy.clock.target_us = [](int n) { return 300 + 10 * n; };  // there is time for all rounds
    lazy.clock.draft_us = [](int n) { return 100 + 10 * n; };
    lazy.clock.record_us = record_us;
    Bench bench(lazy.target, lazy.draft, lazy.clock);
    const StepCosts costs = bench.run().costs();
    CHECK(costs.target_us[0] == 310.0);
    CHECK(costs.draft_us[0] == 110.0);
    bench.check_empty();
  }
}

TEST_CASE("warm-up: a draft alone can need it") {
  Lazy lazy(500'000);
  lazy.target.warms_up = false;
  lazy.clock.kernels_us = [](int /*n*/) { return 0; };
  lazy.clock.first_us = 100'000;
  Bench bench(lazy.target, lazy.draft, lazy.clock);
  check_costs(bench.run().costs());
  CHECK(count(bench.lengths[0], 17) == 1);  // the target's lengths are not warmed
  CHECK(count(bench.lengths[1], 16) >= 2);
}

TEST_CASE("warm-up: it ends in time, and only lengths that are warm are measured") {
  Lazy lazy(kWarmUp);  // the first step alone takes all of it
  Bench bench(lazy.target, lazy.draft, lazy.clock);
  CostMeasurement measurement = bench.run();
  const StepCosts costs = measurement.costs();
  // Single steps of both were begun before; the draft's took as long.
  CHECK(bench.now_us <= 2 * kWarmUp + kBudget + 100'000);
  REQUIRE(costs.known());
  CHECK(costs.target_us[0] == static_cast<double>(target_us(1)));
  CHECK(costs.draft_us[0] == static_cast<double>(draft_us(1)));
  CHECK(std::ranges::max(bench.lengths[0]) == 1);
  CHECK(std::ranges::max(bench.lengths[1]) == 1);
  bench.check_empty();
}

TEST_CASE("warm-up: stopped at any moment it ends with empty models") {
  for (int stop_after = 0; stop_after < 40; ++stop_after) {
    Lazy lazy(100'000);
    Bench bench(lazy.target, lazy.draft, lazy.clock);
    bench.run(kBudget, stop_after);
    bench.check_empty();
  }
}

TEST_CASE("warm-up: the deadline is that of the budget, from the end of the warm-up on") {
  Lazy lazy(1'000'000);
  Bench bench(lazy.target, lazy.draft, lazy.clock);
  const CostMeasurement measurement = bench.run();
  CHECK(measurement.deadline_us() > kBudget);
  CHECK(measurement.deadline_us() < kWarmUp);
  CHECK(bench.now_us <= measurement.deadline_us());
}

}  // namespace
}  // namespace specbranch::test
