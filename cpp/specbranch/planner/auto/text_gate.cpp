#include "specbranch/planner/auto/text_gate.h"

#include <algorithm>

namespace specbranch {
namespace {

// In one text.
constexpr double kTextCredit = 0.75;  ///< tokens.
constexpr double kTextCreditShare = 0.01;
constexpr double kTextMostCredit = 16.0;  ///< tokens.
// In all texts.
constexpr double kTextMostLoss = 3.0;  ///< tokens.
constexpr double kTextLossShare = 0.005;
constexpr double kTextMostGain = 2.0;  ///< tokens of former gains that may be lost again.
/// A step that another program has slowed down counts at most so many times what it should take.
constexpr double kMostSlow = 2.0;
constexpr int kPlainInterval = 100;     ///< verifications.
constexpr double kTextClearGain = 1.0;  ///< tokens for which a closed gate opens once.
constexpr double kTextMostWait = 1024.0;

}  // namespace

TextGate::TextGate(const CostModel& costs, LookupTable* table)
    : costs_(costs), table_(table), credit_(kTextCredit) {
  table_->wait = LookupTable::kFirstWait;
}

int TextGate::longest(int n, int limit) const {
  const double bearable_us = (1.0 + credit_) * costs_.target(1);
  while (n > 1 && costs_.padded_target(n, limit) > bearable_us) --n;
  return n;
}

bool TextGate::open(double gain) const {
  if (!costs_.target_known() || wants_plain_step()) return false;
  return !table_->closed || (gain >= kTextClearGain && table_->waited >= table_->wait);
}

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
  table_->waited += n_tokens;
  credit_ += kTextCreditShare * n_tokens;
  double lost = 0.0;
  if (n_rows_ > 1) {
    lost = us_ / plain_us - n_tokens;
    if (table_->closed) {
      table_->waited = 0.0;
      table_->wait =
          lost < 0.0 ? LookupTable::kFirstWait : std::min(2.0 * table_->wait, kTextMostWait);
    }
  }
  credit_ = std::min(credit_ - lost, kTextMostCredit);
  table_->lost = std::max(table_->lost + lost - kTextLossShare * n_tokens, -kTextMostGain);
  if (table_->lost > kTextMostLoss) table_->closed = true;
  if (table_->lost < kTextMostLoss - 1.0) table_->closed = false;
}

double TextGate::rate() const {
  const double plain = 1.0 / costs_.target(1);
  return std::max(plain, meter_.rate(plain));
}

}  // namespace specbranch
