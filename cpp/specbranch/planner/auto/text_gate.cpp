#include "specbranch/planner/auto/text_gate.h"

#include <algorithm>

namespace specbranch {
namespace {

constexpr double kTextLossBudget = 3.0;   ///< tokens, in all texts.
constexpr double kTextLossShare = 0.005;  ///< of all tokens.
constexpr double kMostGain = 8.0;         ///< tokens of former gains that may be lost again.
/// A step that another program has slowed down counts at most so many times what it should take.
constexpr double kMostSlow = 2.0;
constexpr int kPlainInterval = 100;  ///< verifications.

}  // namespace

bool TextGate::wants_plain_step() const { return n_since_plain_ >= kPlainInterval; }

void TextGate::on_step(int n_rows, double us) {
  n_rows_ = n_rows;
  // The costs may be wrong, too: no verification takes longer than its tokens one by one.
  const double longest =
      std::max(kMostSlow * costs_.target(n_rows), static_cast<double>(n_rows) * costs_.target(1));
  us_ = std::min(us, longest);
  n_since_plain_ = n_rows > 1 ? n_since_plain_ + 1 : 0;
}

void TextGate::on_verification(int n_tokens) {
  if (n_rows_ == 0) return;
  const double plain_us = costs_.target(1);
  meter_.add(n_tokens, us_, plain_us);
  table_->tokens += n_tokens;
  if (n_rows_ > 1) {
    table_->lost = std::max(table_->lost + us_ / plain_us - n_tokens, -kMostGain);
  }
  const double budget = kTextLossBudget + kTextLossShare * table_->tokens;
  if (table_->lost > budget) table_->closed = true;
  if (table_->lost < budget - 1.0) table_->closed = false;
}

double TextGate::rate() const {
  const double plain = 1.0 / costs_.target(1);
  return std::max(plain, meter_.rate(plain));
}

}  // namespace specbranch
