#include "specbranch/planner/auto/text_gate.h"

#include <algorithm>
#include <cstddef>

namespace specbranch {
namespace {

// In one text.
constexpr double kTextCredit = 0.75;  ///< tokens.
constexpr double kTextCreditShare = 0.01;
constexpr double kTextMostCredit = 16.0;  ///< tokens.
// A verification may lose more than that, if that is improbable: at most so many times as much, and
// in expectation less than a share.
constexpr double kMostAtOnce = 2.0;
constexpr double kRiskShare = 0.3;
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
  table_->alone.wait = TextGain::kFirstWait;
}

int TextGate::longest(std::span<const double> chances, int n, int limit) const {
  const double plain_us = costs_.target(1);
  const auto bears = [&](int length) {
    const double steps = costs_.padded_target(length, limit) / plain_us;
    return bearable(steps, chances.first(static_cast<std::size_t>(length) - 1));
  };
  while (n > 1 && !bears(n)) --n;
  return n;
}

bool TextGate::bearable(double steps, std::span<const double> chances) const {
  const double most = steps - 1.0;  // if the first drafted token is wrong
  if (most <= credit_) return true;
  if (most > kMostAtOnce * credit_) return false;
  double loss = 0.0;  // expected of the cases that lose
  double reached = 1.0;
  double committed = 1.0;
  for (const double chance : chances) {
    if (committed >= steps) break;
    loss += (reached - chance) * (steps - committed);
    reached = chance;
    committed += 1.0;
  }
  if (committed < steps) loss += reached * (steps - committed);
  return loss <= kRiskShare * credit_;
}

bool TextGate::open(double gain) const {
  if (!costs_.target_known() || wants_plain_step()) return false;
  const TextGain& kept = this->gain();
  return !kept.closed || (gain >= kTextClearGain && kept.waited >= kept.wait);
}

bool TextGate::wants_plain_step() const {
  return costs_.crowded() ? costs_.plain_step_due(kPlainInterval)
                          : n_since_plain_ >= kPlainInterval;
}

void TextGate::on_step(const StepTime& step, double us) {
  n_rows_ = step.n_tokens;
  n_batch_rows_ = step.n_tokens + step.n_others;
  n_batch_texts_ = step.n_texts;
  n_since_plain_ = n_rows_ > 1 ? n_since_plain_ + 1 : 0;
  if (costs_.crowded()) {
    // Each part of a batch that is computed in parts takes as long as a batch.
    const int n_rows_of_part = (n_batch_rows_ + step.n_parts - 1) / step.n_parts;
    us_ = std::min(us, kMostSlow * step.n_parts * costs_.batch(n_rows_of_part));
    return;
  }
  // The costs may be wrong, too: no verification takes longer than its tokens one by one.
  const double longest =
      std::max(kMostSlow * costs_.target(n_rows_), static_cast<double>(n_rows_) * costs_.target(1));
  us_ = std::min(us, longest);
}

void TextGate::on_verification(int n_tokens) {
  if (n_rows_ == 0) return;
  gain().waited += n_tokens;
  if (costs_.crowded()) {
    const bool drafted = n_batch_rows_ > n_batch_texts_;
    add_loss(drafted ? us_ / costs_.batch(n_batch_texts_) - n_tokens : 0.0, n_tokens);
    return;
  }
  const double plain_us = costs_.target(1);
  meter_.add(n_tokens, us_, plain_us);
  credit_ += kTextCreditShare * n_tokens;
  const double lost = n_rows_ > 1 ? us_ / plain_us - n_tokens : 0.0;
  credit_ = std::min(credit_ - lost, kTextMostCredit);
  add_loss(lost, n_tokens);
}

void TextGate::add_loss(double lost, int n_tokens) {
  TextGain& kept = gain();
  const int n_texts = costs_.n_texts();
  // Of several texts in a batch, the first tells what a closed gate let pass.
  if (n_rows_ > 1 && kept.closed && (n_texts == 1 || kept.waited >= kept.wait)) {
    kept.waited = 0.0;
    kept.wait = lost < 0.0 ? TextGain::kFirstWait : std::min(2.0 * kept.wait, kTextMostWait);
  }
  kept.lost = std::max(kept.lost + lost - kTextLossShare * n_tokens, -kTextMostGain * n_texts);
  if (kept.lost > kTextMostLoss * n_texts) kept.closed = true;
  if (kept.lost < (kTextMostLoss - 1.0) * n_texts) kept.closed = false;
}

double TextGate::rate() const {
  const double plain = 1.0 / costs_.target(1);
  return std::max(plain, meter_.rate(plain));
}

double TextGate::gain_beside_others(std::span<const double> chances) const {
  const int n_texts = costs_.n_texts();
  const double plain_us = costs_.batch(n_texts);
  double expected = 0.0;
  double most = 0.0;
  for (std::size_t i = 0; i < chances.size(); ++i) {
    expected += chances[i];
    const double longer = costs_.batch(n_texts + static_cast<int>(i) + 1) - plain_us;
    most = std::max(most, expected - n_texts * longer / plain_us);
  }
  return most;
}

}  // namespace specbranch
