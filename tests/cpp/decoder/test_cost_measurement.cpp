// The measurement of step costs under a virtual clock: what it measures, and what it leaves behind.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/decoder/cost_measurement.h"
#include "specbranch/decoder/step_samples.h"
#include "specbranch/engine/worker.h"
#include "specbranch/simulation/fake_model.h"
#include "support/cost_bench.h"
#include "support/engine_support.h"

namespace specbranch::test {
namespace {

TEST_CASE("measurement of step costs: a quick pair is measured in full, in few steps") {
  FakeOptions draft;
  draft.n_seq = 16;
  Clockwork clock;
  // Blocks of four tokens: longer is not always dearer.
  clock.target_us = [](int n) { return n == 1 ? 1000 : 1500 + 400 * ((n + 3) / 4) - (n % 4 == 0); };
  clock.target_slowdown = 1.5;
  clock.draft_slowdown = 1.25;
  clock.first_us = 5000;
  clock.fork_us = 20;  // no part of a step
  Bench bench({}, draft, clock);
  const StepCosts costs = bench.run().costs();
  REQUIRE(costs.known());
  REQUIRE(costs.target_us.size() == 17);
  REQUIRE(costs.draft_us.size() == 16);
  for (const int n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 17}) {
    CHECK(costs.target_us[static_cast<std::size_t>(n - 1)] ==
          static_cast<double>(clock.target_us(n)));
    CHECK(count(bench.lengths[0], n) >= 3);
  }
  for (int b = 1; b <= 16; ++b) {  // a straight line, so that what is interpolated is right too
    CHECK(costs.draft_us[static_cast<std::size_t>(b - 1)] ==
          doctest::Approx(static_cast<double>(clock.draft_us(b))));
  }
  CHECK(costs.target_slowdown == doctest::Approx(1.5).epsilon(0.01));
  CHECK(costs.draft_slowdown == doctest::Approx(1.25).epsilon(0.01));
  bench.check_empty();
  CHECK(bench.n_events < 400);
}

TEST_CASE(
    "measurement of step costs: a slow target keeps to the budget and still tells what matters") {
  Clockwork clock;
  clock.target_us = [](int n) { return 300'000 + 20'000 * (n - 1); };
  clock.draft_us = [](int n) { return 30'000 + 1'000 * n; };
  clock.target_slowdown = 1.2;
  Bench bench({}, {}, clock);
  const StepCosts costs = bench.run().costs();
  REQUIRE(costs.known());
  CHECK(bench.now_us <= kBudget);
  CHECK(costs.target_us[0] == 300'000);
  CHECK(costs.target_slowdown == doctest::Approx(1.2));
  CHECK(std::ranges::max(bench.lengths[0]) >= 4);
  CHECK(costs.target_us[3] == 360'000);
  CHECK(std::ranges::is_sorted(costs.target_us));
  bench.check_empty();
}

TEST_CASE("measurement of step costs: what was disturbed is measured again") {
  int n_eights = 0;
  Clockwork clock;
  clock.target_us = [&](int n) {
    const bool disturbed = n == 8 && n_eights++ == 0;
    return 10'000 + 500 * n + (disturbed ? 100'000 : 0);
  };
  Bench bench({}, {}, clock);
  const StepCosts costs = bench.run().costs();
  REQUIRE(costs.known());
  CHECK(costs.target_us[7] == 14'000);
  CHECK(count(bench.lengths[0], 8) == 2);
  CHECK(count(bench.lengths[0], 12) == 1);  // there is no time for all
  CHECK(bench.now_us < kBudget / 2);
}

TEST_CASE("measurement of step costs: steps that fill the budget alone give what there is") {
  for (const std::int64_t us : {700'000, 1'900'000, 5'000'000}) {
    Clockwork clock;
    clock.target_us = [us](int /*n*/) { return us; };
    Bench bench({}, {}, clock);
    CostMeasurement measurement = bench.run();
    const StepCosts costs = measurement.costs();
    CHECK(bench.now_us <= std::max(kBudget, us) + 100'000);
    if (costs.known()) CHECK(costs.target_us[0] == static_cast<double>(us));
    for (const double each : costs.target_us) CHECK(each >= static_cast<double>(us));
    bench.check_empty();
  }
}

TEST_CASE("measurement of step costs: small contexts, few sequences, short batches") {
  for (const Pos n_ctx : {1, 2, 3, 8, 40}) {
    for (const int n : {1, 2, 5}) {
      CAPTURE(n_ctx);
      CAPTURE(n);
      FakeOptions options;
      options.n_ctx = n_ctx;
      options.n_seq = n;
      options.max_batch = n;
      Bench bench(options, options);
      CostMeasurement measurement = bench.run();
      CHECK(!measurement.error());
      const StepCosts costs = measurement.costs();
      CHECK(costs.target_us.size() == static_cast<std::size_t>(std::min(n, n_ctx)));
      CHECK(costs.draft_us.size() == static_cast<std::size_t>(n));
      bench.check_empty();
    }
  }
}

TEST_CASE("measurement of step costs: no budget, no step") {
  Bench bench({}, {});
  CHECK(!bench.run(0).costs().known());
  CHECK(bench.n_events == 0);
}

TEST_CASE("measurement of step costs: a model that fails leaves empty models and no costs") {
  for (const bool of_target : {true, false}) {
    for (int step = 0; step < 40; ++step) {
      CAPTURE(step);
      FakeOptions target;
      FakeOptions draft;
      (of_target ? target : draft).fail_at_step = step;
      Bench bench(target, draft);
      CostMeasurement measurement = bench.run();
      REQUIRE(measurement.error());
      CHECK(!is_fatal(measurement.error()));
      CHECK(!measurement.costs().known());
      bench.check_empty();
    }
  }
}

TEST_CASE("measurement of step costs: a fatal failure ends it at once") {
  FakeOptions draft;
  draft.fail_at_step = 10;
  draft.fail_fatally = true;
  Bench bench({}, draft);
  CostMeasurement measurement = bench.run();
  REQUIRE(measurement.error());
  CHECK(is_fatal(measurement.error()));
}

TEST_CASE("measurement of step costs: stopped at any moment it ends with empty models") {
  int n_known = 0;
  for (int after = 0; after < 120; ++after) {
    CAPTURE(after);
    Bench bench({}, {});
    CostMeasurement measurement = bench.run(kBudget, after);
    CHECK(!measurement.error());
    n_known += measurement.costs().known() ? 1 : 0;
    bench.check_empty();
  }
  CHECK(n_known > 100);
}

TEST_CASE("measurement of step costs: dummy tokens are in both vocabularies and have a text") {
  ModelLimits limits;
  limits.target.n_vocab = 1000;
  limits.draft = limits.target;
  limits.draft->n_vocab = 900;
  std::vector<std::string> pieces(1000, "x");
  for (std::size_t i = 0; i < 1000; i += 2) pieces[i].clear();
  const std::vector<Token> tokens = dummy_tokens(pieces, limits);
  CHECK(tokens.size() > 32);
  CHECK(std::ranges::all_of(tokens, [](Token token) { return token % 2 == 1 && token < 900; }));
  CHECK(tokens.back() > 800);
  CHECK(dummy_tokens(std::vector<std::string>(1000), limits) == std::vector<Token>{0});
}

TEST_CASE("step samples: measured, between, beyond") {
  StepSamples samples;
  CHECK(samples.table(3).empty());
  samples.add(1, 300);
  CHECK(samples.table(3) == std::vector<double>{300, 400, 500});
  for (const int us : {400, 200, 380}) samples.add(5, us);
  CHECK(samples.median(5) == 380);
  CHECK(samples.table(7) == std::vector<double>{300, 320, 340, 360, 380, 400, 420});
  CHECK(!samples.steady(0.05));
  CHECK(samples.steady(0.5));
  CHECK(!samples.doubtful(5));
  samples.add(6, 210);  // shorter though longer: beyond it nothing falls
  CHECK(samples.doubtful(5));
  CHECK(!samples.doubtful(1));  // 300 against 210: it may be so
  CHECK(!samples.doubtful(4));
  CHECK(samples.estimate(6) == 210);
  CHECK(samples.estimate(9) == 210);
}

TEST_CASE("step samples: nothing is interpolated across a cliff") {
  StepSamples samples;
  samples.add(8, 100);
  samples.add(10, 200);
  samples.add(12, 220);
  samples.add(14, 150);
  CHECK(samples.estimate(9) == 200);
  CHECK(samples.estimate(11) == 210);
  CHECK(samples.estimate(13) == 220);
}

TEST_CASE("measurement of step costs: a cliff at 9 and at 17 is measured, not guessed") {
  FakeOptions draft;
  draft.n_seq = 16;
  Clockwork clock;
  clock.target_us = [](int n) { return n <= 8 ? 1000 : n <= 16 ? 2000 : 3500; };
  clock.draft_us = [](int n) { return n <= 8 ? 100 : 220; };
  Bench bench({}, draft, clock);
  const StepCosts costs = bench.run().costs();
  for (int n = 1; n <= 17; ++n) {
    CAPTURE(n);
    CHECK(costs.target_us.at(static_cast<std::size_t>(n - 1)) ==
          static_cast<double>(clock.target_us(n)));
    if (n > 16) continue;
    CHECK(costs.draft_us.at(static_cast<std::size_t>(n - 1)) ==
          static_cast<double>(clock.draft_us(n)));
  }
}

// On threads ----------------------------------------------------------------------------------

/// A text that begins as the dummy one does.
Scenario make_text() {
  Scenario scenario;
  scenario.request.prompt = {0, 1, 2, 3};
  scenario.request.max_tokens = 40;
  return scenario;
}

EngineParts warm_parts(const Scenario& scenario, Hook target = {}, Hook draft = {}) {
  EngineParts parts = make_parts(scenario, std::move(target), std::move(draft));
  parts.measure_costs_us = kBudget;
  return parts;
}

TEST_CASE("engine: measurement of step costs leaves texts and counters as they are") {
  for (const Mode mode : {Mode::kAutoregressive, Mode::kSpeculative, Mode::kSpecBranch}) {
    Scenario scenario = make_text();
    scenario.request.mode = mode;
    Engine cold(make_parts(scenario));
    Engine warm(warm_parts(scenario));
    CHECK(!cold.profile().costs.known());
    CHECK(cold.stats().measure_costs_ms == 0);
    const StepCosts costs = warm.profile().costs;
    REQUIRE(costs.known());
    CHECK(costs.target_slowdown >= 1.0);
    CHECK(costs.draft_slowdown >= 1.0);
    CHECK(std::ranges::all_of(costs.target_us, [](double us) { return us > 0; }));
    CHECK(warm.stats().measure_costs_ms > 0);
    for (int i = 0; i < 2; ++i) {
      const Collected want = collect(*cold.generate(scenario.request));
      const Collected got = collect(*warm.generate(scenario.request));
      CHECK(got.tokens == want.tokens);
      CHECK(got.end.stats.n_reused == want.end.stats.n_reused);
      if (mode != Mode::kSpeculative) continue;
      CHECK(got.end.stats.counters == want.end.stats.counters);
    }
  }
}

TEST_CASE("engine: the steps of every mode refine the costs, also between texts of `auto`") {
  for (const Mode mode : {Mode::kAutoregressive, Mode::kSpeculative, Mode::kSpecBranch}) {
    Scenario scenario = make_text();
    scenario.request.mode = mode;
    EngineParts parts = make_parts(scenario);
    // A step of the fakes takes no second.
    parts.profile.costs.target_us.assign(17, 1e6);
    parts.profile.costs.draft_us.assign(16, 1e5);
    Engine engine(std::move(parts));
    static_cast<void>(collect(*engine.generate(scenario.request)));
    const StepCosts costs = engine.profile().costs;
    CHECK(costs.target_us[0] < 1e5);
    CHECK((costs.draft_us[0] < 1e5) == (mode != Mode::kAutoregressive));
    CHECK(costs.known());
  }
}

TEST_CASE("engine: what is known is not measured") {
  EngineParts parts = warm_parts(make_text());
  parts.profile.costs.target_us = {100.0};
  parts.profile.costs.draft_us = {10.0};
  parts.profile.acceptance[1].first_count = 7.0;
  const PairProfile given = parts.profile;
  const Engine engine(std::move(parts));
  CHECK(engine.profile() == given);
  CHECK(engine.stats().measure_costs_ms == 0);
}

TEST_CASE("engine: a draft that fails in the measurement of step costs fails it alone") {
  const Scenario scenario = make_text();
  const auto once = [](int step, const auto&) {
    if (step == 5) throw DecodeError("only once");
  };
  Engine engine(warm_parts(scenario, {}, once));
  CHECK(!engine.profile().costs.known());
  Request request = scenario.request;
  request.mode = Mode::kSpecBranch;
  CHECK(collect(*engine.generate(request)).tokens == run_engine(scenario, request.mode).tokens);

  const auto fatally = [](int step, const auto&) {
    if (step == 5) throw std::runtime_error("for good");
  };
  CHECK_THROWS_AS(Engine(warm_parts(scenario, {}, fatally)), FatalError);
}

TEST_CASE("engine: a measurement of step costs can be stopped, a step that hangs included") {
  using namespace std::chrono_literals;
  for (const bool by_budget : {false, true}) {
    const Scenario scenario = make_text();
    std::atomic<bool> hangs = false;
    std::atomic<int> n_meanwhile = 0;
    const auto target = [&](int step, const std::function<bool()>& aborted) {
      hangs = step == 3;
      while (step == 3 && !aborted()) std::this_thread::sleep_for(100us);
      hangs = false;
    };
    const auto draft = [&](int, const auto&) {
      if (!hangs) return;
      ++n_meanwhile;
      std::this_thread::sleep_for(5ms);
    };
    EngineParts parts = warm_parts(scenario, target, draft);
    if (by_budget) parts.measure_costs_us = 50'000;
    if (!by_budget) parts.measure_costs_us = 3'600'000'000;
    if (!by_budget) parts.stop_measuring = [] { return true; };
    Engine engine(std::move(parts));
    // Every step of the draft is asked for, and between two looks at the clock lie 50 ms.
    CHECK(n_meanwhile <= 15);
    CHECK(collect(*engine.generate(scenario.request)).tokens ==
          run_engine(scenario, scenario.request.mode).tokens);
  }
}

}  // namespace
}  // namespace specbranch::test
