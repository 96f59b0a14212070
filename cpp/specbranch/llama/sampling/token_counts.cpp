#include "specbranch/llama/sampling/token_counts.h"

#include <algorithm>

namespace specbranch::llama {

void TokenCounts::count(std::span<const Token> tokens) {
  for (const Token token : distinct_) counts_[static_cast<std::size_t>(token)] = 0;
  distinct_.clear();
  if (tokens.empty()) return;
  const Token largest = *std::ranges::max_element(tokens);
  if (largest >= 0 && static_cast<std::size_t>(largest) >= counts_.size()) {
    counts_.resize(static_cast<std::size_t>(largest) + 1);
  }
  for (const Token token : tokens) {
    if (token >= 0 && counts_[static_cast<std::size_t>(token)]++ == 0) distinct_.push_back(token);
  }
}

}  // namespace specbranch::llama
