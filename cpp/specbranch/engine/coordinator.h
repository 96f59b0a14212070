/// The coordinator between the callers and the workers. Private to the core; see `Engine`.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "specbranch/base/strand.h"
#include "specbranch/decoder/decoder.h"
#include "specbranch/engine/batch_scheduler.h"
#include "specbranch/engine/engine.h"
#include "specbranch/engine/lookup_store.h"
#include "specbranch/engine/model_pair.h"
#include "specbranch/engine/running_generation.h"
#include "specbranch/engine/worker.h"
#include "specbranch/report/profile.h"

namespace specbranch {

struct CancelMessage {
  GenerationId generation_id = 0;
};

struct CloseMessage {};

using Message = std::variant<SubmitMessage, CancelMessage, CloseMessage, Event>;
using Inbox = Strand<Message>;

/// Runs generations: starts those that wait, brings events to those that run and output to their
/// callers, and ends them. What they ask of the workers goes through the BatchScheduler.
///
/// It has no thread: messages are handled by the threads that bring them (see Strand), a worker
/// that has an answer above all. Nothing here waits for anybody.
///
/// *Thread safety:* `handle` by one thread at a time; `limits`, `stats`, `profile` and
/// `throw_if_poisoned` from any at any time.
/// *Lifecycle:* `handle` returns false after a CloseMessage, once nothing is under way; submissions
/// that come later still get an end.
class Coordinator final : private ModelPair {
 public:
  Coordinator(const ModelLimits& limits, std::vector<std::string> pieces,
              std::unique_ptr<Worker<TargetModel>> target,
              std::unique_ptr<Worker<DraftModel>> draft, PairProfile profile,
              double measure_costs_ms, std::shared_ptr<LookupStore> lookup = nullptr,
              int n_parallel = 1);

  /// Handles one message. False: this was the last one that matters.
  bool handle(Message& message);

  /// Ends the workers' threads; when no message is being handled.
  void release_workers();

  ModelLimits limits() const;
  EngineStats stats() const;
  PairProfile profile() const;
  void throw_if_poisoned() const;

 private:
  using Running = std::unique_ptr<RunningGeneration>;

  void on(SubmitMessage& message);
  void on(const CancelMessage& message);
  void on(const CloseMessage& message);
  void on(Event& event);
  void bring(const Event& event);
  void notice_loss(const Event& event);
  RunningGeneration* find(GenerationId id) const;
  void start_next();
  void start(const SubmitMessage& submit);
  void carry_out(RunningGeneration& run, Commands commands);
  void send(ModelRole role, Command command) override;
  void request_abort(ModelRole role) override;
  std::int64_t now_us() const override;
  void finish_idle();
  void finish(Running done);
  void close_session(const RunningGeneration& run);
  /// Without a decoder to tell what it did: it has not begun, or is lost.
  void end_at_once(const SubmitMessage& submit, Finish finish, std::exception_ptr error = nullptr);
  void publish(const Stats& stats);
  void lose_target(const std::exception_ptr& error);
  void lose_draft(const std::exception_ptr& error);
  std::exception_ptr poison() const;
  void fail_for_good(const std::exception_ptr& error);

  std::vector<std::string> pieces_;
  std::unique_ptr<Worker<TargetModel>> target_;
  std::unique_ptr<Worker<DraftModel>> draft_;
  std::deque<SubmitMessage> queue_;
  PairProfile profile_;                  ///< the running planner reads and refines it.
  std::shared_ptr<LookupStore> lookup_;  ///< null: nothing is drafted from texts.
  std::vector<Running> running_;
  std::exception_ptr fatal_;  ///< of the target, in the generation that just ended.
  bool closing_ = false;

  mutable std::mutex mutex_;  ///< of what other threads read: these.
  ModelLimits limits_;        ///< written by `handle` only.
  EngineStats totals_;
  PairProfile published_;  ///< `profile_` as it was between two generations.
  std::exception_ptr poison_;

  BatchScheduler scheduler_;  ///< last: it knows the models' limits and the profile.
};

}  // namespace specbranch
