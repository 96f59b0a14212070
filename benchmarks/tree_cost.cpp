// What the draft tree and the placement of its branches cost, by the number of sequences: a line of
// JSON for each figure, in microseconds. No model takes part.
//
//   build/llama/specbranch_tree_cost
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "specbranch/tree/draft_sequences.h"
#include "specbranch/tree/tree.h"

namespace {

using namespace specbranch;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 1000;
constexpr int kCandidates = 8;  // that the draft gives after a node
constexpr Pos kPrompt = 1000;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

double us_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

/// Rounds as those of `auto`. Every pass extends up to `n_seq` branches by a token; after
/// `n_passes` passes, a verification accepts as many tokens of the first branch.
class Rounds {
 public:
  Rounds(int n_seq, int n_passes) : n_seq_(n_seq), n_passes_(n_passes) {
    Capabilities draft;
    draft.n_seq = n_seq;
    sequences_.reset(std::vector<Token>(kPrompt, 1), draft);
    std::vector<Pos> lengths(static_cast<std::size_t>(n_seq), 0);
    lengths.front() = kPrompt - 1;
    sequences_.open(lengths);
    tree_.reset(1, kPrompt - 1);
    evaluate({tree_.root()});
  }

  void round() {
    for (int i = 0; i < n_passes_; ++i) {
      evaluate(open_leaves());
    }
    verify();
  }

  std::vector<double> plan_us;
  std::vector<double> count_us;
  std::vector<double> reroot_us;
  std::vector<double> n_nodes;

 private:
  /// One more node on every branch; new branches at the root as long as there are sequences.
  std::vector<NodeId> open_leaves() {
    std::vector<NodeId> next;
    // Branches that live on below the root keep their sequences; a new one needs a free sequence.
    auto n_free = sequences_.count_free(tree_);
    const auto n_wanted = static_cast<std::size_t>(n_seq_);
    for (int rank = 0; rank < kCandidates && next.size() < n_wanted; ++rank) {
      const NodeId child = tree_.find({tree_.root(), rank});
      if (child == kNoNode && rank > 0 && --n_free < 0) break;
      const NodeId leaf = child == kNoNode ? tree_.root() : tree_.main_leaf(child);
      const int grown = child == kNoNode ? rank : 0;
      next.push_back(tree_.add_child(leaf, grown));
    }
    // Second choices below the first branch, one a level.
    NodeId node = tree_.root();
    for (;;) {
      node = tree_.find({node, 0});
      if (node == kNoNode || !tree_.at(node).evaluated || next.size() >= n_wanted) break;
      const NodeId second = tree_.find({node, 1});
      if (second == kNoNode && --n_free < 0) break;
      if (second == kNoNode) next.push_back(tree_.add_child(node, 1));
    }
    return next;
  }

  void evaluate(const std::vector<NodeId>& nodes) {
    auto begin = Clock::now();
    const DraftCommand command = sequences_.plan(tree_, nodes, kCandidates);
    plan_us.push_back(us_since(begin));
    for (const SequenceInput& input : command.inputs) {
      Node& node = tree_.at(input.node);
      node.evaluated = true;
      for (int i = 0; i < kCandidates; ++i) {
        node.candidates.push_back({next_token_++ % 30000, 0.5 / (i + 1)});
      }
    }
    sequences_.done();
    n_nodes.push_back(static_cast<double>(tree_.size()));
    begin = Clock::now();
    n_free_ += sequences_.count_free(tree_);
    count_us.push_back(us_since(begin));
  }

  void verify() {
    NodeId node = tree_.root();
    for (int i = 0; i < n_passes_; ++i) {
      const NodeId child = tree_.find({node, 0});
      if (child == kNoNode) break;
      node = child;
      sequences_.commit(tree_.at(node).token);
    }
    const auto begin = Clock::now();
    n_dropped_ += tree_.reroot(node).size();
    reroot_us.push_back(us_since(begin));
    if (!tree_.at(tree_.root()).evaluated) evaluate({tree_.root()});
  }

  int n_seq_;
  int n_passes_;
  Token next_token_ = 0;
  SpeculationTree tree_;
  DraftSequences sequences_;
  int n_free_ = 0;
  std::size_t n_dropped_ = 0;
};

void run(int n_seq, int n_passes) {
  Rounds rounds(n_seq, n_passes);
  for (int i = 0; i < kRounds; ++i) rounds.round();
  const std::string name =
      std::to_string(n_seq) + " sequences, " + std::to_string(n_passes) + " passes: ";
  const auto print = [&](const char* figure, double us) {
    std::printf("{\"figure\": \"%s%s\", \"us\": %.6g}\n", name.c_str(), figure, us);
  };
  print("plan of a pass", median(rounds.plan_us));
  print("count of free sequences", median(rounds.count_us));
  print("re-root", median(rounds.reroot_us));
  std::printf("%s%.0f nodes\n", name.c_str(), median(rounds.n_nodes));
}

}  // namespace

int main() {
  for (const int n_passes : {4, 16}) {
    for (const int n_seq : {4, 16, 32}) run(n_seq, n_passes);
  }
  return 0;
}
