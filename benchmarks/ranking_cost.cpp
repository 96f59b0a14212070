// What it costs the draft to rank a row of logits, and the target to choose from one.
//
//   cmake --preset llama && cmake --build --preset llama --target specbranch_ranking_cost
//   build/llama/specbranch_ranking_cost
//
// Lines of JSON for tools/compare_commits.py: the median of many rows, microseconds.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "specbranch/llama/sampling/token_distribution.h"
#include "timing.h"

namespace {

using namespace specbranch;

constexpr int kRows = 8;
constexpr int kRepeats = 200;
constexpr int kLikely = 20;

/// Rows like those of language models: a tail of Gaussian logits, and `n_likely` tokens above it.
std::vector<std::vector<float>> make_rows(std::size_t n_vocab, int n_likely) {
  std::mt19937 random(7);
  std::normal_distribution<float> tail(0.0F, 2.5F);
  std::uniform_real_distribution<float> likely(12.0F, 18.0F);
  std::vector<std::vector<float>> rows(kRows, std::vector<float>(n_vocab));
  for (auto& row : rows) {
    for (float& logit : row) logit = tail(random);
    for (int i = 0; i < n_likely; ++i) row[random() % n_vocab] = likely(random);
  }
  return rows;
}

std::vector<Token> make_text(std::size_t n_tokens, std::size_t n_vocab) {
  std::mt19937 random(9);
  std::vector<Token> text(n_tokens);
  for (Token& token : text) token = static_cast<Token>(random() % n_vocab);
  return text;
}

void print(const char* what, std::size_t n_vocab, double us) {
  std::printf("{\"figure\": \"%s, %zu candidates\", \"us\": %.1f}\n", what, n_vocab, us);
}

}  // namespace

int main() {
  struct Case {
    const char* name;
    SamplingOptions options;
    std::size_t n_history = 100;
  };
  std::vector<Case> cases(6);
  for (Case& one : cases) one.options.temperature = 0.8F;
  cases[0].name = "temperature 0.8";
  cases[1] = {"top-k 40", cases[1].options};
  cases[1].options.top_k = 40;
  cases[2] = {"top-p 0.95", cases[2].options};
  cases[2].options.top_p = 0.95F;
  cases[3] = {"min-p 0.05", cases[3].options};
  cases[3].options.min_p = 0.05F;
  cases[4] = {"greedy", {}};
  cases[5] = {"penalties over 131072 tokens", {}, 131'072};
  cases[5].options.repeat_penalty = 1.1F;
  cases[5].options.repeat_last_n = -1;
  for (const std::size_t n_vocab : {32'000U, 152'000U}) {
    auto rows = make_rows(n_vocab, kLikely);
    for (const Case& one : cases) {
      const std::vector<Token> history = make_text(one.n_history, n_vocab);
      const llama::TokenDistribution distribution(one.options);
      const double rank = bench::median_us(kRepeats, [&](int i) {
        auto& row = rows[static_cast<std::size_t>(i) % rows.size()];
        if (distribution.rank(row, history, 4).empty()) std::abort();
      });
      const double quick = bench::median_us(kRepeats, [&](int i) {
        auto& row = rows[static_cast<std::size_t>(i) % rows.size()];
        const auto sum = llama::SoftmaxSum::kQuick;
        if (distribution.rank(row, history, 4, sum).empty()) std::abort();
      });
      const double choose = bench::median_us(kRepeats, [&](int i) {
        auto& row = rows[static_cast<std::size_t>(i) % rows.size()];
        SamplerState state = distribution.initial();
        if (distribution.choose(row, history, state) < 0) std::abort();
      });
      print((std::string("rank: ") + one.name).c_str(), n_vocab, rank);
      print((std::string("rank quickly: ") + one.name).c_str(), n_vocab, quick);
      print((std::string("choose: ") + one.name).c_str(), n_vocab, choose);
    }
  }
  return 0;
}
