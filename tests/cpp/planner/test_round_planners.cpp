// Lock-step planners on trees made by hand: what a round verifies, where it branches, how far.
#include <string>
#include <vector>

#include "support/planner_bench.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("no mode starts before both models are there") {
  for (const Mode mode : {Mode::kPearl, Mode::kSpecBranch}) {
    Bench bench(mode);
    bench.target_idle = false;  // still in prefill
    CHECK(bench.next().evaluate.empty());
    bench.target_idle = true;
    bench.draft_idle = false;
    CHECK(bench.next().submit == kNoNode);
    bench.draft_idle = true;
    const Started decision = bench.next();
    CHECK(decision.submit == bench.tree.root());
    CHECK(decision.evaluate == Nodes{bench.tree.root()});
  }
}

TEST_CASE("pearl: pre-verify after a miss, post-verify after a hit") {
  Bench bench(Mode::kPearl, 3, 0.0);
  // Pre-verify: the target verifies the root, which gives the first token, while a window of
  // three is drafted.
  const NodeId root = bench.tree.root();
  CHECK(draft_until_quiet(bench, 0.5) == root);
  CHECK(depth_of_main(bench) == 3);
  CHECK(bench.tree.size() == 4);  // one branch only
  CHECK(bench.may_apply());
  // Post-verify: the first token was right; the other two are verified while three more are made.
  const NodeId first = bench.tree.find_child(root, 1);
  bench.apply(first);
  const NodeId end = draft_until_quiet(bench, 0.5);
  CHECK(bench.tree.depth(end) == 2);
  CHECK(depth_of_main(bench) == 2 + 3);
  CHECK(bench.may_apply());
  bench.miss(9);
  CHECK(draft_until_quiet(bench, 0.5) == bench.tree.root());
}

TEST_CASE("a lock-step verification waits until its round is drafted") {
  for (const Mode mode : {Mode::kPearl, Mode::kSpecBranch}) {
    CAPTURE(std::string(to_string(mode)));
    Bench bench(mode, 2, 0.0);
    Started decision = bench.next();
    int n_steps = 0;
    while (!decision.evaluate.empty()) {
      CHECK_FALSE(bench.may_apply());  // the draft is at work
      for (const NodeId node : decision.evaluate) bench.answer(node, {0.9, 0.1});
      ++n_steps;
      decision = bench.next();
    }
    CHECK(n_steps == 2);
    CHECK(bench.may_apply());
  }
}

TEST_CASE("specbranch: k = max(1, floor(max_branches * (1 - confidence))) branches") {
  struct Row {
    double confidence;
    int max_branches;
    int k;
  };
  for (const Row& row : {Row{0.95, 4, 1}, Row{0.75, 4, 1}, Row{0.5, 4, 2}, Row{0.49, 4, 2},
                         Row{0.25, 4, 3}, Row{0.2, 4, 3}, Row{0.01, 4, 3}, Row{0.0, 4, 4},
                         Row{0.3, 1, 1}, Row{0.3, 2, 1}, Row{0.5, 8, 4}, Row{1.0, 8, 1}}) {
    CAPTURE(row.confidence);
    CAPTURE(row.max_branches);
    Bench bench(Mode::kSpecBranch, 2, 0.4, row.max_branches);
    CHECK(bench.width() == row.max_branches);
    const NodeId root = bench.next().evaluate.at(0);
    std::vector<double> confidences{row.confidence};
    for (int i = 1; i < 8; ++i) confidences.push_back(0.01);
    bench.answer(root, confidences);
    const Started decision = bench.next();
    CHECK(decision.evaluate.size() == static_cast<std::size_t>(row.k));
    for (std::size_t rank = 0; rank < decision.evaluate.size(); ++rank) {
      CHECK(bench.tree.at(decision.evaluate[rank]).rank == static_cast<int>(rank));
      CHECK(bench.tree.at(decision.evaluate[rank]).parent == root);
    }
  }
}

TEST_CASE("specbranch: no more branches than sequences or candidates") {
  for (const int free_seqs : {0, 1, 2}) {
    Bench bench(Mode::kSpecBranch, 3, 0.4, 8);
    bench.answer(bench.next().evaluate.at(0), {0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01});
    bench.free_seqs = free_seqs;
    CAPTURE(free_seqs);
    // One goes on where the branch point is, each other one needs a sequence of its own.
    CHECK(bench.next().evaluate.size() == static_cast<std::size_t>(1 + free_seqs));
  }
  for (const int free_seqs : {1, 2, 3}) {
    Bench bench(Mode::kSpecBranch, 3, 0.4, 8);
    bench.answer(bench.next().evaluate.at(0), {0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01});
    bench.free_seqs = free_seqs;
    bench.tree.forget_sequences();  // the draft has begun anew with the end of the text
    CHECK(bench.next().evaluate.size() == static_cast<std::size_t>(free_seqs));
  }
  Bench bench(Mode::kSpecBranch, 3, 0.4, 8);
  bench.answer(bench.next().evaluate.at(0), {0.01, 0.01});
  CHECK(bench.next().evaluate.size() == 2);
}

TEST_CASE("specbranch: what was drafted past the branch point is a head start") {
  Bench bench(Mode::kSpecBranch, 5, 0.4, 4);
  const NodeId root = bench.tree.root();
  CHECK(draft_until_quiet(bench, 0.9) == root);
  const Nodes nodes = bench.tree.path_nodes(bench.tree.main_leaf(root));
  REQUIRE(nodes.size() == 6);
  bench.apply(nodes[1]);
  bench.max_path = 1;  // the target takes one token, and the window has four
  const Started decision = bench.next();
  CHECK(decision.submit == nodes[2]);
  CHECK(decision.evaluate == Nodes{nodes[5]});
}

TEST_CASE(
    "specbranch: a window ends before the first low-confidence token, which is the branch point") {
  Bench bench(Mode::kSpecBranch, 5, 0.4, 4);
  // Round 1 from a bare root: the third token is doubted, so nothing is drafted past the second.
  const NodeId root = bench.tree.root();
  for (const double confidence : {0.9, 0.8, 0.3}) {
    const Started decision = bench.next();
    REQUIRE(decision.evaluate.size() == 1);
    bench.answer(decision.evaluate[0], {confidence, 0.05, 0.04, 0.03});
  }
  CHECK(bench.may_apply());
  const Nodes nodes = bench.tree.path_nodes(bench.tree.main_leaf(root));
  REQUIRE(nodes.size() == 3);
  bench.apply(nodes[1]);
  // Round 2: verify up to the token before the doubted one; branch there.
  const Started decision = bench.next();
  CHECK(decision.submit == nodes[2]);
  // k = floor(4 * 0.7) = 2: the low-confidence token and the next best.
  REQUIRE(decision.evaluate.size() == 2);
  CHECK(bench.tree.at(decision.evaluate[0]).parent == nodes[2]);
  CHECK(bench.tree.at(decision.evaluate[0]).rank == 0);
  const Node& branch = bench.tree.at(decision.evaluate[1]);
  CHECK(branch.parent == nodes[2]);
  CHECK(branch.rank == 1);
  // Both grow to max_draft past the branch point, no further.
  for (const NodeId node : decision.evaluate) bench.answer(node, {0.9, 0.05});
  CHECK(draft_until_quiet(bench, 0.9) == kNoNode);
  const int base = bench.tree.depth(nodes[2]);
  CHECK(depth_of_main(bench) == base + 5);
  CHECK(bench.tree.depth(bench.tree.main_leaf(branch.id)) == base + 5);
  CHECK(bench.may_apply());
  // Only the branch point has more than one child.
  for (const auto& [id, node] : bench.tree.nodes()) {
    CHECK(node.children.size() <= (id == nodes[2] ? 2U : 1U));
  }
}

TEST_CASE("specbranch: without doubts it branches past all that was drafted") {
  Bench bench(Mode::kSpecBranch, 3, 0.4, 4);
  const NodeId root = bench.tree.root();
  static_cast<void>(draft_until_quiet(bench, 0.9));
  const Nodes nodes = bench.tree.path_nodes(bench.tree.main_leaf(root));
  bench.apply(nodes[1]);
  const Started decision = bench.next();
  CHECK(decision.submit == nodes.back());
  CHECK(decision.evaluate == Nodes{nodes.back()});
}

TEST_CASE("specbranch: after a hit on a branch the next round starts from it") {
  Bench bench(Mode::kSpecBranch, 2, 0.4, 4);
  bench.answer(bench.next().evaluate.at(0), {0.3, 0.3, 0.3});
  static_cast<void>(draft_until_quiet(bench, 0.9));
  const NodeId branch = bench.tree.find_child(bench.tree.root(), 2);
  REQUIRE(branch != kNoNode);
  bench.apply(branch);
  CHECK(bench.tree.size() == 2);  // the branch's own chain survives
  const Started decision = bench.next();
  CHECK(bench.tree.depth(decision.submit) == 1);
}
