// A draft that fails, with real threads: no text is harmed, and a lost draft is never used again.
#include <functional>
#include <stdexcept>
#include <string>

#include "specbranch/base/errors.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// An engine whose draft fails once, at its forward pass number `step`, with what `fail` throws.
template <class Fail>
EngineParts failing_at(const Scenario& scenario, int step, Fail fail) {
  return make_parts(scenario, {}, [step, fail](int n, const std::function<bool()>&) {
    if (n == step) fail();
  });
}

bool begins_with(const std::string& text, const std::string& begin) {
  return text.compare(0, begin.size(), begin) == 0;
}

}  // namespace

TEST_CASE("a draft that fails harms neither its generation nor those after it") {
  for (const Mode mode : kDraftingModes) {
    for (int step = 0; step < 10; ++step) {
      CAPTURE(std::string(to_string(mode)));
      CAPTURE(step);
      Scenario scenario = make_long_scenario(1);
      scenario.request.mode = mode;
      const Expected expected = reference(scenario);
      Engine engine(failing_at(scenario, step, [] { throw DecodeError("no room in the cache"); }));
      const auto failing = engine.generate(scenario.request);
      const auto queued = engine.generate(scenario.request);
      const Collected got = collect(*failing);
      CHECK(message_of(got.end.error) == "");
      CHECK(got.end.finish == expected.finish);
      CHECK(got.tokens == expected.tokens);
      check_counters(got.end.stats.counters, mode, got.end.finish);
      check_times(got.end.stats);
      if (message_of(got.end.draft_error) == "no room in the cache" && mode != Mode::kAuto) {
        const std::string& reason = got.end.stats.mode_reason;
        // Empty: the text had ended before.
        CHECK((reason.empty() || reason == "the draft failed: no room in the cache"));
      }
      // The failure was recoverable: the next generation drafts again.
      CHECK(engine.limits().draft);
      const Collected next = collect(*queued);
      CHECK(next.tokens == expected.tokens);
      CHECK(collect(*engine.generate(scenario.request)).tokens == expected.tokens);
      if (mode != Mode::kAuto) CHECK(next.end.stats.counters.n_draft_steps > 0);
    }
  }
}

TEST_CASE("what escapes from the draft costs the engine its draft, and no text") {
  for (const Mode mode : kDraftingModes) {
    for (int step = 0; step < 6; ++step) {
      CAPTURE(std::string(to_string(mode)));
      CAPTURE(step);
      Scenario scenario = make_long_scenario(2);
      scenario.request.mode = mode;
      const Expected expected = reference(scenario);
      Engine engine(failing_at(scenario, step, [] { throw std::logic_error("device lost"); }));
      CHECK(engine.limits().draft);
      const auto failing = engine.generate(scenario.request);
      const auto queued = engine.generate(scenario.request);
      const Collected got = collect(*failing);
      CHECK(message_of(got.end.error) == "");
      CHECK(got.end.finish == expected.finish);
      CHECK(got.tokens == expected.tokens);
      if (!got.end.draft_error) continue;  // `auto` may not come to that step
      CHECK(is_fatal(got.end.draft_error));
      CHECK_FALSE(engine.limits().draft);
      const auto later = engine.generate(scenario.request);
      for (Generation* after : {queued.get(), later.get()}) {
        const Collected alone = collect(*after);
        CHECK(message_of(alone.end.error) == "");
        CHECK(alone.tokens == expected.tokens);
        CHECK(alone.end.stats.counters.n_draft_steps == 0);
        CHECK(alone.end.stats.draft_busy_ms == 0.0);
        const std::string& reason = alone.end.stats.mode_reason;
        CHECK(begins_with(reason, "the draft failed in an earlier generation: "));
        CHECK(reason.find("device lost") != std::string::npos);
        check_times(alone.end.stats);
      }
      Request plain = scenario.request;
      plain.mode = Mode::kAutoregressive;
      CHECK(collect(*engine.generate(plain)).end.stats.mode_reason.empty());
      engine.close();
    }
  }
}

TEST_CASE("an exception of the draft that is not a std::exception costs no text, too") {
  const Scenario scenario = make_long_scenario(2);
  Engine engine(failing_at(scenario, 2, [] { throw 42; }));  // NOLINT
  const Collected got = collect(*engine.generate(scenario.request));
  CHECK(got.tokens == reference(scenario).tokens);
  CHECK(is_fatal(got.end.draft_error));
  CHECK(begins_with(got.end.stats.mode_reason, "the draft failed: "));
  CHECK(collect(*engine.generate(scenario.request)).tokens == reference(scenario).tokens);
}

TEST_CASE("a caller's policy is not asked any more when the draft has failed") {
  Scenario scenario = make_long_scenario(3);
  scenario.request.policy.kind = PolicyOptions::Kind::kHook;
  for (const Mode mode : {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch}) {
    scenario.request.mode = mode;
    CAPTURE(std::string(to_string(mode)));
    Engine engine(failing_at(scenario, 0, [] { throw DecodeError("no room in the cache"); }));
    const auto generation = engine.generate(scenario.request);
    const Collected got = collect(*generation);  // fails the test if a policy request comes
    CHECK(got.tokens == reference(scenario).tokens);
    CHECK(got.end.stats.counters.policy_skipped == 0);
    CHECK(got.end.stats.mode_reason == "the draft failed: no room in the cache");
  }
}
