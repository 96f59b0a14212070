#include "specbranch/decoder/submission.h"

#include <algorithm>
#include <string>

#include "specbranch/base/errors.h"

namespace specbranch {

Submission::Submission(const SpeculationTree& tree, NodeId end, std::span<const NodeId> branches)
    : nodes_(tree.path_nodes(end)), parents_(nodes_.size(), Row::kBefore), n_path_(nodes_.size()) {
  for (const NodeId branch : branches) {
    bool begins = true;
    for (const NodeId node : tree.path_nodes(branch)) {
      if (std::ranges::find(nodes_, node) != nodes_.end()) continue;
      const auto parent = static_cast<int>(index_of(tree.at(node).parent));
      nodes_.push_back(node);
      parents_.push_back(begins ? parent : Row::kBefore);
      begins = false;
    }
  }
}

std::vector<Row> Submission::rows(const SpeculationTree& tree) const {
  std::vector<Row> rows;
  rows.reserve(nodes_.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    rows.push_back({tree.at(nodes_[i]).token, /*wanted=*/true, parents_[i]});
  }
  return rows;
}

int Submission::n_on_path(NodeId node) const {
  std::size_t i = index_of(node);
  while (i >= n_path_) {
    i = parents_[i] == Row::kBefore ? i - 1 : static_cast<std::size_t>(parents_[i]);
  }
  return static_cast<int>(i) + 1;
}

NodeId Submission::end_of(NodeId node) const {
  std::size_t i = index_of(node);
  while (i + 1 < nodes_.size() && parents_[i + 1] == Row::kBefore) ++i;
  return nodes_[i];
}

std::size_t Submission::index_of(NodeId node) const {
  const auto found = std::ranges::find(nodes_, node);
  if (found == nodes_.end()) {
    throw PreconditionError("[Submission::index_of] node " + std::to_string(node) +
                            " is not under verification");
  }
  return static_cast<std::size_t>(found - nodes_.begin());
}

}  // namespace specbranch
