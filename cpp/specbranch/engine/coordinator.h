/// The coordinator between the callers and the workers. Private to the core; see `Engine`.
#pragma once

#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "specbranch/base/channel.h"
#include "specbranch/base/strand.h"
#include "specbranch/decoder/decoder.h"
#include "specbranch/decoder/stop_matcher.h"
#include "specbranch/engine/engine.h"
#include "specbranch/engine/worker.h"
#include "specbranch/report/profile.h"
#include "specbranch/report/trace.h"

namespace specbranch {

using OutputChannel = Channel<Output>;

struct SubmitMessage {
  GenerationId generation_id = 0;
  std::shared_ptr<const Request> request;
  std::shared_ptr<OutputChannel> output;
};

struct CancelMessage {
  GenerationId generation_id = 0;
};

struct CloseMessage {};

using Message = std::variant<SubmitMessage, CancelMessage, CloseMessage, Event>;
using Inbox = Strand<Message>;

/// Runs generations one after another: feeds the decoder, sends its commands, hands out its tokens.
///
/// It has no thread: messages are handled by the threads that bring them (see Strand), a worker
/// that has an answer above all. Nothing here waits for anybody.
///
/// *Thread safety:* `handle` by one thread at a time; `limits`, `stats`, `profile` and
/// `throw_if_poisoned` from any at any time.
/// *Lifecycle:* `handle` returns false after a CloseMessage, once nothing is under way; submissions
/// that come later still get an end.
class Coordinator {
 public:
  Coordinator(const ModelLimits& limits, std::vector<std::string> pieces,
              std::unique_ptr<Worker<TargetModel>> target,
              std::unique_ptr<Worker<DraftModel>> draft, PairProfile profile,
              double measure_costs_ms);

  /// Handles one message. False: this was the last one that matters.
  bool handle(Message& message);

  /// Ends the workers' threads; when no message is being handled.
  void release_workers();

  ModelLimits limits() const;
  EngineStats stats() const;
  PairProfile profile() const;
  void throw_if_poisoned() const;

 private:
  /// The generation that is running.
  struct Current {
    Current(SubmitMessage submit, const ModelLimits& limits, PairProfile* profile, CommitSink sink);

    SubmitMessage submit;
    Decoder decoder;
    StopMatcher matcher;
    BusyMeter meter;
    std::int64_t begin_us = 0;
    std::int64_t decode_begin_us = 0;  ///< 0: still in prefill.
    bool has_draft = false;            ///< the draft was given the text.
    std::optional<TraceRecorder> recorder;
    std::vector<Chunk> held;  ///< sent after the policy request, if the round has one.
  };

  void on(SubmitMessage& message);
  void on(const CancelMessage& message);
  void on(const CloseMessage& message);
  void on(const Event& event);
  void start_next();
  void carry_out(Commands commands);
  void dispatch(Commands commands);
  void measure(const Event& event);
  void sent(ModelRole role, const Command& command);
  bool send_policy_request();
  void hand_out();
  bool deliver(const Committed& committed);
  void finish_if_idle();
  /// Without a decoder to tell what it did: it has not begun, or is lost.
  void end_at_once(const SubmitMessage& submit, Finish finish, std::exception_ptr error = nullptr);
  static Stats collect(const Current& done);
  void publish(const Stats& stats);
  void lose_draft(const std::exception_ptr& error);
  std::exception_ptr poison() const;
  void fail_for_good(std::exception_ptr error);

  std::vector<std::string> pieces_;
  std::unique_ptr<Worker<TargetModel>> target_;
  std::unique_ptr<Worker<DraftModel>> draft_;
  std::deque<SubmitMessage> queue_;
  PairProfile profile_;  ///< the running planner reads and refines it.
  std::unique_ptr<Current> current_;
  bool closing_ = false;

  mutable std::mutex mutex_;  ///< of what other threads read: all below.
  ModelLimits limits_;        ///< written by `handle` only.
  EngineStats totals_;
  PairProfile published_;  ///< `profile_` as it was between two generations.
  std::exception_ptr poison_;
};

}  // namespace specbranch
