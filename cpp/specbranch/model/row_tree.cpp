#include "specbranch/model/row_tree.h"

#include <algorithm>

namespace specbranch {

std::optional<std::size_t> row_after(std::span<const Row> rows, std::size_t i, Token token) {
  for (std::size_t next = i + 1; next < rows.size(); ++next) {
    if (rows[next].token == token && parent_of(rows, next) == static_cast<int>(i)) return next;
  }
  return std::nullopt;
}

std::vector<Pos> row_depths(std::span<const Row> rows) {
  std::vector<Pos> depths;
  depths.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const int parent = parent_of(rows, i);
    depths.push_back(parent < 0 ? 0 : depths[static_cast<std::size_t>(parent)] + 1);
  }
  return depths;
}

std::string fault_of(std::span<const Row> rows) {
  if (rows.empty() || !rows.back().wanted ||
      !std::ranges::is_partitioned(rows, [](const Row& row) { return !row.wanted; })) {
    return "there are no rows whose choices are wanted, or not at the end";
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].parent == Row::kBefore) continue;
    const std::string name = "row " + std::to_string(i);
    const auto parent = static_cast<std::size_t>(rows[i].parent);
    if (rows[i].parent < 0 || parent >= i || !rows[parent].wanted) {
      return name + " follows row " + std::to_string(rows[i].parent) +
             ", which is no earlier one whose choice is wanted";
    }
    if (row_after(rows.first(i), parent, rows[i].token)) {
      return name + " has the token of a sibling: " + std::to_string(rows[i].token);
    }
  }
  return {};
}

}  // namespace specbranch
