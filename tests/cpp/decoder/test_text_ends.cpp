// Where a text ends: stop tokens, and the least number of tokens before any end.
#include <algorithm>
#include <vector>

#include "specbranch/engine/worker.h"
#include "support/engine_support.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A scenario with stop tokens, and sometimes a least number of tokens.
Scenario ending_scenario(std::uint64_t seed) {
  Scenario scenario = make_scenario(seed);
  Random random(seed + 0xE2D);
  Request& request = scenario.request;
  const int n_stops = random.between(1, 3);
  for (int i = 0; i < n_stops; ++i) {
    request.stop_tokens.push_back(random.between(0, scenario.target.n_vocab - 1));
  }
  if (random.chance(0.7)) {
    request.min_tokens = random.between(0, request.max_tokens < 0 ? 12 : request.max_tokens);
  }
  return scenario;
}

/// Longer texts, of which the draft reads the end only.
Scenario windowed_scenario(std::uint64_t seed) {
  Scenario scenario = make_long_scenario(seed);
  scenario.target.n_vocab = scenario.draft.n_vocab = 8;
  for (Token& token : scenario.request.prompt) token %= 8;
  scenario.request.sampling.logit_bias.clear();
  scenario.draft.n_ctx = 12;
  scenario.request.stop_tokens = {3, 5};
  scenario.request.min_tokens = 25;
  return scenario;
}

}  // namespace

TEST_CASE("a text ends before a stop token in every mode, and not before its least length") {
  int n_stopped = 0;
  int n_held = 0;
  for (int i = 0; i < scaled(300); ++i) {
    Scenario scenario = ending_scenario(static_cast<std::uint64_t>(i));
    scenario.target.end_every = 0;
    const Expected expected = reference(scenario);
    if (expected.finish == Finish::kStop) ++n_stopped;
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      const VirtualResult result = run(scenario, mode, shuffled(static_cast<std::uint64_t>(i)));
      CHECK(result.tokens == expected.tokens);
      CHECK(result.finish == expected.finish);
      check_result(result, mode);
    }
    const auto& stops = scenario.request.stop_tokens;
    CHECK(std::ranges::none_of(expected.tokens,
                               [&](Token token) { return std::ranges::count(stops, token) > 0; }));
    Scenario early = scenario;
    early.request.min_tokens = 0;
    if (reference(early).tokens.size() < expected.tokens.size()) ++n_held;
  }
  CHECK(n_stopped > scaled(300) / 10);
  CHECK(n_held > scaled(300) / 20);
}

TEST_CASE("the model's own end tokens are held back, too") {
  for (int i = 0; i < scaled(100); ++i) {
    Scenario scenario = make_long_scenario(static_cast<std::uint64_t>(i));
    scenario.target.end_every = scenario.draft.end_every = 4;
    scenario.request.min_tokens = i % 30;
    const Expected expected = reference(scenario);
    CHECK(static_cast<int>(expected.tokens.size()) >= scenario.request.min_tokens);
    for (const Mode mode : kDraftingModes) CHECK(run(scenario, mode).tokens == expected.tokens);
  }
}

TEST_CASE("a draft that equals the target is right before and after the least length") {
  for (int i = 0; i < scaled(60); ++i) {
    Scenario scenario = make_perfect_scenario(static_cast<std::uint64_t>(i));
    scenario.target.end_every = scenario.draft.end_every = 0;
    scenario.request.max_tokens = 24;
    scenario.target.n_ctx = scenario.draft.n_ctx = 64;
    scenario.target.max_batch = scenario.draft.max_batch = 64;
    scenario.request.min_tokens = 12;
    scenario.request.stop_tokens = {1};
    const VirtualResult result = run(scenario, Mode::kSpeculative);
    INFO(describe(scenario));
    CHECK(result.counters.n_rolled_back == 0);
  }
}

TEST_CASE("a draft that reads the end of a text knows how long the text is") {
  for (int i = 0; i < scaled(40); ++i) {
    const Scenario scenario = windowed_scenario(static_cast<std::uint64_t>(i));
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      INFO(describe(scenario));
      CHECK(run(scenario, mode).tokens == expected.tokens);
    }
  }
}

TEST_CASE("where no text follows a prompt, the draft does not get it") {
  for (const Mode mode : kAllModes) {
    for (const std::size_t n_prompt : {std::size_t{1}, std::size_t{5}}) {
      CAPTURE(to_string(mode));
      CAPTURE(n_prompt);
      auto request = std::make_shared<Request>();
      request->prompt.assign(n_prompt, 1);
      request->max_tokens = 0;
      request->prompt_logprobs = 0;
      request->mode = mode;
      FakeOptions options;
      options.prefill_chunk = 2;
      const auto target = make_fake_target(options);
      ModelLimits limits;
      limits.target = target->capabilities();
      limits.draft = make_fake_draft(options)->capabilities();
      Decoder decoder(request, limits, 1, make_planner(*request), {});
      Commands commands = decoder.start();
      while (commands.target) {
        CHECK_FALSE(commands.draft);
        commands = decoder.on(execute(*target, *commands.target));
      }
      CHECK_FALSE(commands.draft);
      CHECK_FALSE(commands.abort_draft);
      CHECK(decoder.idle());
      CHECK(decoder.finish() == Finish::kLength);
    }
  }
}

TEST_CASE("no stop string ends a text before its least length") {
  Scenario scenario = make_long_scenario(7);
  const std::vector<Token> tokens = run_engine(scenario, Mode::kAutoregressive).tokens;
  REQUIRE(tokens.size() == 30);
  const std::vector<std::string> pieces = make_pieces(scenario.target.n_vocab);
  for (const Token token : tokens) {
    const std::string& piece = pieces[static_cast<std::size_t>(token)];
    if (std::ranges::count(scenario.request.stop, piece) == 0) {
      scenario.request.stop.push_back(piece);
    }
  }
  for (const int n : {0, 1, 9, 29, 30}) {
    scenario.request.min_tokens = n;
    for (const Mode mode : kAllModes) {
      const Collected all = run_engine(scenario, mode);
      CAPTURE(n);
      std::string text;
      for (int i = 0; i < n; ++i)
        text += pieces[static_cast<std::size_t>(tokens[static_cast<std::size_t>(i)])];
      CHECK(all.text == text);
      CHECK(all.end.finish == (n < 30 ? Finish::kStop : Finish::kLength));
    }
  }
}
