/// Padding: a longer batch is sometimes faster, because kernels go by whole tiles of rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

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

/// The same for a batch of several texts. `us`: measured times by length, 0 where there is none.
inline int batch_padding(int n, std::span<const double> us, int longest) {
  longest = std::min(longest, static_cast<int>(us.size()));
  if (n > longest) return 0;
  return best_padding(n, longest, [us](int m) { return us[static_cast<std::size_t>(m) - 1]; });
}

}  // namespace specbranch
