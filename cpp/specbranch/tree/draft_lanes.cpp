#include "specbranch/tree/draft_lanes.h"

#include <algorithm>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

/// Tokens of the text in a pass from which on it is of use in any case.
constexpr std::ptrdiff_t kCatchUp = 4;

/// A live node lies in `seq` at `from` or after it.
bool holds_live_node(const SpeculationTree& tree, SeqId seq, Pos from) {
  return std::ranges::any_of(tree.nodes(), [&](const auto& entry) {
    return entry.second.seq == seq && entry.second.pos >= from;
  });
}

bool uses(std::span<const Lane> lanes, SeqId seq) {
  return std::ranges::any_of(lanes, [&](const Lane& lane) { return lane.seq == seq; });
}

}  // namespace

DraftCommand DraftLanes::plan(SpeculationTree& tree, std::span<const NodeId> nodes, int width) {
  DraftCommand command;
  command.k = width;
  in_flight_.assign(nodes.begin(), nodes.end());
  for (const NodeId node : nodes) place(tree, node, command);
  sent_ = command.lanes;
  return command;
}

bool DraftLanes::matters(const SpeculationTree& tree) const {
  if (std::ranges::any_of(in_flight_, [&](NodeId id) { return tree.contains(id); })) return true;
  // Do not cancel a pass that reads committed text: the next pass would have more to read and be
  // cancelled again, without an end.
  return std::ranges::any_of(sent_, [&](const Lane& lane) {
    const auto begin = std::min(static_cast<std::size_t>(lane.pos), text().size());
    const auto end = std::ranges::mismatch(lane.tokens, text().subspan(begin)).in1;
    return end - lane.tokens.begin() >= kCatchUp;
  });
}

void DraftLanes::done() {
  in_flight_.clear();
  sent_.clear();
  cancelled_ = false;
}

void DraftLanes::undo(SpeculationTree& tree) {
  for (const Lane& lane : sent_) {
    ledger_.truncate(lane.seq, lane.pos);
    for (const auto& [id, known] : tree.nodes()) {
      if (known.seq == lane.seq && known.pos >= lane.pos) tree.at(id).seq = kNoSeq;
    }
  }
  done();
}

/// Makes a lane for node `id`: finds a sequence that holds most of its path, takes it or a copy,
/// and appends the rest.
void DraftLanes::place(SpeculationTree& tree, NodeId id, DraftCommand& command) {
  const std::vector<NodeId> path = tree.path_nodes(id);
  const Source source = choose_source(tree, path, command.lanes);
  const SeqId seq = make_room(tree, source, command);
  append(tree, path, seq, source.held, command);
}

DraftLanes::Source DraftLanes::choose_source(const SpeculationTree& tree,
                                             std::span<const NodeId> path,
                                             std::span<const Lane> taken) {
  const Pos end = tree.at(path.back()).pos;
  std::vector<Token> tail;  // the root is committed
  for (const NodeId node : path.subspan(1)) tail.push_back(tree.at(node).token);

  // The parent's sequence if no live node follows the parent there: planners count on it.
  const SeqId own = path.size() > 1 ? tree.at(path[path.size() - 2]).seq : kNoSeq;
  if (own != kNoSeq && !uses(taken, own) && ledger_.common(own, tail) >= end &&
      !holds_live_node(tree, own, end)) {
    return {own, end, ledger_.length(own) == end};
  }
  // Else the sequence that holds most of the path; among equals one that needs no fork.
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

/// Returns a sequence that holds exactly the cells that `source` holds of the path: that one, cut
/// if nobody needs the rest, or a copy.
SeqId DraftLanes::make_room(const SpeculationTree& tree, const Source& source,
                            DraftCommand& command) {
  const auto [from, held, ends_there] = source;
  if (ends_there) return from;
  if (!uses(command.lanes, from) && !holds_live_node(tree, from, held)) {
    command.ops.emplace_back(Truncate{from, ledger_.length(from), held});
    ledger_.truncate(from, held);
    return from;
  }
  const SeqId to = free_seq(tree, command.lanes);
  const Pos shared = std::min(ledger_.common_of(from, to), held);
  command.ops.emplace_back(Fork{from, to, shared, ledger_.length(to), held});
  ledger_.copy(from, to, held);
  return to;
}

/// Adds the lane that decodes into `seq` what it lacks of the path.
void DraftLanes::append(SpeculationTree& tree, std::span<const NodeId> path, SeqId seq, Pos held,
                        DraftCommand& command) {
  const Pos root = tree.at(path.front()).pos;
  const auto token_at = [&](Pos pos) {
    if (pos < root) return text()[static_cast<std::size_t>(pos)];
    return tree.at(path[static_cast<std::size_t>(pos - root)]).token;
  };
  Lane lane{path.back(), seq, held, {}};
  for (Pos pos = held; pos <= tree.at(path.back()).pos; ++pos) {
    lane.tokens.push_back(token_at(pos));
    ledger_.append(seq, lane.tokens.back());
  }
  for (const NodeId id : path) {
    Node& node = tree.at(id);
    if (node.pos >= held) node.seq = seq;
  }
  command.lanes.push_back(std::move(lane));
}

SeqId DraftLanes::free_seq(const SpeculationTree& tree, std::span<const Lane> taken) const {
  for (SeqId seq = 0; seq < ledger_.n_seq(); ++seq) {
    if (!uses(taken, seq) && !holds_live_node(tree, seq, 0)) return seq;
  }
  throw PreconditionError("[DraftLanes::plan] no sequence left for another branch; " +
                          std::to_string(ledger_.n_seq()) + " in all");
}

int DraftLanes::count_free(const SpeculationTree& tree) const {
  std::vector<bool> used(static_cast<std::size_t>(ledger_.n_seq()), false);
  for (const auto& [id, node] : tree.nodes()) {
    if (node.seq != kNoSeq) used[static_cast<std::size_t>(node.seq)] = true;
  }
  return static_cast<int>(std::ranges::count(used, false));
}

}  // namespace specbranch
