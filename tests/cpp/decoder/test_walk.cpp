// The walk of a verification down the tree: what was drafted, where it leaves the verified path.
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/decoder/walk.h"
#include "support/small_tree.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

std::vector<Choice> choices(const std::vector<Token>& tokens, bool end = false) {
  std::vector<Choice> all;
  for (const Token token : tokens) {
    Choice choice;
    choice.token = token;
    all.push_back(choice);
  }
  if (end) all.back().end = true;
  return all;
}

}  // namespace

TEST_CASE("walk: the whole path, then a token that was drafted past it") {
  const SmallTree t;
  const std::vector<NodeId> path{t.root, t.four};
  const std::vector<Choice> chosen = choices({4, 6});
  const std::vector<WalkStep> steps = walk(t.tree, path, chosen);
  REQUIRE(steps.size() == 2);
  CHECK(steps[0].choice == &chosen[0]);
  CHECK(steps[0].parent == t.root);
  CHECK(steps[0].node == t.four);
  CHECK(steps[0].origin == Origin::kDraft);
  CHECK(steps[1].parent == t.four);
  CHECK(steps[1].node == t.six);
  CHECK(steps[1].origin == Origin::kBranch);
}

TEST_CASE("walk: a branch beside the path, and a token that nobody drafted") {
  const SmallTree t;
  const std::vector<NodeId> path{t.root, t.four, t.six};
  std::vector<Choice> chosen = choices({5});
  std::vector<WalkStep> steps = walk(t.tree, path, chosen);
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].node == t.five);
  CHECK(steps[0].origin == Origin::kBranch);
  chosen = choices({4, 9});
  steps = walk(t.tree, path, chosen);
  REQUIRE(steps.size() == 2);
  CHECK(steps[0].origin == Origin::kDraft);
  CHECK(steps[1].parent == t.four);
  CHECK(steps[1].node == kNoNode);
  CHECK(steps[1].origin == Origin::kTarget);
}

TEST_CASE("walk: an end token has no node, though the draft may have proposed it") {
  const SmallTree t;
  const std::vector<NodeId> path{t.root, t.four};
  const std::vector<Choice> chosen = choices({4, 6}, true);
  const std::vector<WalkStep> steps = walk(t.tree, path, chosen);
  REQUIRE(steps.size() == 2);
  CHECK(steps[1].node == kNoNode);
  CHECK(steps[1].parent == t.four);
}

TEST_CASE("walk: nothing may follow the token that leaves the path") {
  const SmallTree t;
  const std::vector<NodeId> path{t.root, t.four};
  CHECK_THROWS_AS(walk(t.tree, path, choices({5, 6})), PreconditionError);
  CHECK_THROWS_AS(walk(t.tree, path, choices({9, 4})), PreconditionError);
  CHECK_THROWS_AS(walk(t.tree, path, choices({4, 6, 1})), PreconditionError);
  CHECK(walk(t.tree, path, {}).empty());
}
