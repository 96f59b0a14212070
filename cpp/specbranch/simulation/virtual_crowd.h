/// Several generations at once under a virtual clock: the real decoders and planners, and the
/// engine's BatchScheduler; no threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/simulation/virtual_run.h"

namespace specbranch {

/// One request.
struct VirtualClient {
  Request request;
  std::int64_t arrival_us = 0;
  std::unique_ptr<Planner> planner = nullptr;  ///< null: that of the request's mode.
  /// Empty: nothing drafts from texts. GCC warns without the initializer.
  // NOLINTNEXTLINE(readability-redundant-member-init)
  std::function<std::unique_ptr<Proposer>()> proposer = {};
};

/// What became of it. Times are virtual.
struct VirtualText {
  std::vector<Token> tokens;
  std::vector<std::int64_t> token_us;  ///< when each of them was there.
  Finish finish = Finish::kNone;
  std::exception_ptr error;
  std::exception_ptr draft_error;
  Counters counters;
  std::int64_t start_us = 0;  ///< when a place was free for it.
  std::int64_t end_us = 0;
  std::string mode_reason;
};

struct VirtualCrowd {
  std::vector<VirtualText> texts;  ///< in the order of the clients.
  std::int64_t time_us = 0;        ///< until the last one ended.
  std::int64_t target_us = 0;      ///< in which the target was at work.
  std::int64_t draft_us = 0;
  std::int64_t n_batches = 0;       ///< verifications of the target.
  std::int64_t n_batch_tokens = 0;  ///< of all of them, without padding.
};

/// Runs all requests to their ends, at most `n_parallel` at once, as `Coordinator` does. The models
/// must have the sequences for them. Of `options`, the fields about single generations (policy,
/// cancel, proposer) have no effect. Throws as `run_virtually`.
VirtualCrowd run_crowd(std::vector<VirtualClient> clients, TargetModel& target, DraftModel* draft,
                       const VirtualOptions& options, int n_parallel);

}  // namespace specbranch
