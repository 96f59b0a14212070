// Who controls a generation: cancel, drop, slow and interleaved readers, many callers.
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "specbranch/base/errors.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;
using namespace std::chrono_literals;

TEST_CASE("callers from eight threads queue and get the texts of one after another") {
  const Scenario scenario = make_long_scenario(1);
  Engine engine(make_parts(scenario));
  constexpr int kThreads = 8;
  const int n_calls = scaled(25);
  std::vector<std::vector<std::vector<Token>>> got(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        Request request = scenario.request;
        request.sampling.temperature = 1.0F;
        for (int call = 0; call < n_calls; ++call) {
          request.sampling.seed = static_cast<std::uint64_t>(thread * 1000 + call);
          request.mode = kAllModes[(thread + call) % 4];
          got[static_cast<std::size_t>(thread)].push_back(
              collect(*engine.generate(request)).tokens);
        }
      });
    }
  }
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int call = 0; call < n_calls; ++call) {
      Scenario same = scenario;
      same.request.sampling.temperature = 1.0F;
      same.request.sampling.seed = static_cast<std::uint64_t>(thread * 1000 + call);
      CAPTURE(thread);
      CAPTURE(call);
      CHECK(got[static_cast<std::size_t>(thread)][static_cast<std::size_t>(call)] ==
            reference(same).tokens);
    }
  }
  CHECK(engine.stats().n_generations == kThreads * n_calls);
}

TEST_CASE("a cancel after each chunk gives a partial text") {
  const Scenario scenario = make_long_scenario(2);
  const Expected whole = reference(scenario);
  for (const Mode mode : kAllModes) {
    // The first text is held behind its first tokens, so the cancel comes before its end.
    Barrier barrier(2);
    Engine engine(make_parts(scenario, barrier.hook()));
    int n_partial = 0;
    for (std::size_t n_read = 0; n_read <= whole.tokens.size(); ++n_read) {
      CAPTURE(n_read);
      Request request = scenario.request;
      request.mode = mode;
      const auto generation = engine.generate(request);
      if (n_read == 0) barrier.wait_until_reached();
      std::vector<Token> tokens;
      for (std::size_t i = 0; i < n_read; ++i) {
        tokens.push_back(std::get<Chunk>(next(*generation)).choice.token);
      }
      generation->cancel();
      generation->cancel();
      const Collected rest = collect(*generation);
      tokens.insert(tokens.end(), rest.tokens.begin(), rest.tokens.end());
      CHECK(is_prefix(tokens, whole.tokens));
      // It may have come to its end before the cancel arrived.
      if (tokens == whole.tokens) continue;
      n_partial += tokens.empty() ? 0 : 1;
      CHECK(rest.end.finish == Finish::kCancelled);
      CHECK_FALSE(rest.end.error);
      CHECK(rest.end.stats.counters.n_generated == static_cast<std::int64_t>(tokens.size()));
      check_counters(rest.end.stats.counters, mode, Finish::kCancelled);
      check_times(rest.end.stats);
    }
    CHECK(n_partial > 0);
  }
}

TEST_CASE("a cancel cuts a running step of either model short") {
  for (const Mode mode : kDraftingModes) {
    for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
      // It may stop to draft at any time.
      if (mode == Mode::kAuto && role == ModelRole::kDraft) continue;
      // Step 0 is the prefill.
      for (int step = 0; step < 6; ++step) {
        CAPTURE(step);
        CAPTURE(role == ModelRole::kTarget);
        Scenario scenario = make_long_scenario(3);
        scenario.request.mode = mode;
        Barrier barrier(step);
        const Hook hook = barrier.hook();
        Engine engine(role == ModelRole::kTarget ? make_parts(scenario, hook)
                                                 : make_parts(scenario, {}, hook));
        const auto generation = engine.generate(scenario.request);
        barrier.wait_until_reached();
        generation->cancel();
        const Collected got = collect(*generation);  // would never end without the abort
        CHECK(barrier.aborted());
        CHECK(got.end.finish == Finish::kCancelled);
        CHECK(is_prefix(got.tokens, reference(scenario).tokens));
        // The abort does not outlive the generation it was meant for.
        const Collected next_one = collect(*engine.generate(scenario.request));
        CHECK(next_one.tokens == reference(scenario).tokens);
        CHECK(message_of(next_one.end.draft_error) == "");
      }
    }
  }
}

TEST_CASE("a queued generation can be cancelled while another one runs") {
  const Scenario scenario = make_long_scenario(4);
  Barrier barrier(3);
  Engine engine(make_parts(scenario, barrier.hook()));
  const auto running = engine.generate(scenario.request);
  barrier.wait_until_reached();
  const auto first = engine.generate(scenario.request);
  const auto second = engine.generate(scenario.request);
  first->cancel();
  const Collected cancelled = collect(*first);  // the running one is still held
  CHECK(cancelled.end.finish == Finish::kCancelled);
  CHECK(cancelled.tokens.empty());
  CHECK(cancelled.end.stats.n_prompt == static_cast<std::int64_t>(scenario.request.prompt.size()));
  CHECK(engine.stats().n_generations == 1);
  CHECK(engine.stats().n_generated == 0);
  barrier.release();
  CHECK(collect(*running).tokens == reference(scenario).tokens);
  CHECK(collect(*second).tokens == reference(scenario).tokens);
}

TEST_CASE("dropping a running generation stops its work") {
  const Scenario scenario = make_long_scenario(5);
  Barrier barrier(4);
  Engine engine(make_parts(scenario, barrier.hook()));
  auto generation = engine.generate(scenario.request);
  barrier.wait_until_reached();
  generation.reset();
  // Never released: only the abort lets the next one begin.
  CHECK(collect(*engine.generate(scenario.request)).tokens == reference(scenario).tokens);
  CHECK(barrier.aborted());
}

TEST_CASE("dropping a queued generation removes it") {
  const Scenario scenario = make_long_scenario(6);
  Barrier barrier(2);
  Engine engine(make_parts(scenario, barrier.hook()));
  const auto running = engine.generate(scenario.request);
  barrier.wait_until_reached();
  for (int i = 0; i < 10; ++i) static_cast<void>(engine.generate(scenario.request));
  const auto last = engine.generate(scenario.request);
  barrier.release();
  CHECK(collect(*last).tokens == reference(scenario).tokens);
  const Collected first = collect(*running);
  // Those that never began have ended, too.
  const EngineStats totals = engine.stats();
  CHECK(totals.n_generations == 12);
  CHECK(totals.n_generated == 2 * first.end.stats.counters.n_generated);
}

TEST_CASE("a generation that nobody reads runs to its end and keeps its text") {
  const Scenario scenario = make_long_scenario(7);
  Engine engine(make_parts(scenario));
  const auto unread = engine.generate(scenario.request);
  const auto after = engine.generate(scenario.request);
  CHECK(collect(*after).tokens == reference(scenario).tokens);
  CHECK_FALSE(unread->finished());
  CHECK(collect(*unread).tokens == reference(scenario).tokens);
  CHECK(unread->finished());
}

TEST_CASE("two generations read in turns do not block each other") {
  const Scenario scenario = make_long_scenario(8);
  const Expected expected = reference(scenario);
  Engine engine(make_parts(scenario));
  const auto a = engine.generate(scenario.request);
  const auto b = engine.generate(scenario.request);
  // The later one first, so that the reader waits for what has not begun.
  for (const Token token : expected.tokens) {
    CHECK(std::get<Chunk>(next(*b)).choice.token == token);
    CHECK(std::get<Chunk>(next(*a)).choice.token == token);
  }
  CHECK(std::get<GenerationEnd>(next(*b)).finish == Finish::kLength);
  CHECK(std::get<GenerationEnd>(next(*a)).finish == Finish::kLength);
}

TEST_CASE("a reader that gives up loses nothing") {
  const Scenario scenario = make_long_scenario(9);
  Barrier barrier(1);
  Engine engine(make_parts(scenario, barrier.hook()));
  const auto generation = engine.generate(scenario.request);
  barrier.wait_until_reached();
  CHECK_FALSE(generation->next_for(0ms));
  CHECK_FALSE(generation->next_for(1ms));
  CHECK_FALSE(generation->finished());
  barrier.release();
  CHECK(collect(*generation).tokens == reference(scenario).tokens);
  CHECK(generation->finished());
  CHECK_FALSE(generation->next_for(1h));  // nothing comes any more: no wait
  generation->cancel();
  CHECK(generation->finished());
}

TEST_CASE("two readers share the chunks between them") {
  const Scenario scenario = make_long_scenario(10);
  const Expected expected = reference(scenario);
  Engine engine(make_parts(scenario));
  for (int round = 0; round < scaled(20); ++round) {
    const auto generation = engine.generate(scenario.request);
    std::vector<Token> read[2];
    {
      std::vector<std::jthread> readers;
      for (auto& tokens : read) {
        readers.emplace_back([&] {
          while (!generation->finished()) {
            const std::optional<Output> output = generation->next_for(1ms);
            if (!output) continue;
            if (const auto* chunk = std::get_if<Chunk>(&*output)) {
              tokens.push_back(chunk->choice.token);
            }
          }
        });
      }
    }
    std::vector<Token> all = read[0];
    all.insert(all.end(), read[1].begin(), read[1].end());
    std::vector<Token> sorted = expected.tokens;
    std::ranges::sort(all);
    std::ranges::sort(sorted);
    CHECK(all == sorted);
  }
}

TEST_CASE("a long queue of generations that end at once needs no deep stack") {
  Scenario scenario = make_long_scenario(11);
  Barrier barrier(1);
  Engine engine(make_parts(scenario, barrier.hook()));
  const auto running = engine.generate(scenario.request);
  barrier.wait_until_reached();
  Request empty = scenario.request;
  empty.max_tokens = 0;
  std::vector<std::unique_ptr<Generation>> queued;
  for (int i = 0; i < 20'000; ++i) queued.push_back(engine.generate(empty));
  barrier.release();
  const Collected last = collect(*queued.back());
  CHECK(last.end.finish == Finish::kLength);
  CHECK(last.tokens.empty());
  CHECK(collect(*running).tokens == reference(scenario).tokens);
}
