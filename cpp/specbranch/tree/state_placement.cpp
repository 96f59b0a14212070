#include "specbranch/tree/state_placement.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

/// A node of the pass, and where it is evaluated.
struct Branch {
  std::vector<NodeId> path;
  SeqId own = kNoSeq;   ///< the parent's sequence, if it ends there.
  SeqId base = kNoSeq;  ///< holds the longest prefix of the path; kNoSeq: none does.
  SeqId seq = kNoSeq;   ///< decodes the node.
};

/// Plans one pass. The ledger shows what the sequences hold before the pass until `append`.
class StatePass {
 public:
  StatePass(SpeculationTree& tree, KvLedger& ledger, DraftCommand& command)
      : tree_(tree),
        ledger_(ledger),
        command_(command),
        live_(used_sequences(tree, ledger.n_seq())),
        taken_(live_.size()),
        n_users_(live_.size()) {}

  void choose_bases(std::span<const NodeId> nodes) {
    for (const NodeId node : nodes) {
      branches_.push_back(choose_base(node));
      if (branches_.back().base != kNoSeq) ++n_users_[index(branches_.back().base)];
    }
  }

  void choose_sequences() {
    for (Branch& branch : branches_) {
      if (branch.base != kNoSeq) --n_users_[index(branch.base)];
      if (branch.base != kNoSeq && branch.base == branch.own && !taken_[index(branch.own)]) {
        branch.seq = branch.own;
      } else {
        branch.seq = cheapest(branch.base).value_or(kNoSeq);
        if (branch.seq == kNoSeq) {
          throw PreconditionError("[StatePlacement::place] no sequence left for another branch; " +
                                  std::to_string(ledger_.n_seq()) + " in all");
        }
        copy(branch.base, branch.seq);
      }
      taken_[index(branch.seq)] = true;
    }
  }

  /// Leaves behind the states that the pass goes on from, where they are worth the place.
  void leave_checkpoints() {
    for (const Branch& branch : branches_) {
      if (branch.seq != branch.base) continue;
      const Pos worth = loss_of(branch.seq);
      if (worth == 0) continue;
      const std::optional<SeqId> to = cheapest(branch.seq);
      if (to && loss_of(*to, branch.seq) < worth) copy(branch.seq, *to);
    }
  }

  void append() {
    for (const Branch& branch : branches_) {
      append_path(tree_, branch.path, branch.seq, ledger_, command_);
    }
  }

 private:
  static std::size_t index(SeqId seq) { return static_cast<std::size_t>(seq); }

  Branch choose_base(NodeId node) {
    Branch branch{.path = tree_.path_nodes(node)};
    const Pos end = tree_.at(node).pos;
    const std::vector<Token> tail = tail_of(tree_, branch.path);
    if (branch.path.size() > 1) {
      const SeqId own = tree_.at(branch.path[branch.path.size() - 2]).seq;
      if (own != kNoSeq && ledger_.length(own) == end) branch.own = own;
    }
    for (SeqId seq = 0; seq < ledger_.n_seq(); ++seq) {
      const Pos length = ledger_.length(seq);
      if (length > end || ledger_.common(seq, tail) != length) continue;
      const Pos best = branch.base == kNoSeq ? -1 : ledger_.length(branch.base);
      if (length > best || (length == best && seq == branch.own)) branch.base = seq;
    }
    return branch;
  }

  /// The sequence that may be overwritten at the smallest loss, with a copy of `from` or with the
  /// tokens that follow it; among equals one that holds a prefix of `from`, whose cells stay.
  std::optional<SeqId> cheapest(SeqId from) {
    std::optional<SeqId> best;
    Pos best_loss = 0;
    Pos best_kept = 0;
    for (SeqId seq = 0; seq < ledger_.n_seq(); ++seq) {
      if (live_[index(seq)] || taken_[index(seq)] || n_users_[index(seq)] > 0) continue;
      const Pos loss = loss_of(seq, from);
      const Pos kept = from != kNoSeq && is_prefix(seq, from) ? ledger_.length(seq) : 0;
      if (!best || loss < best_loss || (loss == best_loss && kept > best_kept)) {
        best = seq;
        best_loss = loss;
        best_kept = kept;
      }
    }
    return best;
  }

  /// Makes `to` hold what `from` holds; kNoSeq: nothing.
  void copy(SeqId from, SeqId to) {
    if (from == to) return;
    const Pos held = ledger_.length(to);
    const Pos empty = ledger_.origin();
    if (from == kNoSeq) {
      if (held > empty) command_.ops.emplace_back(Truncate{to, held, empty});
      ledger_.truncate(to, empty);
      return;
    }
    const Pos length = ledger_.length(from);
    const Pos shared = is_prefix(to, from) ? held : empty;
    if (shared == length && held == length) return;
    command_.ops.emplace_back(Fork{from, to, shared, held, length});
    ledger_.copy(from, to, length);
  }

  bool is_prefix(SeqId a, SeqId b) { return ledger_.common_of(a, b) == ledger_.length(a); }

  bool is_text(SeqId seq) { return ledger_.tail(seq).empty(); }

  /// Some path of the tree begins with what `seq` holds.
  bool is_useful(SeqId seq) {
    const std::span<const Token> tail = ledger_.tail(seq);
    if (tail.empty()) return true;
    const auto n_text = static_cast<Pos>(ledger_.committed().size());
    if (ledger_.length(seq) - static_cast<Pos>(tail.size()) < n_text) return false;
    NodeId node = tree_.root();
    for (const Token token : tail) {
      node = tree_.find_child(node, token);
      if (node == kNoNode) return false;
    }
    return true;
  }

  /// Tokens that would have to be decoded again if what `seq` holds were lost, while the sequences
  /// that the pass does not write, and `kept`, still are what they are.
  Pos loss_of(SeqId seq, SeqId kept = kNoSeq) {
    if (!is_useful(seq)) return 0;
    const Pos length = ledger_.length(seq);
    Pos next_best = ledger_.origin();
    for (SeqId other = 0; other < ledger_.n_seq(); ++other) {
      if (other == seq || (taken_[index(other)] && other != kept)) continue;
      // Of the text, the newest prefix is as good as all.
      if (is_text(seq) && is_text(other) && ledger_.length(other) >= length) return 0;
      if (is_prefix(other, seq)) next_best = std::max(next_best, ledger_.length(other));
    }
    return length - next_best;
  }

  SpeculationTree& tree_;
  KvLedger& ledger_;
  DraftCommand& command_;
  std::vector<Branch> branches_;
  std::vector<bool> live_;    ///< by sequence: a live node uses it.
  std::vector<bool> taken_;   ///< a branch of this pass is decoded there.
  std::vector<int> n_users_;  ///< branches that still need what it holds.
};

}  // namespace

void StatePlacement::place(SpeculationTree& tree, std::span<const NodeId> nodes, KvLedger& ledger,
                           DraftCommand& command) const {
  StatePass pass(tree, ledger, command);
  pass.choose_bases(nodes);
  pass.choose_sequences();
  pass.leave_checkpoints();
  pass.append();
}

int StatePlacement::count_free(const SpeculationTree& tree, const KvLedger& ledger) const {
  return std::max(0, count_unused(tree, ledger.n_seq()) - kReserved);
}

void StatePlacement::undo(SpeculationTree& tree, KvLedger& ledger,
                          std::span<const SequenceInput> sent) const {
  for (const SequenceInput& input : sent) {
    ledger.truncate(input.seq, ledger.origin());  // a state that was cut short is lost
    for (const auto& [id, known] : tree.nodes()) {
      if (known.seq == input.seq) tree.at(id).seq = kNoSeq;
    }
  }
}

}  // namespace specbranch
