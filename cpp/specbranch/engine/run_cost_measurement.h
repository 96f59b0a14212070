/// The measurement of step costs on the workers' threads. Private to the core; see `Engine`.
#pragma once

#include <cstdint>
#include <functional>

#include "specbranch/base/channel.h"
#include "specbranch/decoder/cost_measurement.h"
#include "specbranch/engine/worker.h"

namespace specbranch {

struct MeasuredCosts {
  StepCosts costs;
  double ms = 0.0;
};

/// Runs `measurement` to its end on the caller's thread, `budget_us` at most: what is under way
/// then is aborted. Nobody else may use the workers and `events`, where their answers come. `stop`,
/// if any, is asked every 50 ms. A model that fails recoverably leaves the costs unknown; throws
/// what it failed with otherwise.
MeasuredCosts run_cost_measurement(CostMeasurement& measurement, Channel<Event>& events,
                                   Worker<TargetModel>& target, Worker<DraftModel>& draft,
                                   std::int64_t budget_us, const std::function<bool()>& stop);

}  // namespace specbranch
