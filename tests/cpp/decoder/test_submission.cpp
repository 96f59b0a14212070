// The nodes of a verification as rows.
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/decoder/submission.h"
#include "specbranch/model/row_tree.h"
#include "support/small_tree.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

using Nodes = std::vector<NodeId>;

Nodes nodes_of(const Submission& submission) {
  return {submission.nodes().begin(), submission.nodes().end()};
}

}  // namespace

TEST_CASE("submission: a path") {
  const SmallTree t;
  const Submission path(t.tree, t.six, {});
  CHECK(nodes_of(path) == Nodes{t.root, t.four, t.six});
  CHECK(path.path().size() == 3);
  CHECK(path.beside().empty());
  CHECK(path.end() == t.six);
  CHECK(path.n_on_path(t.root) == 1);
  CHECK(path.n_on_path(t.six) == 3);
  CHECK(path.end_of(t.four) == t.six);
  const std::vector<Row> rows = path.rows(t.tree);
  CHECK(fault_of(rows) == "");
  CHECK_FALSE(has_branches(rows));
  CHECK_THROWS_AS(static_cast<void>(path.n_on_path(t.five)), PreconditionError);
  CHECK(Submission().empty());
  CHECK(Submission().end() == kNoNode);
}

TEST_CASE("submission: branches of the path and of each other") {
  const SmallTree t;
  const Submission all(t.tree, t.eight, Nodes{t.nine, t.seven, t.five, t.root});
  // What is there already is no row again.
  CHECK(nodes_of(all) == Nodes{t.root, t.four, t.six, t.eight, t.five, t.nine, t.seven});
  CHECK(all.end() == t.eight);
  CHECK(all.path().size() == 4);
  CHECK(Nodes(all.beside().begin(), all.beside().end()) == Nodes{t.five, t.nine, t.seven});
  const std::vector<Row> rows = all.rows(t.tree);
  CHECK(fault_of(rows) == "");
  CHECK(path_length(rows) == 4);
  CHECK(rows[4].parent == 0);
  CHECK(rows[5].parent == Row::kBefore);
  CHECK(rows[6].parent == 1);
  CHECK(all.n_on_path(t.nine) == 1);
  CHECK(all.n_on_path(t.seven) == 2);
  CHECK(all.n_on_path(t.eight) == 4);
  CHECK(all.end_of(t.root) == t.eight);
  CHECK(all.end_of(t.five) == t.nine);
  CHECK(all.end_of(t.seven) == t.seven);

  const Submission nested(t.tree, t.five, Nodes{t.eight, t.seven});
  CHECK(nodes_of(nested) == Nodes{t.root, t.five, t.four, t.six, t.eight, t.seven});
  CHECK(nested.rows(t.tree)[5].parent == 2);
  CHECK(nested.n_on_path(t.seven) == 1);
  CHECK(nested.end_of(t.four) == t.eight);
}
