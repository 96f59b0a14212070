/// The tree that the rows of a segment form: a path, and branches beside it.
///
///     rows      a  b  c  d  e  f         tree   a -- b -- c
///     parent    -  -  -  0  -  1                |    +--- f
///                                               +--- d -- e
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/model.h"

namespace specbranch {

/// The index of the row that row `i` follows; -1: it follows the text.
inline int parent_of(std::span<const Row> rows, std::size_t i) {
  return rows[i].parent == Row::kBefore ? static_cast<int>(i) - 1 : rows[i].parent;
}

/// Rows of the path: all before the first branch.
inline std::size_t path_length(std::span<const Row> rows) {
  std::size_t n = 0;
  while (n < rows.size() && rows[n].parent == Row::kBefore) ++n;
  return n;
}

inline bool has_branches(std::span<const Row> rows) { return path_length(rows) < rows.size(); }

/// The row after row `i` that has `token`.
std::optional<std::size_t> row_after(std::span<const Row> rows, std::size_t i, Token token);

/// Of each row: how many rows lead to it.
std::vector<Pos> row_depths(std::span<const Row> rows);

/// What is wrong with rows that form no such tree: `wanted` rows must come last, branches begin
/// after wanted rows, siblings differ. Empty: nothing.
std::string fault_of(std::span<const Row> rows);

}  // namespace specbranch
