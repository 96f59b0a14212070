#include "specbranch/lookup/lookup_acceptance.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

namespace specbranch {
namespace {

constexpr double kLookupDecay = 0.95;
constexpr double kLookupPriorWeight = 3.0;  ///< observations.
constexpr double kCarriedWeight = 4.0;      ///< observations of former texts.
constexpr double kSurest = 0.99;

/// Lengths 0 and 1, 2 and 3, 4 to 7, 8 to 15, 16 to 31, 32 and more.
constexpr std::array kPrior{0.1, 0.3, 0.6, 0.8, 0.9, 0.95};
/// The same of a text that is being copied: few tokens are enough.
constexpr std::array kCopyPrior{0.5, 0.6, 0.7, 0.8, 0.9, 0.95};
constexpr double kAmbiguous = 0.7;  ///< factor, where other tokens have followed.
constexpr double kWrong = 0.7;      ///< factor, where the last proposal was wrong.

std::size_t length_bin(int length) {
  const auto width = static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(length)));
  return std::clamp<std::size_t>(width, 1, kPrior.size()) - 1;
}

std::size_t class_index(const LookupClass& one) {
  const auto kind = static_cast<std::size_t>(one.kind);
  return ((kind * kPrior.size() + length_bin(one.length)) * 2 + (one.unique ? 1 : 0)) * 2 +
         (one.right ? 1 : 0);
}

static_assert(LookupTable::kClasses == kLookupKinds * kPrior.size() * 4);

double prior_of(const LookupClass& one) {
  const bool copied = one.kind == LookupKind::kCopy || one.kind == LookupKind::kPrediction;
  const double p = (copied ? kCopyPrior : kPrior)[length_bin(one.length)];
  return p * (one.unique ? 1.0 : kAmbiguous) * (one.right ? 1.0 : kWrong);
}

}  // namespace

double LookupAcceptance::probability(const LookupClass& one) const {
  const std::size_t i = class_index(one);
  const double p = (table_->hits[i] + kLookupPriorWeight * prior_of(one)) /
                   (table_->count[i] + kLookupPriorWeight);
  return std::min(p, kSurest);
}

void LookupAcceptance::begin_text() {
  for (std::size_t i = 0; i < table_->count.size(); ++i) {
    if (table_->count[i] <= kCarriedWeight) continue;
    table_->hits[i] *= kCarriedWeight / table_->count[i];
    table_->count[i] = kCarriedWeight;
  }
}

void LookupAcceptance::observe(const LookupClass& one, bool hit) {
  const std::size_t i = class_index(one);
  // One kind of text says little of the next one: a few wrong proposals must be enough.
  table_->hits[i] = kLookupDecay * table_->hits[i] + (hit ? 1.0 : 0.0);
  table_->count[i] = kLookupDecay * table_->count[i] + 1.0;
}

}  // namespace specbranch
