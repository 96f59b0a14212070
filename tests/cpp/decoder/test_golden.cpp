// Schedules that must not change by accident: what every mode drafts, verifies and keeps, summed
// over many seeded texts. A change of a planner changes these numbers on purpose: the failing check
// shows the new ones. A mere refactoring leaves them alone.
#include <ostream>
#include <string>
#include <vector>

#include "specbranch/model/policy.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr int kScenarios = 120;

/// Sums over all texts of one mode.
struct Sums {
  std::int64_t n_generated = 0;
  std::int64_t n_target_steps = 0;
  std::int64_t n_draft_steps = 0;
  std::int64_t n_draft_lanes = 0;
  std::int64_t n_all_drafted = 0;
  std::int64_t n_drafted = 0;
  std::int64_t n_accepted = 0;
  std::int64_t n_rolled_back = 0;
  std::int64_t branch_hits = 0;
  std::int64_t n_rolled_back_traced = 0;  ///< as the rounds of the trace tell it.
  std::uint64_t text = 0;                 ///< hash of all tokens.

  bool operator==(const Sums&) const = default;

  void add(const VirtualResult& result) {
    const Counters& c = result.counters;
    n_generated += c.n_generated;
    n_target_steps += c.n_target_steps;
    n_draft_steps += c.n_draft_steps;
    n_draft_lanes += c.n_draft_lanes;
    n_all_drafted += c.n_all_drafted;
    n_drafted += c.n_drafted;
    n_accepted += c.n_accepted;
    n_rolled_back += c.n_rolled_back;
    branch_hits += c.branch_hits;
    for (const TraceRound& round : result.rounds) {
      n_rolled_back_traced += static_cast<std::int64_t>(round.rolled_back.size());
    }
    for (const Token token : result.tokens) {
      text = 31 * text + static_cast<std::uint64_t>(token) + 1;
    }
  }
};

std::ostream& operator<<(std::ostream& out, const Sums& s) {
  return out << "{" << s.n_generated << ", " << s.n_target_steps << ", " << s.n_draft_steps << ", "
             << s.n_draft_lanes << ", " << s.n_all_drafted << ", " << s.n_drafted << ", "
             << s.n_accepted << ", " << s.n_rolled_back << ", " << s.branch_hits << ", "
             << s.n_rolled_back_traced << ", " << s.text << "U}";
}

/// A policy of the caller's that depends on nothing but what it is shown.
std::optional<Plan> sums_up(const PolicyRound& round) {
  std::uint64_t mix = static_cast<std::uint64_t>(round.position);
  for (const PolicyNode& node : round.nodes) {
    mix = 31 * mix + static_cast<std::uint64_t>(node.token);
  }
  const auto below = [&](int n) { return static_cast<int>(mix++ % static_cast<unsigned>(n)); };
  if (below(7) == 0) return std::nullopt;
  Plan plan;
  plan.draft_length = below(round.limits.max_draft + 1);
  plan.branch_at = below(round.limits.max_branch_at + 2) - 1;
  plan.branches = 1 + below(round.limits.max_branches);
  plan.submit = below(round.limits.max_submit + 2) - 1;
  return plan;
}

/// The command opens a session whose prompt takes a chunk more.
bool opens_only(const Command& command) {
  const auto* open = std::get_if<OpenCommand>(&command.body);
  return open != nullptr && open->request->prompt.size() > 1;
}

Sums sums(Mode mode, PolicyOptions::Kind policy) {
  Sums all;
  for (int i = 0; i < kScenarios; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 700'000);
    scenario.request.trace = true;
    scenario.target.prefill_chunk = scenario.draft.prefill_chunk = 128;
    if (policy != PolicyOptions::Kind::kConfidence) {
      scenario.request.policy = {};
      scenario.request.policy.kind = policy;
    }
    VirtualOptions options;
    options.shuffle_seed = scenario.seed;
    options.target_us = [](const Command& c) {
      const auto* verify = std::get_if<VerifyCommand>(&c.body);
      if (opens_only(c)) return 0;
      return verify == nullptr ? 900 : 700 + 100 * verify->n_tokens();
    };
    options.draft_us = [](const Command& c) {
      const auto* draft = std::get_if<DraftCommand>(&c.body);
      if (opens_only(c)) return 0;
      return draft == nullptr ? 300 : 130 + 20 * draft->n_tokens();
    };
    options.policy = sums_up;
    PairProfile profile = flat_profile();
    all.add(run(scenario, mode, options,
                mode == Mode::kAuto ? make_eager_auto(scenario.request, &profile) : nullptr));
  }
  return all;
}

}  // namespace

TEST_CASE("golden: what every mode drafts and keeps") {
  using Kind = PolicyOptions::Kind;
  const std::uint64_t text = 14581304193945042012U;  // of every mode
  const Sums plain{1201, 1227, 0, 0, 0, 0, 0, 0, 0, 0, text};
  CHECK(sums(Mode::kAutoregressive, Kind::kConfidence) == plain);
  const Sums speculative{1201, 763, 1463, 1595, 1175, 1175, 464, 682, 0, 682, text};
  CHECK(sums(Mode::kSpeculative, Kind::kConfidence) == speculative);
  const Sums pearl{1201, 846, 2372, 2377, 2372, 2372, 819, 1433, 438, 1433, text};
  CHECK(sums(Mode::kPearl, Kind::kConfidence) == pearl);
  const Sums specbranch{1201, 923, 2077, 2783, 2966, 2038, 863, 1083, 559, 1083, text};
  CHECK(sums(Mode::kSpecBranch, Kind::kConfidence) == specbranch);
  const Sums adaedl{1201, 1005, 1647, 2117, 2014, 1490, 875, 549, 653, 549, text};
  CHECK(sums(Mode::kSpecBranch, Kind::kAdaEdl) == adaedl);
  const Sums steered_speculative{1201, 790, 1250, 1483, 1214, 1214, 532, 646, 95, 646, text};
  CHECK(sums(Mode::kSpeculative, Kind::kHook) == steered_speculative);
  const Sums steered_pearl{1201, 983, 1797, 1915, 1797, 1797, 725, 984, 481, 984, text};
  CHECK(sums(Mode::kPearl, Kind::kHook) == steered_pearl);
  const Sums steered_specbranch{1201, 991, 1732, 2923, 3411, 1788, 779, 935, 543, 935, text};
  CHECK(sums(Mode::kSpecBranch, Kind::kHook) == steered_specbranch);
#if defined(__x86_64__)
  // Its decisions compare sums of floating point numbers, which other machines may round elsewhere.
  const Sums eager_auto{1201, 679, 2141, 4896, 4598, 1895, 825, 983, 277, 983, text};
  CHECK(sums(Mode::kAuto, Kind::kConfidence) == eager_auto);
#endif
}
