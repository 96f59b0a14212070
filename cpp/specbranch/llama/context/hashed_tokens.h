/// Tokens whose prefixes are compared in constant time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch::llama {

/// Keeps a 64-bit hash of every prefix beside the tokens: 8 bytes per token more.
///
/// Two prefixes count as equal if their hashes are equal. Different prefixes have equal hashes with
/// a probability of 2^-64. The draft's KV cache depends on this, and a wrong cell there costs speed
/// but never changes the text.
class HashedTokens {
 public:
  HashedTokens() = default;
  explicit HashedTokens(std::span<const Token> tokens) { append(tokens); }

  std::span<const Token> tokens() const { return tokens_; }
  std::size_t size() const { return tokens_.size(); }

  void push_back(Token token);
  void append(std::span<const Token> tokens);

  /// Appends the tokens [size(), end) of `other`. Its first size() tokens must equal these.
  void extend(const HashedTokens& other, std::size_t end);

  /// `n` must be at most size().
  void truncate(std::size_t n);
  void clear() { truncate(0); }

  /// The first `n` tokens of both are equal. Constant time; both must have `n` tokens.
  bool shares(const HashedTokens& other, std::size_t n) const;

  /// Length of the common prefix. Time: the logarithm of the shorter size.
  std::size_t common(const HashedTokens& other) const;

 private:
  std::vector<Token> tokens_;
  std::vector<std::uint64_t> hashes_;  ///< [i]: of the first i + 1 tokens.
};

}  // namespace specbranch::llama
