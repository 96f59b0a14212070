#include "specbranch/engine/batch_parts.h"

#include <algorithm>

namespace specbranch {

std::vector<int> batch_parts(std::vector<SequenceRows> sequences, bool splits_at_gaps) {
  // By their rows, no sequence without rows is between two others.
  std::ranges::sort(sequences, {}, [splits_at_gaps](const SequenceRows& one) {
    return splits_at_gaps ? one.seq : one.n_rows;
  });
  const auto has_rows = [](const SequenceRows& one) { return one.n_rows > 0; };
  std::vector<int> parts;
  for (;;) {
    const auto begin = std::ranges::find_if(sequences, has_rows);
    if (begin == sequences.end()) return parts;
    const auto end = std::find_if_not(begin, sequences.end(), has_rows);
    const int n_rows = std::ranges::min_element(begin, end, {}, &SequenceRows::n_rows)->n_rows;
    for (auto one = begin; one != end; ++one) one->n_rows -= n_rows;
    parts.push_back(n_rows * static_cast<int>(end - begin));
  }
}

}  // namespace specbranch
