#include "specbranch/sampling/score_row.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

constexpr float kNoScore = -std::numeric_limits<float>::infinity();

/// Integers in the order of the floats; and back.
std::int32_t ordered(std::int32_t bits) { return bits ^ ((bits >> 31) & 0x7FFFFFFF); }

/// The largest score of a block; sets `nan` if one is not a number. With integers, which the
/// compiler turns into vectors.
float maximum_of(std::span<const float> block, bool& nan) {
  constexpr std::int32_t kInfinity = 0x7F800000;
  std::int32_t best = std::numeric_limits<std::int32_t>::min();
  std::int32_t bad = 0;
  for (const float score : block) {
    const auto bits = std::bit_cast<std::int32_t>(score);
    const std::int32_t magnitude = bits & 0x7FFFFFFF;
    bad |= static_cast<std::int32_t>(magnitude > kInfinity);
    best = std::max(best, ordered(bits));
  }
  nan = nan || bad != 0;
  return std::bit_cast<float>(ordered(best));
}

}  // namespace

ScoreRow::ScoreRow(std::span<const float> scores) : scores_(scores), top_(kNoScore) {
  const std::size_t n_blocks = (scores.size() + kBlock - 1) / kBlock;
  maxima_.reserve(n_blocks);
  bool nan = false;
  for (std::size_t i = 0; i < n_blocks; ++i) maxima_.push_back(maximum_of(block(i), nan));
  if (nan) {
    const auto it = std::ranges::find_if(scores, [](float score) { return std::isnan(score); });
    throw NonFiniteScores("[ScoreRow] the score of token " + std::to_string(it - scores.begin()) +
                          " is not a number; the model's weights or its input are damaged");
  }
  if (!maxima_.empty()) top_ = *std::ranges::max_element(maxima_);
}

std::span<const float> ScoreRow::block(std::size_t block) const {
  const std::size_t begin = block * kBlock;
  return scores_.subspan(begin, std::min(kBlock, scores_.size() - begin));
}

Token ScoreRow::best() const {
  if (top_ == kNoScore) return -1;
  const auto found = std::ranges::find(maxima_, top_) - maxima_.begin();
  const std::span<const float> scores = block(static_cast<std::size_t>(found));
  return first_of(static_cast<std::size_t>(found)) +
         static_cast<Token>(std::ranges::find(scores, top_) - scores.begin());
}

std::vector<Scored> ScoreRow::largest(int k) const {
  // A heap whose front is the worst of the best k.
  std::vector<Scored> heap;
  if (k <= 0 || scores_.empty()) return heap;
  const auto wanted = std::min(static_cast<std::size_t>(k), scores_.size());
  heap.reserve(wanted + 1);
  for (std::size_t b = 0; b < maxima_.size(); ++b) {
    const bool full = heap.size() == wanted;
    // Ids grow, so an equal score never displaces.
    if (full && maxima_[b] <= heap.front().score) continue;
    Token token = first_of(b);
    for (const float score : block(b)) {
      const Scored item{token++, score};
      if (heap.size() < wanted) {
        heap.push_back(item);
        std::ranges::push_heap(heap, BetterScore{});
      } else if (score > heap.front().score) {
        std::ranges::pop_heap(heap, BetterScore{});
        heap.back() = item;
        std::ranges::push_heap(heap, BetterScore{});
      }
    }
  }
  std::ranges::sort_heap(heap, BetterScore{});
  return heap;
}

std::vector<Scored> ScoreRow::at_least(float least) const {
  std::vector<Scored> kept;
  for (std::size_t b = 0; b < maxima_.size(); ++b) {
    if (!(maxima_[b] >= least)) continue;
    Token token = first_of(b);
    for (const float score : block(b)) {
      if (score >= least) kept.push_back({token, score});
      ++token;
    }
  }
  return kept;
}

}  // namespace specbranch
