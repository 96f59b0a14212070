/// A draft tree for tests of what is verified and where a text leaves it.
#pragma once

#include <utility>
#include <vector>

#include "specbranch/tree/tree.h"

namespace specbranch::test {

/// Nodes have the names of their tokens.
///
///     root --+-- 4 --+-- 6 -- 8
///            |       +-- 7
///            +-- 5 ----- 9
struct SmallTree {
  SmallTree() {
    root = tree.reset(3, 10);
    evaluate(root, {{4, 0.6}, {5, 0.3}});
    four = tree.add({root, 0});
    five = tree.add({root, 1});
    evaluate(four, {{6, 0.5}, {7, 0.4}});
    six = tree.add({four, 0});
    seven = tree.add({four, 1});
    evaluate(six, {{8, 0.5}});
    eight = tree.add({six, 0});
    evaluate(five, {{9, 0.5}});
    nine = tree.add({five, 0});
  }

  void evaluate(NodeId id, std::vector<Candidate> candidates) {
    tree.at(id).evaluated = true;
    tree.at(id).candidates = std::move(candidates);
  }

  SpeculationTree tree;
  NodeId root, four, five, six, seven, eight, nine;
};

}  // namespace specbranch::test
