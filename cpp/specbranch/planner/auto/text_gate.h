/// Withdraws drafts from the text where they cost more than they bring.
#pragma once

#include <cstdint>
#include <span>

#include "specbranch/planner/auto/rate_meter.h"
#include "specbranch/planner/cost_model.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// Compares the verifications of drafted tokens with plain decoding. There are two bounds of what
/// they may lose:
/// - In one text: less than a token, a small share of the text, and what they have gained in it. No
///   verification is so long that its loss could exceed this, unless it is improbable: a probable
///   run may be longer, so that the first one need not wait until the share has grown.
/// - In all texts together: a few tokens and a smaller share. Beyond that the gate is closed until
///   the share has grown by one more token. Other programs may have caused the loss. So where much
///   is to be gained, a closed gate lets single verifications pass, half as often after each one
///   that brings nothing; a new text begins with frequent ones.
///
/// Where several texts share the batches, the `BatchComposer` bounds what one verification may
/// lose. Drafted tokens of one text delay all, so that every text counts its part of each batch
/// with drafted tokens, also of others, and the second bound is that of all of them.
class TextGate {
 public:
  /// Both outlive this, and `table` is kept up to date.
  TextGate(const CostModel& costs, LookupTable* table);

  /// Tokens of texts may be verified now, of which so many more tokens are expected than of plain
  /// decoding in the same time.
  bool open(double gain = 0.0) const;

  /// The longest verification of at most `n` tokens whose loss this text can bear. `chances`: that
  /// the text gets to each drafted token, n - 1 at least. `limit`: see `CostModel::padded_target`.
  int longest(std::span<const double> chances, int n, int limit) const;

  /// A verification has ended; without what the draft's work beside it cost, it took `us`.
  void on_step(const StepTime& step, double us);

  /// It committed `n_tokens`.
  void on_verification(int n_tokens);

  /// The recent tokens per microsecond; at least those of plain decoding.
  double rate() const;

  /// Beside other texts: the most tokens that a part of drafted tokens with these chances adds to
  /// what all texts get in the same time.
  double gain_beside_others(std::span<const double> chances) const;

  /// Nothing is verified for now.
  bool closed() const { return gain().closed; }

 private:
  /// A verification that takes as long as `steps` single tokens, over drafted tokens with these
  /// chances.
  bool bearable(double steps, std::span<const double> chances) const;
  /// The last single token is so long ago that its time may have changed.
  bool wants_plain_step() const;

  TextGain& gain() const { return costs_.crowded() ? table_->crowded : table_->alone; }
  void add_loss(double lost, int n_tokens);

  const CostModel& costs_;
  LookupTable* table_;
  RateMeter meter_;
  double credit_;          ///< tokens that may be lost in this text.
  int n_rows_ = 0;         ///< of the last verification.
  int n_batch_rows_ = 0;   ///< of all texts of its batch.
  int n_batch_texts_ = 1;  ///< those texts.
  double us_ = 0.0;        ///< what it took.
  int n_since_plain_ = 0;  ///< verifications of more than one token in a row.
};

}  // namespace specbranch
