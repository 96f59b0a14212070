// The speculation tree: growth, re-rooting, paths; ids that never come back.
#include <algorithm>
#include <set>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/tree/tree.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

void evaluate(SpeculationTree& tree, NodeId id, std::vector<Candidate> candidates) {
  tree.at(id).evaluated = true;
  tree.at(id).candidates = std::move(candidates);
}

std::vector<NodeId> ids_of(const std::vector<Node>& nodes) {
  std::vector<NodeId> ids;
  for (const Node& node : nodes) ids.push_back(node.id);
  return ids;
}

void check_invariants(const SpeculationTree& tree) {
  int n_roots = 0;
  for (const auto& [id, node] : tree.nodes()) {
    CHECK(node.id == id);
    if (node.parent == kNoNode) {
      ++n_roots;
      CHECK(id == tree.root());
    } else {
      REQUIRE(tree.contains(node.parent));
      const Node& parent = tree.at(node.parent);
      CHECK(node.pos == parent.pos + 1);
      CHECK(std::ranges::count(parent.children, id) == 1);
    }
    std::set<Token> tokens;
    for (const NodeId child : node.children) {
      CHECK(tree.at(child).parent == id);
      tokens.insert(tree.at(child).token);
    }
    CHECK(tokens.size() == node.children.size());
  }
  CHECK(n_roots == 1);
}

}  // namespace

TEST_CASE("children are made once, from candidates") {
  SpeculationTree tree;
  const NodeId root = tree.reset(7, 10);
  CHECK_THROWS_AS(static_cast<void>(tree.add_child(root, 0)), PreconditionError);
  evaluate(tree, root, {{3, 0.6}, {5, 0.3}});
  CHECK_THROWS_AS(static_cast<void>(tree.add_child(root, 2)), PreconditionError);
  CHECK_THROWS_AS(static_cast<void>(tree.add_child(root, -1)), PreconditionError);
  CHECK_THROWS_AS(static_cast<void>(tree.add_child(99, 0)), PreconditionError);
  const NodeId second = tree.add_child(root, 1);
  const NodeId first = tree.add_child(root, 0);
  CHECK(tree.add_child(root, 1) == second);
  CHECK(tree.size() == 3);
  CHECK(tree.at(first).token == 3);
  CHECK(tree.at(first).pos == 11);
  CHECK(tree.at(first).rank == 0);
  CHECK(tree.at(first).confidence == 0.6);
  CHECK(tree.at(second).rank == 1);
  CHECK(tree.find_child(root, 5) == second);
  CHECK(tree.find_child(root, 4) == kNoNode);
  CHECK(tree.find_child(first, 5) == kNoNode);
  // The main path follows rank 0, not the order of creation.
  CHECK(tree.main_leaf(root) == first);
  check_invariants(tree);
}

TEST_CASE("a reference means a node, or a child that may not be there yet") {
  SpeculationTree tree;
  const NodeId root = tree.reset(7, 10);
  CHECK(tree.find({root}) == root);
  CHECK(tree.find({root, 0}) == kNoNode);  // the root is not evaluated
  CHECK_THROWS_AS(static_cast<void>(tree.add({root, 0})), PreconditionError);
  evaluate(tree, root, {{3, 0.6}, {5, 0.3}});
  CHECK(tree.find({root, 1}) == kNoNode);
  CHECK(tree.depth(NodeRef{root, 1}) == 1);
  CHECK(tree.size() == 1);
  const NodeId child = tree.add({root, 1});
  CHECK(tree.at(child).token == 5);
  CHECK(tree.find({root, 1}) == child);
  CHECK(tree.add({root, 1}) == child);
  CHECK(tree.add({child}) == child);
  CHECK(tree.depth(NodeRef{child}) == 1);
  CHECK(tree.find({root, 2}) == kNoNode);
  CHECK_THROWS_AS(static_cast<void>(tree.add({root, 2})), PreconditionError);
  CHECK(tree.add(NodeRef{}) == kNoNode);
}

TEST_CASE("the main leaf goes through the first child where rank 0 was not made") {
  SpeculationTree tree;
  const NodeId root = tree.reset(0, 0);
  evaluate(tree, root, {{1, 0.5}, {2, 0.3}, {3, 0.1}});
  const NodeId third = tree.add_child(root, 2);
  static_cast<void>(tree.add_child(root, 1));
  CHECK(tree.main_leaf(root) == third);
}

TEST_CASE("re-rooting keeps what descends from the new root and tells what was lost") {
  SpeculationTree tree;
  const NodeId root = tree.reset(0, 5);
  evaluate(tree, root, {{1, 0.5}, {2, 0.3}});
  const NodeId a = tree.add_child(root, 0);
  const NodeId b = tree.add_child(root, 1);
  evaluate(tree, b, {{4, 0.9}, {5, 0.1}});
  const NodeId ba = tree.add_child(b, 0);
  const NodeId bb = tree.add_child(b, 1);
  evaluate(tree, ba, {{6, 1.0}});
  const NodeId baa = tree.add_child(ba, 0);
  CHECK(tree.path(baa) == std::vector<Token>{0, 2, 4, 6});
  CHECK(tree.path_nodes(baa) == std::vector<NodeId>{root, b, ba, baa});
  CHECK(tree.depth(baa) == 3);
  CHECK(ids_of(tree.descendants(root)) == std::vector<NodeId>{a, b, ba, bb, baa});
  CHECK(ids_of(tree.descendants(b)) == std::vector<NodeId>{ba, bb, baa});

  const std::vector<Node> dropped = tree.reroot(ba);
  CHECK(ids_of(dropped) == std::vector<NodeId>{a, bb});  // root and b are committed
  CHECK(tree.root() == ba);
  CHECK(tree.size() == 2);
  CHECK(tree.depth(baa) == 1);
  CHECK(tree.at(ba).pos == 7);
  CHECK_FALSE(tree.contains(root));
  CHECK_FALSE(tree.contains(a));
  CHECK_THROWS_AS(static_cast<void>(tree.at(bb)), PreconditionError);
  check_invariants(tree);
  CHECK(tree.reroot(ba).empty());

  const NodeId fresh = tree.reset(9, 8);
  CHECK(fresh > baa);  // ids go on
  CHECK(tree.size() == 1);
}

TEST_CASE("random growth and re-rooting keep the invariants") {
  for (int i = 0; i < scaled(300); ++i) {
    Random random(static_cast<std::uint64_t>(i));
    SpeculationTree tree;
    NodeId newest = tree.reset(0, 0);
    std::set<NodeId> seen{newest};
    for (int op = 0; op < 80; ++op) {
      std::vector<NodeId> ids;
      for (const auto& [id, node] : tree.nodes()) ids.push_back(id);
      std::ranges::sort(ids);
      const NodeId id =
          ids[static_cast<std::size_t>(random.between(0, static_cast<int>(ids.size()) - 1))];
      if (random.chance(0.08)) {
        const std::vector<Token> path = tree.path(id);
        const std::size_t before = tree.size();
        const std::size_t n_kept = tree.descendants(id).size() + 1;
        const std::size_t n_dropped = tree.reroot(id).size();
        CHECK(tree.size() == n_kept);
        CHECK(before == n_kept + n_dropped + path.size() - 1);
      } else if (random.chance(0.02)) {
        newest = tree.reset(1, 3);
        CHECK(seen.insert(newest).second);
      } else {
        if (!tree.at(id).evaluated) evaluate(tree, id, {{1, 0.5}, {2, 0.3}, {3, 0.2}});
        const std::size_t before = tree.size();
        const NodeId child = tree.add_child(id, random.between(0, 2));
        CHECK(seen.insert(child).second == (tree.size() > before));
      }
      check_invariants(tree);
    }
  }
}

TEST_CASE("tree: what a text and the draft both propose is one node") {
  SpeculationTree tree;
  const NodeId root = tree.reset(5, 2);
  const NodeId text = tree.add_child(root, Proposal{8, 0.7, TokenSource::kPrediction});
  CHECK(tree.at(text).pos == 3);
  CHECK(tree.at(text).parent == root);
  CHECK(tree.at(text).rank == kNoRank);
  CHECK(tree.at(text).source == TokenSource::kPrediction);
  CHECK(tree.at(text).text_probability == 0.7);
  CHECK(tree.add_child(root, Proposal{8, 0.4, TokenSource::kText}) == text);
  CHECK(tree.at(text).text_probability == 0.4);
  CHECK(tree.at(text).source == TokenSource::kPrediction);
  tree.at(root).evaluated = true;
  tree.at(root).candidates = {{9, 0.6}, {8, 0.3}, {7, 0.1}};
  CHECK(tree.add_child(root, 1) == text);
  CHECK(tree.at(text).rank == 1);
  CHECK(tree.at(text).confidence == 0.3);
  const NodeId both = tree.add_child(root, Proposal{7, 0.2});
  CHECK(tree.at(both).rank == 2);
  CHECK(tree.at(both).source == TokenSource::kText);
  CHECK(tree.add_child(root, 2) == both);
  CHECK(tree.size() == 3);
}
