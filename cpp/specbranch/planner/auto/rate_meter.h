/// How fast decoding is recently, and whether it is surely slower than plain decoding.
#pragma once

namespace specbranch {

/// Old verifications count less. Times in microseconds.
class RateMeter {
 public:
  void reset() { *this = {}; }

  /// A verification brought `n_tokens` in `us`; plain decoding takes `plain_us` a token.
  void add(int n_tokens, double us, double plain_us);

  /// Tokens a microsecond, `promised` counting as much as a few tokens that were measured.
  double rate(double promised) const;

  /// Measured alone; 0: nothing was.
  double measured() const { return time_us_ > 0.0 ? tokens_ / time_us_ : 0.0; }

  /// Fewer than `share` of the tokens that plain decoding would have brought, and not by chance:
  /// a standard error more would not be enough either.
  bool below(double share) const;

 private:
  double n_ = 0.0;
  double tokens_ = 0.0;
  double time_us_ = 0.0;
  double gain_ = 0.0;          ///< tokens beyond those of plain decoding in the same time; sums ...
  double gain_squares_ = 0.0;  ///< ... of them and of their squares.
};

}  // namespace specbranch
