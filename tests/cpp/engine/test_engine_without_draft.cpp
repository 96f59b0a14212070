// An engine without a draft model: the text itself drafts, or nothing does.
#include <string>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/engine/lookup_store.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

using Tokens = std::vector<Token>;

EngineParts without_draft(const Scenario& scenario, Hook hook = {}) {
  EngineParts parts = make_parts(scenario, std::move(hook));
  parts.draft = nullptr;
  return parts;
}

Collected generate(Engine& engine, Scenario scenario, Mode mode) {
  scenario.request.mode = mode;
  return collect(*engine.generate(scenario.request));
}

/// A prompt whose end has occurred before, so that the text proposes tokens at once.
Scenario repeating_scenario(std::uint64_t seed) {
  Scenario scenario = make_long_scenario(seed);
  scenario.target.n_vocab = scenario.draft.n_vocab = 12;
  scenario.request.prompt = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2};
  scenario.request.max_tokens = 30;
  return scenario;
}

}  // namespace

TEST_CASE("without a draft: the modes that need none give the text, the others are refused") {
  for (const bool lookup : {true, false}) {
    CAPTURE(lookup);
    const Scenario scenario = make_long_scenario(5);
    EngineParts parts = without_draft(scenario);
    parts.lookup = lookup;
    Engine engine(std::move(parts));
    CHECK_FALSE(engine.limits().draft);
    const Tokens expected = reference(scenario).tokens;
    for (const Mode mode : kAllModes) {
      CAPTURE(std::string(to_string(mode)));
      const bool possible = mode == Mode::kAutoregressive || mode == Mode::kAuto ||
                            (mode == Mode::kSpeculative && lookup);
      if (!possible) {
        CHECK_THROWS_WITH_AS(static_cast<void>(generate(engine, scenario, mode)),
                             ("mode '" + std::string(to_string(mode)) +
                              "' needs a draft model; this engine was made without one")
                                 .c_str(),
                             InvalidArgument);
        continue;
      }
      const Collected got = generate(engine, scenario, mode);
      CHECK(got.tokens == expected);
      check_counters(got.end.stats.counters, mode, got.end.finish);
      check_times(got.end.stats);
      CHECK(got.end.stats.counters.n_draft_steps == 0);
    }
  }
}

TEST_CASE("without a draft: every text is that of plain decoding, turn after turn") {
  std::int64_t n_accepted = 0;
  for (int i = 0; i < scaled(60); ++i) {
    Random random(static_cast<std::uint64_t>(i));
    Scenario scenario = make_valid_scenario(random.next());
    CAPTURE(i);
    EngineParts parts = without_draft(scenario);
    parts.profile = flat_profile();
    if (random.chance(0.5)) parts.corpus = {scenario.request.prompt, {}, {1, 0, 1, 0, 1}};
    parts.lookup_answers = random.chance(0.5);
    Engine engine(std::move(parts));
    for (int turn = 0; turn < 4; ++turn) {
      const Expected expected = reference(scenario);
      if (random.chance(0.3)) scenario.request.prediction = expected.tokens;
      const Mode mode = random.pick({Mode::kAuto, Mode::kSpeculative, Mode::kAutoregressive});
      const Collected got = generate(engine, scenario, mode);
      CHECK(got.tokens == expected.tokens);
      CHECK(got.end.finish == expected.finish);
      check_counters(got.end.stats.counters, mode, got.end.finish);
      n_accepted += got.end.stats.counters.n_lookup_accepted;
      // The text goes on, or another one begins.
      Tokens& prompt = scenario.request.prompt;
      if (random.chance(0.7)) prompt.insert(prompt.end(), got.tokens.begin(), got.tokens.end());
      prompt.push_back(0);
      const auto longest = static_cast<std::size_t>(scenario.target.n_ctx - 1);
      if (prompt.size() > longest) prompt.resize(1 + random.next() % longest);
    }
  }
  CHECK(n_accepted > 0);
}

TEST_CASE("without a draft: the text drafts, unless that is switched off") {
  for (const bool lookup : {true, false}) {
    CAPTURE(lookup);
    Scenario scenario = repeating_scenario(3);
    scenario.target.step_us = 500;  // `auto` looks at the clock
    EngineParts parts = without_draft(scenario);
    parts.profile = flat_profile();
    parts.lookup = lookup;
    parts.corpus = {reference(scenario).tokens};
    Engine engine(std::move(parts));
    const Stats stats = generate(engine, scenario, Mode::kAuto).end.stats;
    CHECK((stats.counters.n_lookup_drafted > 0) == lookup);
    CHECK(stats.mode_reason.find("there is no draft model") != std::string::npos);
  }
}

TEST_CASE("without a draft: earlier answers propose tokens, unless that is switched off") {
  // Where it is switched off: nowhere, in the engine, or in the first or the second request.
  for (const int off : {0, 1, 2, 3}) {
    CAPTURE(off);
    Scenario scenario = make_long_scenario(4);
    EngineParts parts = without_draft(scenario);
    parts.profile = flat_profile();
    parts.lookup_answers = off != 1;
    Engine engine(std::move(parts));
    scenario.request.lookup_answers = off != 2;
    const Collected first = generate(engine, scenario, Mode::kAutoregressive);
    scenario.request.lookup_answers = off != 3;
    // `auto` would also look at the clock, which is not virtual here.
    const Collected again = generate(engine, scenario, Mode::kSpeculative);
    CHECK(again.tokens == first.tokens);
    const auto& c = again.end.stats.counters;
    CHECK((c.n_target_steps < c.n_generated / 2) == (off == 0));
  }
}

TEST_CASE("without a draft: a request may refuse drafts from texts") {
  Scenario scenario = repeating_scenario(3);
  scenario.target.step_us = 500;  // `auto` looks at the clock: a long path must be worth it
  EngineParts parts = without_draft(scenario);
  parts.profile = flat_profile();
  Engine engine(std::move(parts));
  scenario.request.prediction = reference(scenario).tokens;
  for (const Mode mode : {Mode::kAuto, Mode::kSpeculative}) {
    scenario.request.lookup = false;
    const Collected got = generate(engine, scenario, mode);
    CHECK(got.tokens == reference(scenario).tokens);
    CHECK(got.end.stats.counters.n_drafted == 0);
    scenario.request.lookup = true;
    CHECK(generate(engine, scenario, mode).end.stats.counters.n_lookup_accepted > 0);
  }
}

TEST_CASE("without a draft: a corpus must be of the vocabulary") {
  const Scenario scenario = make_long_scenario(4);
  for (const Token token : {-1, scenario.target.n_vocab}) {
    EngineParts parts = without_draft(scenario);
    parts.corpus = {{0, 1}, {0, token}};
    const std::string message = "corpus text 1 token 1 is " + std::to_string(token) +
                                "; it must be in 0 .. " +
                                std::to_string(scenario.target.n_vocab - 1);
    CHECK_THROWS_WITH_AS(Engine(std::move(parts)), message.c_str(), InvalidArgument);
  }
}

TEST_CASE("without a draft: a target that takes nothing back decodes token by token") {
  Scenario scenario = repeating_scenario(3);
  scenario.target.max_rollback = 0;
  EngineParts parts = without_draft(scenario);
  parts.profile = flat_profile();
  Engine engine(std::move(parts));
  const Collected got = generate(engine, scenario, Mode::kAuto);
  CHECK(got.tokens == reference(scenario).tokens);
  CHECK(got.end.stats.counters.n_drafted == 0);
  CHECK_THROWS_AS(static_cast<void>(generate(engine, scenario, Mode::kSpeculative)),
                  InvalidArgument);
}

TEST_CASE("without a draft: a target whose state is copied decodes accepted tokens again") {
  for (std::uint64_t seed = 1; seed < 6; ++seed) {
    CAPTURE(seed);
    Scenario scenario = repeating_scenario(seed);
    scenario.target.whole_states = true;
    EngineParts parts = without_draft(scenario);
    parts.profile = flat_profile();
    Engine engine(std::move(parts));
    scenario.request.prediction = reference(scenario).tokens;
    scenario.request.prediction[10] = 0;
    const Collected got = generate(engine, scenario, Mode::kAuto);
    CHECK(got.tokens == reference(scenario).tokens);
    CHECK(got.end.stats.counters.n_lookup_accepted > 0);
  }
}

TEST_CASE("without a draft: the target's steps are measured while loading") {
  for (const bool lookup : {true, false}) {
    const Scenario scenario = make_long_scenario(2);
    EngineParts parts = without_draft(scenario);
    parts.measure_costs_us = kMeasureCostsUs;
    parts.lookup = lookup;
    const Engine engine(std::move(parts));
    CHECK(engine.profile().costs.target_known() == lookup);
    CHECK(engine.profile().costs.draft_us.empty());
    CHECK((engine.stats().measure_costs_ms > 0) == lookup);
    EngineParts known = without_draft(scenario);
    known.measure_costs_us = kMeasureCostsUs;
    known.profile.costs.target_us = {1000.0, 1100.0};
    CHECK(Engine(std::move(known)).stats().measure_costs_ms == 0);
  }
}

TEST_CASE("lookup store: the next turn goes on with the automaton of the last one") {
  LookupStore store({}, false);
  Request request;
  request.prompt = {1, 2, 3};
  const LookupTexts first = store.texts_of(request);
  const SuffixAutomaton* const kept = first.own.get();
  first.own->append(4);
  // While a generation has it, another one makes its own.
  CHECK(store.texts_of(request).own.get() != kept);
  store.keep(first.own, {});
  request.prompt = {1, 2, 3, 4, 5};
  const LookupTexts second = store.texts_of(request);
  CHECK(second.own.get() == kept);
  CHECK(second.own->text().size() == 5);
  CHECK(second.pools.empty());
  store.keep(second.own, {});
  for (const Tokens& other : {Tokens{1, 2, 3, 4}, Tokens{1, 2, 9, 4, 5, 6}}) {
    request.prompt = other;
    const LookupTexts texts = store.texts_of(request);
    CHECK(texts.own.get() != kept);
    CHECK(Tokens(texts.own->text().begin(), texts.own->text().end()) == other);
    store.keep(second.own, {});
  }
}
