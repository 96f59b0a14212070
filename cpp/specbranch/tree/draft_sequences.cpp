#include "specbranch/tree/draft_sequences.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

/// A pass that reads at least this many tokens of the text is never cancelled.
constexpr std::ptrdiff_t kCatchUp = 4;

/// A live node lies in `seq` at `from` or after it.
bool holds_live_node(const SpeculationTree& tree, SeqId seq, Pos from) {
  return std::ranges::any_of(tree.nodes(), [&](const auto& entry) {
    return entry.second.seq == seq && entry.second.pos >= from;
  });
}

bool uses(std::span<const SequenceInput> inputs, SeqId seq) {
  return std::ranges::any_of(inputs, [&](const SequenceInput& input) { return input.seq == seq; });
}

}  // namespace

void DraftSequences::reset(std::vector<Token> text, int n_seq) {
  n_prefill_ = static_cast<Pos>(text.size()) - 1;
  ledger_.reset(std::move(text), n_seq);
}

void DraftSequences::open(std::span<const Pos> lengths) {
  if (std::ranges::any_of(lengths, [&](Pos length) { return length > n_prefill_; })) {
    throw PreconditionError("[DraftSequences::open] a sequence holds more than the prompt of " +
                            std::to_string(n_prefill_ + 1) + " tokens without its last");
  }
  ledger_.begin(lengths);
}

void DraftSequences::prefilled(Pos length) {
  if (length <= ledger_.length(0) || length > n_prefill_) {
    throw PreconditionError("[DraftSequences::prefilled] sequence 0 cannot hold " +
                            std::to_string(length) + " tokens; it has " +
                            std::to_string(ledger_.length(0)) + " of " +
                            std::to_string(n_prefill_));
  }
  ledger_.extend(0, length);
}

std::vector<SeqId> DraftSequences::seqs() const {
  std::vector<SeqId> seqs(static_cast<std::size_t>(n_seq()));
  std::iota(seqs.begin(), seqs.end(), 0);
  return seqs;
}

DraftCommand DraftSequences::plan(SpeculationTree& tree, std::span<const NodeId> nodes,
                                  const RankOptions& rank) {
  DraftCommand command;
  command.rank = rank;
  in_flight_.assign(nodes.begin(), nodes.end());
  for (const NodeId node : nodes) place(tree, node, command);
  sent_ = command.inputs;
  return command;
}

bool DraftSequences::matters(const SpeculationTree& tree) const {
  if (std::ranges::any_of(in_flight_, [&](NodeId id) { return tree.contains(id); })) return true;
  // Do not cancel a pass that reads committed text: the next pass would have more to read, and
  // would be cancelled again (livelock).
  return std::ranges::any_of(sent_, [&](const SequenceInput& input) {
    const auto begin = std::min(static_cast<std::size_t>(input.pos), text().size());
    const auto end = std::ranges::mismatch(input.tokens, text().subspan(begin)).in1;
    return end - input.tokens.begin() >= kCatchUp;
  });
}

void DraftSequences::done() {
  in_flight_.clear();
  sent_.clear();
  cancelled_ = false;
}

void DraftSequences::undo(SpeculationTree& tree) {
  for (const SequenceInput& input : sent_) {
    ledger_.truncate(input.seq, input.pos);
    for (const auto& [id, known] : tree.nodes()) {
      if (known.seq == input.seq && known.pos >= input.pos) tree.at(id).seq = kNoSeq;
    }
  }
  done();
}

/// Adds the input for node `id`: chooses the sequence that holds most of its path, takes it or a
/// copy of it, and appends the missing tokens.
void DraftSequences::place(SpeculationTree& tree, NodeId id, DraftCommand& command) {
  const std::vector<NodeId> path = tree.path_nodes(id);
  const Source source = choose_source(tree, path, command.inputs);
  const SeqId seq = make_room(tree, source, command);
  append(tree, path, seq, source.held, command);
}

DraftSequences::Source DraftSequences::choose_source(const SpeculationTree& tree,
                                                     std::span<const NodeId> path,
                                                     std::span<const SequenceInput> taken) {
  const Pos end = tree.at(path.back()).pos;
  std::vector<Token> tail;  // the root is committed
  for (const NodeId node : path.subspan(1)) tail.push_back(tree.at(node).token);

  // Prefer the parent's sequence if no live node follows the parent there: planners rely on this.
  const SeqId own = path.size() > 1 ? tree.at(path[path.size() - 2]).seq : kNoSeq;
  if (own != kNoSeq && !uses(taken, own) && ledger_.common(own, tail) >= end &&
      !holds_live_node(tree, own, end)) {
    return {own, end, ledger_.length(own) == end};
  }
  // Else choose the sequence that holds most of the path; on a tie, one that needs no fork.
  Source best;
  for (SeqId seq = 0; seq < ledger_.n_seq(); ++seq) {
    const Pos held = std::min(ledger_.common(seq, tail), end);
    const bool ends_there = !uses(taken, seq) && ledger_.length(seq) == held;
    if (held > best.held || (held == best.held && ends_there && !best.ends_there)) {
      best = {seq, held, ends_there};
    }
  }
  return best;
}

/// Returns a sequence that holds only the path's cells of `source`: `source` itself, cut if no live
/// node needs the other cells, or else a copy.
SeqId DraftSequences::make_room(const SpeculationTree& tree, const Source& source,
                                DraftCommand& command) {
  const auto [from, held, ends_there] = source;
  if (ends_there) return from;
  if (!uses(command.inputs, from) && !holds_live_node(tree, from, held)) {
    command.ops.emplace_back(Truncate{from, ledger_.length(from), held});
    ledger_.truncate(from, held);
    return from;
  }
  const SeqId to = free_seq(tree, command.inputs);
  const Pos shared = std::min(ledger_.common_of(from, to), held);
  command.ops.emplace_back(Fork{from, to, shared, ledger_.length(to), held});
  ledger_.copy(from, to, held);
  return to;
}

/// Adds the input that decodes the missing tokens of the path into `seq`.
void DraftSequences::append(SpeculationTree& tree, std::span<const NodeId> path, SeqId seq,
                            Pos held, DraftCommand& command) {
  const Pos root = tree.at(path.front()).pos;
  const auto token_at = [&](Pos pos) {
    if (pos < root) return text()[static_cast<std::size_t>(pos)];
    return tree.at(path[static_cast<std::size_t>(pos - root)]).token;
  };
  SequenceInput input{path.back(), seq, held, {}};
  for (Pos pos = held; pos <= tree.at(path.back()).pos; ++pos) {
    input.tokens.push_back(token_at(pos));
    ledger_.append(seq, input.tokens.back());
  }
  for (const NodeId id : path) {
    Node& node = tree.at(id);
    if (node.pos >= held) node.seq = seq;
  }
  command.inputs.push_back(std::move(input));
}

SeqId DraftSequences::free_seq(const SpeculationTree& tree,
                               std::span<const SequenceInput> taken) const {
  for (SeqId seq = 0; seq < ledger_.n_seq(); ++seq) {
    if (!uses(taken, seq) && !holds_live_node(tree, seq, 0)) return seq;
  }
  throw PreconditionError("[DraftSequences::plan] no sequence left for another branch; " +
                          std::to_string(ledger_.n_seq()) + " in all");
}

int DraftSequences::count_free(const SpeculationTree& tree) const {
  std::vector<bool> used(static_cast<std::size_t>(ledger_.n_seq()), false);
  for (const auto& [id, node] : tree.nodes()) {
    if (node.seq != kNoSeq) used[static_cast<std::size_t>(node.seq)] = true;
  }
  return static_cast<int>(std::ranges::count(used, false));
}

}  // namespace specbranch
