// What `auto` gains or loses on short texts, where the measurement of step costs was wrong.
//
//   cmake --preset dev && cmake --build build/dev --target specbranch_short_texts
//   build/dev/specbranch_short_texts [pairs] [seed]
//
// The engine's decoder and planner run under the virtual clock, on synthetic pairs. Each pair has
// its own cost curves, acceptance rate and slow-down. The measurement saw other costs: the target's
// steps, its long verifications and the draft's steps differ by factors from 0.6 to 1.6, and the
// slow-down is another one in half of the pairs. The table shows the distribution of the speed
// relative to plain decoding: of the first text after loading, and of four texts that follow.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "specbranch/planner/auto/auto_planner.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "specbranch/simulation/virtual_run.h"

namespace {

using namespace specbranch;

constexpr double kStepUs = 20'000;
constexpr double kNoise = 0.08;  ///< standard deviation of the logarithm of a step's time.
constexpr int kFollowing = 4;    ///< texts after the first one.
constexpr int kLongest = 33;
constexpr double kGain = 1.03;

using Points = std::vector<std::pair<int, double>>;

/// Relative time of a batch; lengths between two points lie on a line.
double at(const Points& points, int n) {
  for (std::size_t i = 1; i < points.size(); ++i) {
    const auto [a, x] = points[i - 1];
    const auto [b, y] = points[i];
    if (n <= b || i + 1 == points.size()) {
      return x + (y - x) * static_cast<double>(n - a) / static_cast<double>(b - a);
    }
  }
  return points.front().second;
}

// A GPU, a GPU with quantized weights and a cliff at 9, and two CPU cores with Q4_0 and Q8_0.
const std::array<Points, 5> kCurves{{
    {{1, 1.0}, {64, 1.0}},
    {{1, 1.0}, {8, 1.25}, {9, 2.0}, {64, 4.8}},
    {{1, 1.0},
     {2, 1.41},
     {3, 1.71},
     {4, 1.18},
     {5, 1.68},
     {8, 2.13},
     {12, 2.98},
     {16, 3.01},
     {24, 4.5}},
    {{1, 1.0},
     {2, 1.18},
     {4, 1.38},
     {5, 2.09},
     {6, 2.46},
     {8, 2.12},
     {12, 2.68},
     {16, 3.45},
     {24, 5.2}},
    {{1, 1.0}, {2, 2.5}, {4, 2.85}, {5, 3.4}, {8, 4.1}, {16, 6.4}},
}};

struct Pair {
  const Points* curve = nullptr;
  double alpha = 0.7;
  double draft_us = 0.0;  ///< of one token.
  double slowdown = 1.0;
  // What the measurement saw, relative to the truth.
  double target_error = 1.0;
  double batch_error = 1.0;  ///< of verifications of several tokens, beside `target_error`.
  double draft_error = 1.0;
  double measured_slowdown = 1.0;
  std::uint64_t seed = 1;

  double target_us(int n) const { return kStepUs * at(*curve, n); }
  double pass_us(int b) const { return draft_us * at(*curve, b); }

  PairProfile profile(bool right) const {
    PairProfile found;
    for (int n = 1; n <= kLongest; ++n) {
      const double target = right ? 1.0 : target_error * (n > 1 ? batch_error : 1.0);
      found.costs.target_us.push_back(target * target_us(n));
      found.costs.draft_us.push_back((right ? 1.0 : draft_error) * pass_us(n));
    }
    const double slow = right ? slowdown : measured_slowdown;
    found.costs.target_slowdown = found.costs.draft_slowdown = slow;
    return found;
  }
};

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : generator_(seed) {}

  template <std::size_t N>
  double one_of(const std::array<double, N>& values) {
    return values.at(index(N));
  }
  std::size_t index(std::size_t n) { return static_cast<std::size_t>(generator_() % n); }
  std::uint64_t seed() { return generator_() % 1'000'000; }

 private:
  std::mt19937_64 generator_;
};

Pair draw(Dice& dice) {
  constexpr std::array kErrors{0.6, 0.8, 1.0, 1.25, 1.6};
  Pair pair;
  pair.curve = &kCurves.at(dice.index(kCurves.size()));
  pair.alpha = dice.one_of(std::array{0.2, 0.35, 0.5, 0.65, 0.8, 0.9});
  pair.draft_us = kStepUs / dice.one_of(std::array{2.5, 4.0, 7.0, 12.0, 24.0});
  pair.slowdown = dice.one_of(std::array{1.0, 1.15, 1.4, 2.0});
  pair.target_error = dice.one_of(kErrors);
  pair.batch_error = dice.one_of(kErrors);
  pair.draft_error = dice.one_of(kErrors);
  const double wrong = dice.one_of(std::array{1.0, 1.3, 2.0});
  pair.measured_slowdown = dice.index(2) == 0 ? pair.slowdown : wrong;
  pair.seed = dice.seed();
  return pair;
}

/// The speed of one text relative to plain decoding. `eager`: it always speculates.
double speed(const Pair& pair, int n_tokens, std::uint64_t text, PairProfile& profile,
             bool eager = false) {
  SyntheticOptions options;
  options.alpha = pair.alpha;
  options.seed = pair.seed + text;
  options.n_ctx = 8192;
  const auto target = make_synthetic_target(options);
  const auto draft = make_synthetic_draft(options);
  std::mt19937_64 generator(options.seed);
  std::normal_distribution<double> normal(0.0, kNoise);
  VirtualOptions machine;
  machine.target_us = machine.draft_us = [&](const Command& command) -> std::int64_t {
    double us = 0.0;
    if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
      us = pair.target_us(verify->n_tokens());
    } else if (const auto* pass = std::get_if<DraftCommand>(&command.body)) {
      us = pair.pass_us(pass->n_tokens());
    }
    return std::llround(us * std::exp(normal(generator) - 0.5 * kNoise * kNoise));
  };
  machine.target_slowdown = machine.draft_slowdown = pair.slowdown;
  machine.hop_us = 50;
  machine.abort_us = 1'500;
  machine.profile = &profile;
  Request request;
  request.prompt = {1};
  request.max_tokens = n_tokens;
  request.mode = Mode::kAuto;
  request.max_draft = 16;
  request.max_branches = 8;
  AutoBounds bounds = auto_bounds(request);
  bounds.switching = !eager;
  const VirtualResult got =
      run_virtually(request, *target, draft.get(), machine,
                    std::make_unique<AutoPlanner>(bounds, request.sampling.temperature, &profile));
  return n_tokens * (pair.target_us(1) + 50.0) / static_cast<double>(got.time_us);
}

void print(const std::string& name, std::vector<double> found) {
  if (found.empty()) return;
  std::ranges::sort(found);
  const auto at_share = [&](double share) {
    return found[static_cast<std::size_t>(
        std::lround(share * static_cast<double>(found.size() - 1)))];
  };
  double logs = 0.0;
  for (const double value : found) logs += std::log(value);
  std::printf("| %s | %zu | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f |\n", name.c_str(),
              found.size(), found.front(), at_share(0.01), at_share(0.05), at_share(0.25),
              at_share(0.5), at_share(0.75), std::exp(logs / static_cast<double>(found.size())));
}

}  // namespace

int main(int argc, char** argv) {
  const int n_pairs = argc > 1 ? std::atoi(argv[1]) : 600;
  Dice dice(argc > 2 ? static_cast<std::uint64_t>(std::atoll(argv[2])) : 1);
  constexpr std::array kLengths{64, 256};
  // [length][does speculation gain in the long run][first or following]
  std::vector<double> found[2][2][2];
  std::vector<double> known[2][2];
  for (int i = 0; i < n_pairs; ++i) {
    const Pair pair = draw(dice);
    PairProfile truth = pair.profile(true);
    PairProfile eager = truth;
    const std::size_t gains = speed(pair, 2000, 101, eager, true) >= kGain ? 1 : 0;
    speed(pair, 1000, 100, truth);
    for (std::size_t length = 0; length < kLengths.size(); ++length) {
      PairProfile profile = pair.profile(false);
      PairProfile informed = truth;
      for (int text = 0; text <= kFollowing; ++text) {
        const auto number = static_cast<std::uint64_t>(text);
        const double ratio = speed(pair, kLengths.at(length), number, profile);
        found[length][gains][text > 0 ? 1 : 0].push_back(ratio);
        if (std::getenv("SHORT_TEXTS_VERBOSE") != nullptr) {
          std::printf(
              "%d %d %d %zu curve %td alpha %.2f c %.1f s %.2f errors %.2f %.2f %.2f s %.2f: "
              "%.3f\n",
              i, kLengths.at(length), text, gains, pair.curve - kCurves.data(), pair.alpha,
              kStepUs / pair.draft_us, pair.slowdown, pair.target_error, pair.batch_error,
              pair.draft_error, pair.measured_slowdown, ratio);
        }
        if (text > 0) continue;
        known[length][gains].push_back(speed(pair, kLengths.at(length), number, informed));
      }
    }
  }
  std::printf("| texts | n | least | 1 %% | 5 %% | 25 %% | median | 75 %% | mean |\n");
  std::printf("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (std::size_t length = 0; length < kLengths.size(); ++length) {
    for (const std::size_t gains : {0U, 1U}) {
      const std::string name = std::to_string(kLengths.at(length)) + " tokens, " +
                               (gains != 0 ? "speculation pays, " : "speculation does not pay, ");
      print(name + "first", found[length][gains][0]);
      print(name + "following", found[length][gains][1]);
      print(name + "costs known", known[length][gains]);
    }
  }
  return 0;
}
