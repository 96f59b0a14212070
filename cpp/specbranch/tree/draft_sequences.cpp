#include "specbranch/tree/draft_sequences.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/tree/cell_placement.h"
#include "specbranch/tree/state_placement.h"

namespace specbranch {
namespace {

/// A pass that reads at least this many tokens of the text is never cancelled.
constexpr std::ptrdiff_t kCatchUp = 4;

}  // namespace

void DraftSequences::reset(std::vector<Token> text, const Capabilities& draft, Pos origin,
                           SeqId first) {
  first_ = first;
  n_prefill_ = static_cast<Pos>(text.size()) - 1 - origin;
  ledger_.reset(std::move(text), draft.n_seq, origin);
  if (draft.rollback == Rollback::kAnywhere) {
    placement_ = std::make_unique<CellPlacement>();
  } else {
    placement_ = std::make_unique<StatePlacement>();
  }
}

void DraftSequences::open(std::span<const Pos> lengths) {
  if (std::ranges::any_of(lengths, [&](Pos length) { return length > n_prefill_; })) {
    throw PreconditionError("[DraftSequences::open] a sequence holds more than the prompt of " +
                            std::to_string(n_prefill_ + 1) + " tokens without its last");
  }
  std::vector<Pos> ends(lengths.begin(), lengths.end());
  for (Pos& end : ends) end += ledger_.origin();
  ledger_.begin(ends);
}

void DraftSequences::prefilled(Pos length) {
  const Pos held = ledger_.length(0) - ledger_.origin();
  if (length <= held || length > n_prefill_) {
    throw PreconditionError("[DraftSequences::prefilled] sequence 0 cannot hold " +
                            std::to_string(length) + " tokens; it has " + std::to_string(held) +
                            " of " + std::to_string(n_prefill_));
  }
  ledger_.extend(0, ledger_.origin() + length);
}

std::vector<SeqId> DraftSequences::seqs() const {
  std::vector<SeqId> seqs(static_cast<std::size_t>(n_seq()));
  std::iota(seqs.begin(), seqs.end(), first_);
  return seqs;
}

DraftCommand DraftSequences::plan(SpeculationTree& tree, std::span<const NodeId> nodes,
                                  const RankOptions& rank) {
  DraftCommand command;
  command.rank = rank;
  in_flight_.assign(nodes.begin(), nodes.end());
  placement_->place(tree, nodes, ledger_, command);
  sent_ = command.inputs;
  to_model(command);
  return command;
}

/// Positions of the text become those of the draft's window, and ids those of the model.
void DraftSequences::to_model(DraftCommand& command) const {
  const Pos origin = ledger_.origin();
  for (KvOp& op : command.ops) {
    if (auto* fork = std::get_if<Fork>(&op)) {
      fork->shared -= origin;
      fork->to_length -= origin;
      fork->length -= origin;
      fork->from += first_;
      fork->to += first_;
    } else {
      auto& cut = std::get<Truncate>(op);
      cut.expected -= origin;
      cut.length -= origin;
      cut.seq += first_;
    }
  }
  for (SequenceInput& input : command.inputs) {
    input.pos -= origin;
    input.seq += first_;
  }
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
  placement_->undo(tree, ledger_, sent_);
  done();
}

Pos DraftSequences::n_unread() const {
  Pos held = ledger_.origin();
  for (SeqId seq = 0; seq < n_seq(); ++seq) held = std::max(held, ledger_.common(seq, {}));
  return static_cast<Pos>(text().size()) - held;
}

int DraftSequences::count_free(const SpeculationTree& tree) const {
  return placement_->count_free(tree, ledger_);
}

}  // namespace specbranch
