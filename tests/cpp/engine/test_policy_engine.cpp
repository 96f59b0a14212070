// Policy requests on real threads: a waiting reader gets them, and nobody waits for an answer for
// ever.
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Steps that take long enough for a reader to be back before the next round.
Scenario asking_scenario(std::uint64_t seed, Mode mode = Mode::kSpecBranch) {
  Scenario scenario = make_scenario(seed);
  scenario.target.end_every = 0;
  scenario.target.n_ctx = scenario.draft.n_ctx = 128;
  scenario.target.max_batch = 64;
  scenario.target.n_vocab = scenario.draft.n_vocab = 8;
  scenario.target.step_us = 400;
  scenario.draft = scenario.target;
  scenario.draft.n_seq = 9;
  scenario.draft.alignment = 0.8;
  scenario.draft.step_us = 50;
  scenario.request.prompt = {1, 2, 3};
  scenario.request.stop.clear();
  scenario.request.sampling.logit_bias.clear();
  scenario.request.max_tokens = 40;
  scenario.request.max_draft = 4;
  scenario.request.policy = {};
  scenario.request.policy.kind = PolicyOptions::Kind::kHook;
  scenario.request.mode = mode;
  return scenario;
}

/// The next policy request; fails if the text ends before.
PolicyRequest next_policy_request(Generation& generation) {
  for (;;) {
    Output output = next(generation);
    if (auto* policy_request = std::get_if<PolicyRequest>(&output)) return *policy_request;
    REQUIRE(std::holds_alternative<Chunk>(output));
  }
}

/// A text that does not end before the test ends it, however late its reader comes. The models of
/// the scenario have room for it.
Request endless(Scenario& scenario) {
  constexpr int kMany = 100'000;
  scenario.target.n_ctx = scenario.draft.n_ctx = 2 * kMany;
  Request request = scenario.request;
  request.max_tokens = kMany;
  return request;
}

struct Answered {
  std::vector<Token> tokens;
  int n_plans = 0;
  GenerationEnd end;
};

/// Reads to the end in slices of `slice` and answers what it is asked.
Answered read_and_answer(Generation& generation, std::chrono::microseconds slice) {
  Answered all;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!generation.finished()) {
    REQUIRE(std::chrono::steady_clock::now() < give_up);
    std::optional<Output> output =
        generation.next_for(std::chrono::duration_cast<std::chrono::milliseconds>(slice));
    if (!output) continue;
    if (const auto* chunk = std::get_if<Chunk>(&*output)) {
      all.tokens.push_back(chunk->choice.token);
    } else if (const auto* policy_request = std::get_if<PolicyRequest>(&*output)) {
      ++all.n_plans;
      const PlanLimits& limits = policy_request->round->limits;
      generation.answer({Plan{limits.max_draft, -1, limits.max_branches, -1}, nullptr});
    } else {
      all.end = std::move(std::get<GenerationEnd>(*output));
    }
  }
  return all;
}

void check_usable(Engine& engine, const Scenario& scenario) {
  Request request = scenario.request;
  request.policy = {};
  const Collected all = collect(*engine.generate(request));
  CHECK(all.end.finish == Finish::kLength);
  CHECK(all.tokens == reference(scenario).tokens);
}

}  // namespace

TEST_CASE("policy: rounds while nobody reads are skipped and counted, and no request is left") {
  for (const Mode mode : kLockStepModes) {
    Scenario scenario = asking_scenario(1, mode);
    Engine engine(make_parts(scenario));
    const auto generation = engine.generate(scenario.request);
    // A later generation tells that the first one has ended unread.
    Request later = scenario.request;
    later.mode = Mode::kAutoregressive;
    static_cast<void>(collect(*engine.generate(later)));
    const Collected all = collect(*generation);  // takes no policy request
    CHECK(all.tokens == reference(scenario).tokens);
    CHECK(all.end.stats.counters.policy_skipped > 0);
    CHECK(all.end.stats.counters.policy_skipped == all.end.stats.counters.n_target_steps);
  }
}

TEST_CASE("policy: a reader in slices answers nearly every round, none gets lost") {
  for (const Mode mode : kLockStepModes) {
    for (const int slice_ms : {0, 1, 50}) {
      CAPTURE(slice_ms);
      Scenario scenario = asking_scenario(2, mode);
      Engine engine(make_parts(scenario));
      int n_plans = 0;
      do {
        const auto generation = engine.generate(scenario.request);
        const Answered all = read_and_answer(*generation, std::chrono::milliseconds(slice_ms));
        CHECK(all.end.finish == Finish::kLength);
        CHECK(all.tokens == reference(scenario).tokens);
        const Counters& counters = all.end.stats.counters;
        CHECK(all.n_plans + counters.policy_skipped == counters.n_target_steps);
        n_plans += all.n_plans;
        // On a busy machine a text may end before its reader has come.
      } while (slice_ms == 50 && n_plans == 0);
    }
  }
}

TEST_CASE("policy: a request comes before the chunks of the round before it") {
  Scenario scenario = asking_scenario(3);
  const Request request = endless(scenario);
  Engine engine(make_parts(scenario));
  const auto generation = engine.generate(request);
  PolicyRequest policy_request = next_policy_request(*generation);
  generation->answer({Plan{}, nullptr});
  policy_request = next_policy_request(*generation);
  // The tokens that the verification committed are told in the policy request; they come as chunks
  // after it.
  REQUIRE_FALSE(policy_request.round->outcomes.empty());
  const std::vector<Token> committed = policy_request.round->outcomes.back().committed;
  REQUIRE_FALSE(committed.empty());
  CHECK(committed.back() == policy_request.round->nodes[0].token);
  generation->answer({Plan{}, nullptr});
  for (const Token token : committed) {
    const Output output = next(*generation);
    REQUIRE(std::holds_alternative<Chunk>(output));
    CHECK(std::get<Chunk>(output).choice.token == token);
  }
}

TEST_CASE("policy: two readers share chunks and policy requests") {
  Scenario scenario = asking_scenario(4);
  Engine engine(make_parts(scenario));
  const auto generation = engine.generate(scenario.request);
  Answered mine;
  Answered other;
  std::thread reader([&] { other = read_and_answer(*generation, std::chrono::milliseconds(5)); });
  mine = read_and_answer(*generation, std::chrono::milliseconds(5));
  reader.join();
  CHECK(mine.tokens.size() + other.tokens.size() == reference(scenario).tokens.size());
}

TEST_CASE("policy: an open policy request hinders neither cancel, drop nor close") {
  Scenario scenario = asking_scenario(5);
  const Request request = endless(scenario);
  Engine engine(make_parts(scenario));
  {
    const auto generation = engine.generate(request);
    static_cast<void>(next_policy_request(*generation));
    generation->cancel();
    const Collected rest = collect(*generation);
    CHECK(rest.end.finish == Finish::kCancelled);
    generation->answer({Plan{}, nullptr});  // too late: nobody minds
  }
  check_usable(engine, scenario);
  {
    const auto generation = engine.generate(request);
    static_cast<void>(next_policy_request(*generation));
  }
  check_usable(engine, scenario);
  const auto generation = engine.generate(request);
  static_cast<void>(next_policy_request(*generation));
  engine.close();
  CHECK(collect(*generation).end.finish == Finish::kCancelled);
}

TEST_CASE("policy: no round begins while a request is open") {
  Scenario scenario = asking_scenario(6);
  const Request request = endless(scenario);
  std::atomic<int> n_steps{0};
  const auto count = [&](int, const std::function<bool()>&) { ++n_steps; };
  Engine engine(make_parts(scenario, count, count));
  const auto generation = engine.generate(request);
  static_cast<void>(next_policy_request(*generation));
  const int before = n_steps.load();
  // What the round before committed can be read; then there is nothing until the answer.
  while (generation->next_for(std::chrono::milliseconds(20))) {
  }
  CHECK(n_steps.load() == before);
  generation->answer({Plan{}, nullptr});
  static_cast<void>(next_policy_request(*generation));
  CHECK(n_steps.load() > before);
  generation->cancel();
  CHECK(collect(*generation).end.finish == Finish::kCancelled);
}

TEST_CASE("policy: an error or a bad plan ends the generation with it, not the engine") {
  Scenario scenario = asking_scenario(7);
  const Request request = endless(scenario);
  Engine engine(make_parts(scenario));
  {
    const auto generation = engine.generate(request);
    static_cast<void>(next_policy_request(*generation));
    generation->answer({std::nullopt, std::make_exception_ptr(Error("no idea"))});
    const Collected all = collect(*generation);
    CHECK(all.end.finish == Finish::kFailed);
    CHECK(message_of(all.end.error) == "no idea");
  }
  check_usable(engine, scenario);
  {
    const auto generation = engine.generate(request);
    static_cast<void>(next_policy_request(*generation));
    generation->answer({Plan{99, -1, 1, -1}, nullptr});
    const Collected all = collect(*generation);
    CHECK(all.end.finish == Finish::kFailed);
    CHECK(holds<InvalidArgument>(all.end.error));
  }
  check_usable(engine, scenario);
}
