/// The nodes under verification.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "specbranch/model/model.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// The nodes of a verification in the order of its rows: the path, the root first, then branches
/// that leave it or each other.
class Submission {
 public:
  /// Nothing.
  Submission() = default;

  /// The path from the root to `end`, and what the paths to `branches` have beside it.
  Submission(const SpeculationTree& tree, NodeId end, std::span<const NodeId> branches);

  bool empty() const { return nodes_.empty(); }
  std::span<const NodeId> nodes() const { return nodes_; }
  std::span<const NodeId> path() const { return nodes().first(n_path_); }
  /// The nodes of the branches.
  std::span<const NodeId> beside() const { return nodes().subspan(n_path_); }

  /// The last node of the path; kNoNode: nothing is under verification.
  NodeId end() const { return empty() ? kNoNode : nodes_[n_path_ - 1]; }

  std::vector<Row> rows(const SpeculationTree& tree) const;

  /// Nodes of the path on the way to `node`, one of these nodes. It counts, and so does the root.
  int n_on_path(NodeId node) const;

  /// The end of the path or branch on which `node`, one of these nodes, lies.
  NodeId end_of(NodeId node) const;

 private:
  std::size_t index_of(NodeId node) const;

  std::vector<NodeId> nodes_;
  std::vector<int> parents_;  ///< as `Row::parent`.
  std::size_t n_path_ = 0;
};

}  // namespace specbranch
