// What the C++ benchmarks share: medians of short pieces of work.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include "specbranch/llama/context/context.h"

namespace specbranch::bench {

/// The middle one, or the upper of two; `values` must not be empty.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// Microseconds that `work(i)` takes, the median of `repeats` calls; `prepare(i)` goes before each
/// and is not counted.
template <class Prepare, class Work>
double median_us(int repeats, Prepare prepare, Work work) {
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    prepare(i);
    const auto begin = std::chrono::steady_clock::now();
    work(i);
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    times.push_back(time.count());
  }
  return median(std::move(times));
}

template <class Work>
double median_us(int repeats, Work work) {
  return median_us(repeats, [](int) {}, work);
}

/// Appends `n` times `token` to `seq`.
inline void fill(llama::LlamaContext& context, SeqId seq, int n, Token token) {
  while (n > 0) {
    std::vector<llama::BatchToken> batch;
    Pos pos = context.length(seq);
    for (int i = std::min(n, context.n_batch()); i > 0; --i) {
      batch.push_back({token, seq, pos++, false});
    }
    context.decode(batch);
    n -= static_cast<int>(batch.size());
  }
}

}  // namespace specbranch::bench
