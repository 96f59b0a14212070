/// The two models, for those that neither run them nor know a clock.
#pragma once

#include <cstdint>

#include "specbranch/base/types.h"
#include "specbranch/model/messages.h"

namespace specbranch {

/// Carries commands to the target and to the draft: with threads, or under a virtual clock. The
/// answers come back on a way of their own.
class ModelPair {
 public:
  ModelPair() = default;
  virtual ~ModelPair() = default;
  ModelPair(const ModelPair&) = delete;
  ModelPair& operator=(const ModelPair&) = delete;

  /// A command for the idle model of `role`, which is busy until its answer.
  virtual void send(ModelRole role, Command command) = 0;

  /// Nobody needs what the busy model of `role` computes.
  virtual void request_abort(ModelRole role) = 0;

  /// The time by which events are measured.
  virtual std::int64_t now_us() const = 0;
};

}  // namespace specbranch
