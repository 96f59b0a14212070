// The tree that the rows of a verification form.
#include <vector>

#include "specbranch/model/row_tree.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// 1 -- 2 -- 3, after 1 also 4 -- 5, after 2 also 4. The first row is decoded again.
const std::vector<Row> kTree{{9, false}, {1}, {2}, {3}, {4, true, 1}, {5}, {4, true, 2}};

}  // namespace

TEST_CASE("rows: what follows what") {
  CHECK(path_length(kTree) == 4);
  CHECK(has_branches(kTree));
  CHECK(row_depths(kTree) == std::vector<Pos>{0, 1, 2, 3, 2, 3, 3});
  CHECK(parent_of(kTree, 0) == -1);
  CHECK(parent_of(kTree, 5) == 4);
  CHECK(row_after(kTree, 1, 2) == 2);
  CHECK(row_after(kTree, 1, 4) == 4);
  CHECK(row_after(kTree, 2, 4) == 6);
  CHECK(row_after(kTree, 4, 5) == 5);
  CHECK_FALSE(row_after(kTree, 1, 3));
  CHECK_FALSE(row_after(kTree, 3, 4));  // the next row follows another one
  CHECK_FALSE(row_after(kTree, 6, 4));
  CHECK_FALSE(has_branches(path_rows(std::vector<Token>{1, 2})));
  CHECK(path_length(path_rows(std::vector<Token>{1, 2})) == 2);
}

TEST_CASE("rows: what is no tree") {
  CHECK(fault_of(kTree) == "");
  CHECK(fault_of(path_rows(std::vector<Token>{1, 1})) == "");
  const std::vector<std::vector<Row>> wrong = {
      {},
      {{1, false}},
      {{1}, {2, false}, {3}},
      {{1, true, 0}},
      {{1}, {2, true, 1}},
      {{1}, {2, true, 2}, {3}},
      {{1}, {2, true, -2}},
      {{9, false}, {1}, {2, true, 0}},
      {{9, false}, {1, true, 0}},
      {{1}, {2}, {2, true, 0}},
      {{1}, {2}, {3, true, 0}, {3, true, 0}},
  };
  for (std::size_t i = 0; i < wrong.size(); ++i) {
    CAPTURE(i);
    CHECK(fault_of(wrong[i]) != "");
  }
}
