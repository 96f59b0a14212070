// The largest perturbed scores of a vocabulary, and rows of scores, against brute force.
#include "specbranch/sampling/perturbed_top.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "specbranch/base/errors.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

/// Rows of one block, of several, and of no whole number of them; flat, peaked, tied, forbidden.
std::vector<float> draw_row(Random& random) {
  const int n = random.pick({1, 3, 63, 64, 65, 257, 1000, 5000});
  const double spread = random.pick({0.0, 0.01, 1.0, 5.0, 60.0});
  const double step = random.pick({0.0, 0.0, 0.5, 4.0});
  const double forbidden = random.pick({0.0, 0.0, 0.3, 0.99, 1.0});
  std::vector<float> row;
  for (int i = 0; i < n; ++i) {
    double score = spread * (random.uniform() - 0.5);
    if (step > 0) score = std::round(score / step) * step;
    row.push_back(random.chance(forbidden) ? kMinusInf : static_cast<float>(score));
  }
  return row;
}

}  // namespace

TEST_CASE("the largest perturbed scores are those of brute force") {
  Random random(5);
  for (int i = 0; i < scaled(1'500); ++i) {
    CAPTURE(i);
    const std::vector<float> row = draw_row(random);
    const PositionNoise noise(random.next(), random.between(0, 100'000));
    const auto temperature = static_cast<float>(random.pick({0.3, 0.8, 1.0, 1.7}));
    const int m = random.pick({0, 1, 1, 2, 7, 64, 300});
    std::vector<Perturbed> expected;
    for (std::size_t token = 0; token < row.size(); ++token) {
      if (row[token] == kMinusInf) continue;
      const auto id = static_cast<Token>(token);
      const float score = row[token] / temperature;
      expected.push_back({id, static_cast<double>(score) + noise.gumbel(id)});
    }
    std::ranges::sort(expected, BetterValue{});
    expected.resize(std::min(expected.size(), static_cast<std::size_t>(m)));
    const std::vector<Perturbed> found = perturbed_top(ScoreRow(row), temperature, noise, m);
    REQUIRE(found.size() == expected.size());
    for (std::size_t j = 0; j < found.size(); ++j) {
      CHECK(found[j].token == expected[j].token);
      CHECK(found[j].value == expected[j].value);
    }
  }
}

TEST_CASE("the bits of a block are those of its tokens") {
  const PositionNoise noise(7, 12);
  for (const std::size_t n : {0U, 1U, 7U, 8U, 9U, 256U}) {
    for (const Token first : {0, 1, 255, 151'000}) {
      std::vector<std::uint64_t> bits(n);
      const std::uint64_t most = noise.block_bits(first, bits);
      std::uint64_t expected = 0;
      for (std::size_t i = 0; i < n; ++i) {
        CHECK(bits[i] == noise.bits(first + static_cast<Token>(i)));
        expected = std::max(expected, bits[i]);
      }
      CHECK(most == expected);
    }
  }
}

TEST_CASE("questions about a row are answered as by looking at every score") {
  Random random(6);
  for (int i = 0; i < scaled(1'000); ++i) {
    CAPTURE(i);
    const std::vector<float> scores = draw_row(random);
    const ScoreRow row(scores);
    CHECK(row.top() == *std::ranges::max_element(scores));
    const auto best = std::ranges::max_element(scores) - scores.begin();
    CHECK(row.best() == (row.top() == kMinusInf ? -1 : static_cast<Token>(best)));
    const auto least = static_cast<float>(random.pick({-20.0, -0.3, 0.0, 0.4, 25.0}));
    std::vector<Token> expected;
    for (std::size_t token = 0; token < scores.size(); ++token) {
      if (scores[token] >= least) expected.push_back(static_cast<Token>(token));
    }
    std::vector<Token> found;
    for (const Scored& item : row.at_least(least)) {
      found.push_back(item.token);
      CHECK(item.score == row.score(item.token));
    }
    CHECK(found == expected);
  }
  CHECK(ScoreRow({}).best() == -1);
}

TEST_CASE("a score that is not a number is found in every block") {
  for (const std::size_t at : {0U, 7U, 63U, 64U, 255U, 259U}) {
    std::vector<float> scores(260, 1.0F);
    scores[at] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_AS(ScoreRow{scores}, DecodeError);
  }
}
