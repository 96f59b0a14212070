#include "specbranch/sampling/noise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

// This file is compiled without contraction of a*b+c (see CMakeLists.txt): its values are golden.

namespace specbranch {
namespace {

// Finalizer of SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195).
constexpr std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30U;
  x *= 0xBF58476D1CE4E5B9ULL;
  x ^= x >> 27U;
  x *= 0x94D049BB133111EBULL;
  x ^= x >> 31U;
  return x;
}

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15ULL;
constexpr double kLn2 = 0.69314718055994530942;
constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr std::uint64_t kBits53 = std::uint64_t{1} << 53U;

/// Fills `result` with the bits of consecutive counters; `key` is that of the first.
[[gnu::always_inline]] inline std::uint64_t fill(std::uint64_t key, std::uint64_t* result,
                                                 std::size_t n) {
  std::int64_t most = 0;  // 53 bits: the sign does not matter, and signed maxima are quicker
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t bits = mix(key + kGolden * static_cast<std::uint64_t>(i)) >> 11U;
    result[i] = bits;
    most = std::max(most, static_cast<std::int64_t>(bits));
  }
  return static_cast<std::uint64_t>(most);
}

using Fill = std::uint64_t (*)(std::uint64_t, std::uint64_t*, std::size_t);

std::uint64_t fill_anywhere(std::uint64_t key, std::uint64_t* result, std::size_t n) {
  return fill(key, result, n);
}

#if defined(__x86_64__)
// Integers only, so that every version gives the same bits.
[[gnu::target("avx512f,avx512dq")]] std::uint64_t fill_avx512(std::uint64_t key,
                                                              std::uint64_t* result,
                                                              std::size_t n) {
  return fill(key, result, n);
}

[[gnu::target("avx2")]] std::uint64_t fill_avx2(std::uint64_t key, std::uint64_t* result,
                                                std::size_t n) {
  return fill(key, result, n);
}

Fill best_fill() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return fill_avx512;
  if (__builtin_cpu_supports("avx2")) return fill_avx2;
  return fill_anywhere;
}
#else
Fill best_fill() { return fill_anywhere; }
#endif

}  // namespace

double portable_log(double x) {
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1), |s| < 0.1716.
  const auto bits = std::bit_cast<std::uint64_t>(x);
  int e = static_cast<int>((bits >> 52U) & 0x7FFU);
  std::uint64_t mantissa = bits & 0x000FFFFFFFFFFFFFULL;
  if (e == 0) {  // subnormal
    const int shift = std::countl_zero(mantissa) - 11;
    mantissa = (mantissa << static_cast<unsigned>(shift)) & 0x000FFFFFFFFFFFFFULL;
    e = 1 - shift;
  }
  double m = std::bit_cast<double>(mantissa | 0x3FE0000000000000ULL);  // [1/2, 1)
  e -= 1022;
  if (m < kSqrtHalf) {
    m *= 2.0;
    e -= 1;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double s2 = s * s;
  // The series of atanh to s^21: the first term left out is below 2^-60 of the sum.
  double sum = 0.0;
  for (int n = 21; n >= 3; n -= 2) {
    sum = (sum + 1.0 / n) * s2;
  }
  return 2.0 * (s + s * sum) + static_cast<double>(e) * kLn2;
}

PositionNoise::PositionNoise(std::uint64_t seed, Pos position)
    : key_(mix(mix(seed + kGolden) + kGolden * (static_cast<std::uint64_t>(position) + 1))) {}

std::uint64_t PositionNoise::bits(Token token) const {
  return mix(key_ + kGolden * (static_cast<std::uint64_t>(token) + 1)) >> 11U;
}

std::uint64_t PositionNoise::block_bits(Token first, std::span<std::uint64_t> result) const {
  static const Fill fill_bits = best_fill();
  const std::uint64_t key = key_ + kGolden * (static_cast<std::uint64_t>(first) + 1);
  return fill_bits(key, result.data(), result.size());
}

double PositionNoise::uniform(int stream) const {
  // Tokens are not negative, so their counters are above these.
  return static_cast<double>(bits(-2 - stream)) * (1.0 / static_cast<double>(kBits53));
}

double PositionNoise::from_bits(std::uint64_t bits) {
  // bits + 0.5 needs 54 bits; all ones would round up to u = 1, whose noise has no bound.
  const double u =
      std::min((static_cast<double>(bits) + 0.5) * (1.0 / static_cast<double>(kBits53)),
               1.0 - 1.0 / static_cast<double>(kBits53));
  return -portable_log(-portable_log(u));
}

std::uint64_t PositionNoise::bits_needed(double threshold) {
  // g > threshold  <=>  u > exp(-exp(-threshold)). A margin covers the rounding of both sides.
  const double u = std::exp(-std::exp(-threshold));
  const double margin = 1e-9 * u + 16.0 / static_cast<double>(kBits53);
  const double lowest = (u - margin) * static_cast<double>(kBits53) - 1.0;
  return lowest > 0.0 ? static_cast<std::uint64_t>(lowest) : 0;  // 0 too when not a number
}

}  // namespace specbranch
