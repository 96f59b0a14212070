#include "specbranch/engine/run_cost_measurement.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "specbranch/base/clock.h"
#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

constexpr std::chrono::milliseconds kSlice{50};

constexpr std::int64_t us_of(std::chrono::microseconds time) { return time.count(); }

template <class M>
void dispatch(Worker<M>& worker, std::optional<Command>& command, bool abort) {
  if (abort) worker.request_abort();
  if (!command) return;
  worker.clear_abort();
  worker.send(std::move(*command));
}

}  // namespace

MeasuredCosts run_cost_measurement(CostMeasurement& measurement, Channel<Event>& events,
                                   Worker<TargetModel>& target, Worker<DraftModel>* draft,
                                   const std::function<bool()>& stop) {
  const std::int64_t begin_us = now_us();
  const auto send = [&](Commands commands) {
    dispatch(target, commands.target, commands.abort_target);
    if (draft != nullptr) dispatch(*draft, commands.draft, commands.abort_draft);
  };
  send(measurement.start(begin_us));
  std::int64_t polled_us = begin_us;
  while (!measurement.done()) {
    const auto left =
        std::chrono::microseconds(std::max<std::int64_t>(0, measurement.deadline_us() - now_us()));
    const auto slice = std::min<std::chrono::microseconds>(left, kSlice);
    // Once it is stopped there is nothing left but to wait.
    const std::optional<Event> event =
        measurement.stopping() ? events.receive() : events.receive_for(slice);
    if (event) send(measurement.on(*event));
    // While one model hangs, the other may go on and on.
    if (measurement.stopping() || (event && now_us() - polled_us < us_of(kSlice))) continue;
    polled_us = now_us();
    if (polled_us >= measurement.deadline_us() || (stop && stop())) send(measurement.stop());
  }
  const std::exception_ptr error = measurement.error();
  if (error && is_fatal(error)) std::rethrow_exception(error);
  return {measurement.costs(), static_cast<double>(now_us() - begin_us) / 1000.0};
}

}  // namespace specbranch
