// Drafts from the text: whatever a text proposes, the tokens are those of plain decoding.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "specbranch/lookup/lookup_proposer.h"
#include "support/chaos_planner.h"
#include "support/lying_proposer.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Texts as the engine has them: the prompt, and sometimes a prediction and another text.
std::unique_ptr<Proposer> make_texts(const Scenario& scenario, const std::vector<Token>& text,
                                     PairProfile* profile, Random& random) {
  Request request = scenario.request;
  if (random.chance(0.5)) {
    request.prediction = text;
    for (Token& token : request.prediction) {
      if (random.chance(0.1)) token = random.between(0, scenario.target.n_vocab - 1);
    }
  }
  LookupTexts texts = texts_of(request);
  if (random.chance(0.5)) {
    auto pool = std::make_shared<TextPool>(64);
    pool->add(text);
    texts.pools.push_back(pool);
  }
  return text_proposer(request, std::move(texts), profile);
}

VirtualResult run_without_draft(const Scenario& scenario, Mode mode, const VirtualOptions& options,
                                std::unique_ptr<Planner> planner = nullptr) {
  Request request = scenario.request;
  request.mode = mode;
  const auto target = make_fake_target(scenario.target);
  return run_virtually(request, *target, nullptr, options, std::move(planner));
}

void check_texts(const Counters& c) {
  CHECK(c.n_lookup_accepted <= c.n_lookup_drafted);
  CHECK(c.n_lookup_accepted <= c.n_accepted);
  CHECK(c.n_lookup_drafted <= c.n_drafted);
  CHECK(c.n_prediction_accepted <= c.n_lookup_accepted);
  CHECK(c.n_prediction_accepted + c.n_prediction_rejected <= c.n_lookup_drafted);
}

}  // namespace

TEST_CASE("text: lies never change a token, without a draft and beside one, in any order") {
  Counters sum;
  int n_mixed = 0;  // texts of both sources
  for (int i = 0; i < scaled(20000); ++i) {
    Random random(static_cast<std::uint64_t>(i) + 77);
    Scenario scenario = make_scenario(random.next());
    if (random.chance(0.2)) scenario.target.whole_states = true;
    if (random.chance(0.2)) scenario.draft.whole_states = true;
    if (!scenario.target.whole_states && random.chance(0.1)) {
      scenario.target.max_rollback = random.between(1, 5);
    }
    INFO(describe(scenario));
    CAPTURE(i);
    const Expected expected = reference(scenario);
    PairProfile profile = flat_profile();
    if (random.chance(0.3)) profile = {};
    VirtualOptions options = shuffled(random.next());
    options.profile = &profile;
    const bool honest = random.chance(0.3);
    options.proposer = [&] {
      if (honest) return make_texts(scenario, expected.tokens, &profile, random);
      return make_liar(scenario, expected.tokens, random.next());
    };
    const bool chaos = random.chance(0.4);
    CAPTURE(chaos);
    auto planner = chaos ? make_chaos(random.next()) : nullptr;
    VirtualResult got;
    Mode mode = Mode::kAuto;
    if (random.chance(0.5)) {
      mode = random.pick({Mode::kAuto, Mode::kAuto, Mode::kSpeculative});
      got = run_without_draft(scenario, mode, options, std::move(planner));
      CHECK(got.counters.n_draft_steps == 0);
      CHECK(got.counters.n_lookup_drafted == got.counters.n_drafted);
    } else {
      got = run(scenario, mode, options, std::move(planner));
    }
    CHECK(message_of(got.error) == "");
    CHECK(got.tokens == expected.tokens);
    CHECK(got.finish == expected.finish);
    check_result(got, mode);
    check_texts(got.counters);
    const auto by_draft = got.counters.n_accepted - got.counters.n_lookup_accepted;
    if (!chaos && by_draft > 0 && got.counters.n_lookup_accepted > 0) ++n_mixed;
    sum.n_lookup_drafted += got.counters.n_lookup_drafted;
    sum.n_lookup_accepted += got.counters.n_lookup_accepted;
    sum.n_prediction_accepted += got.counters.n_prediction_accepted;
    sum.n_prediction_rejected += got.counters.n_prediction_rejected;
  }
  // Otherwise nothing was tested.
  CHECK(sum.n_lookup_accepted > 0);
  CHECK(n_mixed > scaled(20000) / 200);
  CHECK(sum.n_lookup_drafted > sum.n_lookup_accepted);
  CHECK(sum.n_prediction_accepted > 0);
  CHECK(sum.n_prediction_rejected > 0);
}

TEST_CASE("text: without any text `auto` and `speculative` decode one token a step") {
  for (const Mode mode : {Mode::kAuto, Mode::kSpeculative}) {
    Scenario scenario = make_scenario(5);
    const VirtualResult got = run_without_draft(scenario, mode, {});
    CHECK(got.tokens == reference(scenario).tokens);
    CHECK(got.counters.n_drafted == 0);
    CHECK(got.counters.n_generated == got.counters.n_target_steps);
  }
}

TEST_CASE("text: what nobody has verified counts neither as drafted nor as accepted") {
  SyntheticOptions pair = synthetic_pair(0.5);
  pair.copy_rate = 0.9;
  const Request request = auto_request(300);
  const auto target = make_synthetic_target(pair);
  PairProfile profile = flat_profile();
  LookupTable& table = profile.lookup[0];
  table.alone.lost = 1e6;
  table.alone.closed = true;
  table.alone.waited = -1e6;
  VirtualOptions options;
  options.profile = &profile;
  options.proposer = [&] { return text_proposer(request, texts_of(request), &profile); };
  const VirtualResult got = run_virtually(request, *target, nullptr, options);
  const Counters& c = got.counters;
  CHECK(c.n_target_steps == c.n_generated);
  CHECK(c.n_drafted == 0);
  CHECK(c.n_all_drafted == 0);
  CHECK(c.n_accepted == 0);
  CHECK(c.n_unresolved == 0);
  CHECK(std::ranges::count(got.from_draft, true) == 0);
  // All the same the proposals were compared with the text.
  CHECK(std::accumulate(table.hits.begin(), table.hits.end(), 0.0) > 20.0);
}

TEST_CASE("text: a prediction that comes true is verified in long runs, and counted") {
  for (const Mode mode : {Mode::kAuto, Mode::kSpeculative}) {
    CAPTURE(to_string(mode));
    SyntheticOptions pair = synthetic_pair(0.5);
    pair.max_batch = 17;
    Request request;
    request.prompt = {1, 2, 3};
    request.max_tokens = 320;
    request.mode = Mode::kAutoregressive;
    request.max_draft = 16;
    const auto target = make_synthetic_target(pair);
    const std::vector<Token> text = run_virtually(request, *target, nullptr).tokens;
    request.mode = mode;
    request.prediction = text;
    const std::size_t n_wrong = 4;
    for (std::size_t i = 1; i <= n_wrong; ++i) request.prediction[60 * i] = 999 - text[60 * i];
    PairProfile profile = flat_profile();
    VirtualOptions options;
    options.profile = &profile;
    options.proposer = [&] { return text_proposer(request, texts_of(request), &profile); };
    const VirtualResult got = run_virtually(request, *target, nullptr, options);
    CHECK(got.tokens == text);
    const Counters& c = got.counters;
    CHECK(c.n_target_steps < 60);
    CHECK(c.n_prediction_accepted > 250);
    CHECK(c.n_prediction_rejected > 0);
    check_texts(c);
  }
}

TEST_CASE("text: `speculative` stops the chain where the text is unsure, or at max_draft") {
  const auto longest = [](double epsilon, int max_draft) {
    SyntheticOptions pair = synthetic_pair(0.5);
    pair.copy_rate = 0.9;
    Request request;
    request.prompt = {1, 2, 3};
    request.max_tokens = 400;
    request.mode = Mode::kSpeculative;
    request.policy.epsilon = epsilon;
    request.max_draft = max_draft;
    const auto target = make_synthetic_target(pair);
    PairProfile profile = flat_profile();
    VirtualOptions options;
    options.profile = &profile;
    options.proposer = [&] { return text_proposer(request, texts_of(request), &profile); };
    const Counters c = run_virtually(request, *target, nullptr, options).counters;
    return c.acceptance_histogram.size();
  };
  CHECK(longest(0.4, 8) == 9);
  CHECK(longest(0.4, 3) == 4);
  CHECK(longest(1.0, 8) == 1);
}
