/// Whether two model files fit together, found out without loading their weights.
#pragma once

#include <string>
#include <vector>

namespace specbranch::llama {

/// What a pair can do.
struct PairCheck {
  int n_common = 0;                ///< both have the ids below this number.
  int n_different = 0;             ///< of these, the ids whose texts differ: never drafted.
  std::vector<std::string> notes;  ///< what differs and does not matter, a sentence each.
};

/// Reads both headers and vocabularies: 0.1 to 1 s for 150,000 tokens. Throws what loading them
/// would throw: ModelLoadError, and IncompatibleModels naming the first differences, or a draft of
/// an architecture that cannot draft.
PairCheck check_pair(const std::string& target, const std::string& draft);

}  // namespace specbranch::llama
