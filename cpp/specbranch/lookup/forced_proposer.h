/// Proposes the tokens that the rule of a text forces, and where there are none, what texts
/// propose.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "specbranch/lookup/proposer.h"
#include "specbranch/model/options.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// The target says what its grammar forces after the newest token (`ForcedRun`). The bytes are
/// certain, their tokens are not: the model may spell them otherwise. So the probabilities are
/// learned, of sure tokens and of others, from every committed token.
class ForcedProposer final : public Proposer {
 public:
  /// `texts`: asked where nothing is forced; null: nobody is. `table` outlives this and is kept up
  /// to date.
  ForcedProposer(std::unique_ptr<Proposer> texts, LookupTable* table)
      : texts_(std::move(texts)), table_(table) {}

  void commit(Token token) override;
  void force(const ForcedRun& run) override { run_ = run; }
  std::optional<Proposal> propose(const SpeculationTree& tree, NodeId node) override;

 private:
  std::optional<Proposal> forced(const SpeculationTree& tree, NodeId node) const;
  bool sure(std::size_t i) const { return i < run_.n_sure; }
  double probability(bool sure) const;

  std::unique_ptr<Proposer> texts_;
  LookupTable* table_;
  ForcedRun run_;  ///< after the last committed token.
};

/// `texts` with what the grammar of `request` forces, if it has one. It learns into `profile`,
/// which outlives it.
std::unique_ptr<Proposer> with_forced(const Request& request, std::unique_ptr<Proposer> texts,
                                      PairProfile* profile);

}  // namespace specbranch
