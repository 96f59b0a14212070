/// How often each token occurs in a piece of text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch::llama {

/// Counts tokens in time linear in the text. It keeps 4 bytes for each id up to the largest one
/// that it has seen, so that the next text needs no allocation.
///
/// *Thread safety:* one thread at a time.
class TokenCounts {
 public:
  /// Forgets what was counted before. Negative ids are skipped.
  void count(std::span<const Token> tokens);

  /// The counted tokens, each once, in the order of the text. Valid until the next `count`.
  std::span<const Token> distinct() const noexcept { return distinct_; }

  /// How often `token` was there.
  std::int32_t of(Token token) const noexcept {
    const auto index = static_cast<std::size_t>(token);
    return token >= 0 && index < counts_.size() ? counts_[index] : 0;
  }

 private:
  std::vector<std::int32_t> counts_;  ///< by token id.
  std::vector<Token> distinct_;
};

}  // namespace specbranch::llama
