// Verifications with branches on real threads, alone and beside other texts.
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "support/engine_support.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A pair whose steps take the same time whatever they decode, and whose draft is often wrong.
Scenario doubtful(std::uint64_t seed, std::int64_t step_us) {
  Scenario scenario = make_long_scenario(seed);
  scenario.target.n_vocab = scenario.draft.n_vocab = 8;
  for (Token& token : scenario.request.prompt) token %= 8;
  scenario.request.sampling = {};
  scenario.request.sampling.temperature = 1.0F;
  scenario.request.mode = Mode::kAuto;
  scenario.request.max_draft = 6;
  scenario.request.max_branches = 4;
  scenario.request.policy = {};
  scenario.request.max_tokens = 200;
  scenario.target.n_ctx = scenario.draft.n_ctx = 256;
  scenario.target.max_batch = scenario.draft.max_batch = 64;
  scenario.target.n_branches = 4;
  scenario.target.sharpness = scenario.draft.sharpness = 1.0;
  scenario.draft.alignment = 0.6;
  scenario.draft.n_seq = 32;
  scenario.target.step_us = step_us;
  scenario.draft.step_us = step_us / 8;
  return scenario;
}

}  // namespace

TEST_CASE("branches: the statistics tell how many were verified and taken") {
  const Scenario scenario = doubtful(69, 2000);
  EngineParts parts = make_parts(scenario);
  parts.profile = flat_profile();
  Engine engine(std::move(parts));
  const auto generation = engine.generate(scenario.request);
  const Collected got = collect(*generation);
  CHECK(message_of(got.end.error) == "");
  CHECK(got.tokens == reference(scenario).tokens);
  const Counters& counters = got.end.stats.counters;
  check_counters(counters, Mode::kAuto, got.end.finish);
  CHECK(counters.n_tree_steps > 0);
  CHECK(counters.n_branches_taken > 0);
}

TEST_CASE("branches: texts come and go on an engine whose target verifies branches") {
  const int n = scaled(4);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = doubtful(static_cast<std::uint64_t>(i) + 70, 400);
    scenario.target.n_target_seq = 2;
    EngineParts parts = make_parts(scenario);
    parts.n_parallel = 2;
    parts.profile = flat_profile();
    Engine engine(std::move(parts));
    std::vector<Scenario> texts;
    std::vector<std::unique_ptr<Generation>> running;
    for (std::uint64_t k = 0; k < 3; ++k) {
      scenario.request.sampling.seed = k + 1;
      scenario.request.max_tokens = k == 1 ? 40 : 150;
      texts.push_back(scenario);
      running.push_back(engine.generate(scenario.request));
    }
    for (std::size_t k = 0; k < texts.size(); ++k) {
      CAPTURE(k);
      const Collected got = collect(*running[k]);
      const Expected expected = reference(texts[k]);
      CHECK(message_of(got.end.error) == "");
      CHECK(got.tokens == expected.tokens);
      CHECK(got.end.finish == expected.finish);
      check_counters(got.end.stats.counters, Mode::kAuto, got.end.finish);
    }
  }
}
