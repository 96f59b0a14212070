/// The time of a step of one model as a function of its batch length: level times shape.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "specbranch/report/profile.h"

namespace specbranch {

/// The time of a step as a function of its batch length, alone and beside the other model.
///
/// A Kalman filter over the logarithms of the times. Its covariance says which times change
/// together. All times share a level: the clock of the machine, the length of the text, other
/// programs. The level may change at any time, so every step moves it a lot. The shape (the time of
/// n tokens over the time of one token) changes little, so a step moves the shape only while the
/// shape is uncertain. The slow-down beside the other model is one more state: a step beside the
/// other model moves it only as far as the time alone is certain.
class StepCurve {
 public:
  static constexpr int kLongest = 96;
  static constexpr double kAlone = 0.02;  ///< overlap up to which a step counts as alone.

  /// All pointers outlive this and are kept up to date. `table`: [n - 1] in microseconds, 0 where
  /// it was not measured. `slowdown`: at least 1. `doubt`: the covariance; empty: that of a
  /// measurement while loading.
  StepCurve(std::vector<double>* table, double* slowdown, std::vector<double>* doubt);

  /// Microseconds of a step over `n` >= 1 tokens, alone on the machine. Between two measured
  /// lengths the time is interpolated, or that of the slower one where both differ much. With one
  /// measurement or none, the curve has an assumed small slope.
  double at(int n) const;

  /// At least one length has a measured time.
  bool known() const { return known_; }

  /// Learns from a step over `n` tokens that took `us` and overlapped with a step of the other
  /// model for the share `overlap`. An outlier counts little, but several in a row are believed.
  void observe(int n, double us, double overlap);

  /// Another curve over the same tables has learned: this one knows what it knows.
  void refresh();

  /// The standard deviation of the logarithm of the time of `n` >= 1 tokens alone: how stale it is.
  double doubt(int n = 1) const;

  /// The standard deviation of the logarithm of the time of 2 `n` tokens over that of `n`, and of
  /// the slow-down.
  double shape_doubt(int n = 1) const;
  double slowdown_doubt() const;

  /// A new text begins: its length, and the load of the machine, may be others.
  void begin_text();

  /// The times of 1 to kLongest tokens, where those that `table` lacks are interpolated.
  /// `assumed_us`: of one token, if it lacks all.
  static std::vector<double> filled(const std::vector<double>& table, double assumed_us = 1000.0);

  /// Sets the time of one token while no time is known; default: one millisecond.
  void assume(double us);

 private:
  static constexpr int kLearned = 32;           ///< longer steps follow the longest of these.
  static constexpr int kStates = kLearned + 1;  ///< the last one is the slow-down.
  static constexpr int kSlow = kLearned;

  /// How an observation moves the states.
  struct Gain {
    std::array<double, kStates> states{};  ///< their covariance with the observation.
    double variance = 0.0;                 ///< of the observation.
  };

  double& covariance(int i, int j) { return (*doubt_)[index(i, j)]; }
  double covariance(int i, int j) const { return (*doubt_)[index(i, j)]; }
  static std::size_t index(int i, int j) {
    return static_cast<std::size_t>(i) * kStates + static_cast<std::size_t>(j);
  }
  bool measured(int n) const;
  void reset_doubt();
  void drift();
  void add_to_level(double variance);
  /// Counts an outlier. True: it was the last of several in a row on the same side.
  bool repeated(bool longer);
  Gain gain_of(int i, double slow_share, double noise) const;
  void learn(int n, double us, double overlap);
  void rebuild();

  std::vector<double>* table_;
  double* slowdown_;
  std::vector<double>* doubt_;
  std::vector<double> curve_;  ///< [n - 1], every length.
  double log_slowdown_ = 0.0;  ///< may be below 0, where `slowdown` is 1.
  double noise_;               ///< variance of the logarithm of one step's time.
  int n_wild_ = 0;             ///< outliers in a row on the same side; negative: too short.
  double assumed_us_ = 1000.0;
  bool known_ = false;
};

}  // namespace specbranch
