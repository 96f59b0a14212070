// Branches beside the verified path: which ones, and what they gain under the virtual clock.
#include "specbranch/planner/auto/verification_tree.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "specbranch/model/row_tree.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr double kStepUs = 1000.0;

/// A tree at position 10, at which every token costs as the profile says.
struct Fixture {
  explicit Fixture(std::vector<double> target_us = std::vector<double>(64, kStepUs)) {
    profile = flat_profile();
    profile.costs.target_us = std::move(target_us);
    tree.reset(7, 10);
  }

  View view(int n_branches) const {
    View view{.tree = tree};
    view.max_depth = view.max_path = max_path;
    view.n_branches = n_branches;
    return view;
  }

  /// Candidates 1, 2, 3 .. with these confidences.
  void evaluate(NodeId node, const std::vector<double>& confidences) {
    Node& at = tree.at(node);
    at.evaluated = true;
    for (const double confidence : confidences) {
      at.candidates.push_back({static_cast<Token>(at.candidates.size() + 1), confidence});
    }
  }

  VerificationTree best(int n_branches, int max_drafted = 16, double rate = 1.0 / kStepUs) {
    const CostModel costs(&profile);
    return best_tree(view(n_branches), {acceptance, agreement}, costs, max_drafted, rate);
  }

  bool can_pay(int n_branches) { return branches_can_pay(view(n_branches), CostModel(&profile)); }

  AcceptanceTable acceptance_table;
  LookupTable lookup_table;
  AcceptanceModel acceptance{&acceptance_table};
  SourceAgreement agreement{&lookup_table};
  PairProfile profile;
  SpeculationTree tree;
  int max_path = 16;
};

}  // namespace

TEST_CASE("branches: the second choice at a doubtful place, where a row costs nothing") {
  Fixture f;
  const NodeId root = f.tree.root();
  f.evaluate(root, {0.5, 0.4});
  const NodeId first = f.tree.add({root, 0});
  f.evaluate(first, {0.9, 0.05});

  const VerificationTree none = f.best(0);
  CHECK(none.end == NodeRef{first, 0});
  CHECK(none.branches.empty());
  CHECK(none.n_rows == 3);

  const VerificationTree one = f.best(1);
  CHECK(one.end == NodeRef{first, 0});
  CHECK(one.branches == std::vector<NodeRef>{{root, 1}});
  CHECK(one.n_rows == 4);
  CHECK(none.value == doctest::Approx(0.5 + 0.45));
  CHECK(one.value == doctest::Approx(0.5 + 0.45 + 0.4));

  const VerificationTree two = f.best(2);
  CHECK(two.branches == std::vector<NodeRef>{{root, 1}, {first, 1}});
  CHECK(two.n_rows == 5);
}

TEST_CASE("branches: a branch goes on with what is drafted there") {
  Fixture f;
  const NodeId root = f.tree.root();
  f.evaluate(root, {0.5, 0.4});
  f.evaluate(f.tree.add({root, 0}), {0.2});
  const NodeId second = f.tree.add({root, 1});
  f.evaluate(second, {0.9});
  const VerificationTree tree = f.best(1);
  CHECK(tree.branches == std::vector<NodeRef>{{second, 0}});
  CHECK(tree.n_rows == 5);

  SUBCASE("within the limit of the depth") {
    f.max_path = 1;
    const VerificationTree flat = f.best(1);
    CHECK(flat.n_rows == 2);
    CHECK(flat.branches.empty());
  }
  SUBCASE("within the limit of drafted tokens") {
    const VerificationTree small = f.best(1, 2);
    CHECK(small.n_rows == 3);
    CHECK(small.branches == std::vector<NodeRef>{{root, 1}});
  }
}

TEST_CASE("branches: a row must be worth its time") {
  const auto slope = [](double row) {
    std::vector<double> target_us;
    for (int n = 0; n < 64; ++n) target_us.push_back(kStepUs * (1.0 + row * n));
    return target_us;
  };
  Fixture f(slope(0.08));
  const NodeId root = f.tree.root();
  f.evaluate(root, {0.6, 0.35, 0.03});
  CHECK(f.best(4).branches == std::vector<NodeRef>{{root, 1}});
  CHECK(f.best(4, 16, 5.0 / kStepUs).branches.empty());

  // Here 0.35 tokens are more than the 0.32 of one row, but less than those of 1.35 rows: a branch
  // that is taken is decoded again.
  CHECK(f.best(4, 16, 4.0 / kStepUs).branches.empty());
  CHECK(f.best(4, 16, 3.0 / kStepUs).branches.size() == 1);

  // Rows that cost a seventh of a step.
  Fixture expensive(slope(0.15));
  expensive.evaluate(expensive.tree.root(), {0.6, 0.35, 0.03});
  CHECK(expensive.best(4).branches.empty());
  CHECK(f.can_pay(4));
  CHECK_FALSE(f.can_pay(0));
  CHECK_FALSE(expensive.can_pay(4));
  CHECK(expensive.best(4).n_rows == 2);

  // A cliff behind two rows.
  std::vector<double> cliff(64, 2.0 * kStepUs);
  cliff[0] = cliff[1] = kStepUs;
  Fixture g(cliff);
  g.evaluate(g.tree.root(), {0.6, 0.35, 0.03});
  CHECK(g.best(4).n_rows == 2);
  CHECK(g.best(4).branches.empty());
}

TEST_CASE("branches: tokens of texts do not count as drafted") {
  Fixture f;
  const NodeId root = f.tree.root();
  f.evaluate(root, {0.5, 0.4});
  const NodeId text = f.tree.add_child(root, {9, 0.3});
  const NodeId more = f.tree.add_child(text, {8, 0.9});
  const VerificationTree tree = f.best(4, 1);
  CHECK(tree.n_rows >= 4);
  std::vector<NodeRef> ends = tree.branches;
  ends.push_back(tree.end);
  CHECK(std::ranges::count(ends, NodeRef{more}) == 1);
}

namespace {

/// Relative time of a batch, [n - 1]; the last one holds on.
struct Curve {
  const char* name;
  std::vector<double> factors;

  double us(int n) const {
    return kStepUs * factors[std::min(static_cast<std::size_t>(n), factors.size()) - 1];
  }
};

const Curve kFlat{"flat", {1.0}};
/// As on a GPU: 1 % for each row more, and a cliff behind eight rows.
const Curve kGpu{"gpu", {1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.6, 1.62, 1.64, 1.66}};
/// Q8_0 and Q4_0 on two CPU cores.
const Curve kQ8{"q8", {1.0, 1.18, 1.28, 1.38, 2.09, 2.46, 2.29, 2.12, 2.26, 2.4, 2.54, 2.68, 2.87}};
const Curve kQ4{"q4",
                {1.0, 1.41, 1.71, 1.18, 1.68, 1.99, 2.06, 2.13, 2.34, 2.55, 2.77, 2.98, 2.99}};
const Curve kSteep{"steep", {1.0, 3.1, 3.35, 3.6, 4.0, 4.4, 4.8, 5.2, 5.6, 6.0}};

struct Study {
  double time_us = 0.0;
  std::int64_t n_steps = 0;
  std::int64_t n_with_branches = 0;
};

/// Texts of a pair with this acceptance, on a machine with this curve.
Study decode(const Curve& curve, double alpha, int n_branches, double ratio) {
  constexpr int kTexts = 6;
  constexpr int kTokens = 400;
  Study study;
  for (int seed = 1; seed <= kTexts; ++seed) {
    SyntheticOptions pair = synthetic_pair(alpha, static_cast<std::uint64_t>(seed));
    pair.n_branches = n_branches;
    pair.n_seq = 16;
    pair.n_ctx = 4096;
    const auto target = make_synthetic_target(pair);
    const auto draft = make_synthetic_draft(pair);
    const Request request = auto_request(kTokens);
    PairProfile profile;
    for (int n = 1; n <= 33; ++n) {
      profile.costs.target_us.push_back(curve.us(n));
      profile.costs.draft_us.push_back(curve.us(n) / ratio);
    }
    VirtualOptions options;
    options.profile = &profile;
    options.target_us = [&](const Command& command) -> std::int64_t {
      const auto* verify = std::get_if<VerifyCommand>(&command.body);
      if (verify == nullptr) return 0;
      ++study.n_steps;
      study.n_with_branches += has_branches(segment_of(*verify).rows) ? 1 : 0;
      return std::llround(curve.us(verify->n_tokens()));
    };
    options.draft_us = [&](const Command& command) -> std::int64_t {
      const auto* pass = std::get_if<DraftCommand>(&command.body);
      return pass == nullptr ? 0 : std::llround(curve.us(pass->n_tokens()) / ratio);
    };
    const VirtualResult got = run_virtually(request, *target, draft.get(), options);
    CHECK(message_of(got.error) == "");
    CHECK(got.tokens.size() == kTokens);
    check_result(got, Mode::kAuto);
    study.time_us += static_cast<double>(got.time_us);
  }
  return study;
}

/// How many times as fast with branches as without.
double gain(const Curve& curve, double alpha, double ratio = 8.0) {
  const Study with = decode(curve, alpha, 4, ratio);
  const Study without = decode(curve, alpha, 0, ratio);
  CHECK(without.n_with_branches == 0);
  const double gain = without.time_us / with.time_us;
  if (std::getenv("SPECBRANCH_PRINT") != nullptr) {  // NOLINT(concurrency-mt-unsafe)
    std::printf("%-6s alpha %.2f c %4.1f: gain %.3f, branches in %.2f of the steps\n", curve.name,
                alpha, ratio, gain,
                static_cast<double>(with.n_with_branches) / static_cast<double>(with.n_steps));
  }
  return gain;
}

}  // namespace

TEST_CASE("branches gain where rows are cheap and the draft is in doubt") {
  Sweep sweep;
  for (const Curve* curve : {&kFlat, &kGpu}) {
    for (const double alpha : {0.3, 0.7, 0.95}) {
      if (sweep.skips()) continue;
      INFO(curve->name, ", alpha ", alpha);
      CHECK(gain(*curve, alpha) >= (alpha < 0.5 ? 1.1 : alpha < 0.9 ? 1.02 : 0.99));
    }
  }
}

TEST_CASE("branches never lose where rows are expensive") {
  Sweep sweep;
  for (const Curve* curve : {&kQ8, &kQ4, &kSteep}) {
    for (const double alpha : {0.3, 0.7, 0.95}) {
      if (sweep.skips()) continue;
      INFO(curve->name, ", alpha ", alpha);
      CHECK(gain(*curve, alpha) >= 0.995);
    }
  }
}
