/// Withdraws drafts from the text where they cost more than they bring.
#pragma once

#include <cstdint>

#include "specbranch/planner/auto/rate_meter.h"
#include "specbranch/planner/cost_model.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// Compares the verifications of drafted tokens with plain decoding. There are two bounds of what
/// they may lose:
/// - In one text: less than a token, a small share of the text, and what they have gained in it. No
///   verification is so long that its loss could exceed this.
/// - In all texts together: a few tokens and a smaller share. Beyond that the gate is closed until
///   the share has grown by one more token. Other programs may have caused the loss. So where much
///   is to be gained, a closed gate lets single verifications pass, half as often after each one
///   that brings nothing; a new text begins with frequent ones.
class TextGate {
 public:
  /// Both outlive this, and `table` is kept up to date.
  TextGate(const CostModel& costs, LookupTable* table);

  /// Tokens of texts may be verified now, of which so many more tokens are expected than of plain
  /// decoding in the same time.
  bool open(double gain = 0.0) const;

  /// The longest verification of at most `n` tokens whose loss this text can bear. `limit`: see
  /// `CostModel::padded_target`.
  int longest(int n, int limit) const;

  /// A verification of `n_rows` tokens took `us`.
  void on_step(int n_rows, double us);

  /// It committed `n_tokens`.
  void on_verification(int n_tokens);

  /// The recent tokens per microsecond; at least those of plain decoding.
  double rate() const;

 private:
  /// The last single token is so long ago that its time may have changed.
  bool wants_plain_step() const;

  const CostModel& costs_;
  LookupTable* table_;
  RateMeter meter_;
  double credit_;          ///< tokens that may be lost in this text.
  int n_rows_ = 0;         ///< of the last verification.
  double us_ = 0.0;        ///< what it took.
  int n_since_plain_ = 0;  ///< verifications of more than one token in a row.
};

}  // namespace specbranch
