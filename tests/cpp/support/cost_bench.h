/// Runs a measurement of step costs on fakes under a virtual clock.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "specbranch/decoder/cost_measurement.h"
#include "specbranch/engine/worker.h"
#include "specbranch/simulation/fake_model.h"

namespace specbranch::test {

inline constexpr std::int64_t kBudget = 2'000'000;

inline int count(const std::vector<int>& lengths, int n) {
  return static_cast<int>(std::ranges::count(lengths, n));
}

/// What a step takes, in virtual microseconds.
struct Clockwork {
  std::function<std::int64_t(int n)> target_us = [](int n) { return 1000 + 100 * n; };
  std::function<std::int64_t(int n)> draft_us = [](int n) { return 200 + 10 * n; };
  double target_slowdown = 1.0;
  double draft_slowdown = 1.0;
  int fork_us = 0;            ///< of each fork of a draft command.
  std::int64_t first_us = 0;  ///< what the first step of each model takes on top.
  /// What the first step of each length takes on top, as where kernels are compiled when used.
  std::function<std::int64_t(int n)> kernels_us = [](int /*n*/) { return 0; };
  /// What a second step in a row of the same length takes on top, as where the device records it.
  std::int64_t record_us = 0;
};

/// Runs a measurement of step costs on fakes; counts what it did.
class Bench {
 public:
  explicit Bench(const FakeOptions& target, const FakeOptions& draft, Clockwork clock = {})
      : clock_(std::move(clock)),
        target_(make_fake_target(target)),
        draft_(make_fake_draft(draft)),
        n_seq_(draft.n_seq) {}

  CostMeasurement run(std::int64_t budget_us = kBudget, int stop_after = -1) {
    ModelLimits limits{target_->capabilities(), draft_->capabilities()};
    CostMeasurement measurement(limits, dummy_tokens({}, limits), budget_us);
    dispatch(measurement.start(0));
    while (!measurement.done()) {
      REQUIRE((pending_[0] || pending_[1]));
      if (n_events == stop_after) dispatch(measurement.stop());
      const bool target =
          pending_[0] && (!pending_[1] || pending_[0]->end_us <= pending_[1]->end_us);
      dispatch(measurement.on(answer(target ? 0 : 1)));
      ++n_events;
    }
    CHECK(!pending_[0]);
    CHECK(!pending_[1]);
    return measurement;
  }

  void check_empty() const {
    CHECK(target_->length(0) == 0);
    for (SeqId seq = 0; seq < n_seq_; ++seq) CHECK(draft_->length(seq) == 0);
  }

  int n_events = 0;
  std::int64_t now_us = 0;
  std::vector<int> lengths[2];  ///< of all steps, target and draft.

 private:
  struct Pending {
    Command command;
    std::int64_t begin_us = 0;
    std::int64_t end_us = 0;
    std::int64_t ops_us = 0;
  };

  void dispatch(Commands commands) {
    if (commands.target) send(0, std::move(*commands.target));
    if (commands.draft) send(1, std::move(*commands.draft));
  }

  static std::ptrdiff_t in_a_row(const std::vector<int>& all, int n) {
    return std::find_if(all.rbegin(), all.rend(), [n](int one) { return one != n; }) - all.rbegin();
  }

  void send(std::size_t role, Command command) {
    REQUIRE(!pending_[role]);
    std::int64_t us = 5;
    std::int64_t ops_us = 0;
    std::optional<int> n;
    if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
      n = verify->n_tokens();
    } else if (const auto* draft = std::get_if<DraftCommand>(&command.body)) {
      n = static_cast<int>(draft->inputs.size());
      ops_us = clock_.fork_us * static_cast<std::int64_t>(draft->ops.size());
    }
    if (n) {
      us = role == 0 ? clock_.target_us(*n) : clock_.draft_us(*n);
      if (lengths[role].empty()) us += clock_.first_us;
      if (count(lengths[role], *n) == 0) us += clock_.kernels_us(*n);
      if (in_a_row(lengths[role], *n) == 1) us += clock_.record_us;
      const double factor = role == 0 ? clock_.target_slowdown : clock_.draft_slowdown;
      if (pending_[1 - role]) us = static_cast<std::int64_t>(static_cast<double>(us) * factor);
      lengths[role].push_back(*n);
    }
    pending_[role] = Pending{std::move(command), now_us, now_us + us + ops_us, ops_us};
    // Started at the same moment: the other one is overlapped too.
    Pending* other = pending_[1 - role] ? &*pending_[1 - role] : nullptr;
    if (other != nullptr && n && other->begin_us == now_us && now_us > 0) {
      const double factor = role == 0 ? clock_.draft_slowdown : clock_.target_slowdown;
      const auto alone = static_cast<double>(other->end_us - other->begin_us);
      if (!std::exchange(slowed_[1 - role], true)) {
        other->end_us = other->begin_us + static_cast<std::int64_t>(alone * factor);
      }
    }
  }

  Event answer(std::size_t role) {
    const Pending pending = *std::exchange(pending_[role], std::nullopt);
    slowed_[role] = false;
    now_us = std::max(now_us, pending.end_us);
    Event event =
        role == 0 ? execute(*target_, pending.command) : execute(*draft_, pending.command);
    event.begin_us = pending.begin_us;
    event.end_us = pending.end_us;
    event.ops_us = pending.ops_us;
    return event;
  }

  Clockwork clock_;
  std::unique_ptr<TargetModel> target_;
  std::unique_ptr<DraftModel> draft_;
  int n_seq_;
  std::optional<Pending> pending_[2];
  bool slowed_[2] = {false, false};
};

}  // namespace specbranch::test
