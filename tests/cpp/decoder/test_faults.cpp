// Cancel, abort and failure at every moment of a generation, under the virtual clock.
#include <stdexcept>
#include <string>

#include "specbranch/base/errors.h"
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

TEST_CASE("a recoverable failure at every step ends the generation and leaves the models usable") {
  const int n = scaled(25);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_busy_scenario(static_cast<std::uint64_t>(i) + 600);
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
        for (std::int64_t step = 0; step < 12; ++step) {
          scenario.request.mode = mode;
          INFO(describe(scenario));
          CAPTURE(step);
          Scenario failing = scenario;
          (role == ModelRole::kTarget ? failing.target : failing.draft).fail_at_step = step;
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
}

TEST_CASE("an escaped exception is fatal and says which model failed") {
  for (const Mode mode : kDraftingModes) {
    for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
      for (std::int64_t step = 0; step < 4; ++step) {
        Scenario scenario = make_busy_scenario(7);
        scenario.request.mode = mode;
        FakeOptions& failing = role == ModelRole::kTarget ? scenario.target : scenario.draft;
        failing.fail_at_step = step;
        failing.fail_fatally = true;
        INFO(describe(scenario));
        CAPTURE(step);
        const VirtualResult got = run(scenario, mode);
        REQUIRE(got.finish == Finish::kFailed);
        CHECK(holds<FatalError>(got.error));
        const std::string name = role == ModelRole::kTarget ? "target" : "draft";
        CHECK(message_of(got.error).find(name) != std::string::npos);
        CHECK(message_of(got.error).find("escaped as asked") != std::string::npos);
        check_result(got, mode);
      }
    }
  }
}

TEST_CASE("when both models fail, a fatal failure is never hidden by a recoverable one") {
  // The model that failed fatally is in an unknown state, whichever failure arrived first.
  for (const ModelRole fatal : {ModelRole::kTarget, ModelRole::kDraft}) {
    for (std::uint64_t shuffle = 0; shuffle < 20; ++shuffle) {
      Scenario scenario = make_busy_scenario(8);
      scenario.target.fail_at_step = 0;
      scenario.draft.fail_at_step = 0;
      (fatal == ModelRole::kTarget ? scenario.target : scenario.draft).fail_fatally = true;
      CAPTURE(shuffle);
      CAPTURE(fatal == ModelRole::kTarget);
      int n_failures = 0;
      VirtualOptions options = shuffled(shuffle);
      options.tamper_event = [&](Event& event) {
        if (std::holds_alternative<FailDone>(event.body)) ++n_failures;
      };
      const VirtualResult got = run(scenario, Mode::kSpecBranch, options);
      CHECK(got.finish == Finish::kFailed);
      // Unless an abort came in time for the second.
      if (n_failures == 2) CHECK(holds<FatalError>(got.error));
    }
  }
}

TEST_CASE("a failure after the end was found is reported") {
  // The text is complete, but a model's state is not known to be good.
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
      if (++n_events <= 5 || failed) return;
      failed = true;
      event.body = FailDone{std::make_exception_ptr(DecodeError("late"))};
    };
    const VirtualResult got = run(scenario, Mode::kSpecBranch, options);
    if (!failed) continue;
    ++n_reached;
    CHECK(got.finish == Finish::kFailed);
    CHECK(message_of(got.error) == "late");
  }
  CHECK(n_reached > 0);
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
