#include "specbranch/llama/sampling/token_counts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace specbranch::llama {
namespace {

TEST_CASE("token counts: every text is counted afresh") {
  std::mt19937 random(7);
  TokenCounts counts;
  for (int round = 0; round < 200; ++round) {
    std::vector<Token> text(random() % 60);
    const auto n_ids = static_cast<Token>(1 + random() % 40);
    for (Token& token : text) token = static_cast<Token>(random()) % n_ids;  // some are negative
    std::map<Token, int> expected;
    for (const Token token : text) {
      if (token >= 0) ++expected[token];
    }
    counts.count(text);
    std::vector<Token> distinct(counts.distinct().begin(), counts.distinct().end());
    std::ranges::sort(distinct);
    std::vector<Token> keys;
    for (const auto& [token, count] : expected) {
      keys.push_back(token);
      CHECK(counts.of(token) == count);
    }
    CHECK(distinct == keys);
    CHECK(counts.of(-1) == 0);
    CHECK(counts.of(1'000) == 0);
    CHECK(counts.of(n_ids) == 0);
  }
}

TEST_CASE("token counts: distinct tokens stand in the order of the text") {
  TokenCounts counts;
  counts.count(std::vector<Token>{5, 2, 5, 9, 2});
  CHECK(std::ranges::equal(counts.distinct(), std::vector<Token>{5, 2, 9}));
  counts.count({});
  CHECK(counts.distinct().empty());
  CHECK(counts.of(5) == 0);
}

}  // namespace
}  // namespace specbranch::llama
