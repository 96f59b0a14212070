/// Counter-based Gumbel noise: a pure function of (seed, position, token).
///
/// The engine adds the same noise to the scores of the target and of the draft (coupled choice).
/// Because nothing is stored, rolling back a branch needs no care, and the text depends on the seed
/// alone. The values are part of the public contract: golden tests hold them on every platform.
#pragma once

#include <cstdint>
#include <span>

#include "specbranch/base/types.h"

namespace specbranch {

/// Natural logarithm of `x` in (0, inf), the same bits on every platform (no libm, no contraction).
double portable_log(double x);

/// The noise of one position: hashes (seed, position) once, then one token at a time.
class PositionNoise {
 public:
  PositionNoise(std::uint64_t seed, Pos position);

  /// 53 random bits for `token`.
  std::uint64_t bits(Token token) const;

  /// The random bits of the tokens from `first` on, one for each element of `result`; returns the
  /// largest. Many at once: several times as fast as one by one.
  std::uint64_t block_bits(Token first, std::span<std::uint64_t> result) const;

  /// Standard Gumbel noise for `token`: -log(-log(u)), u = (bits + 0.5) / 2^53 in (0, 1).
  double gumbel(Token token) const { return from_bits(bits(token)); }

  /// A random number in [0, 1) that no token's noise uses. `stream` (>= 0): which of them.
  double uniform(int stream) const;

  /// Gumbel noise that belongs to 53 bits; increasing in `bits`.
  static double from_bits(std::uint64_t bits);

  /// Smallest number of bits whose noise may exceed `threshold`, never too large (a safe bound):
  /// a token with fewer bits cannot reach it. Costs two exponentials.
  static std::uint64_t bits_needed(double threshold);

 private:
  std::uint64_t key_;
};

}  // namespace specbranch
