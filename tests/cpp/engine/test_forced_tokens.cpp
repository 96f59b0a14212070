// Forced tokens through the whole engine: with real threads, in every mode, several texts at once.
#include <string>
#include <vector>

#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Mostly one token is allowed. The fakes do not read the grammar: it only says that there is one.
Scenario forced_scenario(std::uint64_t seed) {
  Scenario scenario = make_long_scenario(seed);
  scenario.target.forced_every = 10;
  scenario.target.forced_length = 8;
  scenario.request.sampling.grammar = "a rule";
  return scenario;
}

EngineParts parts_of(const Scenario& scenario, bool with_draft) {
  EngineParts parts = make_parts(scenario);
  if (!with_draft) parts.draft = nullptr;
  parts.profile = flat_profile();
  return parts;
}

}  // namespace

TEST_CASE("forced tokens: no mode changes a token, and `speculative` takes few steps") {
  for (const bool with_draft : {true, false}) {
    for (const bool lookup : {true, false}) {
      CAPTURE(with_draft);
      CAPTURE(lookup);
      Scenario scenario = forced_scenario(3);
      const Expected expected = reference(scenario);
      EngineParts parts = parts_of(scenario, with_draft);
      parts.lookup = lookup;
      Engine engine(std::move(parts));
      for (const Mode mode : kAllModes) {
        const bool possible = with_draft || mode == Mode::kAutoregressive || mode == Mode::kAuto ||
                              (mode == Mode::kSpeculative && lookup);
        if (!possible) continue;
        CAPTURE(std::string(to_string(mode)));
        scenario.request.mode = mode;
        const Collected got = collect(*engine.generate(scenario.request));
        const Counters& c = got.end.stats.counters;
        CHECK(got.tokens == expected.tokens);
        CHECK(got.end.finish == expected.finish);
        check_counters(c, mode, got.end.finish);
        if (!takes_proposals(mode, with_draft)) {
          CHECK(c.n_forced_drafted == 0);
        } else if (mode != Mode::kAuto) {  // which goes by the clock, and gains under a virtual one
          CHECK(c.n_forced_accepted > 0);
          CHECK(2 * c.n_target_steps < c.n_generated);
        }
      }
    }
  }
}

TEST_CASE("forced tokens: without a grammar nobody proposes them") {
  Scenario scenario = forced_scenario(3);
  scenario.request.sampling.grammar.clear();
  scenario.request.mode = Mode::kAuto;
  Engine engine(parts_of(scenario, /*with_draft=*/true));
  CHECK(collect(*engine.generate(scenario.request)).end.stats.counters.n_forced_drafted == 0);
}

TEST_CASE("forced tokens: several texts at once, and one that is cancelled") {
  Scenario scenario = forced_scenario(5);
  scenario.request.mode = Mode::kAuto;
  scenario.target.n_target_seq = 3;
  const Expected expected = reference(scenario);
  EngineParts parts = parts_of(scenario, /*with_draft=*/true);
  parts.n_parallel = 3;
  Engine engine(std::move(parts));
  auto first = engine.generate(scenario.request);
  auto cancelled = engine.generate(scenario.request);
  auto last = engine.generate(scenario.request);
  static_cast<void>(next(*cancelled));
  cancelled->cancel();
  CHECK(collect(*first).tokens == expected.tokens);
  CHECK(collect(*last).tokens == expected.tokens);
  const Collected rest = collect(*cancelled);
  CHECK(rest.tokens.size() < expected.tokens.size());
}
