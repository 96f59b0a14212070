// Tokens that a grammar forces: they save steps, and never change a token.
#include <functional>
#include <memory>
#include <vector>

#include "specbranch/lookup/forced_proposer.h"
#include "specbranch/lookup/lookup_proposer.h"
#include "support/chaos_planner.h"
#include "support/lying_proposer.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// What the target says is forced, changed at random: other tokens, too few, too many, none.
void tell_lies(Event& event, int n_vocab, double share, Random& random) {
  ForcedRun* run = nullptr;
  if (auto* open = std::get_if<OpenDone>(&event.body)) run = &open->forced;
  if (auto* done = std::get_if<VerifyDone>(&event.body)) {
    run = &done->results.front().verification.forced;
  }
  if (run == nullptr || !random.chance(share)) return;
  for (Token& token : run->tokens) {
    if (random.chance(0.2)) token = random.between(0, n_vocab - 1);
  }
  if (random.chance(0.2)) run->tokens.clear();
  for (int n = random.between(0, 6); n > 0; --n) {
    run->tokens.push_back(random.between(0, n_vocab - 1));
  }
  run->n_sure = random.next() % (run->tokens.size() + 1);
}

VirtualResult run_in(const Scenario& scenario, Mode mode, bool with_draft,
                     const VirtualOptions& options, std::unique_ptr<Planner> planner = nullptr) {
  if (with_draft) return run(scenario, mode, options, std::move(planner));
  Request request = scenario.request;
  request.mode = mode;
  const auto target = make_fake_target(scenario.target);
  return run_virtually(request, *target, nullptr, options, std::move(planner));
}

/// Makes the proposer of forced tokens alone.
std::function<std::unique_ptr<Proposer>()> only_forced(PairProfile* profile) {
  return [profile] { return std::make_unique<ForcedProposer>(nullptr, &profile->lookup[0]); };
}

/// Keys of many tokens between single free ones.
Scenario long_keys() {
  Scenario scenario = make_scenario(11);
  scenario.request.sampling = {};
  scenario.request.prompt = {1, 2, 3};
  scenario.request.max_tokens = 200;
  scenario.request.stop_tokens.clear();
  scenario.request.policy = {};
  scenario.request.max_draft = 8;
  scenario.target = FakeOptions{};
  scenario.target.forced_every = 12;
  scenario.target.forced_length = 9;
  scenario.draft = scenario.target;
  scenario.draft.alignment = 0.5;
  return scenario;
}

}  // namespace

TEST_CASE("forced: whatever the target says is forced, no token changes, in any order") {
  Counters sum;
  for (int i = 0; i < scaled(20000); ++i) {
    Random random(static_cast<std::uint64_t>(i) + 4711);
    Scenario scenario = make_scenario(random.next());
    scenario.target.forced_every = random.between(1, 12);
    scenario.target.forced_length = random.between(0, scenario.target.forced_every);
    if (random.chance(0.2)) scenario.target.whole_states = true;
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
    const std::uint64_t liar = random.next();
    const bool texts = random.chance(0.5);
    options.proposer = [&]() -> std::unique_ptr<Proposer> {
      return std::make_unique<ForcedProposer>(
          texts ? make_liar(scenario, expected.tokens, liar) : nullptr, &profile.lookup[0]);
    };
    const double lies = random.pick({0.0, 0.0, 0.3, 1.0});
    Random lying(random.next());
    options.tamper_event = [&](Event& event) {
      tell_lies(event, scenario.target.n_vocab, lies, lying);
    };
    const bool with_draft = random.chance(0.5);
    const Mode mode = with_draft ? Mode::kAuto : random.pick({Mode::kAuto, Mode::kSpeculative});
    const bool cancels = random.chance(0.1);
    if (cancels) options.cancel_after_events = random.between(1, 30);
    auto planner = random.chance(0.3) ? make_chaos(random.next()) : nullptr;
    const VirtualResult got = run_in(scenario, mode, with_draft, options, std::move(planner));
    CHECK(message_of(got.error) == "");
    if (cancels) {
      CHECK(is_prefix(got.tokens, expected.tokens));
    } else {
      CHECK(got.tokens == expected.tokens);
      CHECK(got.finish == expected.finish);
    }
    check_result(got, mode);
    const Counters& c = got.counters;
    CHECK(c.n_forced_accepted <= c.n_forced_drafted);
    CHECK(c.n_forced_accepted + c.n_lookup_accepted <= c.n_accepted);
    CHECK(c.n_forced_drafted + c.n_lookup_drafted <= c.n_drafted);
    if (!texts) CHECK(c.n_lookup_drafted == 0);
    sum.n_forced_drafted += c.n_forced_drafted;
    sum.n_forced_accepted += c.n_forced_accepted;
  }
  // Otherwise nothing was tested.
  CHECK(sum.n_forced_accepted > scaled(20000));
  CHECK(sum.n_forced_drafted > sum.n_forced_accepted);
}

TEST_CASE("forced: long keys take few steps, without a draft, beside one, and without costs") {
  const Scenario scenario = long_keys();
  const Expected expected = reference(scenario);
  REQUIRE(expected.tokens.size() == 200);
  for (const bool with_draft : {false, true}) {
    for (const bool known : {true, false}) {
      for (const Mode mode : {Mode::kAuto, Mode::kSpeculative}) {
        if (with_draft && mode == Mode::kSpeculative) continue;
        CAPTURE(with_draft);
        CAPTURE(known);
        CAPTURE(to_string(mode));
        VirtualOptions options;
        PairProfile profile = known ? flat_profile() : PairProfile{};
        options.profile = &profile;
        const VirtualResult plain = run_in(scenario, mode, with_draft, options);
        PairProfile again = known ? flat_profile() : PairProfile{};
        options.proposer = only_forced(&again);
        options.profile = &again;
        const VirtualResult got = run_in(scenario, mode, with_draft, options);
        CHECK(plain.tokens == expected.tokens);
        CHECK(got.tokens == expected.tokens);
        CHECK(plain.counters.n_forced_drafted == 0);
        // Of 12 tokens, 9 come with the one before them.
        CHECK(got.counters.n_target_steps <= 85);
        CHECK(got.counters.n_forced_accepted > 120);
        CHECK(got.counters.n_target_steps < plain.counters.n_target_steps);
        CHECK(got.time_us < plain.time_us);
      }
    }
  }
}

TEST_CASE("forced: a gate that texts have closed lets them pass") {
  Scenario scenario = long_keys();
  scenario.request.mode = Mode::kAuto;
  PairProfile profile = flat_profile();
  LookupTable& table = profile.lookup[0];
  table.alone.lost = 1e6;
  table.alone.closed = true;
  table.alone.waited = -1e6;
  VirtualOptions options;
  options.profile = &profile;
  options.proposer = only_forced(&profile);
  const VirtualResult got = run_in(scenario, Mode::kAuto, false, options);
  CHECK(got.counters.n_forced_accepted > 120);
  CHECK(got.counters.n_target_steps <= 85);
}

TEST_CASE("forced: where every row costs a whole step, nothing is verified ahead") {
  const Scenario scenario = long_keys();
  PairProfile profile = flat_profile();
  for (std::size_t i = 0; i < profile.costs.target_us.size(); ++i) {
    profile.costs.target_us[i] = 1000.0 * static_cast<double>(i + 1);
  }
  VirtualOptions options;
  options.profile = &profile;
  options.proposer = only_forced(&profile);
  options.target_us = [](const Command& command) -> std::int64_t {
    const auto* verify = std::get_if<VerifyCommand>(&command.body);
    return 1000 * (verify == nullptr ? 1 : verify->n_tokens());
  };
  const VirtualResult got = run_in(scenario, Mode::kAuto, false, options);
  CHECK(got.counters.n_target_steps > 195);
}
