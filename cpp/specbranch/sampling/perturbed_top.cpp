#include "specbranch/sampling/perturbed_top.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

namespace specbranch {
namespace {

constexpr float kForbiddenScore = -std::numeric_limits<float>::infinity();
constexpr double kLargestNoise = 36.75;  ///< of all 53 bits.

/// The best m so far, as a heap whose front is the worst of them.
class BestValues {
 public:
  explicit BestValues(std::size_t m) : m_(m) { heap_.reserve(m); }

  bool full() const { return heap_.size() == m_; }
  double worst() const { return heap_.front().value; }

  /// Returns whether the worst has changed.
  bool offer(const Perturbed& item) {
    if (full()) {
      if (!BetterValue{}(item, heap_.front())) return false;
      std::ranges::pop_heap(heap_, BetterValue{});
      heap_.back() = item;
    } else {
      heap_.push_back(item);
    }
    std::ranges::push_heap(heap_, BetterValue{});
    return full();
  }

  std::vector<Perturbed> sorted() && {
    std::ranges::sort_heap(heap_, BetterValue{});
    return std::move(heap_);
  }

 private:
  std::size_t m_;
  std::vector<Perturbed> heap_;
};

/// Blocks by their largest score, as far as the first `m` tokens need; the others as they lie.
std::vector<std::size_t> order_of(const ScoreRow& row, std::size_t m) {
  std::vector<std::size_t> order(row.n_blocks());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::size_t n_first = std::min(order.size(), 4 + m / 4);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n_first),
                    order.end(), [&](std::size_t a, std::size_t b) {
                      return row.maximum(a) > row.maximum(b) ||
                             (row.maximum(a) == row.maximum(b) && a < b);
                    });
  return order;
}

/// PositionNoise::bits_needed from a table: for the threshold rounded down, which is safe too.
class NeededBits {
 public:
  NeededBits() {
    for (std::size_t i = 0; i < bits_.size(); ++i) {
      bits_[i] = PositionNoise::bits_needed(kLowest + static_cast<double>(i) / kSteps);
    }
  }

  std::uint64_t at(double threshold) const {
    // Not a number, of two infinite scores: nothing is excluded.
    if (!(threshold > kLowest)) return 0;
    const double step = std::min((threshold - kLowest) * kSteps, kLastStep);
    return bits_[static_cast<std::size_t>(step)];
  }

 private:
  static constexpr double kLowest = -4.0;  ///< noise is above it nearly always.
  static constexpr double kSteps = 8.0;    ///< per unit.
  static constexpr double kLastStep = 328.0;

  std::array<std::uint64_t, 329> bits_;
};

/// False only if the noise of `bits` is certainly below `threshold`: with v = 1 - u the noise
/// -log(-log(u)) is below -log(v). Cheaper than the noise itself.
bool may_exceed(double threshold, std::uint64_t bits) {
  const double v = (0x1p53 - static_cast<double>(bits)) * 0x1p-53;
  constexpr double kMargin = 1.0 + 1e-9;
  return v <= std::exp(-threshold) * kMargin + 0x1p-50;
}

}  // namespace

std::vector<Perturbed> perturbed_top(const ScoreRow& row, float temperature,
                                     const PositionNoise& noise, int m) {
  if (m <= 0 || row.top() == kForbiddenScore) return {};
  BestValues best(std::min(static_cast<std::size_t>(m), row.size()));
  const auto offer = [&](Token token, float score, std::uint64_t bits) {
    if (score == kForbiddenScore) return false;
    // The same operations as over a list of candidates: the same bits.
    const auto scaled = static_cast<double>(score / temperature);
    if (best.full() && !may_exceed(best.worst() - scaled, bits)) return false;
    return best.offer({token, scaled + PositionNoise::from_bits(bits)});
  };
  // The most probable token gives a good bound at once.
  const Token likely = m == 1 ? row.best() : -1;
  if (likely >= 0) offer(likely, row.top(), noise.bits(likely));
  static const NeededBits needed_bits;
  std::array<std::uint64_t, ScoreRow::kBlock> bits;
  for (const std::size_t b : order_of(row, static_cast<std::size_t>(m))) {
    const auto largest = static_cast<double>(row.maximum(b) / temperature);
    const auto needed_now = [&] {
      return best.full() ? needed_bits.at(best.worst() - largest) : std::uint64_t{0};
    };
    if (best.full() && best.worst() - largest > kLargestNoise) continue;
    const std::span<const float> scores = row.block(b);
    const Token first = ScoreRow::first_of(b);
    const std::uint64_t most = noise.block_bits(first, std::span(bits).first(scores.size()));
    std::uint64_t needed = needed_now();
    if (most < needed) continue;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (bits[i] < needed) continue;
      const Token token = first + static_cast<Token>(i);
      if (token != likely && offer(token, scores[i], bits[i])) needed = needed_now();
    }
  }
  return std::move(best).sorted();
}

}  // namespace specbranch
