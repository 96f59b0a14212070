/// A planner with a tree made by hand, and a draft that answers as the test says.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "specbranch/planner/planner.h"
#include "specbranch/tree/tree.h"
#include "support/support.h"

namespace specbranch::test {

using Nodes = std::vector<NodeId>;

/// What a decision has set to work, by the nodes that exist now.
struct Started {
  Nodes evaluate;
  NodeId submit = kNoNode;
};

class Bench final {
 public:
  explicit Bench(Mode mode, int max_draft = 4, double epsilon = 0.4, int max_branches = 4) {
    request_.mode = mode;
    request_.max_draft = max_draft;
    request_.max_branches = max_branches;
    request_.policy.epsilon = epsilon;
    planner_ = make_planner(request_);
    tree.reset(0, 10);
  }

  explicit Bench(const Request& request) : request_(request) {
    planner_ = make_planner(request_);
    tree.reset(0, 10);
  }

  bool wants_plan() const { return planner_->wants_plan(make_view()); }
  void plan(const std::optional<Plan>& plan) { planner_->on_plan(plan); }
  void features(const std::vector<float>& features) { planner_->on_features(features); }

  void set_gamma(int gamma) {
    request_.policy.kind = PolicyOptions::Kind::kFixed;
    request_.policy.gamma = gamma;
    planner_ = make_planner(request_);
  }

  /// Does what the planner decides.
  Started next() {
    const Decision decision = planner_->next(make_view());
    for (const NodeRef& ref : decision.grow) tree.add(ref);
    Started started;
    started.submit = tree.add(decision.submit);
    for (const NodeRef& ref : decision.evaluate) started.evaluate.push_back(tree.add(ref));
    if (started.submit != kNoNode) {
      CHECK(target_idle);
      CHECK(submitted == kNoNode);
      submitted = started.submit;
      target_idle = false;
    }
    if (!started.evaluate.empty()) {
      CHECK(draft_idle);
      draft_idle = false;
      evaluating_ = started.evaluate;
    }
    return started;
  }

  /// The draft's answer for one node: ranks with these confidences, tokens 1, 2, 3 ...
  void answer(NodeId node, const std::vector<double>& confidences) {
    tree.at(node).evaluated = true;
    tree.at(node).seq = 0;
    tree.at(node).candidates.clear();
    for (const double confidence : confidences) {
      const auto token = static_cast<Token>(tree.at(node).candidates.size() + 1);
      tree.at(node).candidates.push_back({token, confidence});
    }
    draft_idle = true;
    evaluating_.clear();
  }

  /// The verification arrived; does the planner let it be applied?
  bool may_apply() {
    target_idle = false;
    static_cast<void>(next());
    return planner_->may_apply(make_view());
  }

  /// The verification is applied: the tree is rooted at `root`.
  void apply(NodeId root) {
    static_cast<void>(tree.reroot(root));
    finish(true);
  }
  void miss(Token token) {
    tree.reset(token, tree.at(tree.root()).pos + 1);
    finish(false);
  }

  int width() const { return planner_->width(); }

  SpeculationTree tree;
  bool target_idle = true;
  bool draft_idle = true;
  bool draft_usable = true;
  NodeId submitted = kNoNode;
  int max_depth = 100;
  int max_path = 100;
  int free_seqs = 8;

 private:
  void finish(bool hit) {
    submitted = kNoNode;
    target_idle = draft_idle = true;
    evaluating_.clear();
    planner_->on_verification(make_view(), hit);
  }

  View make_view() const {
    View view{.tree = tree};
    view.target_idle = target_idle;
    view.draft_idle = draft_idle;
    view.draft_usable = draft_usable;
    view.submitted = submitted;
    view.evaluating = evaluating_;
    view.max_depth = max_depth;
    view.max_path = max_path;
    view.free_seqs = free_seqs;
    view.n_seqs = free_seqs;
    return view;
  }

  Request request_;
  std::unique_ptr<Planner> planner_;
  Nodes evaluating_;
};

/// Lets the planner draft while the target is idle or busy; `confidence` of every first choice.
/// Returns what was submitted last.
inline NodeId draft_until_quiet(Bench& bench, double confidence) {
  NodeId submitted = kNoNode;
  for (int guard = 0; guard < 200; ++guard) {
    const Started decision = bench.next();
    if (decision.submit != kNoNode) submitted = decision.submit;
    if (decision.evaluate.empty()) return submitted;
    for (const NodeId node : decision.evaluate) {
      bench.answer(node, {confidence, (1 - confidence) / 2, (1 - confidence) / 3});
    }
  }
  FAIL("the planner never stops");
  return submitted;
}

inline int depth_of_main(const Bench& bench) {
  return bench.tree.depth(bench.tree.main_leaf(bench.tree.root()));
}

}  // namespace specbranch::test
