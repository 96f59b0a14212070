#include "specbranch/tree/branch_placement.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace specbranch {

std::vector<bool> used_sequences(const SpeculationTree& tree, int n_seq) {
  std::vector<bool> used(static_cast<std::size_t>(n_seq), false);
  for (const auto& [id, node] : tree.nodes()) {
    if (node.seq != kNoSeq) used[static_cast<std::size_t>(node.seq)] = true;
  }
  return used;
}

int count_unused(const SpeculationTree& tree, int n_seq) {
  return static_cast<int>(std::ranges::count(used_sequences(tree, n_seq), false));
}

std::vector<Token> tail_of(const SpeculationTree& tree, std::span<const NodeId> path) {
  std::vector<Token> tail;
  for (const NodeId node : path.subspan(1)) tail.push_back(tree.at(node).token);
  return tail;
}

void append_path(SpeculationTree& tree, std::span<const NodeId> path, SeqId seq, KvLedger& ledger,
                 DraftCommand& command) {
  const Pos held = ledger.length(seq);
  const Pos root = tree.at(path.front()).pos;
  const auto token_at = [&](Pos pos) {
    if (pos < root) return ledger.committed()[static_cast<std::size_t>(pos)];
    return tree.at(path[static_cast<std::size_t>(pos - root)]).token;
  };
  SequenceInput input{path.back(), seq, held, {}};
  for (Pos pos = held; pos <= tree.at(path.back()).pos; ++pos) {
    input.tokens.push_back(token_at(pos));
    ledger.append(seq, input.tokens.back());
  }
  for (const NodeId id : path) {
    Node& node = tree.at(id);
    if (node.pos >= held) node.seq = seq;
  }
  command.inputs.push_back(std::move(input));
}

}  // namespace specbranch
