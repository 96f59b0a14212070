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

void DraftSequences::reset(std::vector<Token> text, const Capabilities& draft) {
  n_prefill_ = static_cast<Pos>(text.size()) - 1;
  ledger_.reset(std::move(text), draft.n_seq);
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
  placement_->place(tree, nodes, ledger_, command);
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
  placement_->undo(tree, ledger_, sent_);
  done();
}

int DraftSequences::count_free(const SpeculationTree& tree) const {
  return placement_->count_free(tree, ledger_);
}

}  // namespace specbranch
