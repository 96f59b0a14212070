#include "specbranch/tree/cell_placement.h"

#include <algorithm>
#include <string>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

/// A live node lies in `seq` at `from` or after it.
bool holds_live_node(const SpeculationTree& tree, SeqId seq, Pos from) {
  return std::ranges::any_of(tree.nodes(), [&](const auto& entry) {
    return entry.second.seq == seq && entry.second.pos >= from;
  });
}

bool uses(std::span<const SequenceInput> inputs, SeqId seq) {
  return std::ranges::any_of(inputs, [&](const SequenceInput& input) { return input.seq == seq; });
}

/// Cells that `seq` has before the pass: what an input of the pass appends is not there to be
/// copied.
Pos length_before(std::span<const SequenceInput> inputs, const KvLedger& ledger, SeqId seq) {
  const auto input = std::ranges::find(inputs, seq, &SequenceInput::seq);
  return input == inputs.end() ? ledger.length(seq) : input->pos;
}

/// A sequence that holds a prefix of a node's path.
struct Source {
  SeqId seq = 0;
  Pos held = -1;            ///< cells of the path that it holds, without the node itself.
  bool ends_there = false;  ///< it holds nothing more, and no other input of the pass uses it.
};

Source choose_source(const SpeculationTree& tree, std::span<const NodeId> path, KvLedger& ledger,
                     std::span<const SequenceInput> taken) {
  const Pos end = tree.at(path.back()).pos;
  const std::vector<Token> tail = tail_of(tree, path);  // the root is committed

  // Prefer the parent's sequence if no live node follows the parent there: planners rely on this.
  const SeqId own = path.size() > 1 ? tree.at(path[path.size() - 2]).seq : kNoSeq;
  if (own != kNoSeq && !uses(taken, own) && ledger.common(own, tail) >= end &&
      !holds_live_node(tree, own, end)) {
    return {own, end, ledger.length(own) == end};
  }
  // Else choose the sequence that holds most of the path; on a tie, one that needs no fork.
  Source best;
  for (SeqId seq = 0; seq < ledger.n_seq(); ++seq) {
    const Pos held = std::min({ledger.common(seq, tail), end, length_before(taken, ledger, seq)});
    const bool ends_there = !uses(taken, seq) && ledger.length(seq) == held;
    if (held > best.held || (held == best.held && ends_there && !best.ends_there)) {
      best = {seq, held, ends_there};
    }
  }
  return best;
}

SeqId free_seq(const SpeculationTree& tree, const KvLedger& ledger,
               std::span<const SequenceInput> taken) {
  for (SeqId seq = 0; seq < ledger.n_seq(); ++seq) {
    if (!uses(taken, seq) && !holds_live_node(tree, seq, 0)) return seq;
  }
  throw PreconditionError("[CellPlacement::place] no sequence left for another branch; " +
                          std::to_string(ledger.n_seq()) + " in all");
}

/// Returns a sequence that holds only the path's cells of `source`: `source` itself, cut if no live
/// node needs the other cells, or else a copy.
SeqId make_room(const SpeculationTree& tree, const Source& source, KvLedger& ledger,
                DraftCommand& command) {
  const auto [from, held, ends_there] = source;
  if (ends_there) return from;
  if (!uses(command.inputs, from) && !holds_live_node(tree, from, held)) {
    command.ops.emplace_back(Truncate{from, ledger.length(from), held});
    ledger.truncate(from, held);
    return from;
  }
  const SeqId to = free_seq(tree, ledger, command.inputs);
  const Pos shared = std::min(ledger.common_of(from, to), held);
  command.ops.emplace_back(Fork{from, to, shared, ledger.length(to), held});
  ledger.copy(from, to, held);
  return to;
}

}  // namespace

void CellPlacement::place(SpeculationTree& tree, std::span<const NodeId> nodes, KvLedger& ledger,
                          DraftCommand& command) const {
  for (const NodeId node : nodes) {
    const std::vector<NodeId> path = tree.path_nodes(node);
    const Source source = choose_source(tree, path, ledger, command.inputs);
    append_path(tree, path, make_room(tree, source, ledger, command), ledger, command);
  }
}

int CellPlacement::count_free(const SpeculationTree& tree, const KvLedger& ledger) const {
  return count_unused(tree, ledger.n_seq());
}

void CellPlacement::undo(SpeculationTree& tree, KvLedger& ledger,
                         std::span<const SequenceInput> sent) const {
  for (const SequenceInput& input : sent) {
    ledger.truncate(input.seq, input.pos);
    for (const auto& [id, known] : tree.nodes()) {
      if (known.seq == input.seq && known.pos >= input.pos) tree.at(id).seq = kNoSeq;
    }
  }
}

}  // namespace specbranch
