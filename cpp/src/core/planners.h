/// The planners of the modes. Private to the core; see `make_planner`.
#pragma once

#include <algorithm>
#include <vector>

#include "policy.h"
#include "specbranch/core/planner.h"

namespace specbranch {

/// One token a step; the draft rests.
class AutoregressivePlanner final : public Planner {
 public:
  Decision next(const View& view, Grower& grow) override;
  void on_verdict(const View& /*view*/, bool /*hit*/) override {}
  int width() const override { return 1; }
};

/// A chain, then its verification (Leviathan et al., arXiv:2211.17192).
class SpeculativePlanner final : public Planner {
 public:
  explicit SpeculativePlanner(const Request& request) : rule_(request.policy, request.max_draft) {}

  Decision next(const View& view, Grower& grow) override;
  void on_verdict(const View& /*view*/, bool /*hit*/) override {}
  int width() const override { return 1; }

 private:
  StoppingRule rule_;
};

/// One lock-step round: while the target verifies the path to a node, the draft extends branches
/// that leave that node, until all have the wanted depth.
///
/// Both overlapping modes are this round; they differ in the node and in the number of branches.
class RoundPlanner : public Planner {
 public:
  RoundPlanner(const Request& request, int width)
      : rule_(request.policy, request.max_draft), width_(width) {}

  Decision next(const View& view, Grower& grow) final;
  bool lock_step() const final { return true; }
  bool may_apply(const View& view) final;
  void on_verdict(const View& view, bool hit) final;
  int width() const final { return width_; }

 protected:
  /// Where the path to verify ends, given the main path that is there at the start of a round.
  virtual NodeId branch_point(const View& view) const = 0;

  /// How many branches leave the (evaluated) branch point.
  virtual int branches(const View& view, const Node& point) const = 0;

  const StoppingRule& rule() const { return rule_; }

 private:
  std::vector<NodeId> to_evaluate(const View& view, Grower& grow);

  StoppingRule rule_;
  int width_;
  NodeId point_ = kNoNode;      ///< kNoNode: no round is under way.
  std::vector<NodeId> leaves_;  ///< ends of the branches; empty until the point is evaluated.
  bool drafted_ = false;        ///< nothing is left to draft in this round.
};

/// PEARL (arXiv:2408.11850): everything that is drafted is verified while the next gamma tokens are
/// drafted; after a rejection the target verifies the first token while the draft makes a window.
class PearlPlanner final : public RoundPlanner {
 public:
  explicit PearlPlanner(const Request& request) : RoundPlanner(request, 1) {}

 private:
  NodeId branch_point(const View& view) const override;
  int branches(const View& /*view*/, const Node& /*point*/) const override { return 1; }
};

/// SpecBranch (arXiv:2506.01979): the path before the first doubted token is verified while the
/// draft extends the best `k = max(1, floor(k_max * (1 - confidence)))` tokens at that place.
class SpecBranchPlanner final : public RoundPlanner {
 public:
  explicit SpecBranchPlanner(const Request& request)
      : RoundPlanner(request, request.k_max), k_max_(request.k_max) {}

 private:
  NodeId branch_point(const View& view) const override;
  int branches(const View& view, const Node& point) const override;

  int k_max_;
};

}  // namespace specbranch
