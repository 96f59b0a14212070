// Scores of the tokens of a prompt, on fakes.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "specbranch/model/token_score.h"
#include "support/engine_support.h"

namespace specbranch::test {
namespace {

/// Of every token but the first, straight from the fake's scores.
std::vector<TokenScore> expected_scores(const Scenario& scenario) {
  const Request& request = scenario.request;
  std::vector<TokenScore> scores;
  for (std::size_t n = 1; n < request.prompt.size(); ++n) {
    const auto context = std::span<const Token>(request.prompt).first(n);
    scores.push_back(score_of(fake_scores(scenario.target, context, 1.0), request.prompt[n],
                              request.prompt_logprobs));
  }
  return scores;
}

void check_scores(const std::vector<TokenScore>& got, const std::vector<TokenScore>& expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(got[i].token == expected[i].token);
    CHECK(got[i].logprob == expected[i].logprob);
    REQUIRE(got[i].top.size() == expected[i].top.size());
    for (std::size_t k = 0; k < got[i].top.size(); ++k) {
      CHECK(got[i].top[k].token == expected[i].top[k].token);
      CHECK(got[i].top[k].logprob == expected[i].top[k].logprob);
    }
  }
}

/// A prompt of 11 tokens and room for a text of 30, in chunks of 3.
Scenario scored_scenario(std::uint64_t seed) {
  Scenario scenario = make_long_scenario(seed);
  Random random(seed + 0x5C0);
  scenario.request.prompt.clear();
  for (int i = 0; i < 11; ++i) {
    scenario.request.prompt.push_back(random.between(0, scenario.target.n_vocab - 1));
  }
  scenario.target.prefill_chunk = 3;
  scenario.request.prompt_logprobs = random.between(0, scenario.target.n_vocab);
  return scenario;
}

}  // namespace

TEST_CASE("a row of logits gives the score of a token and of the best ones") {
  const std::vector<float> logits{1.0F, 3.0F, -INFINITY, 2.0F};
  const double sum = std::exp(1.0) + std::exp(3.0) + std::exp(2.0);
  const TokenScore score = score_of(logits, 0, 2);
  CHECK(score.logprob == doctest::Approx(1.0 - std::log(sum)));
  REQUIRE(score.top.size() == 2);
  CHECK(score.top[0].token == 1);
  CHECK(score.top[0].logprob == doctest::Approx(3.0 - std::log(sum)));
  CHECK(score.top[1].token == 3);
  CHECK(score_of(logits, 1, 0).top.empty());
  // Some models give a token no probability at all, and a prompt may have it.
  const TokenScore never = score_of(logits, 2, 1);
  CHECK(never.logprob == -INFINITY);
  REQUIRE(never.top.size() == 1);
  CHECK(never.top[0].logprob == doctest::Approx(3.0 - std::log(sum)));
}

TEST_CASE("a prompt is scored in every mode, and the text is the same as without scores") {
  for (int i = 0; i < scaled(20); ++i) {
    Scenario scenario = scored_scenario(static_cast<std::uint64_t>(i));
    Engine engine(make_parts(scenario));
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      Request plain = scenario.request;
      plain.prompt_logprobs = -1;
      const Collected text = collect(*engine.generate(plain));
      // The cells of the text before hold this prompt, and cannot give its scores.
      const auto generation = engine.generate(scenario.request);
      const Collected scored = collect(*generation);
      CHECK(scored.tokens == text.tokens);
      CHECK(scored.end.finish == text.end.finish);
      CHECK(scored.end.stats.n_reused == 0);
      check_scores(generation->progress().scores(), expected_scores(scenario));
      // Its own cells serve the next one.
      CHECK(collect(*engine.generate(plain)).end.stats.n_reused == 10);
    }
  }
}

TEST_CASE("without a text, the prompt is read and nothing else happens") {
  for (const Mode mode : kAllModes) {
    Scenario scenario = scored_scenario(4);
    scenario.request.mode = mode;
    scenario.request.max_tokens = 0;
    std::atomic<int> n_read = 0;
    Engine engine(make_parts(scenario, {}, [&](int, const std::function<bool()>&) { ++n_read; }));
    const auto generation = engine.generate(scenario.request);
    const Collected all = collect(*generation);
    CHECK(n_read == 0);  // by the draft
    CHECK(all.tokens.empty());
    CHECK(all.end.finish == Finish::kLength);
    CHECK(all.end.stats.counters.n_target_steps == 0);
    CHECK(all.end.stats.counters.n_draft_steps == 0);
    check_scores(generation->progress().scores(), expected_scores(scenario));
  }
}

TEST_CASE("a prompt that is only scored leaves the draft what it holds") {
  Scenario scenario = scored_scenario(7);
  scenario.draft.prefill_chunk = 3;
  // The draft is idle when a text ends, so that it always holds the same of it.
  scenario.request.mode = Mode::kSpeculative;
  scenario.request.max_tokens = 12;
  const auto read_of_next_turn = [&](bool scores) {
    std::atomic<int> n_steps = 0;
    Engine engine(make_parts(scenario, {}, [&](int, const std::function<bool()>&) { ++n_steps; }));
    Request turn = scenario.request;
    turn.prompt_logprobs = -1;
    const std::vector<Token> answer = collect(*engine.generate(turn)).tokens;
    if (scores) {
      Request scored = scenario.request;
      scored.max_tokens = 0;
      std::ranges::reverse(scored.prompt);
      scored.prompt.front() = (turn.prompt.front() + 1) % scenario.target.n_vocab;
      collect(*engine.generate(scored));
    }
    turn.prompt.insert(turn.prompt.end(), answer.begin(), answer.end());
    const int n_before = n_steps;
    collect(*engine.generate(turn));
    return n_steps - n_before;
  };
  CHECK(read_of_next_turn(true) == read_of_next_turn(false));
}

TEST_CASE("a prompt of one token has no scores") {
  Scenario scenario = scored_scenario(5);
  scenario.request.prompt.resize(1);
  for (const int max_tokens : {0, 3}) {
    scenario.request.max_tokens = max_tokens;
    Engine engine(make_parts(scenario));
    const auto generation = engine.generate(scenario.request);
    CHECK(collect(*generation).tokens.size() == static_cast<std::size_t>(max_tokens));
    CHECK(generation->progress().scores().empty());
  }
}

TEST_CASE("scoring stops between two chunks") {
  Scenario scenario = scored_scenario(6);
  scenario.request.max_tokens = 0;
  Barrier barrier(2);
  Engine engine(make_parts(scenario, barrier.hook()));
  const auto generation = engine.generate(scenario.request);
  barrier.wait_until_reached();
  generation->cancel();
  const Collected all = collect(*generation);
  CHECK(all.end.finish == Finish::kCancelled);
  CHECK(barrier.aborted());
  // Two chunks of three were read.
  std::vector<TokenScore> expected = expected_scores(scenario);
  expected.resize(6);
  check_scores(generation->progress().scores(), expected);
  const auto again = engine.generate(scenario.request);
  CHECK(collect(*again).end.finish == Finish::kLength);
  check_scores(again->progress().scores(), expected_scores(scenario));
}

}  // namespace specbranch::test
