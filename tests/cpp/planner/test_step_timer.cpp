// The share of a step in which the other model worked, against counting every microsecond.
#include "specbranch/planner/step_timer.h"

#include <array>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("steps of the other model that ended within this one count") {
  StepTimer timer;
  timer.issued(ModelRole::kTarget, 3, 0);
  for (int i = 0; i < 4; ++i) {  // 10 of every 20 microseconds
    timer.issued(ModelRole::kDraft, 1, 20 * i);
    const StepTime draft = timer.ended(ModelRole::kDraft, 20 * i, 20 * i + 10);
    CHECK(draft.overlap == doctest::Approx(1.0));
    CHECK(draft.n_tokens == 1);
  }
  const StepTime step = timer.ended(ModelRole::kTarget, 0, 100);
  CHECK(step.role == ModelRole::kTarget);
  CHECK(step.n_tokens == 3);
  CHECK(step.overlap == doctest::Approx(0.4));

  timer.issued(ModelRole::kTarget, 1, 100);
  CHECK(timer.ended(ModelRole::kTarget, 100, 200).overlap == 0.0);
}

TEST_CASE("overlaps of any two models at work are those of their intervals") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    StepTimer timer;
    std::array<std::vector<std::pair<std::int64_t, std::int64_t>>, 2> spans;
    // Intervals first, one after another on each model; a command is issued when its step begins.
    for (auto& model : spans) {
      std::int64_t at = 0;
      for (int i = 0; i < 12; ++i) {
        at += static_cast<std::int64_t>(random() % 4) * 5;
        const std::int64_t end = at + 1 + static_cast<std::int64_t>(random() % 60);
        model.emplace_back(at, end);
        at = end;
      }
    }
    std::array<std::size_t, 2> begun{};
    std::array<std::size_t, 2> done{};
    for (std::int64_t now = 0; done[0] < 12 || done[1] < 12; ++now) {
      for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
        const std::size_t own = role == ModelRole::kTarget ? 0 : 1;
        if (done[own] < begun[own] && spans[own][done[own]].second == now) {
          const auto [begin, end] = spans[own][done[own]++];
          const StepTime step = timer.ended(role, begin, end);
          std::int64_t both = 0;
          for (std::int64_t us = begin; us < end; ++us) {
            for (const auto& [other_begin, other_end] : spans[1 - own]) {
              both += us >= other_begin && us < other_end ? 1 : 0;
            }
          }
          CHECK(step.overlap ==
                doctest::Approx(static_cast<double>(both) / static_cast<double>(end - begin)));
        }
      }
      for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
        const std::size_t own = role == ModelRole::kTarget ? 0 : 1;
        if (begun[own] == done[own] && begun[own] < 12 && spans[own][begun[own]].first == now) {
          timer.issued(role, 1, now);
          ++begun[own];
        }
      }
    }
  }
}
