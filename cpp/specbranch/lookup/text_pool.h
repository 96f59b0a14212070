/// Texts of which only a bounded number of tokens is kept, searched by hashed n-grams.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// A ring of tokens: the newest text overwrites the oldest one. A table says where an n-gram stands
/// last. What it says is compared with the ring, so that neither an equal hash nor an overwritten
/// text gives a wrong match.
class TextPool {
 public:
  /// Longest context that a match may have.
  static constexpr int kMostContext = 32;
  /// Shortest context that is found.
  static constexpr int kLeastContext = 4;

  /// Where a context stands in the pool.
  struct Place {
    std::size_t next = 0;  ///< index of the token after it.
    int length = 0;        ///< tokens that match; 0: no place.
  };

  /// `capacity`: tokens that are kept, separators between texts among them; 0: none. Memory: 20
  /// to 36 bytes a token, taken with the first text.
  explicit TextPool(std::size_t capacity);

  void add(std::span<const Token> text);

  /// The newest place where the longest known end of `context` stands.
  Place find(std::span<const Token> context) const;

  /// The token at a place; -1: the text ends there.
  Token token(const Place& place) const { return place.length > 0 ? ring_[place.next] : kEnd; }

  /// The place one token on, which must be `token(place)`.
  Place after(const Place& place) const;

  std::size_t capacity() const { return capacity_; }

 private:
  static constexpr Token kEnd = -1;
  static constexpr std::array<int, 2> kOrders{8, kLeastContext};  ///< longest first.

  void push(Token token);
  std::size_t before(std::size_t index) const { return (index == 0 ? ring_.size() : index) - 1; }
  std::size_t slot(std::size_t order, std::span<const Token> ngram) const;

  std::size_t capacity_;
  std::vector<Token> ring_;
  std::size_t head_ = 0;  ///< the next token is written here; kEnd stands there.
  /// [order][hash]: index in the ring after that n-gram.
  std::array<std::vector<std::uint32_t>, kOrders.size()> tables_;
};

}  // namespace specbranch
