/// How much of its drafted path each text gets verified in a batch of several texts.
#pragma once

#include <span>
#include <vector>

#include "specbranch/model/messages.h"
#include "specbranch/planner/auto/rate_meter.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// What one text offers for a batch: its last token, and drafted tokens after it.
struct BatchOffer {
  std::span<const double> chances;  ///< of each drafted token that it becomes text; not increasing.
  int n_replayed = 0;               ///< rows that only decode the text again.
  SeqId seq = 0;                    ///< of the target.
};

/// Buys rows for the batches of the target. Every text that offers gets its last token verified, so
/// that none waits. Drafted tokens follow by their chance, the best of all texts first, and the
/// batch ends where it is worth most:
///     value(n) = expected tokens - rate * microseconds of a batch of n rows.
/// `rate` is what the texts reach together in tokens per microsecond: a longer batch delays them
/// all.
///
/// A recurrent target computes a batch in parts, in each of which every text has as many rows
/// (`batch_parts`). There a row more for one text costs a part of its own, so that also equal
/// numbers of rows are tried.
///
/// It knows no decoder and no queue. *Thread safety:* none.
class BatchComposer {
 public:
  /// `profile`: of the pair, with the costs of steps; it outlives this. `max_rows`: of a batch.
  /// `in_parts`: see above. `splits_at_gaps`: see `batch_parts`.
  BatchComposer(const PairProfile* profile, int max_rows, bool in_parts = false,
                bool splits_at_gaps = false);

  /// Drafted tokens for each offer. `n_fixed`: rows that are in the batch already.
  std::vector<int> lengths(std::span<const BatchOffer> offers, int n_fixed);

  /// The target has answered a batch: the events for its texts. Other events say nothing.
  void learn(std::span<const Event> events);

 private:
  struct Choice {
    std::vector<int> taken;  ///< drafted tokens, by offer.
    double expected = 0.0;   ///< tokens of the batch.
  };

  std::vector<double> padded_times(bool of_several) const;
  std::vector<Choice> best_first(std::span<const BatchOffer> offers, int n_fixed) const;
  void add_equal(std::span<const BatchOffer> offers, int n_fixed,
                 std::vector<Choice>& choices) const;
  double time_of(std::span<const BatchOffer> offers, int n_fixed, const Choice& choice,
                 std::span<const double> us) const;

  const PairProfile* profile_;
  int max_rows_;
  bool in_parts_;
  bool splits_at_gaps_;
  RateMeter meter_;
  int n_texts_ = 0;  ///< of the batches that the meter counts.
};

}  // namespace specbranch
