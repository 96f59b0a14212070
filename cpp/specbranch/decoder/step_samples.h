/// Measured times of steps by their length. Private to the core; see `CostMeasurement`.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace specbranch {

/// Times of steps of 1, 2, 3 .. tokens (or sequences), each measured a few times or not at all.
class StepSamples {
 public:
  void add(int n, std::int64_t us) { samples_[n].push_back(static_cast<double>(us)); }

  bool has(int n) const { return samples_.contains(n); }
  bool empty() const { return samples_.empty(); }

  /// Of the samples of length `n`, of which there is at least one; the lower one of two.
  double median(int n) const;

  /// What a step of `n` takes: measured, or between two measured lengths (`time_between`), or
  /// extrapolated with the mean slope (never falling). With a single length measured, each further
  /// token is taken to cost a third of its step. Needs at least one sample.
  double estimate(int n) const;

  /// `estimate` of 1 .. `max`, at least the clock's 1 us each; empty without a sample.
  std::vector<double> table(int max) const;

  /// `n` was measured, and longer steps took so much less that something else must have run.
  bool doubtful(int n) const;

  /// Of every length with samples, the lowest is within `tolerance` (a share) of the median.
  bool steady(double tolerance) const;

 private:
  std::map<int, std::vector<double>> samples_;
};

}  // namespace specbranch
