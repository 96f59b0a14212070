#include "specbranch/llama/sampling/early_ends.h"

namespace specbranch::llama {

EarlyEnds early_ends(const Vocabulary& vocabulary, const Request& request) {
  EarlyEnds early;
  if (request.min_tokens <= 0) return early;
  early.until = request.may_end_from();
  for (Token token = 0; token < vocabulary.size(); ++token) {
    if (vocabulary.is_end(token) || request.is_stop(token)) early.tokens.push_back(token);
  }
  return early;
}

}  // namespace specbranch::llama
