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
  // A pass that catches up with the text, cut short, would leave the next one more to read, which
  // would be overtaken in turn, without an end.
  return std::ranges::any_of(sent_, [&](const Lane& lane) {
    const auto begin = std::min(static_cast<std::size_t>(lane.pos), text().size());
    const auto end = std::ranges::mismatch(lane.tokens, text().subspan(begin)).in1;
    return end - lane.tokens.begin() >= kCatchUp;
  });
}

void DraftLanes::done() {
  in_flight_.clear();
  sent_.clear();
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

void DraftLanes::place(SpeculationTree& tree, NodeId id, DraftCommand& command) {
  const std::vector<NodeId> nodes = tree.path_nodes(id);
  std::vector<Token> tail = tree.path(id);
  tail.erase(tail.begin());  // the root is committed
  const Pos end = tree.at(id).pos;

  // The parent's sequence if nothing that lives follows the parent there: planners count on it.
  const SeqId own = nodes.size() > 1 ? tree.at(nodes[nodes.size() - 2]).seq : kNoSeq;
  // Else the one that holds most of the path; one that ends just there needs no fork.
  const auto taken = [&](SeqId seq) {
    return std::ranges::any_of(command.lanes, [&](const Lane& lane) { return lane.seq == seq; });
  };
  SeqId best = 0;
  Pos held = -1;
  bool best_fits = false;
  if (own != kNoSeq && !taken(own)) {
    const Pos common = std::min(ledger_.common(own, tail), end);
    if (common == end && !holds_live_node(tree, own, end)) {
      best = own;
      held = end + 1;  // no other one is better
      best_fits = ledger_.length(own) == end;
    }
  }
  for (SeqId seq = 0; seq < ledger_.n_seq(); ++seq) {
    const Pos common = std::min(ledger_.common(seq, tail), end);
    const bool fits = !taken(seq) && ledger_.length(seq) == common;
    if (common > held || (common == held && fits && !best_fits)) {
      best = seq;
      held = common;
      best_fits = fits;
    }
  }

  held = std::min(held, end);
  SeqId seq = best;
  if (!best_fits) {
    if (!taken(best) && !holds_live_node(tree, best, held)) {
      command.ops.emplace_back(Truncate{best, ledger_.length(best), held});
      ledger_.truncate(best, held);
    } else {
      seq = free_seq(tree, command.lanes);
      const Pos shared = std::min(ledger_.common_of(best, seq), held);
      command.ops.emplace_back(Fork{best, seq, shared, ledger_.length(seq), held});
      ledger_.copy(best, seq, held);
    }
  }

  const Pos root = tree.at(nodes.front()).pos;
  const auto token_at = [&](Pos pos) {
    if (pos < root) return text()[static_cast<std::size_t>(pos)];
    return tree.at(nodes[static_cast<std::size_t>(pos - root)]).token;
  };
  Lane lane{id, seq, held, {}};
  for (Pos pos = held; pos <= end; ++pos) {
    lane.tokens.push_back(token_at(pos));
    ledger_.append(seq, lane.tokens.back());
  }
  for (const NodeId n : nodes) {
    Node& node = tree.at(n);
    if (node.pos >= held) node.seq = seq;
  }
  command.lanes.push_back(std::move(lane));
}

SeqId DraftLanes::free_seq(const SpeculationTree& tree, std::span<const Lane> taken) const {
  for (SeqId seq = 0; seq < ledger_.n_seq(); ++seq) {
    const bool used = std::ranges::any_of(taken, [&](const Lane& l) { return l.seq == seq; });
    if (!used && !holds_live_node(tree, seq, 0)) return seq;
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
