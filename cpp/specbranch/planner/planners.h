/// The planners of the modes. Private to the core; see `make_planner`.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "specbranch/lookup/text_path.h"
#include "specbranch/planner/cost_model.h"
#include "specbranch/planner/planner.h"
#include "specbranch/planner/policy_rules.h"

namespace specbranch {

/// The base of planners that decide without step costs. Their steps still refine the costs of the
/// pair, for later generations in mode `auto`.
class TimedPlanner : public Planner {
 public:
  explicit TimedPlanner(PairProfile* profile) {
    if (profile != nullptr) costs_.emplace(profile);
  }

  void on_step(const StepTime& step) final {
    if (costs_) costs_->on_step(step);
  }

 private:
  std::optional<CostModel> costs_;
};

/// Decodes one token a step; the draft is paused.
class AutoregressivePlanner final : public TimedPlanner {
 public:
  using TimedPlanner::TimedPlanner;

  Decision next(const View& view) override;
  void on_verification(const View& /*view*/, bool /*hit*/) override {}
  int width() const override { return 1; }
};

/// The base of planners whose rounds a policy controls.
class PolicyPlanner : public TimedPlanner {
 public:
  PolicyPlanner(const Request& request, PairProfile* profile)
      : TimedPlanner(profile), policy_(request) {}

  void on_features(std::span<const float> features) final { policy_.on_features(features); }
  void on_plan(const std::optional<Plan>& plan) final { policy_.set_plan(plan); }
  void on_outcome(const PolicyOutcome& outcome) final { policy_.on_outcome(outcome); }
  int width() const override { return policy_.width(); }

 protected:
  const RoundPolicy& policy() const { return policy_; }
  void end_round() { policy_.end_round(); }

 private:
  RoundPolicy policy_;
};

/// A chain, then its verification (Leviathan et al., arXiv:2211.17192).
///
/// If H-RAD predicts that no token will be accepted, the draft drafts one token. If H-RAD predicts
/// that all will be accepted, the draft ignores the confidences and drafts the whole chain. Without
/// a draft model the chain is what texts propose, with their probabilities as confidences. A plan:
/// the chain goes on until it has `branch_at + draft_length` tokens (-1: from its end), then
/// `submit` of them are verified (-1: all).
class SpeculativePlanner final : public PolicyPlanner {
 public:
  using PolicyPlanner::PolicyPlanner;

  Decision next(const View& view) override;
  bool wants_plan(const View& view) const override;
  void on_verification(const View& view, bool hit) override;

 private:
  int wanted_depth() const;
  bool stops_at(const Node& leaf) const;
  NodeId end_of_text(const SpeculationTree& tree, const TextPath& path) const;

  int start_depth_ = -1;  ///< length of the chain when the round began; -1: it has not.
};

/// One lock-step round: while the target verifies the path to a node, the draft extends branches
/// that leave that node, until all have the wanted depth.
///
/// Both overlapping modes use this round. They differ in the node and in the number of branches.
///
/// If H-RAD predicts that no token will be accepted, the round branches at the root. The existing
/// draft stays as one of the branches: it costs nothing more. If H-RAD predicts that all will be
/// accepted, the round branches at the end of the main path.
/// A plan sets the branch point, how much is verified, the number of branches and their length.
class RoundPlanner : public PolicyPlanner {
 public:
  RoundPlanner(const Request& request, int max_branches, PairProfile* profile)
      : PolicyPlanner(request, profile), max_branches_(max_branches) {}

  Decision next(const View& view) final;
  bool wants_plan(const View& view) const final;
  bool lock_step() const final { return true; }
  bool may_apply(const View& view) final;
  void on_verification(const View& view, bool hit) final;
  int width() const final { return std::max(max_branches_, policy().width()); }

 protected:
  /// Where the path to verify ends, given the main path that is there at the start of a round.
  virtual NodeId branch_point(const View& view) const = 0;

  /// How many branches leave the (evaluated) branch point.
  virtual int branches(const View& view, const Node& point) const = 0;

  /// A window ends at this node although it could be longer.
  virtual bool ends_window(const Node& /*leaf*/) const { return false; }

 private:
  bool may_begin(const View& view) const;
  NodeId begin_round(const View& view);
  void draft(const View& view, Decision& decision);
  void branch_out(const View& view, Decision& decision);
  NodeRef end_of_branch(const SpeculationTree& tree, int rank) const;
  bool may_extend(const Node& leaf) const;

  int max_branches_;
  NodeId branch_point_ = kNoNode;     ///< kNoNode: no round is under way.
  int gamma_ = 0;                     ///< tokens drafted past the point in this round.
  bool rejection_predicted_ = false;  ///< H-RAD predicts that the first choice is rejected.
  int first_branch_ = 0;              ///< rank of the first branch that is drafted on.
  int n_branches_ = 0;    ///< of the point's best candidates; 0 until the point is evaluated.
  bool drafted_ = false;  ///< the draft has finished this round.
};

/// The node after so many drafted tokens of the main path, or its end.
NodeId on_main_path(const SpeculationTree& tree, int depth);

/// PEARL (arXiv:2408.11850): everything that is drafted is verified while the next gamma tokens are
/// drafted; after a rejection the target verifies the first token while the draft makes a window.
class PearlPlanner final : public RoundPlanner {
 public:
  PearlPlanner(const Request& request, PairProfile* profile) : RoundPlanner(request, 1, profile) {}

 private:
  NodeId branch_point(const View& view) const override;
  int branches(const View& /*view*/, const Node& /*point*/) const override { return 1; }
  bool ends_window(const Node& leaf) const override;
};

/// SpecBranch (arXiv:2506.01979): the path before the first low-confidence token is verified while
/// the draft extends the best `k = max(1, floor(max_branches * (1 - confidence)))` tokens at that
/// place.
class SpecBranchPlanner final : public RoundPlanner {
 public:
  SpecBranchPlanner(const Request& request, PairProfile* profile)
      : RoundPlanner(request, request.max_branches, profile), max_branches_(request.max_branches) {}

 private:
  NodeId branch_point(const View& view) const override;
  int branches(const View& view, const Node& point) const override;
  /// Nothing past a low-confidence token would be submitted in the next round, which branches
  /// there.
  bool ends_window(const Node& leaf) const override;

  int max_branches_;
};

}  // namespace specbranch
