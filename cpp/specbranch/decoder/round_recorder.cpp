#include "specbranch/decoder/round_recorder.h"

#include <utility>

namespace specbranch {

void RoundRecorder::on_submit(const SpeculationTree& tree, NodeId end) {
  if (!active_) return;
  current_.pos = tree.at(tree.root()).pos;
  set_window(tree, end);
  current_.features = std::move(features_);
  features_.clear();
}

void RoundRecorder::on_branch(const SpeculationTree& tree, NodeId end) {
  if (active_) set_window(tree, end);
}

void RoundRecorder::set_window(const SpeculationTree& tree, NodeId end) {
  current_.n_submitted = tree.depth(end);
  current_.window.clear();
  current_.confidence.clear();
  // What is submitted may be a branch; the window goes on from there.
  for (const NodeId id : tree.path_nodes(tree.main_leaf(end))) {
    if (id == tree.root()) continue;
    current_.window.push_back(tree.at(id).token);
    current_.confidence.push_back(static_cast<float>(tree.at(id).confidence));
  }
}

void RoundRecorder::on_choice(const Node& parent, Token token) {
  if (!active_) return;
  DraftRecord record;
  for (const Candidate& candidate : parent.candidates) {
    if (candidate.token == token) record.hit_rank = static_cast<int>(record.confidences.size());
    record.confidences.push_back(static_cast<float>(candidate.confidence));
  }
  current_.proposals.push_back(std::move(record));
}

void RoundRecorder::on_outcome(const PolicyOutcome& outcome, bool branch_miss,
                               std::vector<Token> rolled_back, const std::vector<float>& features) {
  if (!active_) return;
  current_.n_accepted = outcome.n_accepted;
  current_.committed = outcome.committed;
  current_.rolled_back = std::move(rolled_back);
  current_.branch_hit = outcome.branch_hit;
  current_.branch_miss = branch_miss;
  rounds_.push_back(std::exchange(current_, {}));
  features_ = features;
}

}  // namespace specbranch
