/// Measures the recent rate of decoding, and compares it with plain decoding.
#pragma once

namespace specbranch {

/// A decaying mean over verifications. Times are in microseconds.
class RateMeter {
 public:
  void reset() { *this = {}; }

  /// Adds a verification: it committed `n_tokens` in `us`. Plain decoding takes `plain_us` a token.
  void add(int n_tokens, double us, double plain_us);

  /// Tokens per microsecond. The expected rate `promised` has the weight of a few tokens.
  double rate(double promised) const;

  /// The measured rate alone; 0: no measurement.
  double measured() const { return time_us_ > 0.0 ? tokens_ / time_us_ : 0.0; }

  /// The rate is below `share` of plain decoding, also after one standard error is added.
  bool below(double share) const;

 private:
  double n_ = 0.0;
  double tokens_ = 0.0;
  double time_us_ = 0.0;
  double gain_ = 0.0;          ///< tokens beyond those of plain decoding in the same time; sums ...
  double gain_squares_ = 0.0;  ///< ... of them and of their squares.
};

}  // namespace specbranch
