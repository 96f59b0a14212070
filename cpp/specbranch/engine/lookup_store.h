/// The texts that an engine drafts from. Private to the core; see `Engine`.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/lookup/lookup_proposer.h"
#include "specbranch/model/options.h"

namespace specbranch {

/// Keeps the automaton of the last text: the next turn of a conversation appends to it. Keeps
/// earlier answers, if they may propose tokens, in a pool of a fixed size.
///
/// *Thread safety:* `texts_of` from any thread; `keep` by one thread at a time, together with all
/// use of the texts.
class LookupStore {
 public:
  /// `answers`: earlier answers may propose tokens.
  LookupStore(const std::vector<std::vector<Token>>& corpus, bool answers);

  /// The texts for a generation. Reads the prompt and the prediction: a fraction of a microsecond a
  /// token.
  LookupTexts texts_of(const Request& request);

  /// A generation has ended. `own`: the automaton of its text, null: it had none. `answer`: what it
  /// has generated; empty: nothing to remember.
  void keep(std::shared_ptr<SuffixAutomaton> own, std::span<const Token> answer);

 private:
  std::shared_ptr<SuffixAutomaton> take_last();

  std::shared_ptr<const TextPool> corpus_;  ///< null: none.
  std::shared_ptr<TextPool> answers_;       ///< null: they are not kept.

  std::mutex mutex_;                       ///< of what follows.
  std::shared_ptr<SuffixAutomaton> last_;  ///< null: nobody has ended, or a generation has it.
};

}  // namespace specbranch
