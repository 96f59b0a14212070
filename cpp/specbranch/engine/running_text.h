/// A text that runs, for those that need not know how it is decoded.
#pragma once

#include "specbranch/base/types.h"
#include "specbranch/decoder/decoder.h"
#include "specbranch/model/messages.h"
#include "specbranch/model/options.h"

namespace specbranch {

/// What BatchScheduler sees of a text.
class RunningText {
 public:
  RunningText() = default;
  virtual ~RunningText() = default;
  RunningText(const RunningText&) = delete;
  RunningText& operator=(const RunningText&) = delete;

  virtual GenerationId id() const = 0;
  virtual const Request& request() const = 0;
  virtual SeqId target_seq() const = 0;
  virtual bool finished() const = 0;

  /// See Decoder.
  virtual const Offer* offer() const = 0;
  virtual Command take_offer(int n_drafted) = 0;

  /// `command` of this text waits for its model from now on.
  virtual void sent(ModelRole /*role*/, const Command& /*command*/) {}
};

}  // namespace specbranch
