#include "specbranch/planner/auto/rate_meter.h"

#include <algorithm>
#include <cmath>

namespace specbranch {
namespace {

constexpr double kDecay = 0.99;          ///< per batch.
constexpr double kPromisedTokens = 8.0;  ///< the weight of the expected rate, in tokens.

}  // namespace

void RateMeter::add(int n_tokens, double us, double plain_us, int n_texts) {
  const double gain = n_tokens - us / plain_us;
  const double left = n_texts == 1 ? kDecay : std::pow(kDecay, 1.0 / n_texts);
  sum_.n = left * sum_.n + 1.0;
  sum_.tokens = left * sum_.tokens + n_tokens;
  sum_.time_us = left * sum_.time_us + us;
  sum_.gain = left * sum_.gain + gain;
  sum_.gain_squares = left * sum_.gain_squares + gain * gain;
}

double RateMeter::rate(double promised) const {
  return (sum_.tokens + kPromisedTokens) / (sum_.time_us + kPromisedTokens / promised);
}

bool RateMeter::below(double share) const {
  if (sum_.n < 2.0) return false;
  // The tokens of a verification scatter widely: one token, or a whole window.
  const double mean = sum_.gain / sum_.n;
  const double variance = std::max(0.0, sum_.gain_squares / sum_.n - mean * mean);
  const double plain_tokens = (sum_.tokens - sum_.gain) / sum_.n;
  return mean + std::sqrt(variance / sum_.n) < (share - 1.0) * plain_tokens;
}

}  // namespace specbranch
