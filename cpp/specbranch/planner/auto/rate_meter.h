/// Measures the recent rate of decoding, and compares it with plain decoding.
#pragma once

#include "specbranch/report/profile.h"

namespace specbranch {

/// A decaying mean over batches. Times are in microseconds.
class RateMeter {
 public:
  RateMeter() = default;
  explicit RateMeter(const RateRecord& record) : sum_(record) {}

  void reset() { sum_ = {}; }
  const RateRecord& record() const { return sum_; }

  /// Adds a verification: it committed `n_tokens` in `us`. Plain decoding takes `plain_us` a token.
  /// `n_texts`: that add their parts of the same batch.
  void add(int n_tokens, double us, double plain_us, int n_texts = 1);

  /// Tokens per microsecond. The expected rate `promised` has the weight of a few tokens.
  double rate(double promised) const;

  /// The measured rate alone; 0: no measurement.
  double measured() const { return sum_.time_us > 0.0 ? sum_.tokens / sum_.time_us : 0.0; }

  /// The rate is below `share` of plain decoding, also after one standard error is added.
  bool below(double share) const;

  /// Tokens that plain decoding would have committed beyond those of speculation.
  double lost() const { return -sum_.gain; }

 private:
  RateRecord sum_;
};

}  // namespace specbranch
