// What goes wrong: bad requests, models that cannot be made, steps that fail, closing, forking.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>

#include "specbranch/base/errors.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;
using namespace std::chrono_literals;

namespace {

/// Runs `child` in a fork of this process; true if it returned true and ended by itself.
template <class Child>
bool holds_in_fork(Child child) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(60);  // hanging is a failure, too
    bool good = false;
    try {
      good = child();
    } catch (...) {
      good = false;
    }
    _exit(good ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

template <class Call>
bool throws_closed(Call call) {
  try {
    call();
  } catch (const EngineClosed&) {
    return true;
  }
  return false;
}

}  // namespace

TEST_CASE("a failing step of the target ends its generation; the engine stays usable") {
  for (int step = 0; step < 8; ++step) {
    CAPTURE(step);
    const Scenario scenario = make_long_scenario(1);
    Engine engine(make_parts(scenario, [step](int n, const std::function<bool()>&) {
      if (n == step) throw DecodeError("no room for this batch");
    }));
    const auto failing = engine.generate(scenario.request);
    const auto queued = engine.generate(scenario.request);
    const Collected got = collect(*failing);
    CHECK(got.end.finish == Finish::kFailed);
    CHECK(holds<DecodeError>(got.end.error));
    CHECK_FALSE(is_fatal(got.end.error));
    CHECK(message_of(got.end.error) == "no room for this batch");
    CHECK(is_prefix(got.tokens, reference(scenario).tokens));
    CHECK(collect(*queued).tokens == reference(scenario).tokens);
    CHECK(collect(*engine.generate(scenario.request)).tokens == reference(scenario).tokens);
  }
}

/// The target has no scores from token `n` of the text on. Every mode gives `whole` up to there, or
/// up to a stop string before it.
void check_without_scores(Scenario scenario, std::size_t n, const std::vector<Token>& whole) {
  std::vector<Token> before(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
  for (const bool stops : {false, true}) {
    if (stops) {
      if (n < 2 || std::ranges::count(before, before[n - 2]) > 1) continue;
      const auto pieces = make_pieces(scenario.target.n_vocab);
      scenario.request.stop = {pieces[static_cast<std::size_t>(before[n - 2])]};
      scenario.target.nan_from = -1;
      before = run_engine(scenario, Mode::kAutoregressive).tokens;
    }
    scenario.target.nan_from = static_cast<Pos>(scenario.request.prompt.size() + n);
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      CAPTURE(n);
      CAPTURE(stops);
      Engine engine(make_parts(scenario));
      const Collected got = collect(*engine.generate(scenario.request));
      CHECK(got.tokens == before);
      CHECK(got.end.finish == (stops ? Finish::kStop : Finish::kFailed));
      CHECK(holds<DecodeError>(got.end.error) == !stops);
      CHECK_FALSE(is_fatal(got.end.error));
      // The target is as it was.
      Request shorter = scenario.request;
      shorter.max_tokens = static_cast<int>(before.size());
      if (!before.empty() && !stops) CHECK(collect(*engine.generate(shorter)).tokens == before);
    }
  }
}

TEST_CASE("scores that are no numbers end a text at their position in every mode") {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    Scenario scenario = make_long_scenario(seed + 40);
    scenario.request.stop.clear();
    scenario.request.stop_tokens.clear();
    scenario.request.min_tokens = 0;
    scenario.target.n_vocab = scenario.draft.n_vocab = 12;
    scenario.target.max_batch = scenario.draft.max_batch = 64;
    scenario.draft.alignment = 1.0;  // verifications reach far
    scenario.target.whole_states = seed % 3 == 1;
    if (seed % 3 == 2) scenario.target.max_rollback = 8;
    const std::vector<Token> whole = run_engine(scenario, Mode::kAutoregressive).tokens;
    REQUIRE(whole.size() == 30);
    for (std::size_t n = 0; n < 16; ++n) check_without_scores(scenario, n, whole);
  }
}

TEST_CASE("what escapes from the target poisons the engine: every later call raises that error") {
  for (int step = 0; step < 6; ++step) {
    CAPTURE(step);
    const Scenario scenario = make_long_scenario(2);
    Barrier barrier(step);
    Engine engine(make_parts(
        scenario, [step, held = barrier.hook()](int n, const std::function<bool()>& aborted) {
          held(n, aborted);
          if (n == step) throw std::logic_error("lost");
        }));
    const auto failing = engine.generate(scenario.request);
    barrier.wait_until_reached();
    const auto queued = engine.generate(scenario.request);
    barrier.release();
    const Collected got = collect(*failing);
    CHECK(got.end.finish == Finish::kFailed);
    CHECK(is_fatal(got.end.error));
    const std::string message = message_of(got.end.error);
    CHECK(message.find("lost") != std::string::npos);
    const Collected after = collect(*queued);
    CHECK(after.end.finish == Finish::kFailed);
    CHECK(message_of(after.end.error) == message);
    for (int i = 0; i < 2; ++i) {
      CHECK_THROWS_WITH_AS(static_cast<void>(engine.generate(scenario.request)), message.c_str(),
                           FatalError);
    }
    CHECK(engine.stats().n_generations == 2);  // the failed one and the one that never began
    engine.close();
    CHECK_THROWS_AS(static_cast<void>(engine.generate(scenario.request)), EngineClosed);
  }
}

TEST_CASE("an exception that is not a std::exception poisons, too") {
  const Scenario scenario = make_long_scenario(2);
  Engine engine(make_parts(scenario, [](int n, const std::function<bool()>&) {
    if (n == 2) throw 42;  // NOLINT
  }));
  const Collected got = collect(*engine.generate(scenario.request));
  CHECK(is_fatal(got.end.error));
  CHECK_THROWS_AS(static_cast<void>(engine.generate(scenario.request)), FatalError);
}

TEST_CASE("a model that cannot be made: the constructor throws what its factory threw") {
  const Scenario scenario = make_long_scenario(3);
  for (int failing = 1; failing <= 3; ++failing) {
    CAPTURE(failing);
    EngineParts parts = make_parts(scenario);
    if ((failing & 1) != 0) {
      parts.target = []() -> std::unique_ptr<TargetModel> { throw ModelLoadError("no such file"); };
    }
    if ((failing & 2) != 0) {
      parts.draft = []() -> std::unique_ptr<DraftModel> { throw ModelLoadError("no such file"); };
    }
    CHECK_THROWS_WITH_AS(Engine(std::move(parts)), "no such file", ModelLoadError);
  }
}

TEST_CASE("a factory's unexpected exception becomes an error that says whose") {
  EngineParts parts = make_parts(make_long_scenario(3));
  parts.draft = []() -> std::unique_ptr<DraftModel> { throw std::out_of_range("oops"); };
  try {
    Engine engine(std::move(parts));
    FAIL("made");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("draft") != std::string::npos);
    CHECK(std::string(error.what()).find("oops") != std::string::npos);
  }
}

TEST_CASE("a factory that gives no model is an error, not a crash") {
  EngineParts parts = make_parts(make_long_scenario(3));
  parts.target = [] { return std::unique_ptr<TargetModel>(); };
  CHECK_THROWS_AS(Engine(std::move(parts)), Error);
}

TEST_CASE("bad requests are refused at once and harm nothing") {
  const Scenario scenario = make_long_scenario(4);
  Engine engine(make_parts(scenario));
  Request request = scenario.request;
  request.prompt.assign(64, 0);
  CHECK_THROWS_AS(static_cast<void>(engine.generate(request)), ContextOverflow);
  request.prompt.assign(63, 0);
  CHECK(collect(*engine.generate(request)).tokens.size() == 1);
  request.prompt.clear();
  CHECK_THROWS_AS(static_cast<void>(engine.generate(request)), InvalidArgument);
  request.prompt = {scenario.target.n_vocab};
  CHECK_THROWS_AS(static_cast<void>(engine.generate(request)), InvalidArgument);
  request = scenario.request;
  request.sampling.temperature = -1.0F;
  CHECK_THROWS_AS(static_cast<void>(engine.generate(request)), InvalidArgument);
  CHECK(collect(*engine.generate(scenario.request)).tokens == reference(scenario).tokens);
}

TEST_CASE("models that cannot speculate say why") {
  Scenario scenario = make_long_scenario(5);
  EngineParts parts = make_parts(scenario);
  parts.why_no_speculation = "the target cannot be rolled back";
  Engine engine(std::move(parts));
  CHECK_THROWS_WITH_AS(static_cast<void>(engine.generate(scenario.request)),
                       "the target cannot be rolled back", InvalidArgument);
  scenario.request.mode = Mode::kAutoregressive;
  CHECK(collect(*engine.generate(scenario.request)).tokens == reference(scenario).tokens);
}

TEST_CASE("closing is final and may be repeated, by anyone") {
  const Scenario scenario = make_long_scenario(6);
  Engine engine(make_parts(scenario));
  CHECK_FALSE(engine.closed());
  static_cast<void>(collect(*engine.generate(scenario.request)));
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { engine.close(); });
  }
  engine.close();
  CHECK(engine.closed());
  CHECK_THROWS_AS(static_cast<void>(engine.generate(scenario.request)), EngineClosed);
  CHECK(engine.stats().n_generations == 1);
}

TEST_CASE("closing from another thread ends what runs and what is queued") {
  for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
    for (int step = 0; step < 5; ++step) {
      CAPTURE(step);
      const Scenario scenario = make_long_scenario(7);
      Barrier barrier(step);
      const Hook hook = barrier.hook();
      Engine engine(role == ModelRole::kTarget ? make_parts(scenario, hook)
                                               : make_parts(scenario, {}, hook));
      const auto running = engine.generate(scenario.request);
      barrier.wait_until_reached();
      const auto queued = engine.generate(scenario.request);
      std::jthread closer([&] { engine.close(); });
      const Collected got = collect(*running);
      CHECK(got.end.finish == Finish::kCancelled);
      CHECK(is_prefix(got.tokens, reference(scenario).tokens));
      CHECK(collect(*queued).end.finish == Finish::kCancelled);
      closer.join();
      CHECK(engine.stats().n_generations == 2);
      CHECK(barrier.aborted());
      CHECK_THROWS_AS(static_cast<void>(engine.generate(scenario.request)), EngineClosed);
    }
  }
}

TEST_CASE("callers that race with a close get a text, a cancelled end, or EngineClosed") {
  const Scenario scenario = make_long_scenario(8);
  const Expected expected = reference(scenario);
  const int n = scaled(40);
  for (int round = 0; round < n; ++round) {
    Engine engine(make_parts(scenario));
    std::atomic<int> n_bad{0};
    std::binary_semaphore begun{0};
    {
      std::vector<std::jthread> callers;
      for (int i = 0; i < 4; ++i) {
        callers.emplace_back([&, i] {
          try {
            for (int call = 0;; ++call) {
              const auto generation = engine.generate(scenario.request);
              if (i == 0 && call == round % 3) begun.release();
              const Collected got = collect(*generation);
              const bool whole = got.tokens == expected.tokens;
              const bool cut =
                  got.end.finish == Finish::kCancelled && is_prefix(got.tokens, expected.tokens);
              if (!whole && !cut) ++n_bad;
            }
          } catch (const EngineClosed&) {
            return;
          }
        });
      }
      begun.acquire();
      engine.close();
    }
    CHECK(n_bad.load() == 0);
  }
}

TEST_CASE("a generation outlives its engine") {
  const Scenario scenario = make_long_scenario(9);
  std::unique_ptr<Generation> done;
  std::unique_ptr<Generation> running;
  Barrier barrier(12);
  {
    Engine engine(make_parts(scenario, barrier.hook()));
    done = engine.generate(scenario.request);
    running = engine.generate(scenario.request);
    barrier.wait_until_reached();
  }
  running->cancel();
  static_cast<void>(collect(*running));
  static_cast<void>(collect(*done));
  CHECK(running->finished());
}

TEST_CASE("in a forked child everything says closed and nothing hangs") {
  const Scenario scenario = make_long_scenario(10);
  Barrier barrier(2);
  std::unique_ptr<Engine> engine;
  SUBCASE("while idle") {
    engine = std::make_unique<Engine>(make_parts(scenario));
    CHECK(holds_in_fork([&] {
      const bool closed = engine->closed() && throws_closed([&] {
                            static_cast<void>(engine->generate(scenario.request));
                          });
      engine->close();
      engine.reset();
      return closed;
    }));
  }
  SUBCASE("with a live generation") {
    engine = std::make_unique<Engine>(make_parts(scenario, barrier.hook()));
    auto generation = engine->generate(scenario.request);
    barrier.wait_until_reached();
    CHECK(holds_in_fork([&] {
      const bool closed = throws_closed([&] { static_cast<void>(generation->next_for(1h)); });
      generation->cancel();
      generation.reset();
      engine.reset();
      return closed;
    }));
    barrier.release();
    CHECK(collect(*generation).tokens == reference(scenario).tokens);
  }
  // The parent never notices.
  CHECK(collect(*engine->generate(scenario.request)).tokens == reference(scenario).tokens);
}
