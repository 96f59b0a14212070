/// Padding: a longer batch is sometimes faster, because kernels go by whole tiles of rows.
#pragma once

namespace specbranch {

/// Of the time of a batch. Measured and interpolated times differ by less without any reason.
inline constexpr double kLeastPaddingGain = 0.01;

/// The padding tokens, up to `longest` rows in all, with which a batch of `n` rows is fastest.
/// `time_of(n)`: of a batch of `n` rows; nothing positive where it is not known.
template <typename TimeOf>
int best_padding(int n, int longest, const TimeOf& time_of) {
  double least = time_of(n);
  if (!(least > 0.0)) return 0;
  int best = n;
  for (int m = n + 1; m <= longest; ++m) {
    const double time = time_of(m);
    if (!(time > 0.0) || time >= (1.0 - kLeastPaddingGain) * least) continue;
    best = m;
    least = time;
  }
  return best - n;
}

}  // namespace specbranch
