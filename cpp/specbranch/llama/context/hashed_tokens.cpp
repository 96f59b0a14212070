#include "specbranch/llama/context/hashed_tokens.h"

#include <algorithm>

namespace specbranch::llama {
namespace {

/// The finalizer of SplitMix64: every bit of the input changes half of the output.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

}  // namespace

void HashedTokens::push_back(Token token) {
  const std::uint64_t before = hashes_.empty() ? 0 : hashes_.back();
  // The odd constant keeps a hash of 0 and token 0 from staying at 0.
  hashes_.push_back(mix(before * 0x9E3779B97F4A7C15ULL + static_cast<std::uint32_t>(token) + 1));
  tokens_.push_back(token);
}

void HashedTokens::append(std::span<const Token> tokens) {
  tokens_.reserve(tokens_.size() + tokens.size());
  hashes_.reserve(hashes_.size() + tokens.size());
  for (const Token token : tokens) push_back(token);
}

void HashedTokens::extend(const HashedTokens& other, std::size_t end) {
  const auto begin = static_cast<std::ptrdiff_t>(size());
  const auto stop = static_cast<std::ptrdiff_t>(end);
  tokens_.insert(tokens_.end(), other.tokens_.begin() + begin, other.tokens_.begin() + stop);
  hashes_.insert(hashes_.end(), other.hashes_.begin() + begin, other.hashes_.begin() + stop);
}

void HashedTokens::truncate(std::size_t n) {
  tokens_.resize(n);
  hashes_.resize(n);
}

bool HashedTokens::shares(const HashedTokens& other, std::size_t n) const {
  return n == 0 || hashes_[n - 1] == other.hashes_[n - 1];
}

std::size_t HashedTokens::common(const HashedTokens& other) const {
  // Prefixes that differ stay different: a bisection finds the first one.
  std::size_t equal = 0;
  std::size_t limit = std::min(size(), other.size());
  if (shares(other, limit)) return limit;
  while (limit - equal > 1) {
    const std::size_t middle = equal + (limit - equal) / 2;
    (shares(other, middle) ? equal : limit) = middle;
  }
  return equal;
}

}  // namespace specbranch::llama
