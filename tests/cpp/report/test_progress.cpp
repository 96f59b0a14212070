#include "specbranch/report/progress.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <variant>
#include <vector>

#include "specbranch/base/clock.h"
#include "specbranch/engine/engine.h"
#include "support/engine_support.h"

namespace specbranch::test {
namespace {

constexpr Mode kDrafting[] = {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch, Mode::kAuto};

std::vector<Token> committed(const std::vector<TraceRound>& rounds) {
  std::vector<Token> tokens;
  for (const TraceRound& round : rounds) {
    tokens.insert(tokens.end(), round.committed.begin(), round.committed.end());
  }
  return tokens;
}

/// By the rounds: accepted ones are the draft's, the token after them a branch's or the target's.
std::vector<Origin> origins(const std::vector<TraceRound>& rounds) {
  std::vector<Origin> all;
  for (const TraceRound& round : rounds) {
    for (std::size_t i = 0; i < round.committed.size(); ++i) {
      const bool accepted = i < static_cast<std::size_t>(round.n_accepted);
      const Origin last = round.branch_hit ? Origin::kBranch : Origin::kTarget;
      all.push_back(accepted ? Origin::kDraft : last);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("a record can be read from any place on") {
  Progress progress;
  CHECK(progress.since(0, 0).spans.empty());
  TraceSpan span;
  span.n_tokens = 7;
  TraceRound round;
  round.committed = {1, 2};
  round.features = {0.5F};
  progress.record(span, {&round, 1});
  progress.record(span, {});
  const Trace all = progress.since(0, 0);
  CHECK(all.spans.size() == 2);
  REQUIRE(all.rounds.size() == 1);
  CHECK(all.rounds[0].committed == std::vector<Token>{1, 2});
  CHECK(all.rounds[0].features.empty());
  CHECK(progress.since(1, 1).spans.size() == 1);
  CHECK(progress.since(1, 1).rounds.empty());
  CHECK(progress.since(9, 9).spans.empty());
}

TEST_CASE("a record tells when the generation began") {
  Progress progress;
  CHECK(progress.since(0, 0).begin_us == 0);
  progress.begin(1'234);
  CHECK(progress.since(9, 9).begin_us == 1'234);

  Scenario scenario = make_long_scenario(3);
  scenario.request.trace = true;
  const std::int64_t before_us = now_us();
  Engine engine(make_parts(scenario));
  const auto generation = engine.generate(scenario.request);
  const GenerationEnd end = collect(*generation).end;
  const std::int64_t begin_us = generation->progress().since(0, 0).begin_us;
  CHECK(begin_us >= before_us);
  CHECK(end.trace.begin_us == begin_us);
  CHECK(begin_us + end.trace.spans.back().end_us <= now_us());
}

TEST_CASE("the round of a token is there before the token, and tells where it came from") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Scenario scenario = make_long_scenario(seed);
    scenario.request.trace = true;
    for (const Mode mode : kDrafting) {
      CAPTURE(to_string(mode));
      Request request = scenario.request;
      request.mode = mode;
      Engine engine(make_parts(scenario));
      const auto generation = engine.generate(request);
      std::vector<Token> tokens;
      std::vector<Origin> seen;
      for (;;) {
        Output output = next(*generation);
        const std::vector<TraceRound> rounds = generation->progress().since(0, 0).rounds;
        if (auto* end = std::get_if<GenerationEnd>(&output)) {
          CHECK(committed(rounds) == tokens);
          CHECK(origins(rounds) == seen);
          CHECK(rounds.size() == end->trace.rounds.size());
          CHECK(generation->progress().since(0, 0).spans.size() == end->trace.spans.size());
          break;
        }
        const Chunk& chunk = std::get<Chunk>(output);
        tokens.push_back(chunk.choice.token);
        seen.push_back(chunk.origin);
        const std::vector<Token> told = committed(rounds);
        REQUIRE(told.size() >= tokens.size());
        CHECK(std::equal(tokens.begin(), tokens.end(), told.begin()));
      }
      CHECK(std::count(seen.begin(), seen.end(), Origin::kTarget) > 0);
    }
  }
}

TEST_CASE("the target tells how much of the prompt it holds") {
  const Scenario scenario = make_long_scenario(3);
  Barrier begin(0);
  Engine engine(make_parts(scenario, begin.hook()));
  const auto generation = engine.generate(scenario.request);
  begin.wait_until_reached();
  CHECK(generation->progress().prefilled() == 0);
  begin.release();
  collect(*generation);
  CHECK(generation->progress().prefilled() == static_cast<Pos>(scenario.request.prompt.size()));
  CHECK(generation->progress().since(0, 0).spans.empty());  // nobody asked for a trace
}

}  // namespace specbranch::test
