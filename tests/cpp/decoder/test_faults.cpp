// Cancel, abort and failure at every moment of a generation, under the virtual clock.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/engine/worker.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Long enough to be interesting, everything else as drawn.
Scenario make_busy_scenario(std::uint64_t seed) {
  Scenario scenario = make_scenario(seed);
  scenario.request.max_tokens = 14;
  scenario.target.n_ctx = 64;
  scenario.target.end_every = 0;
  scenario.draft.n_vocab = scenario.target.n_vocab;
  scenario.draft.n_ctx = 64;
  return scenario;
}

struct DraftFailures {
  int n_in_text = 0;    ///< the draft failed before the end of the text was found.
  int n_after_end = 0;  ///< the draft failed while the engine only waited for it.
};

/// Runs a scenario whose draft fails, and then once more with the same models. False: the draft
/// never came to the step at which it fails.
bool check_failing_draft(const Scenario& scenario, const Expected& expected,
                         const VirtualOptions& options, DraftFailures& found) {
  const Mode mode = scenario.request.mode;
  const auto target = make_fake_target(scenario.target);
  const auto draft = make_fake_draft(scenario.draft);
  const VirtualResult got = run_virtually(scenario.request, *target, draft.get(), options);
  CHECK(message_of(got.error) == "");
  CHECK(got.tokens == expected.tokens);
  CHECK(got.finish == expected.finish);
  check_result(got, mode);
  if (!got.draft_error) return false;
  CHECK(holds<FatalError>(got.draft_error) == scenario.draft.fail_fatally);
  const std::string message = message_of(got.draft_error);
  CHECK(message.find("as asked") != std::string::npos);
  // The auto planner always gives a reason of its own.
  const bool told = got.mode_reason == "the draft failed: " + message;
  (told ? found.n_in_text : found.n_after_end) += 1;
  if (!told && mode != Mode::kAuto) CHECK(got.mode_reason.empty());
  // The fake fails once only, and keeps its sequences as they were.
  const VirtualResult next = run_virtually(scenario.request, *target, draft.get(), options);
  CHECK(next.tokens == expected.tokens);
  CHECK_FALSE(next.draft_error);
  if (mode != Mode::kAuto) CHECK(next.mode_reason.empty());
  return true;
}

}  // namespace

TEST_CASE("a cancel at every event ends the generation with what is committed") {
  const int n = scaled(40);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_busy_scenario(static_cast<std::uint64_t>(i));
    const Expected expected = reference(scenario);
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      VirtualOptions options = shuffled(static_cast<std::uint64_t>(i));
      const std::int64_t n_events = run(scenario, mode, options).n_events;
      for (std::int64_t at = 1; at <= n_events; ++at) {
        INFO(describe(scenario));
        CAPTURE(at);
        options.cancel_after_events = at;
        const VirtualResult got = run(scenario, mode, options);
        CHECK(message_of(got.error) == "");
        CHECK(is_prefix(got.tokens, expected.tokens));
        // Without rounds the draft may still be at work when the text is whole.
        if (at < n_events && mode != Mode::kAuto) CHECK(got.finish == Finish::kCancelled);
        if (got.finish != Finish::kCancelled) CHECK(got.tokens == expected.tokens);
        // At most what was under way when the cancel came is still waited for.
        CHECK(got.n_events <= at + 2);
        check_result(got, mode);
      }
    }
  }
}

TEST_CASE("a cancel commits nothing afterwards") {
  const int n = scaled(60);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_busy_scenario(static_cast<std::uint64_t>(i) + 300);
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      // Without aborts in time the running commands complete; their verifications must be ignored.
      VirtualOptions options = shuffled(static_cast<std::uint64_t>(i));
      std::size_t n_before = 0;
      std::int64_t n_seen = 0;
      options.cancel_after_events = 6;
      options.tamper_event = [&](Event&) { ++n_seen; };
      const VirtualResult cut = run(scenario, mode, options);
      n_before = cut.tokens.size();
      // The same run, stopped by looking instead of cancelling: what was committed by event 6.
      VirtualOptions watch = shuffled(static_cast<std::uint64_t>(i));
      const VirtualResult whole = run(scenario, mode, watch);
      CHECK(n_before <= whole.tokens.size());
      CHECK(n_seen == cut.n_events);
    }
  }
}

TEST_CASE("a failure of the target ends the generation and leaves the models usable") {
  const int n = scaled(25);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_busy_scenario(static_cast<std::uint64_t>(i) + 600);
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      for (std::int64_t step = 0; step < 12; ++step) {
        scenario.request.mode = mode;
        INFO(describe(scenario));
        CAPTURE(step);
        Scenario failing = scenario;
        failing.target.fail_at_step = step;
        const auto target = make_fake_target(failing.target);
        const auto draft = make_fake_draft(failing.draft);
        const VirtualOptions options = shuffled(static_cast<std::uint64_t>(step));
        const VirtualResult got = run_virtually(failing.request, *target, draft.get(), options);
        if (got.finish != Finish::kFailed) {
          CHECK(got.tokens == expected.tokens);  // it ended before that step
          continue;
        }
        CHECK(holds<DecodeError>(got.error));
        CHECK_FALSE(holds<FatalError>(got.error));
        CHECK(message_of(got.error).find("fails as asked") != std::string::npos);
        CHECK(is_prefix(got.tokens, expected.tokens));
        check_result(got, mode);
        // The fake fails once only: the same models now answer as if nothing had happened.
        const VirtualResult next = run_virtually(failing.request, *target, draft.get(), options);
        CHECK(message_of(next.error) == "");
        CHECK(next.tokens == expected.tokens);
      }
    }
  }
}

TEST_CASE("a draft that fails at any step changes neither the text nor its end") {
  const int n = std::max(15, scaled(25));  // fewer need not have a failure after the end
  DraftFailures found;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_busy_scenario(static_cast<std::uint64_t>(i) + 1200);
    if (i % 3 == 0) scenario.target.end_every = 8;
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      for (const bool fatally : {false, true}) {
        // Up to the first step that this draft does not come to.
        for (std::int64_t step = 0;; ++step) {
          INFO(describe(scenario));
          CAPTURE(step);
          CAPTURE(fatally);
          scenario.draft.fail_at_step = step;
          scenario.draft.fail_fatally = fatally;
          if (!check_failing_draft(scenario, expected, shuffled(scenario.seed), found)) break;
        }
      }
    }
  }
  // The scenarios reach what they are for.
  CHECK(found.n_in_text > n);
  CHECK(found.n_after_end > 0);
}

TEST_CASE("a planner that never backs off goes on without a draft that fails") {
  const int n = scaled(25);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_busy_scenario(static_cast<std::uint64_t>(i) + 1300);
    const Expected expected = reference(scenario);
    for (std::int64_t step = 0; step < 20; ++step) {
      INFO(describe(scenario));
      CAPTURE(step);
      scenario.draft.fail_at_step = step;
      PairProfile profile = flat_profile();
      VirtualOptions options = shuffled(scenario.seed);
      const VirtualResult got =
          run(scenario, Mode::kAuto, options, make_eager_auto(scenario.request, &profile));
      CHECK(message_of(got.error) == "");
      CHECK(got.tokens == expected.tokens);
      CHECK(got.finish == expected.finish);
    }
  }
}

TEST_CASE("a draft that stops without being asked to changes neither the text nor its end") {
  const int n = scaled(100);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_busy_scenario(static_cast<std::uint64_t>(i) + 1400);
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      VirtualOptions options = shuffled(scenario.seed);
      int n_events = 0;
      bool stopped = false;
      options.tamper_event = [&](Event& event) {
        if (event.role != ModelRole::kDraft || ++n_events != 1 + i % 5) return;
        stopped = !std::holds_alternative<AbortDone>(event.body);
        event.body = AbortDone{};
      };
      const VirtualResult got = run(scenario, mode, options);
      CHECK(message_of(got.error) == "");
      CHECK(got.tokens == expected.tokens);
      CHECK(got.finish == expected.finish);
      // In time for an abort, or after the end, it is what was asked for.
      if (stopped && mode == Mode::kSpeculative && got.draft_error) {
        CHECK(got.mode_reason.find("the draft failed: it stopped") == 0);
      }
    }
  }
}

TEST_CASE("an exception that escapes from the target is fatal and says whose it is") {
  for (const Mode mode : kDraftingModes) {
    for (std::int64_t step = 0; step < 4; ++step) {
      Scenario scenario = make_busy_scenario(7);
      scenario.request.mode = mode;
      scenario.target.fail_at_step = step;
      scenario.target.fail_fatally = true;
      INFO(describe(scenario));
      CAPTURE(step);
      const VirtualResult got = run(scenario, mode);
      REQUIRE(got.finish == Finish::kFailed);
      CHECK(holds<FatalError>(got.error));
      CHECK(message_of(got.error).find("target") != std::string::npos);
      CHECK(message_of(got.error).find("escaped as asked") != std::string::npos);
      check_result(got, mode);
    }
  }
}

TEST_CASE("when both models fail, each failure is told as its own") {
  int n_both = 0;
  for (const ModelRole fatal : {ModelRole::kTarget, ModelRole::kDraft}) {
    for (std::uint64_t shuffle = 0; shuffle < 20; ++shuffle) {
      Scenario scenario = make_busy_scenario(8);
      scenario.target.fail_at_step = 0;
      scenario.draft.fail_at_step = 0;
      (fatal == ModelRole::kTarget ? scenario.target : scenario.draft).fail_fatally = true;
      CAPTURE(shuffle);
      CAPTURE(fatal == ModelRole::kTarget);
      const VirtualResult got = run(scenario, Mode::kSpecBranch, shuffled(shuffle));
      CHECK(got.finish == Finish::kFailed);
      CHECK(holds<FatalError>(got.error) == (fatal == ModelRole::kTarget));
      if (!got.draft_error) continue;  // an abort came in time
      ++n_both;
      CHECK(holds<FatalError>(got.draft_error) == (fatal == ModelRole::kDraft));
    }
  }
  CHECK(n_both > 0);
}

TEST_CASE("after the end was found, a failure of the target is reported, one of the draft is not") {
  // The text is complete, but the target's state is not known to be good.
  for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
    const int n = scaled(100);
    int n_reached = 0;
    for (int i = 0; i < n; ++i) {
      Scenario scenario = make_busy_scenario(static_cast<std::uint64_t>(i) + 900);
      INFO(describe(scenario));
      VirtualOptions options = shuffled(static_cast<std::uint64_t>(i));
      options.cancel_after_events = 5;
      int n_events = 0;
      bool failed = false;
      options.tamper_event = [&](Event& event) {
        if (++n_events <= 5 || event.role != role) return;
        failed = true;
        event.body = FailDone{std::make_exception_ptr(DecodeError("late"))};
      };
      const VirtualResult got = run(scenario, Mode::kSpecBranch, options);
      if (!failed) continue;
      ++n_reached;
      const bool of_target = role == ModelRole::kTarget;
      CHECK(got.finish == (of_target ? Finish::kFailed : Finish::kCancelled));
      CHECK(message_of(got.error) == (of_target ? "late" : ""));
      CHECK(message_of(got.draft_error) == (of_target ? "" : "late"));
      CHECK(got.mode_reason.empty());
    }
    CHECK(n_reached > 0);
  }
}

TEST_CASE("an engine that lost its draft decodes alone in every mode and says why") {
  Scenario scenario = make_busy_scenario(12);
  const Expected expected = reference(scenario);
  for (const Mode mode : kAllModes) {
    auto request = std::make_shared<Request>(scenario.request);
    request->mode = mode;
    const auto target = make_fake_target(scenario.target);
    ModelLimits limits;
    limits.target = target->capabilities();
    limits.why_no_draft = "lost";
    std::vector<Token> tokens;
    Decoder decoder(request, limits, 1, make_planner(*request), [&](const Committed& committed) {
      tokens.push_back(committed.choice.token);
      return false;
    });
    Commands commands = decoder.start();
    while (!decoder.idle()) {
      REQUIRE(commands.target);
      CHECK_FALSE(commands.draft);
      commands = decoder.on(execute(*target, *commands.target));
    }
    CHECK(tokens == expected.tokens);
    // What never needs a draft does not miss it.
    CHECK(decoder.mode_reason() == (mode == Mode::kAutoregressive ? "" : "lost"));
    CHECK(decoder.counters().n_target_steps == decoder.counters().n_generated);
  }
}

TEST_CASE("events of another generation are ignored") {
  Scenario scenario = make_busy_scenario(11);
  const Expected expected = reference(scenario);
  for (const Mode mode : kDraftingModes) {
    auto request = std::make_shared<Request>(scenario.request);
    request->mode = mode;
    const auto target = make_fake_target(scenario.target);
    const auto draft = make_fake_draft(scenario.draft);
    ModelLimits limits;
    limits.target = target->capabilities();
    limits.draft = draft->capabilities();
    Decoder decoder(request, limits, 5, make_planner(*request), {});
    Commands commands = decoder.start();
    REQUIRE(commands.target);
    CHECK(commands.target->generation_id == 5);
    Event stale;
    stale.generation_id = 4;
    stale.body = VerifyDone{};
    const Commands nothing = decoder.on(stale);
    CHECK_FALSE(nothing.target);
    CHECK_FALSE(nothing.draft);
    CHECK(decoder.finish() == Finish::kNone);
    stale.body = FailDone{std::make_exception_ptr(DecodeError("of another generation"))};
    static_cast<void>(decoder.on(stale));
    CHECK(decoder.finish() == Finish::kNone);
  }
}
