// Comparisons by hash against comparisons of the tokens.
#include "specbranch/llama/context/hashed_tokens.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

namespace specbranch::llama {
namespace {

std::size_t common_prefix(std::span<const Token> a, std::span<const Token> b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

TEST_CASE("hashed tokens are the plain tokens under random operations") {
  std::mt19937 random(1);
  const auto draw = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int run = 0; run < 300; ++run) {
    std::vector<HashedTokens> hashed(3);
    std::vector<std::vector<Token>> plain(3);
    for (int op = 0; op < 60; ++op) {
      const auto a = static_cast<std::size_t>(draw(3));
      const auto b = static_cast<std::size_t>(draw(3));
      switch (draw(4)) {
        case 0: {
          // Two tokens, so that prefixes agree by chance all the time.
          const Token token = draw(2);
          hashed[a].push_back(token);
          plain[a].push_back(token);
          break;
        }
        case 1: {
          const auto n = static_cast<std::size_t>(draw(static_cast<int>(plain[a].size()) + 1));
          hashed[a].truncate(n);
          plain[a].resize(n);
          break;
        }
        case 2: {
          const std::size_t n = common_prefix(plain[a], plain[b]);
          if (a == b || n < plain[a].size()) break;
          const std::size_t end = n + (plain[b].size() - n) / 2;
          hashed[a].extend(hashed[b], end);
          plain[a].assign(plain[b].begin(), plain[b].begin() + static_cast<std::ptrdiff_t>(end));
          break;
        }
        default: {
          const std::size_t n = common_prefix(plain[a], plain[b]);
          CHECK(hashed[a].common(hashed[b]) == n);
          for (std::size_t i = 0; i <= std::min(plain[a].size(), plain[b].size()); ++i) {
            CHECK(hashed[a].shares(hashed[b], i) == (i <= n));
          }
        }
      }
      CHECK(std::ranges::equal(hashed[a].tokens(), plain[a]));
    }
    CHECK(hashed[0].common(HashedTokens(plain[0])) == plain[0].size());
  }
}

TEST_CASE("a token at another position is another prefix") {
  const std::vector<Token> zeros(100, 0);
  HashedTokens all(zeros);
  HashedTokens other;
  other.append(std::span(zeros).first(50));
  CHECK(all.common(other) == 50);
  other.push_back(1);
  other.append(zeros);
  CHECK(all.common(other) == 50);
  other.clear();
  CHECK(all.common(other) == 0);
  CHECK(all.shares(other, 0));
}

}  // namespace
}  // namespace specbranch::llama
