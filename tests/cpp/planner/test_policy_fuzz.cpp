// A policy may answer what it likes: no plan that is in range changes a token, and no plan that is
// not does any harm but to its own generation.
#include <memory>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/model/policy.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

Plan random_plan(Random& random, const PlanLimits& limits) {
  Plan plan;
  plan.draft_length = random.between(0, limits.max_draft);
  plan.branch_at = random.between(-1, limits.max_branch_at);
  plan.branches = random.between(1, limits.max_branches);
  plan.submit = random.between(-1, limits.max_submit);
  validate(plan, limits);
  return plan;
}

/// The snapshot is whole: parents come first, the main path is a path.
void check_round(const PolicyRound& round) {
  REQUIRE_FALSE(round.nodes.empty());
  CHECK(round.nodes[0].parent == -1);
  CHECK(round.nodes.size() <= kPolicyNodes);
  CHECK(round.n_path == round.limits.max_branch_at);
  for (std::size_t i = 1; i < round.nodes.size(); ++i) {
    const PolicyNode& node = round.nodes[i];
    REQUIRE(node.parent >= 0);
    REQUIRE(node.parent < static_cast<int>(i));
    if (static_cast<int>(i) <= round.n_path) CHECK(node.parent == static_cast<int>(i) - 1);
    CHECK(node.confidence <= 1.0);
  }
  CHECK(round.acceptance >= 0.0);
  CHECK(round.acceptance <= 1.0);
}

/// Answers at random, skips some, and adds up what it is told.
struct Guesser {
  explicit Guesser(std::uint64_t seed) : random(seed) {}

  std::optional<Plan> operator()(const PolicyRound& round) {
    check_round(round);
    if (random.chance(0.15)) {
      ++n_skipped;
      return std::nullopt;
    }
    for (const PolicyOutcome& outcome : round.outcomes) {
      committed.insert(committed.end(), outcome.committed.begin(), outcome.committed.end());
      n_accepted += outcome.n_accepted + (outcome.branch_hit ? 1 : 0);
      n_rolled_back += outcome.n_rolled_back;
      CHECK(outcome.n_accepted <= outcome.n_submitted);
    }
    if (!plans.empty() && !round.outcomes.empty() && round.outcomes.front().plan) {
      CHECK(*round.outcomes.front().plan == plans.back());
    }
    plans.push_back(random_plan(random, round.limits));
    return plans.back();
  }

  Random random;
  std::vector<Plan> plans;
  std::vector<Token> committed;
  std::int64_t n_skipped = 0;
  std::int64_t n_accepted = 0;
  std::int64_t n_rolled_back = 0;
};

}  // namespace

TEST_CASE("a random policy never changes a token, in any mode and order of delivery") {
  const int n = scaled(1000);
  std::int64_t n_plans = 0;
  Counters sum;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 40'000);
    scenario.request.policy = {};
    scenario.request.policy.kind = PolicyOptions::Kind::kHook;
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      std::optional<Counters> first;
      for (std::uint64_t shuffle = 0; shuffle < 4; ++shuffle) {
        CAPTURE(shuffle);
        // The same answers in another order of delivery: lock-step counters must not differ.
        auto guess = std::make_shared<Guesser>(scenario.seed);
        VirtualOptions options = shuffled(shuffle);
        options.policy = [guess](const PolicyRound& round) { return (*guess)(round); };
        const VirtualResult got = run(scenario, mode, options);
        CHECK(message_of(got.error) == "");
        CHECK(got.tokens == expected.tokens);
        CHECK(got.finish == expected.finish);
        check_result(got, mode);
        CHECK(got.counters.policy_skipped == guess->n_skipped);
        CHECK(is_prefix(guess->committed, got.tokens));
        CHECK(guess->n_accepted <= got.counters.n_accepted);
        CHECK(guess->n_rolled_back <= got.counters.n_rolled_back);
        if (!first) first = got.counters;
        if (mode != Mode::kAuto) CHECK(got.counters == *first);
        n_plans += static_cast<std::int64_t>(guess->plans.size());
        sum.branch_hits += got.counters.branch_hits;
        sum.n_rolled_back += got.counters.n_rolled_back;
        sum.policy_skipped += got.counters.policy_skipped;
      }
    }
  }
  MESSAGE(n_plans << " plans");
  CHECK(n_plans > 20 * n);
  CHECK(sum.branch_hits > n);
  CHECK(sum.n_rolled_back > n);
  CHECK(sum.policy_skipped > n);
}

TEST_CASE("a plan out of range ends its generation by name, at every point") {
  const int n = scaled(300);
  int n_refused = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 50'000);
    scenario.request.policy = {};
    scenario.request.policy.kind = PolicyOptions::Kind::kHook;
    Random random(scenario.seed);
    scenario.request.mode = random.pick({Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch});
    INFO(describe(scenario));
    const Expected expected = reference(scenario);
    const auto target = make_fake_target(scenario.target);
    const auto draft = make_fake_draft(scenario.draft);
    VirtualOptions options = shuffled(random.next());
    int left = random.between(0, 6);
    const int field = random.between(0, 3);
    bool refused = false;
    options.policy = [&](const PolicyRound& round) {
      CHECK_FALSE(refused);
      Plan plan = random_plan(random, round.limits);
      if (left-- > 0) return std::optional(plan);
      refused = true;
      int* const fields[] = {&plan.draft_length, &plan.branch_at, &plan.branches, &plan.submit};
      *fields[field] = random.pick({-2, 1000});
      return std::optional(plan);
    };
    const VirtualResult got = run_virtually(scenario.request, *target, draft.get(), options);
    if (!refused) {
      CHECK(got.tokens == expected.tokens);
      continue;
    }
    ++n_refused;
    CHECK(got.finish == Finish::kFailed);
    CHECK(holds<InvalidArgument>(got.error));
    const char* const names[] = {"draft_length", "branch_at", "branches", "submit"};
    CHECK(message_of(got.error).find(names[field]) != std::string::npos);
    CHECK(is_prefix(got.tokens, expected.tokens));
    check_result(got, scenario.request.mode);
    // The models are none the worse for it.
    options.policy = nullptr;
    const VirtualResult again = run_virtually(scenario.request, *target, draft.get(), options);
    CHECK(again.tokens == expected.tokens);
  }
  CHECK(n_refused > n / 4);
}

TEST_CASE(
    "AdaEDL in every mode gives the reference's text and counters that do not depend on order") {
  const int n = scaled(400);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 60'000);
    Random random(scenario.seed);
    scenario.request.policy = {};
    scenario.request.policy.kind = PolicyOptions::Kind::kAdaEdl;
    scenario.request.policy.lambda = random.pick({0.0, 0.3, 0.6, 0.8, 1.0});
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      const VirtualResult first = run(scenario, mode, shuffled(1));
      const VirtualResult second = run(scenario, mode, shuffled(2));
      CHECK(message_of(first.error) == "");
      CHECK(first.tokens == expected.tokens);
      CHECK(second.tokens == expected.tokens);
      if (mode != Mode::kAuto) CHECK(first.counters == second.counters);
      check_result(first, mode);
    }
  }
}
