// `auto` against the tuned other modes under the virtual clock, over machines and pairs.
//
// A few cells are checked in every run; the whole table:
//   specbranch_core_tests --no-skip -tc="*whole study*"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "specbranch/simulation/synthetic_pair.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr double kStepUs = 20'000;
constexpr int kTokens = 500;

/// Relative time of a batch; the other lengths lie on lines between.
struct Curve {
  std::string name;
  std::vector<std::pair<int, double>> points;

  double at(int n) const {
    for (std::size_t i = 1; i < points.size(); ++i) {
      const auto [a, x] = points[i - 1];
      const auto [b, y] = points[i];
      if (n <= b || i + 1 == points.size()) {
        return x + (y - x) * static_cast<double>(n - a) / static_cast<double>(b - a);
      }
    }
    return points.front().second;
  }
};

const std::vector<Curve> kCurves = {
    {"ideal", {{1, 1.0}, {64, 1.0}}},
    {"quant", {{1, 1.0}, {64, 4.78}}},
    {"q4",
     {{1, 1.0},
      {2, 1.41},
      {3, 1.71},
      {4, 1.18},
      {5, 1.68},
      {6, 1.99},
      {8, 2.13},
      {12, 2.98},
      {16, 3.01},
      {24, 4.5}}},
    {"q8",
     {{1, 1.0},
      {2, 1.18},
      {3, 1.28},
      {4, 1.38},
      {5, 2.09},
      {6, 2.46},
      {8, 2.12},
      {12, 2.68},
      {16, 3.45},
      {24, 5.2}}},
};

/// Q8_0 on two CPU cores: two tokens take longer than one token twice.
const Curve kSteep{"steep", {{1, 1.0}, {2, 2.5}, {4, 2.85}, {5, 3.4}, {8, 4.1}, {16, 6.4}}};

struct Cell {
  const Curve* curve = nullptr;
  double alpha = 0.7;
  double ratio = 8.0;  ///< target step / draft step.
  double slowdown = 1.0;
  double noise = 0.0;  ///< standard deviation of the logarithm of every step's time.
};

std::int64_t step_us(const Command& command, const Cell& cell) {
  if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
    return std::llround(kStepUs * cell.curve->at(verify->n_tokens()));
  }
  if (const auto* draft = std::get_if<DraftCommand>(&command.body)) {
    return std::llround(kStepUs / cell.ratio * cell.curve->at(draft->n_tokens()));
  }
  return 0;
}

PairProfile profile_of(const Cell& cell) {
  PairProfile profile;
  for (int n = 1; n <= 33; ++n) {
    profile.costs.target_us.push_back(kStepUs * cell.curve->at(n));
    profile.costs.draft_us.push_back(kStepUs / cell.ratio * cell.curve->at(n));
  }
  profile.costs.target_slowdown = profile.costs.draft_slowdown = cell.slowdown;
  return profile;
}

/// Speed-up over plain decoding, over `n_seeds` texts.
double speedup(const Cell& cell, const Request& request, int n_seq, bool cold = true,
               int n_seeds = 2) {
  double time_us = 0.0;
  PairProfile profile = profile_of(cell);
  for (int seed = 1; seed <= n_seeds; ++seed) {
    SyntheticOptions pair;
    pair.alpha = cell.alpha;
    pair.seed = static_cast<std::uint64_t>(seed);
    pair.n_seq = n_seq;
    pair.n_ctx = 4096;
    const auto target = make_synthetic_target(pair);
    const auto draft = make_synthetic_draft(pair);
    if (cold) profile = profile_of(cell);
    std::mt19937_64 generator(pair.seed);
    std::normal_distribution<double> normal(0.0, 1.0);
    VirtualOptions options;
    options.target_us = options.draft_us = [&](const Command& c) {
      const double factor = cell.noise > 0.0 ? std::exp(cell.noise * normal(generator)) : 1.0;
      return std::llround(factor * static_cast<double>(step_us(c, cell)));
    };
    options.target_slowdown = options.draft_slowdown = cell.slowdown;
    options.profile = &profile;
    const VirtualResult got = run_virtually(request, *target, draft.get(), options);
    CHECK(got.tokens.size() == static_cast<std::size_t>(request.max_tokens));
    time_us += static_cast<double>(got.time_us);
  }
  return n_seeds * request.max_tokens * kStepUs * cell.curve->at(1) / time_us;
}

Request request_of(Mode mode) {
  Request request;
  request.prompt = {1};
  request.max_tokens = kTokens;
  request.mode = mode;
  request.max_draft = 16;
  request.max_branches = mode == Mode::kAuto ? 8 : 4;
  return request;
}

double best_fixed(const Cell& cell, Mode mode) {
  double best = 0.0;
  for (const int gamma : {1, 2, 3, 4, 5, 7, 11, 15}) {
    Request request = request_of(mode);
    request.policy.kind = PolicyOptions::Kind::kFixed;
    request.policy.gamma = gamma;
    best = std::max(best, speedup(cell, request, 2));
  }
  return best;
}

double best_specbranch(const Cell& cell) {
  double best = 0.0;
  for (const int max_draft : {2, 4, 6, 8, 12}) {
    for (const double epsilon : {0.2, 0.4, 0.6, 0.8}) {
      Request request = request_of(Mode::kSpecBranch);
      request.max_draft = max_draft;
      request.policy.epsilon = epsilon;
      best = std::max(best, speedup(cell, request, 8));
    }
  }
  return best;
}

/// Geometric mean and least.
struct Ratios {
  double log_sum = 0.0;
  double least = 1e9;
  int n = 0;

  void add(double ratio) {
    log_sum += std::log(ratio);
    least = std::min(least, ratio);
    ++n;
  }
  double mean() const { return std::exp(log_sum / n); }
};

}  // namespace

TEST_CASE("auto is never below plain decoding and above the tuned modes: some cells") {
  Sweep sweep;
  for (const Curve& curve : kCurves) {
    for (const double alpha : {0.0, 0.6, 0.85}) {
      for (const double slowdown : {1.0, 2.0}) {
        if (sweep.skips()) continue;
        const Cell cell{&curve, alpha, 8.0, slowdown};
        INFO(curve.name, ", alpha ", alpha, ", slow-down ", slowdown);
        const double own = speedup(cell, request_of(Mode::kAuto), 32);
        CHECK(own >= 0.98);
        if (alpha > 0.0 && slowdown == 1.0) {
          CHECK(own >= 1.05 * best_fixed(cell, Mode::kSpeculative));
          CHECK(own >= 1.05 * best_fixed(cell, Mode::kPearl));
          CHECK(own >= 1.02 * best_specbranch(cell));
        }
      }
    }
  }
}

TEST_CASE("auto, where long verifications are expensive and step times scatter") {
  // A chain of any fixed length loses, one that ends where the draft doubts gains. Plain decoding
  // by a hair is no reason to stay with it.
  Sweep sweep;
  for (const double slowdown : {1.0, 1.15, 1.3}) {
    for (const double noise : {0.0, 0.15}) {
      if (sweep.skips()) continue;
      INFO("slow-down ", slowdown, ", noise ", noise);
      const auto reached = [&](double alpha) {
        const Cell cell{&kSteep, alpha, 9.0, slowdown, noise};
        return speedup(cell, request_of(Mode::kAuto), 32, true, 6);
      };
      // The noise alone makes the mean step longer than the median one that counts as 1.
      CHECK(reached(0.3) >= 0.965);
      CHECK(reached(0.6) >= 0.965);
      CHECK(reached(0.8) >= 1.01);
      CHECK(reached(0.9) >= 1.18);
    }
  }
}

TEST_CASE("auto waits for a long chain where a short one is not worth its verification") {
  // Both models share the time, so the chain has no token more than the target has waited for.
  for (const double noise : {0.0, 0.15}) {
    INFO("noise ", noise);
    const auto reached = [&](double alpha) {
      const Cell cell{&kSteep, alpha, 9.0, 2.0, noise};
      return speedup(cell, request_of(Mode::kAuto), 32, true, 6);
    };
    CHECK(reached(0.6) >= 0.965);
    CHECK(reached(0.95) >= 1.05);
  }
}

TEST_CASE("the whole study" * doctest::skip()) {
  Ratios plain;
  for (const double slowdown : {1.0, 1.15, 1.4, 2.0}) {
    for (const Curve& curve : kCurves) {
      Ratios serial;
      Ratios pearl;
      Ratios branch;
      Ratios lean;
      Ratios own;
      for (const double alpha : {0.4, 0.6, 0.75, 0.85, 0.92}) {
        for (const double ratio : {3.0, 5.0, 8.0, 12.0}) {
          const Cell cell{&curve, alpha, ratio, slowdown};
          const double mine = speedup(cell, request_of(Mode::kAuto), 32);
          Request small = request_of(Mode::kAuto);
          small.max_branches = 4;
          const double little = speedup(cell, small, 8);
          const double s = best_fixed(cell, Mode::kSpeculative);
          const double p = best_fixed(cell, Mode::kPearl);
          const double b = best_specbranch(cell);
          std::printf(
              "%-5s s %.2f alpha %.2f c %4.1f: auto %.2f (8 sequences %.2f) "
              "speculative %.2f pearl %.2f specbranch %.2f\n",
              curve.name.c_str(), slowdown, alpha, ratio, mine, little, s, p, b);
          own.add(mine);
          plain.add(mine);
          plain.add(little);
          lean.add(little / mine);
          serial.add(mine / s);
          pearl.add(mine / p);
          branch.add(mine / b);
        }
      }
      std::printf(
          "== %-5s s %.2f: auto %.2f (least %.2f); over speculative %.2f (%.2f), pearl %.2f "
          "(%.2f), specbranch %.2f (%.2f); 8 sequences %.2f\n",
          curve.name.c_str(), slowdown, own.mean(), own.least, serial.mean(), serial.least,
          pearl.mean(), pearl.least, branch.mean(), branch.least, lean.mean());
    }
  }
  CHECK(plain.least >= 0.98);
}
