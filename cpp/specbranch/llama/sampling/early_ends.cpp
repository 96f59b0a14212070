#include "specbranch/llama/sampling/early_ends.h"

#include <cstddef>
#include <vector>

namespace specbranch::llama {

EarlyEnds early_ends(const Vocabulary& vocabulary, const Request& request) {
  EarlyEnds early;
  if (request.min_tokens <= 0) return early;
  early.until = request.may_end_from();
  // There may be as many stop tokens as tokens.
  std::vector<bool> ends(static_cast<std::size_t>(vocabulary.size()));
  for (const Token token : request.stop_tokens) ends[static_cast<std::size_t>(token)] = true;
  for (Token token = 0; token < vocabulary.size(); ++token) {
    if (vocabulary.is_end(token) || ends[static_cast<std::size_t>(token)]) {
      early.tokens.push_back(token);
    }
  }
  return early;
}

}  // namespace specbranch::llama
