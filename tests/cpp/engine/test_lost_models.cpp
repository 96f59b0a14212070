// A model in an unknown state gets no more passes, whatever the other model does at that time.
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "specbranch/base/errors.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;
using namespace std::chrono_literals;

namespace {

/// Counts the passes of a model, from the one on that loses its state.
class Loss {
 public:
  /// `step`: of the pass that fails.
  explicit Loss(int step) : step_(step) {}

  void pass(int step) {
    if (lost_) ++n_after_;
    if (step != step_) return;
    lost_ = true;
    throw FatalError("the state is lost");
  }

  bool lost() const { return lost_; }
  int n_after() const { return n_after_; }

 private:
  int step_;
  std::atomic<bool> lost_ = false;
  std::atomic<int> n_after_ = 0;
};

void wait_until(const std::function<bool()>& condition) {
  for (int i = 0; i < 20'000 && !condition(); ++i) std::this_thread::sleep_for(1ms);
  REQUIRE(condition());
}

Scenario branching_scenario() {
  Scenario scenario = make_long_scenario(3);
  scenario.request.mode = Mode::kSpecBranch;
  return scenario;
}

}  // namespace

TEST_CASE("a lost target gets no other text while the draft still works") {
  const Scenario scenario = branching_scenario();
  Request plain = scenario.request;
  plain.mode = Mode::kAutoregressive;
  std::atomic<int> n_beside = 0;
  for (int step = 3; step < 10; ++step) {
    CAPTURE(step);
    Loss loss(step);
    std::atomic<bool> released = false;
    std::atomic<bool> drafts = false;
    const auto of_target = [&](int n, const std::function<bool()>&) {
      std::this_thread::sleep_for(1ms);
      if (n == step && drafts) ++n_beside;
      loss.pass(n);
    };
    // As on a GPU, a pass cannot be aborted.
    const auto of_draft = [&](int, const std::function<bool()>&) {
      drafts = true;
      for (int i = 0; i < 20 && !loss.lost(); ++i) std::this_thread::sleep_for(1ms);
      while (loss.lost() && !released) std::this_thread::sleep_for(1ms);
      drafts = false;
    };
    Engine engine(make_parallel_parts(scenario, 2, of_target, of_draft));
    const auto failing = engine.generate(scenario.request);
    wait_until([&] { return loss.lost(); });
    // The end comes at once, although the draft has not answered.
    const Collected got = collect(*failing);
    CHECK(got.end.finish == Finish::kFailed);
    CHECK(is_fatal(got.end.error));
    CHECK_THROWS_AS(engine.generate(plain), FatalError);
    released = true;
    engine.close();
    CHECK(loss.n_after() == 0);
  }
  CHECK(n_beside > 0);
}

TEST_CASE("a lost draft gets neither the text that began with it nor a new one") {
  const Scenario scenario = branching_scenario();
  const Expected expected = reference(scenario);
  for (int step = 2; step < 9; ++step) {
    CAPTURE(step);
    Loss loss(step);
    const auto of_target = [](int, const std::function<bool()>&) {
      std::this_thread::sleep_for(1ms);
    };
    const auto of_draft = [&](int n, const std::function<bool()>&) { loss.pass(n); };
    Engine engine(make_parallel_parts(scenario, 3, of_target, of_draft));
    const auto first = engine.generate(scenario.request);
    const auto second = engine.generate(scenario.request);
    wait_until([&] { return loss.lost(); });
    wait_until([&] { return !engine.limits().draft; });  // not only when a text has ended
    const auto third = engine.generate(scenario.request);
    for (Generation* one : {first.get(), second.get(), third.get()}) {
      const Collected got = collect(*one);
      CHECK(message_of(got.end.error) == "");
      CHECK(got.end.finish == expected.finish);
      CHECK(got.tokens == expected.tokens);
    }
    engine.close();
    CHECK(loss.n_after() == 0);
  }
}
