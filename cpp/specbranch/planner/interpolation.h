/// The time of a step between two measured lengths.
#pragma once

#include <algorithm>

namespace specbranch {

/// A measured step: `n` tokens took `us` microseconds.
struct TimedLength {
  int n = 0;
  double us = 0.0;
};

/// Two lengths whose times differ by more than this factor have a cliff between them. A GPU kernel
/// for up to 8 rows ends at 9 rows, for example.
inline constexpr double kCliff = 1.3;

/// The time of `n` tokens, `below.n` < `n` <= `above.n`. It is interpolated linearly. Across a
/// cliff, whose place is not known, it is that of the slower length: to expect too little costs
/// more than to expect too much.
inline double time_between(const TimedLength& below, const TimedLength& above, int n) {
  if (n >= above.n) return above.us;
  const double slower = std::max(below.us, above.us);
  if (slower > kCliff * std::min(below.us, above.us)) return slower;
  const double share = static_cast<double>(n - below.n) / static_cast<double>(above.n - below.n);
  return below.us + share * (above.us - below.us);
}

}  // namespace specbranch
