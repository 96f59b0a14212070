// A model fails at every operation, in every way: the documented outcome, and nothing else.
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "specbranch/base/errors.h"
#include "support/engine_support.h"
#include "support/faulty_models.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr int kTexts = 3;

struct Setting {
  Mode mode;
  int n_parallel;
  bool of_target;
  FaultPlan plan;
};

/// Only steps may fail without harm to the model: they leave every sequence as it was. The other
/// operations either succeed or lose the state.
bool is_possible(const FaultPlan& plan, bool of_target) {
  const bool is_step = plan.operation == Operation::kPrefill || plan.operation == Operation::kStep;
  switch (plan.fault) {
    case Fault::kDecode:
      return is_step && !plan.afterwards;
    case Fault::kSegment:
      return of_target && plan.operation == Operation::kStep && !plan.afterwards;
    default:
      return true;
  }
}

bool is_fatal(Fault fault) { return fault != Fault::kDecode && fault != Fault::kSegment; }

bool refuses(Engine& engine, const Scenario& scenario) {
  try {
    collect(*engine.generate(scenario.request));
    return false;
  } catch (const FatalError&) {
    return true;
  }
}

EngineParts make_faulty_parts(const Scenario& scenario, const Setting& setting) {
  EngineParts parts = make_parts(scenario);
  FakeOptions target = scenario.target;
  FakeOptions draft = scenario.draft;
  target.n_target_seq = setting.n_parallel;
  draft.n_seq *= setting.n_parallel;
  parts.target = [=, plan = setting.plan]() -> std::unique_ptr<TargetModel> {
    auto model = make_fake_target(target);
    if (!setting.of_target) return model;
    return std::make_unique<FaultyTarget>(std::move(model), plan);
  };
  parts.draft = [=, plan = setting.plan]() -> std::unique_ptr<DraftModel> {
    auto model = make_fake_draft(draft);
    if (setting.of_target) return model;
    return std::make_unique<FaultyDraft>(std::move(model), plan);
  };
  parts.n_parallel = setting.n_parallel;
  return parts;
}

/// A session is closed after its text has ended, so the engine learns later that this failed.
void check_after_close(Engine& engine, const Scenario& scenario, const Setting& setting) {
  const Expected expected = reference(scenario);
  for (int i = 0; i < 3; ++i) {
    try {
      const Collected later = collect(*engine.generate(scenario.request));
      if (later.end.finish == Finish::kFailed) {
        CHECK(specbranch::is_fatal(later.end.error));
        CHECK(setting.of_target);
      } else {
        CHECK(later.tokens == expected.tokens);
      }
    } catch (const FatalError&) {
      CHECK(setting.of_target);
    }
  }
  if (*setting.plan.n_failed == 0) return;
  // The last text that ended well was begun after the failure, or before the engine knew of it.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto in_time = [&] { return std::chrono::steady_clock::now() < give_up; };
  if (setting.of_target) {
    while (!refuses(engine, scenario) && in_time()) std::this_thread::yield();
    CHECK(refuses(engine, scenario));
  } else {
    while (engine.limits().draft && in_time()) std::this_thread::yield();
    CHECK_FALSE(engine.limits().draft);
  }
}

/// Runs texts on an engine that fails once. Returns whether it came to that.
bool check_outcome(const Scenario& scenario, const Setting& setting) {
  const Expected expected = reference(scenario);
  Engine engine(make_faulty_parts(scenario, setting));
  std::vector<std::unique_ptr<Generation>> running;
  bool refused = false;
  for (int i = 0; i < kTexts; ++i) {
    try {
      running.push_back(engine.generate(scenario.request));
    } catch (const FatalError&) {
      refused = true;  // it failed in the text before
    }
  }
  const int n_failed = count_failed(running, expected);
  const bool in_close = setting.plan.operation == Operation::kClose;
  const bool failed = *setting.plan.n_failed > 0;
  const bool fatal = failed && is_fatal(setting.plan.fault);
  if (!setting.of_target || (!failed && !in_close)) {
    CHECK(n_failed == 0);
    CHECK_FALSE(refused);
  }
  if (setting.of_target && !fatal) {
    CHECK(n_failed <= 1);
    CHECK_FALSE(refused);
  }
  if (setting.of_target && fatal && !in_close) {
    CHECK_THROWS_AS(static_cast<void>(engine.generate(scenario.request)), FatalError);
  } else if (!in_close) {
    const Collected later = collect(*engine.generate(scenario.request));
    if (failed || *setting.plan.n_failed == 0) {  // otherwise it fails now
      CHECK(message_of(later.end.error).empty());
      CHECK(later.tokens == expected.tokens);
      CHECK(engine.limits().draft.has_value() == !fatal);
    }
  } else {
    check_after_close(engine, scenario, setting);
  }
  engine.close();
  CHECK_THROWS_AS(static_cast<void>(engine.generate(scenario.request)), EngineClosed);
  return failed;
}

}  // namespace

TEST_CASE("a model that fails at any operation in any way gives the documented outcome") {
  Scenario scenario = make_long_scenario(1);
  scenario.target.prefill_chunk = 2;  // so that prompts have several chunks
  scenario.draft.prefill_chunk = 2;
  int n_failed = 0;
  Sweep sweep;
  for (const bool of_target : {true, false}) {
    for (const Operation operation : kAllOperations) {
      for (const Fault fault : kAllFaults) {
        int n_of_kind = 0;
        bool possible = false;
        for (const Mode mode : kAllModes) {
          for (const int n_parallel : {1, kTexts}) {
            for (const int number : {0, 2, 7}) {
              for (const bool afterwards : {false, true}) {
                const Setting setting{
                    mode, n_parallel, of_target, {operation, fault, number, afterwards}};
                if (!is_possible(setting.plan, of_target)) continue;
                possible = true;
                if (sweep.skips()) continue;
                CAPTURE(static_cast<int>(operation));
                CAPTURE(static_cast<int>(fault));
                CAPTURE(std::string(to_string(mode)));
                CAPTURE(n_parallel);
                CAPTURE(number);
                CAPTURE(afterwards);
                CAPTURE(of_target);
                scenario.request.mode = mode;
                n_of_kind += check_outcome(scenario, setting) ? 1 : 0;
              }
            }
          }
        }
        n_failed += n_of_kind;
        // A kind of fault that never came would have been tested in vain.
        CAPTURE(static_cast<int>(operation));
        CAPTURE(static_cast<int>(fault));
        CAPTURE(of_target);
        if (sweep.is_whole() && possible && !(of_target && operation == Operation::kFork)) {
          CHECK(n_of_kind > 0);
        }
      }
    }
  }
  CHECK(n_failed > scaled(800));
}
