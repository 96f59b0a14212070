/// Proposes what texts went on with where they resemble the end of this one.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "specbranch/lookup/copy_cursor.h"
#include "specbranch/lookup/lookup_acceptance.h"
#include "specbranch/lookup/proposer.h"
#include "specbranch/lookup/suffix_automaton.h"
#include "specbranch/lookup/text_pool.h"
#include "specbranch/model/options.h"

namespace specbranch {

/// The texts that may propose tokens.
struct LookupTexts {
  std::shared_ptr<SuffixAutomaton> own;               ///< the text itself; holds the prompt.
  std::shared_ptr<const SuffixAutomaton> prediction;  ///< null: none.
  /// Other texts, the most useful first.
  std::vector<std::shared_ptr<const TextPool>> pools;
};

/// Those of a request alone: its prompt, and its prediction if it has one. `begun`: see
/// `automaton_of`.
LookupTexts texts_of(const Request& request, std::shared_ptr<SuffixAutomaton> begun = nullptr);

/// The proposer of a request; null without its own text. It learns into `profile`, which outlives
/// it.
std::unique_ptr<Proposer> text_proposer(const Request& request, LookupTexts texts,
                                        PairProfile* profile);

/// Each kind of proposal has its own learned probability, and the most probable one counts. All
/// kinds learn from every committed token, whether or not their proposals were verified.
class LookupProposer final : public Proposer {
 public:
  /// `table` outlives this and is kept up to date.
  LookupProposer(LookupTexts texts, LookupTable* table);

  void commit(Token token) override;
  std::optional<Proposal> propose(const SpeculationTree& tree, NodeId node) override;

 private:
  /// Where a path stands in each of the texts.
  struct Cursor {
    SuffixAutomaton::Match match;
    SuffixAutomaton::Match prediction_match;
    CopyCursor copy;
    CopyCursor prediction;
    std::vector<TextPool::Place> places;     ///< in each of the pools.
    std::array<bool, kLookupKinds> right{};  ///< by kind: its last proposal was right.
  };
  struct Guess {
    Token token = 0;
    LookupClass of;
  };
  using Guesses = std::array<std::optional<Guess>, kLookupKinds>;

  Guesses guesses(const Cursor& cursor) const;
  /// The texts after `token`: `own` holds it if it is committed.
  void advance(Cursor& cursor, Token token, bool committed) const;
  const Cursor& cursor_of(const SpeculationTree& tree, NodeId node);

  LookupTexts texts_;
  LookupAcceptance acceptance_;
  Cursor end_;                                  ///< of the committed text.
  std::unordered_map<NodeId, Cursor> cursors_;  ///< of nodes after the root, until the next commit.
};

}  // namespace specbranch
