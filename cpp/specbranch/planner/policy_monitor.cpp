#include "specbranch/planner/policy_monitor.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace specbranch {
namespace {

/// Weight of the newest value in a running mean.
constexpr double kNewest = 0.1;

double renew(double mean, double value) { return mean + kNewest * (value - mean); }

}  // namespace

void PolicyMonitor::on_step(const StepTime& step) {
  if (!active_) return;
  double& mean = step.role == ModelRole::kTarget ? target_us_ : draft_us_;
  const auto us = static_cast<double>(step.end_us - step.begin_us);
  mean = mean > 0 ? renew(mean, us) : us;
}

void PolicyMonitor::on_features(const std::vector<float>& features) {
  if (active_) features_ = features;
}

void PolicyMonitor::on_outcome(const PolicyOutcome& outcome) {
  if (!active_) return;
  if (outcome.n_submitted > 0) {
    acceptance_ = renew(acceptance_, static_cast<double>(outcome.n_accepted) / outcome.n_submitted);
  }
  outcomes_.push_back(outcome);
}

PolicyRound PolicyMonitor::round(const View& view, const Request& request) const {
  const SpeculationTree& tree = view.tree;
  PolicyRound round;
  round.mode = request.mode;
  round.position = tree.at(tree.root()).pos;
  round.limits = plan_limits(view, request);
  round.acceptance = acceptance_;
  round.target_us = target_us_;
  round.draft_us = draft_us_;
  round.features = features_;
  round.n_feature_layers = request.n_feature_layers;
  round.outcomes = outcomes_;

  std::vector<NodeId> ids = tree.path_nodes(tree.main_leaf(tree.root()));
  round.n_path = static_cast<int>(ids.size()) - 1;
  if (tree.size() > ids.size()) {
    for (const Node& node : tree.descendants(tree.root())) {
      if (std::ranges::find(ids, node.id) == ids.end()) ids.push_back(node.id);
    }
  }
  ids.resize(std::min(ids.size(), static_cast<std::size_t>(kPolicyNodes)));
  std::unordered_map<NodeId, int> index;
  for (const NodeId id : ids) {
    const Node& node = tree.at(id);
    PolicyNode shown{-1, node.token, node.confidence, node.candidates};
    if (node.parent != kNoNode) shown.parent = index.at(node.parent);
    if (shown.candidates.size() > kPolicyCandidates) shown.candidates.resize(kPolicyCandidates);
    index.emplace(id, static_cast<int>(round.nodes.size()));
    round.nodes.push_back(std::move(shown));
  }
  return round;
}

PlanLimits plan_limits(const View& view, const Request& request) {
  const SpeculationTree& tree = view.tree;
  const bool branches = request.mode == Mode::kSpecBranch || request.mode == Mode::kAuto;
  const bool rounds = request.mode == Mode::kSpecBranch || request.mode == Mode::kPearl;
  PlanLimits limits;
  limits.max_draft = request.max_draft;
  limits.max_branch_at = tree.depth(tree.main_leaf(tree.root()));
  limits.max_branches = branches ? request.max_branches : 1;
  // A round verifies what was there when it began; the other modes draft first.
  limits.max_submit = rounds ? std::min(limits.max_branch_at, view.max_path) : view.max_path;
  return limits;
}

}  // namespace specbranch
