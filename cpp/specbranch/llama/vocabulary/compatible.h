/// Whether a draft can propose tokens of a target.
#pragma once

#include <string>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/llama/vocabulary/vocabulary.h"

namespace specbranch::llama {

/// What two vocabularies have in common.
struct SharedVocabulary {
  int n_common = 0;  ///< both have the ids below this number.
  /// The ids below `n_common` that mean different texts, in ascending order. They are never
  /// drafted.
  std::vector<Token> different;
  /// What differs and does not matter, a sentence each.
  std::vector<std::string> notes;
};

/// Compares what all ids mean: the bytes that they add to a text, or their names if they add none.
/// Only the target reads the prompt and ends the text, so nothing else has to be equal: another
/// kind of tokenizer, other BOS and EOS tokens are notes.
///
/// Throws IncompatibleModels, with the first differences, unless
/// - at most 5 % of the ids that both have differ, and
/// - at most 128 ids, or 5 % if these are more, exist in only one of them.
///
/// Vocabularies of one tokenizer differ in padding and in the names of reserved tokens, which new
/// generations of a family give to roles of a chat, tools or images: 0.01 % of the ids between
/// Qwen2.5-Coder and Qwen3.5, 2.4 % between Gemma 3 and Gemma 4. Two tokenizers number their tokens
/// in different orders: at least 93 % differ in every other pair of 23 vocabularies.
SharedVocabulary check_compatible(const Vocabulary& target, const Vocabulary& draft);

}  // namespace specbranch::llama
