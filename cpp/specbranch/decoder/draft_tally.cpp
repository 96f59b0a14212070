#include "specbranch/decoder/draft_tally.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace specbranch {
namespace {

bool from_text(const Node& node) { return node.source != TokenSource::kDraft; }
bool is_forced(const Node& node) { return node.source == TokenSource::kGrammar; }

/// The target's own token replaces drafted tokens, which are rolled back. A text's tokens that
/// nobody has verified are not among them: they have cost nothing.
bool rejects_draft(const SpeculationTree& tree, const WalkStep& step) {
  if (step.origin != Origin::kTarget) return false;
  return std::ranges::any_of(tree.at(step.parent).children,
                             [&](NodeId child) { return tree.at(child).main; });
}

}  // namespace

void DraftTally::make_main(Node& node) {
  node.main = true;
  ++counters_.n_drafted;
  if (!from_text(node)) return;
  ++counters_.n_all_drafted;
  ++(is_forced(node) ? counters_.n_forced_drafted : counters_.n_lookup_drafted);
}

void DraftTally::drafted(SpeculationTree& tree, NodeId node) {
  ++counters_.n_all_drafted;
  Node& added = tree.at(node);
  const NodeId parent = added.parent;
  if (added.rank == 0 && (parent == tree.root() || tree.at(parent).main)) make_main(added);
}

void DraftTally::submitted(SpeculationTree& tree, const Submission& submission) {
  bool text = false;
  for (const NodeId id : submission.path()) {
    if (id == tree.root()) continue;
    Node& node = tree.at(id);
    text = text || from_text(node);
    if (text && !node.main) make_main(node);
  }
}

void DraftTally::verified(const Submission& submission) {
  ++counters_.n_target_steps;
  const auto n_beside = static_cast<std::int64_t>(submission.beside().size());
  if (n_beside > 0) ++counters_.n_tree_steps;
  counters_.n_branch_verified += n_beside;
}

void DraftTally::draft_step(int n_tokens) {
  counters_.n_draft_lanes += n_tokens;
  ++counters_.n_draft_steps;
}

bool DraftTally::committed(SpeculationTree& tree, const Submission& submission,
                           std::span<const WalkStep> steps, const PolicyOutcome& outcome,
                           bool drafts) {
  std::int64_t n_beside = 0;
  for (const WalkStep& step : steps) {
    if (step.origin == Origin::kTarget) continue;
    promote(tree, step.node);
    ++counters_.n_accepted;
    n_beside += std::ranges::count(submission.beside(), step.node);
    const TokenSource source = tree.at(step.node).source;
    if (source == TokenSource::kGrammar) {
      ++counters_.n_forced_accepted;
    } else if (source != TokenSource::kDraft) {
      ++counters_.n_lookup_accepted;
    }
    if (source == TokenSource::kPrediction) ++counters_.n_prediction_accepted;
  }
  if (n_beside > 0) ++counters_.n_branches_taken;
  counters_.n_branch_accepted += n_beside;
  if (!drafts) return false;
  const auto n_accepted = static_cast<std::size_t>(outcome.n_accepted);
  auto& histogram = counters_.acceptance_histogram;
  if (histogram.size() <= n_accepted) histogram.resize(n_accepted + 1);
  ++histogram[n_accepted];
  if (outcome.branch_hit) ++counters_.branch_hits;
  const bool missed = !steps.empty() && rejects_draft(tree, steps.back());
  if (missed) ++counters_.branch_misses;
  return missed;
}

std::vector<Token> DraftTally::dropped(std::span<const Node> nodes) {
  std::vector<Token> rolled_back;
  for (const Node& node : nodes) {
    if (!node.main) continue;
    rolled_back.push_back(node.token);
    if (node.source == TokenSource::kPrediction) ++counters_.n_prediction_rejected;
  }
  counters_.n_rolled_back += static_cast<std::int64_t>(rolled_back.size());
  return rolled_back;
}

void DraftTally::settle(const SpeculationTree& tree) {
  for (const Node& node : tree.descendants(tree.root())) {
    if (node.main) ++counters_.n_unresolved;
  }
}

void DraftTally::promote(SpeculationTree& tree, NodeId id) {
  // Up to the nearest counted ancestor nothing is left out: a path is promoted from the root on.
  for (;;) {
    Node& node = tree.at(id);
    if (!node.main) make_main(node);
    const auto first =
        std::ranges::find_if(node.children, [&](NodeId child) { return tree.at(child).rank == 0; });
    if (first == node.children.end()) return;
    id = *first;
  }
}

}  // namespace specbranch
