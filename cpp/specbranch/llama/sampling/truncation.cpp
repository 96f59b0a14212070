#include "specbranch/llama/sampling/truncation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>

namespace specbranch::llama {
namespace {

constexpr std::size_t kFirstSorted = 512;
constexpr int kFewTokens = 64;         ///< what most nuclei need.
constexpr float kNegligible = -17.5F;  ///< less than log(2^-25).

/// exp(x) for x <= 0 within 0.02 %; without branches, so that the compiler can use vectors.
float quick_exp(float x) {
  const float y = std::max(x * 1.44269504F, -120.0F);
  const auto whole = static_cast<std::int32_t>(y) - 1;
  const float f = y - static_cast<float>(whole);  // (0, 1]
  const float power = 1.0F + f * (0.6951F + f * (0.2276F + f * 0.0773F));
  return power * std::bit_cast<float>(static_cast<std::uint32_t>(whole + 127) << 23U);
}

float quick_sum(const ScoreRow& logits, float top) {
  std::array<float, ScoreRow::kBlock> terms;
  float sum = 0.0F;
  for (std::size_t b = 0; b < logits.n_blocks(); ++b) {
    if (logits.maximum(b) - top < kNegligible) continue;
    const std::span<const float> block = logits.block(b);
    // Two loops, of which the compiler turns the first into vectors.
    for (std::size_t i = 0; i < block.size(); ++i) terms[i] = quick_exp(block[i] - top);
    sum += std::accumulate(terms.begin(), terms.begin() + static_cast<std::ptrdiff_t>(block.size()),
                           0.0F);
  }
  return sum;
}

/// sum(exp(score - top)) with every rounding of llama.cpp's loop, in order of id. A term below
/// 2^-25 of the sum so far cannot change a float sum, so its exponential is not computed.
float exact_sum(const ScoreRow& logits, float top) {
  float sum = 0.0F;
  float needed = -FLT_MAX;  // a lower bound for the terms that count; rises with the sum
  float next_update = 1e-6F;
  for (std::size_t b = 0; b < logits.n_blocks(); ++b) {
    if (logits.maximum(b) - top < needed) continue;
    for (const float logit : logits.block(b)) {
      const float x = logit - top;
      if (x < needed) continue;
      sum += std::exp(x);
      if (sum >= next_update) {
        needed = std::log(sum) + kNegligible;
        next_update = sum * 1.5F;
      }
    }
  }
  return sum;
}

/// Sorts as many of `kept` as the nucleus needs and cuts off the others; false when it needs more
/// than there are (`kept` is then sorted).
bool cut_to_nucleus(std::vector<Scored>& kept, float top, float sum, float p) {
  constexpr BetterScore better;
  float covered = 0.0F;
  std::size_t n_sorted = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (i == n_sorted) {
      // Most nuclei are small: sort a few, and all if that was not enough.
      n_sorted = i == 0 ? std::min(kept.size(), kFirstSorted) : kept.size();
      const auto first = kept.begin() + static_cast<std::ptrdiff_t>(i);
      const auto last = kept.begin() + static_cast<std::ptrdiff_t>(n_sorted);
      if (last != kept.end()) std::nth_element(first, last, kept.end(), better);
      std::sort(first, last, better);
    }
    covered += std::exp(kept[i].score - top) / sum;
    if (covered >= p) {
      kept.resize(i + 1);
      return true;
    }
  }
  return false;
}

}  // namespace

std::vector<Scored> keep_top_p(const ScoreRow& logits, float p, SoftmaxSum kind) {
  const float top = logits.top();
  const float sum = kind == SoftmaxSum::kExact ? exact_sum(logits, top) : quick_sum(logits, top);
  if (kind == SoftmaxSum::kQuick) {
    std::vector<Scored> best = logits.largest(kFewTokens);
    if (cut_to_nucleus(best, top, sum, p)) return best;
  }
  // All tokens below `least` together weigh less than 1 - p, so the nucleus lies above it; only
  // rounding can make it reach further down.
  const float least = top + std::log((1.0F - p) * sum / static_cast<float>(logits.size()));
  std::vector<Scored> kept = logits.at_least(least);
  if (!cut_to_nucleus(kept, top, sum, p) && kept.size() < logits.size()) {
    kept = logits.at_least(-std::numeric_limits<float>::infinity());
    cut_to_nucleus(kept, top, sum, p);
  }
  return kept;
}

std::vector<Scored> keep_min_p(const ScoreRow& logits, float p) {
  return logits.at_least(logits.top() + std::log(p));
}

}  // namespace specbranch::llama
