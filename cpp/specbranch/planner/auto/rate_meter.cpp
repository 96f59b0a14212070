#include "specbranch/planner/auto/rate_meter.h"

#include <algorithm>
#include <cmath>

namespace specbranch {
namespace {

constexpr double kDecay = 0.99;          ///< per verification.
constexpr double kPromisedTokens = 8.0;  ///< the weight of the expected rate, in tokens.

}  // namespace

void RateMeter::add(int n_tokens, double us, double plain_us) {
  const double gain = n_tokens - us / plain_us;
  n_ = kDecay * n_ + 1.0;
  tokens_ = kDecay * tokens_ + n_tokens;
  time_us_ = kDecay * time_us_ + us;
  gain_ = kDecay * gain_ + gain;
  gain_squares_ = kDecay * gain_squares_ + gain * gain;
}

double RateMeter::rate(double promised) const {
  return (tokens_ + kPromisedTokens) / (time_us_ + kPromisedTokens / promised);
}

bool RateMeter::below(double share) const {
  if (n_ < 2.0) return false;
  // The tokens of a verification scatter widely: one token, or a whole window.
  const double mean = gain_ / n_;
  const double variance = std::max(0.0, gain_squares_ / n_ - mean * mean);
  const double plain_tokens = (tokens_ - gain_) / n_;
  return mean + std::sqrt(variance / n_) < (share - 1.0) * plain_tokens;
}

}  // namespace specbranch
