// The counter-based noise: golden bits, the portable logarithm, the bound, the distribution.
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "specbranch/sampling/noise.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Distance in units of the last place between two doubles of the same sign.
std::uint64_t ulps(double a, double b) {
  const auto x = std::bit_cast<std::uint64_t>(a);
  const auto y = std::bit_cast<std::uint64_t>(b);
  return x > y ? x - y : y - x;
}

struct Golden {
  std::uint64_t seed;
  Pos position;
  Token token;
  std::uint64_t bits;
  std::uint64_t gumbel;  ///< the bits of the double.
};

constexpr std::uint64_t kAllBits = (std::uint64_t{1} << 53U) - 1;

constexpr Golden kGolden[] = {
    {0, 0, 0, 0x4704EB7871F97, 0xBFE5C8C496496462},                         // -0.680757802513778
    {0, 0, 1, 0x1F1344ACD6B045, 0x400C3C20F5C9DD62},                        // 3.52935974142353
    {0, 1, 0, 0x5E203FC4292DD, 0xBFE0DC7239D7623E},                         // -0.526909935923932
    {1, 0, 0, 0x1631405E8DB1B0, 0x3FF015215352C9A0},                        // 1.00515873478125
    {1, 1, 1, 0xFB1CCFB1E55EE, 0x3FD5B388AAA9F763},                         // 0.339082876838680
    {42, 7, 151935, 0x409C78C7C766A, 0xBFE747D3C2B6ECC4},                   // -0.727517967511993
    {42, 8, 151935, 0xD59BDE6998AE2, 0x3FC1365A71B9AD10},                   // 0.134471231012278
    {7, 100000, 50256, 0x9473DA19A8679, 0xBFCB5571B20D43FB},                // -0.213545047702183
    {0x123456789ABCDEF, 4095, 31999, 0x49819A8A96EA2, 0xBFE538C46D4E2B60},  // -0.663179601180087
    {0xFFFFFFFFFFFFFFFF, 2147483647, 2147483647, 0x10863B2C6C962, 0xBFF3BCBB88161B1C},  // -1.23358
};

}  // namespace

TEST_CASE("golden noise") {
  for (const Golden& golden : kGolden) {
    CAPTURE(golden.seed);
    CAPTURE(golden.position);
    CAPTURE(golden.token);
    const PositionNoise noise(golden.seed, golden.position);
    CHECK(noise.bits(golden.token) == golden.bits);
    CHECK(std::bit_cast<std::uint64_t>(noise.gumbel(golden.token)) == golden.gumbel);
    CHECK(noise.gumbel(golden.token) == PositionNoise::from_bits(golden.bits));
  }
}

TEST_CASE("the portable logarithm is within two units of the last place of the libm's") {
  Random random(1);
  const auto check = [](double x) {
    CAPTURE(x);
    const double expected = std::log(x);
    const double got = portable_log(x);
    if (expected == 0.0) {
      CHECK(got == 0.0);
    } else {
      CHECK(std::signbit(got) == std::signbit(expected));
      CHECK(ulps(got, expected) <= 2);
    }
  };
  const int n = scaled(20'000);
  for (int i = 0; i < n; ++i) {
    // Every exponent, subnormals among them; then close to 1 on both sides.
    check(std::bit_cast<double>((random.next() >> 1U) % 0x7FF0000000000000ULL + 1));
    check(std::bit_cast<double>(random.next() >> 12U | 1U));
    const double tiny = std::ldexp(random.uniform(), -random.between(1, 52));
    check(1.0 + tiny);
    check(1.0 - tiny / 2);
    check(random.uniform() + 0x1p-54);
  }
  for (const double x :
       {1.0, std::nextafter(1.0, 2.0), std::nextafter(1.0, 0.0), 2.0, 0.5, std::sqrt(0.5),
        std::nextafter(std::sqrt(0.5), 0.0), std::sqrt(2.0), std::numeric_limits<double>::min(),
        std::numeric_limits<double>::max(), std::numeric_limits<double>::denorm_min()}) {
    check(x);
  }
}

TEST_CASE("noise grows with its bits and is that of a uniform strictly between 0 and 1") {
  Random random(2);
  for (int i = 0; i < scaled(20'000); ++i) {
    const std::uint64_t a = random.next() >> (11U + static_cast<unsigned>(random.between(0, 40)));
    const std::uint64_t b = random.next() >> (11U + static_cast<unsigned>(random.between(0, 40)));
    if (a < b) CHECK(PositionNoise::from_bits(a) <= PositionNoise::from_bits(b));
  }
  for (std::uint64_t i = 0; i < 100; ++i) {
    CHECK(PositionNoise::from_bits(i) < PositionNoise::from_bits(i + 1));
    CHECK(PositionNoise::from_bits(kAllBits - i) >= PositionNoise::from_bits(kAllBits - i - 1));
  }
  // u = 2^-54 and u = 1 - 2^-53 bound it: -log(-log(u)).
  CHECK(PositionNoise::from_bits(0) == doctest::Approx(-std::log(54 * std::log(2.0))));
  CHECK(PositionNoise::from_bits(kAllBits) <= 37.5);
  CHECK(PositionNoise::from_bits(kAllBits) >= 36.0);
}

TEST_CASE("fewer bits than needed never exceed the threshold") {
  Random random(3);
  const auto check = [](double threshold) {
    CAPTURE(threshold);
    const std::uint64_t needed = PositionNoise::bits_needed(threshold);
    for (std::uint64_t below = 1; below <= 1024 && below <= needed; below *= 2) {
      const std::uint64_t bits = std::min(needed - below, kAllBits);
      CHECK(PositionNoise::from_bits(bits) < threshold);
    }
  };
  for (int i = 0; i < scaled(5'000); ++i) {
    check(random.uniform() * 60 - 10);
    // Right at values that occur.
    check(PositionNoise::from_bits(random.next() >> 11U));
    check(PositionNoise::from_bits(random.next() >> static_cast<unsigned>(random.between(12, 63))));
    check(PositionNoise::from_bits(
        kAllBits - (random.next() >> static_cast<unsigned>(random.between(20, 63)))));
  }
  check(0.0);
  check(1e300);
  check(-1e300);
  CHECK(PositionNoise::bits_needed(-100) == 0);
  CHECK(PositionNoise::bits_needed(std::numeric_limits<double>::quiet_NaN()) == 0);
}

TEST_CASE("the bound is worth its cost") {
  // What one token in a million exceeds needs about that share of the bits.
  const std::uint64_t needed = PositionNoise::bits_needed(std::log(1e6));
  const double share = 1.0 - static_cast<double>(needed) * 0x1p-53;
  CHECK(share == doctest::Approx(1e-6).epsilon(0.01));
}

TEST_CASE("bits are uniform over tokens, positions and seeds") {
  constexpr int kBins = 64;
  const int n = 64'000;
  for (int axis = 0; axis < 3; ++axis) {
    for (const unsigned shift : {47U, 0U}) {  // the highest six bits, the lowest six
      std::array<int, kBins> counts{};
      for (int i = 0; i < n; ++i) {
        const PositionNoise noise(axis == 0 ? static_cast<std::uint64_t>(i) : 9, axis == 1 ? i : 5);
        ++counts[(noise.bits(axis == 2 ? i : 3) >> shift) % kBins];
      }
      double chi2 = 0.0;
      for (const int count : counts) {
        const double expected = static_cast<double>(n) / kBins;
        chi2 += (count - expected) * (count - expected) / expected;
      }
      CAPTURE(axis);
      CAPTURE(shift);
      CHECK(chi2 < 110.0);  // 63 degrees of freedom: p = 0.0002
      CHECK(chi2 > 30.0);
    }
  }
}

TEST_CASE("neighbours in token, position and seed are uncorrelated") {
  const int n = 50'000;
  double sums[3] = {0, 0, 0};
  for (int i = 0; i < n; ++i) {
    const auto uniform = [](std::uint64_t seed, Pos position, Token token) {
      return static_cast<double>(PositionNoise(seed, position).bits(token)) * 0x1p-53 - 0.5;
    };
    const auto seed = static_cast<std::uint64_t>(i);
    const double here = uniform(seed, i, i);
    sums[0] += here * uniform(seed, i, i + 1);
    sums[1] += here * uniform(seed, i + 1, i);
    sums[2] += here * uniform(seed + 1, i, i);
  }
  // Each product has variance (1/12)^2.
  for (const double sum : sums) CHECK(std::abs(sum) < 4.0 * std::sqrt(n) / 12.0);
}

TEST_CASE("a coin is a function of seed, position and stream, and no token's noise") {
  int n_heads = 0;
  for (Pos position = 0; position < 20000; ++position) {
    const PositionNoise noise(3, position);
    const double coin = noise.uniform(0);
    CHECK(coin == PositionNoise(3, position).uniform(0));
    CHECK(coin != noise.uniform(1));
    CHECK(coin >= 0.0);
    CHECK(coin < 1.0);
    CHECK(static_cast<std::uint64_t>(coin * 0x1p53) != noise.bits(0));
    n_heads += coin < 0.3 ? 1 : 0;
  }
  CHECK(std::abs(n_heads - 6000) < 4 * 65);  // 4 standard deviations
}
