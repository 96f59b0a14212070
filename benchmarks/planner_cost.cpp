// What `auto` takes to plan, with and without texts that propose tokens and branches beside the
// verified path: microseconds of the planner for each step of the target, and their ratio to those
// without both. No model takes part.
//
//   cmake --preset dev && cmake --build build/dev --target specbranch_planner_cost
//   build/dev/specbranch_planner_cost [texts]
//
// Each text of a synthetic pair is decoded several times in every setting, in turns, under the
// virtual clock. A setting does the same work each time, so the least time counts: the others were
// disturbed. The table has medians over the texts, and the 5th and 95th percentile of the ratios.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "specbranch/lookup/lookup_proposer.h"
#include "specbranch/planner/planner.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "specbranch/simulation/virtual_run.h"

namespace {

using namespace specbranch;
using Clock = std::chrono::steady_clock;

constexpr double kStepUs = 20'000.0;
constexpr double kRatio = 8.0;  ///< a target step over a draft step.
constexpr int kLongest = 33;
constexpr int kTokens = 600;
constexpr int kRepeats = 5;

/// The planner of `auto`, whose calls are timed.
class TimedPlanner final : public Planner {
 public:
  TimedPlanner(std::unique_ptr<Planner> planner, Clock::duration* spent)
      : planner_(std::move(planner)), spent_(spent) {}

  Decision next(const View& view) override {
    return timed([&] { return planner_->next(view); });
  }
  NodeRef text_tip(const View& view) override {
    return timed([&] { return planner_->text_tip(view); });
  }
  bool wants_draft(const View& view) override {
    return timed([&] { return planner_->wants_draft(view); });
  }
  bool cancels_draft() const override { return planner_->cancels_draft(); }
  int width() const override { return planner_->width(); }
  RankOptions rank_options() const override { return planner_->rank_options(); }
  void on_step(const StepTime& step) override {
    timed([&] { planner_->on_step(step); });
  }
  void on_choice(const View& view, NodeId parent, Token token) override {
    timed([&] { planner_->on_choice(view, parent, token); });
  }
  void on_verification(const View& view, bool hit) override {
    timed([&] { planner_->on_verification(view, hit); });
  }

 private:
  struct Stopwatch {
    explicit Stopwatch(Clock::duration* into) : spent(into) {}
    ~Stopwatch() { *spent += Clock::now() - begin; }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    Clock::duration* spent;
    Clock::time_point begin = Clock::now();
  };

  template <class Work>
  std::invoke_result_t<Work> timed(Work work) {
    const Stopwatch watch(spent_);
    return work();
  }

  std::unique_ptr<Planner> planner_;
  Clock::duration* spent_;
};

struct Setting {
  const char* name;
  bool texts;
  bool branches;
};

constexpr std::array kSettings{Setting{"neither", false, false}, Setting{"texts", true, false},
                               Setting{"branches", false, true}, Setting{"both", true, true}};

struct Place {
  const char* name;
  double row;  ///< a row of a verification after the first one costs so much of a step.
};

constexpr std::array kPlaces{Place{"rows are cheap", 0.02}, Place{"rows are dear", 0.2}};

struct Cost {
  double us_per_step = 0.0;
  double branches = 0.0;  ///< tokens on branches for each step of the target.
};

Cost decode(const Place& place, const Setting& setting, double alpha, std::uint64_t seed) {
  SyntheticOptions pair;
  pair.alpha = alpha;
  pair.seed = seed;
  pair.n_branches = setting.branches ? 4 : 0;
  pair.copy_rate = 0.3;
  const auto target = make_synthetic_target(pair);
  const auto draft = make_synthetic_draft(pair);
  Request request;
  request.prompt = {1};
  request.max_tokens = kTokens;
  request.mode = Mode::kAuto;
  request.max_draft = 16;
  request.max_branches = 4;
  PairProfile profile;
  for (int n = 0; n < kLongest; ++n) {
    profile.costs.target_us.push_back(kStepUs * (1.0 + place.row * n));
    profile.costs.draft_us.push_back(kStepUs / kRatio * (1.0 + 0.01 * n));
  }
  VirtualOptions options;
  options.profile = &profile;
  options.target_us = [&](const Command& command) -> std::int64_t {
    const auto* verify = std::get_if<VerifyCommand>(&command.body);
    return verify == nullptr ? 0
                             : std::llround(kStepUs * (1.0 + place.row * (verify->n_tokens() - 1)));
  };
  options.draft_us = [&](const Command& command) -> std::int64_t {
    const auto* pass = std::get_if<DraftCommand>(&command.body);
    return pass == nullptr ? 0 : std::llround(kStepUs / kRatio * (0.99 + 0.01 * pass->n_tokens()));
  };
  if (setting.texts) {
    options.proposer = [&] { return text_proposer(request, texts_of(request), &profile); };
  }
  Clock::duration spent{};
  auto planner = std::make_unique<TimedPlanner>(make_planner(request, &profile), &spent);
  const VirtualResult done =
      run_virtually(request, *target, draft.get(), options, std::move(planner));
  if (done.error) std::rethrow_exception(done.error);
  const auto n_steps = static_cast<double>(done.counters.n_target_steps);
  const double us = std::chrono::duration<double, std::micro>(spent).count();
  return {us / n_steps, static_cast<double>(done.counters.n_branch_verified) / n_steps};
}

/// The value below which the share `at` of them lies.
double quantile(std::vector<double> values, double at) {
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(at * static_cast<double>(values.size() - 1) + 0.5)];
}

void show(const Place& place, double alpha, int texts) {
  std::array<std::vector<double>, kSettings.size()> us;
  std::array<std::vector<double>, kSettings.size()> ratios;
  std::array<double, kSettings.size()> branches{};
  for (int text = 1; text <= texts; ++text) {
    std::array<double, kSettings.size()> least{};
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      for (std::size_t i = 0; i < kSettings.size(); ++i) {
        const Cost cost = decode(place, kSettings[i], alpha, static_cast<std::uint64_t>(text));
        least[i] = repeat == 0 ? cost.us_per_step : std::min(least[i], cost.us_per_step);
        if (repeat == 0) branches[i] += cost.branches / texts;
      }
    }
    for (std::size_t i = 0; i < kSettings.size(); ++i) {
      us[i].push_back(least[i]);
      ratios[i].push_back(least[i] / least[0]);
    }
  }
  for (std::size_t i = 0; i < kSettings.size(); ++i) {
    std::printf("| %s | %.1f | %s | %.2f | %.2f | %.2f (%.2f to %.2f) | %.3f %% |\n", place.name,
                alpha, kSettings[i].name, branches[i], quantile(us[i], 0.5),
                quantile(ratios[i], 0.5), quantile(ratios[i], 0.05), quantile(ratios[i], 0.95),
                100.0 * quantile(us[i], 0.5) / kStepUs);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int texts = argc > 1 ? std::atoi(argv[1]) : 21;
  if (texts < 1) {
    std::fprintf(stderr, "usage: %s [texts, at least 1]\n", argv[0]);
    return 2;
  }
  std::printf("| place | alpha | with | on branches | us a step | to neither | of %.0f ms |\n",
              kStepUs / 1000.0);
  std::printf("| --- | --- | --- | --- | --- | --- | --- |\n");
  for (const Place& place : kPlaces) {
    for (const double alpha : {0.4, 0.8}) show(place, alpha, texts);
  }
  return 0;
}
