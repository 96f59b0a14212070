/// Runs the measurement of step costs on the workers' threads. Private to the core; see `Engine`.
#pragma once

#include <functional>

#include "specbranch/base/channel.h"
#include "specbranch/decoder/cost_measurement.h"
#include "specbranch/engine/worker.h"

namespace specbranch {

struct MeasuredCosts {
  StepCosts costs;
  double ms = 0.0;
};

/// Runs `measurement` to its end on the caller's thread. After its deadline, aborts the
/// running commands. Nobody else may use the workers and `events`, which gets their answers. Calls
/// `stop`, if given, every 50 ms; true ends the measurement. After a recoverable failure the costs
/// are unknown; any other failure is thrown.
MeasuredCosts run_cost_measurement(CostMeasurement& measurement, Channel<Event>& events,
                                   Worker<TargetModel>& target, Worker<DraftModel>* draft,
                                   const std::function<bool()>& stop);

}  // namespace specbranch
