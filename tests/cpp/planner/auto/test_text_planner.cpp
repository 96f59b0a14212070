// `auto` without a draft model: what it gains where the text repeats itself, and what it may lose.
#include <algorithm>
#include <string>
#include <vector>

#include "specbranch/lookup/lookup_proposer.h"
#include "specbranch/planner/auto/text_gate.h"
#include "specbranch/simulation/simulate.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A target whose n-th token of a verification costs `slope` of a step more.
Simulation without_draft(double copy_rate, double slope, std::uint64_t seed,
                         int max_tokens = 2000) {
  Simulation simulation;
  simulation.draft = false;
  simulation.lookup = true;
  simulation.pair.copy_rate = copy_rate;
  simulation.pair.seed = seed;
  simulation.pair.max_batch = 18;
  for (int n = 0; n < 32; ++n) {
    simulation.machine.costs.target_us.push_back(10'000.0 * (1.0 + slope * n));
  }
  simulation.request.prompt.assign(3, 1);
  simulation.request.max_tokens = max_tokens;
  simulation.request.mode = Mode::kAuto;
  return simulation;
}

/// A verification of `n` tokens of the only text.
StepTime step_of(int n) {
  StepTime step;
  step.n_tokens = n;
  return step;
}

/// A profile in which each further token of a verification takes half as long as a single one.
PairProfile with_half_rows() {
  PairProfile profile;
  for (int n = 1; n <= 64; ++n) profile.costs.target_us.push_back(500.0 + 500.0 * n);
  return profile;
}

/// Runs whose first token is right in half of all cases, or nearly always.
const std::vector<double> kDoubtful(64, 0.5);
const std::vector<double> kSure(64, 0.95);

double plain_us(Simulation simulation) {
  simulation.request.mode = Mode::kAutoregressive;
  return simulate(simulation).time_us;
}

double speedup(const Simulation& simulation) {
  return plain_us(simulation) / simulate(simulation).time_us;
}

/// The same for one of several texts that go on with a profile.
double speedup(const Simulation& simulation, PairProfile* profile) {
  SyntheticOptions pair = simulation.pair;
  pair.text_begin = static_cast<Pos>(simulation.request.prompt.size());
  const auto target = make_synthetic_target(pair);
  VirtualOptions options;
  options.profile = profile;
  options.target_us = [&](const Command& command) -> std::int64_t {
    const auto* verify = std::get_if<VerifyCommand>(&command.body);
    if (verify == nullptr) return 0;
    return static_cast<std::int64_t>(
        step_us(simulation.machine.costs.target_us, verify->n_tokens()));
  };
  options.proposer = [&] {
    return text_proposer(simulation.request, texts_of(simulation.request), profile);
  };
  const VirtualResult got = run_virtually(simulation.request, *target, nullptr, options);
  REQUIRE_FALSE(got.error);
  return plain_us(simulation) / static_cast<double>(got.time_us);
}

}  // namespace

TEST_CASE("auto without a draft: prose loses less than a hundredth, copies gain a lot") {
  Sweep sweep;
  for (const double slope : {0.0, 0.02, 0.1, 0.3, 1.0}) {
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
      for (const bool warm : {false, true}) {
        if (sweep.skips()) continue;
        CAPTURE(slope);
        CAPTURE(seed);
        CAPTURE(warm);
        // The fewer tokens there are, the more of them repeat by accident.
        for (const int n_vocab : {9, 64, 1000}) {
          CAPTURE(n_vocab);
          Simulation prose = without_draft(0.0, slope, seed);
          prose.warm = warm;
          prose.pair.n_vocab = n_vocab;
          CHECK(speedup(prose) >= 0.99);
        }
        Simulation copies = without_draft(0.8, slope, seed);
        copies.warm = warm;
        const double gain = speedup(copies);
        CHECK(gain >= (slope <= 0.1 ? 2.0 : slope <= 0.3 ? 1.5 : 0.99));
      }
    }
  }
}

TEST_CASE(
    "auto without a draft: after copies, a short text of prose loses two hundredths at most") {
  Sweep sweep;
  for (const double slope : {0.0, 0.02, 0.1, 0.3, 1.0}) {
    for (int seed = 1; seed <= 4; ++seed) {
      for (const int n_vocab : {9, 64, 1000}) {
        if (sweep.skips()) continue;
        CAPTURE(slope);
        CAPTURE(seed);
        CAPTURE(n_vocab);
        PairProfile profile;
        profile.costs.target_us = without_draft(0.0, slope, 1).machine.costs.target_us;
        const auto text = [&](double copy_rate, std::uint64_t n, int max_tokens) {
          const auto text_seed = 100 * static_cast<std::uint64_t>(seed) + n;
          Simulation simulation = without_draft(copy_rate, slope, text_seed, max_tokens);
          simulation.pair.n_vocab = n_vocab;
          return speedup(simulation, &profile);
        };
        for (std::uint64_t n = 0; n < 6; ++n) text(0.9, n, 400);
        for (std::uint64_t n = 10; n < 16; ++n) {
          CAPTURE(n);
          CHECK(text(0.0, n, 96) >= 0.98);
        }
        // And the other way round.
        const double gain = text(0.9, 20, 400);
        CHECK(gain >= (slope <= 0.02 ? 2.0 : slope <= 0.1 ? 1.5 : 0.98));
      }
    }
  }
}

namespace {

/// How much faster `auto` is with both sources than with the better one of them.
double gain_of_both(const Simulation& both) {
  Simulation draft_alone = both;
  draft_alone.lookup = false;
  Simulation texts_alone = both;
  texts_alone.draft = false;
  const double best = std::min(simulate(draft_alone).time_us, simulate(texts_alone).time_us);
  return best / simulate(both).time_us;
}

}  // namespace

TEST_CASE("auto with a draft and texts: both bring more than the better one") {
  double sum = 0.0;
  int n = 0;
  Sweep sweep;
  for (const double alpha : {0.5, 0.7, 0.85}) {
    for (const double slope : {0.02, 0.1}) {
      // The dearest draft brings nothing alone; a slow-down of 2 is a shared core.
      for (const double draft_us : {500.0, 2'000.0, 9'000.0}) {
        for (const double slowdown : {1.05, 2.0}) {
          for (const double copy_rate : {0.0, 0.4, 0.8}) {
            if (sweep.skips()) continue;
            CAPTURE(alpha);
            CAPTURE(slope);
            CAPTURE(draft_us);
            CAPTURE(slowdown);
            CAPTURE(copy_rate);
            Simulation both = without_draft(copy_rate, slope, 1, 2000);
            both.draft = true;
            both.pair.alpha = alpha;
            both.machine.costs.target_slowdown = slowdown;
            both.machine.costs.draft_slowdown = slowdown;
            for (int i = 0; i < 32; ++i) {
              both.machine.costs.draft_us.push_back(draft_us * (1.0 + 0.05 * i));
            }
            const double gain = gain_of_both(both);
            // The draft alone loses as much with the dearest.
            CHECK(gain >= (draft_us > 5'000.0 ? 0.95 : 0.97));
            if (copy_rate == 0.0 || draft_us > 5'000.0 || slowdown > 1.5) continue;
            CHECK(gain >= 1.05);
            sum += gain;
            ++n;
          }
        }
      }
    }
  }
  if (sweep.is_whole()) CHECK(sum / n >= 1.3);
}

TEST_CASE("auto without a draft: without lookup it is plain decoding") {
  Simulation simulation = without_draft(0.8, 0.02, 1);
  simulation.lookup = false;
  const SimulationResult got = simulate(simulation);
  CHECK(got.counters.n_drafted == 0);
  CHECK(got.time_us == plain_us(simulation));
}

TEST_CASE("auto without a draft: costs that were measured wrongly are learned") {
  // Told that long verifications are free, while each token costs a whole step.
  Simulation simulation = without_draft(0.5, 1.0, 1);
  const double plain = plain_us(simulation);
  PairProfile profile;
  profile.costs.target_us.assign(18, 10'000.0);
  simulation.pair.text_begin = 3;
  const auto slow = make_synthetic_target(simulation.pair);
  VirtualOptions options;
  options.profile = &profile;
  options.target_us = [&](const Command& command) -> std::int64_t {
    const auto* verify = std::get_if<VerifyCommand>(&command.body);
    return verify == nullptr ? 0 : 10'000 * verify->n_tokens();
  };
  options.proposer = [&] {
    return text_proposer(simulation.request, texts_of(simulation.request), &profile);
  };
  const VirtualResult got = run_virtually(simulation.request, *slow, nullptr, options);
  CHECK(static_cast<double>(got.time_us) <= 1.04 * plain);
}

TEST_CASE("text gate: a text bears a small loss, a hundredth, and what it gained") {
  PairProfile profile = with_half_rows();
  const CostModel costs(&profile);
  LookupTable table;
  TextGate gate(costs, &table);
  CHECK(gate.longest(kDoubtful, 2, 64) == 2);
  CHECK(gate.longest(kDoubtful, 60, 64) == 2);  // a third token would make it twice a single one
  gate.on_step(step_of(2), 1500.0);
  gate.on_verification(1);
  CHECK(gate.longest(kDoubtful, 60, 64) == 1);
  for (int i = 0; i < 60; ++i) {
    gate.on_step(step_of(1), 1000.0);
    gate.on_verification(1);
  }
  CHECK(gate.longest(kDoubtful, 60, 64) == 2);
  for (int i = 0; i < 2; ++i) {
    gate.on_step(step_of(2), 1500.0);
    gate.on_verification(2);
  }
  CHECK(gate.longest(kDoubtful, 60, 64) == 4);
  // Gains do not pile up for ever, and the next text has none of them.
  for (int i = 0; i < 100; ++i) {
    gate.on_step(step_of(16), 8500.0);
    gate.on_verification(16);
  }
  CHECK(gate.longest(kDoubtful, 60, 64) == 33);
  const TextGate next(costs, &table);
  CHECK(next.longest(kDoubtful, 60, 64) == 2);
}

TEST_CASE("text gate: a probable run may be longer than the text can bear to lose") {
  PairProfile profile = with_half_rows();
  const CostModel costs(&profile);
  LookupTable table;
  TextGate gate(costs, &table);
  const int first = gate.longest(kSure, 60, 64);
  CHECK(first == 4);  // two and a half steps' time, of which one and a half may be lost
  std::vector<double> falling;
  for (int n = 1; n <= 64; ++n) falling.push_back(1.0 - 0.2 * std::min(n, 5));
  CHECK(gate.longest(falling, 60, 64) == 3);  // improbable tokens make the loss likely
  CHECK(gate.longest(kDoubtful, 60, 64) == 2);
  // One that loses takes its right from the text.
  gate.on_step(step_of(first), 2500.0);
  gate.on_verification(1);
  CHECK(gate.longest(kSure, 60, 64) == 1);
  // One that gains lets the next one be as long as any.
  TextGate lucky(costs, &table);
  lucky.on_step(step_of(first), 2500.0);
  lucky.on_verification(first);
  CHECK(lucky.longest(kSure, 60, 64) > 2 * first);
}

TEST_CASE("text gate: it closes after a few lost tokens, and opens again for another one") {
  PairProfile profile;
  profile.costs.target_us = {1000.0, 2000.0};
  const CostModel costs(&profile);
  LookupTable table;
  TextGate gate(costs, &table);
  REQUIRE(gate.open());
  int n_lost = 0;
  while (gate.open()) {
    gate.on_step(step_of(2), 2000.0);
    gate.on_verification(1);  // one token for two steps' time
    REQUIRE(++n_lost < 10);
  }
  CHECK(n_lost >= 3);
  int n_plain = 0;
  while (!gate.open()) {
    gate.on_step(step_of(1), 1000.0);
    gate.on_verification(1);
    REQUIRE(++n_plain < 1000);
  }
  CHECK(n_plain >= 100);
  // Another text goes on from there.
  TextGate next(costs, &table);
  CHECK(next.open());
  next.on_step(step_of(2), 2000.0);
  next.on_verification(1);
  next.on_step(step_of(2), 2000.0);
  next.on_verification(1);
  CHECK_FALSE(next.open());
}

TEST_CASE("text gate: gains may be lost again, but not all of them") {
  PairProfile profile;
  profile.costs.target_us = {1000.0, 1000.0};
  const CostModel costs(&profile);
  LookupTable table;
  TextGate gate(costs, &table);
  for (int i = 0; i < 50; ++i) {
    gate.on_step(step_of(2), 1000.0);
    gate.on_verification(2);
  }
  int n_lost = 0;
  while (gate.open() && n_lost < 100) {
    gate.on_step(step_of(2), 2000.0);
    gate.on_verification(1);
    ++n_lost;
  }
  CHECK(n_lost > 5);
  CHECK(n_lost < 30);
}

TEST_CASE("text gate: closed it tries again where much is to be gained, less and less often") {
  PairProfile profile;
  profile.costs.target_us = {1000.0, 1000.0, 1000.0, 1000.0};
  const CostModel costs(&profile);
  LookupTable table;
  table.alone.closed = true;
  table.alone.lost = 1000.0;
  TextGate gate(costs, &table);
  const auto wait = [&] {
    int n = 0;
    while (!gate.open(2.0)) {
      gate.on_step(step_of(1), 1000.0);
      gate.on_verification(1);
      REQUIRE(++n < 5000);
      CHECK_FALSE(gate.open(0.5));
    }
    return n;
  };
  const int first = wait();
  CHECK(first > 5);
  int before = first;
  for (int i = 0; i < 3; ++i) {
    gate.on_step(step_of(4), 2000.0);
    gate.on_verification(1);
    const int n = wait();
    CHECK(n == 2 * before);
    before = n;
  }
  // One that gains makes the next ones as frequent as at first.
  gate.on_step(step_of(4), 1000.0);
  gate.on_verification(4);
  CHECK(wait() == first);
  // So does a new text.
  gate.on_step(step_of(4), 2000.0);
  gate.on_verification(1);
  TextGate next(costs, &table);
  int n = 0;
  for (; !next.open(2.0); ++n) {
    next.on_step(step_of(1), 1000.0);
    next.on_verification(1);
  }
  CHECK(n == first);
  // Enough of them open it.
  table.alone.lost = 4.0;
  for (int i = 0; i < 3 && table.alone.closed; ++i) {
    gate.on_step(step_of(4), 1000.0);
    gate.on_verification(4);
    if (table.alone.closed) wait();
  }
  CHECK_FALSE(table.alone.closed);
}

TEST_CASE("text gate: a batch that is computed in many parts counts with the time of all parts") {
  PairProfile profile;
  profile.costs.target_us.assign(16, 1000.0);
  profile.others.n_running = 2;
  const CostModel costs(&profile);
  LookupTable table;
  TextGate gate(costs, &table);
  // Texts with 1, 2 and 4 rows: three parts, each of which takes as long as a plain batch.
  StepTime step = step_of(2);
  step.n_others = 5;
  step.n_texts = 3;
  step.n_parts = 3;
  for (int i = 0; i < 30 && !table.crowded.closed; ++i) {
    gate.on_step(step, 3000.0);
    gate.on_verification(2);
  }
  CHECK(table.crowded.closed);
  // What another program has done to a batch counts little, as before.
  LookupTable other;
  TextGate disturbed(costs, &other);
  step.n_parts = 1;
  for (int i = 0; i < 30; ++i) {
    disturbed.on_step(step, 30'000.0);
    disturbed.on_verification(2);
  }
  CHECK_FALSE(other.crowded.closed);
}

TEST_CASE("text gate: among many long verifications it asks for a single token") {
  PairProfile profile;
  profile.costs.target_us = {1000.0, 1000.0};
  const CostModel costs(&profile);
  LookupTable table;
  TextGate gate(costs, &table);
  int n = 0;
  while (gate.open()) {
    gate.on_step(step_of(2), 1000.0);
    gate.on_verification(2);
    REQUIRE(++n < 1000);
  }
  CHECK_FALSE(table.alone.closed);
  gate.on_step(step_of(1), 1000.0);
  CHECK(gate.open());
  CHECK(gate.rate() > 1.0 / 1000.0);
}
