/// What several texts ask of two models, and what the models do next.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "specbranch/decoder/decoder.h"
#include "specbranch/engine/batch_composer.h"
#include "specbranch/engine/command_queue.h"
#include "specbranch/engine/model_pair.h"
#include "specbranch/engine/running_text.h"
#include "specbranch/engine/sequence_pool.h"
#include "specbranch/planner/step_timer.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// Gives texts their places: sequences of both models, as long as the cells suffice. Queues what
/// they ask of each model, and sends it one batch whenever it is idle: of texts that may share
/// one, as long as BatchComposer says, padded where that is faster. Divides the answers again,
/// tells each how far both models were at work at once, and cuts short what nobody needs.
///
/// It decodes nothing: its owner brings its texts the events and brings their commands here. It
/// knows neither threads nor clocks, so that the engine and the virtual clock share it.
///
/// *Thread safety:* none.
/// *Lifecycle:* of a text: `take_place`, `join`, then `dispatch` for what its decoder asks for,
/// until `leave`. After all events of one message: `next_dropped` until there is none, then
/// `send_waiting`.
class BatchScheduler {
 public:
  /// Where a text may run.
  struct Place {
    SeqId target_seq = 0;
    ModelLimits limits;  ///< its share of the draft's sequences.
  };

  /// All outlive this. `limits`: of both models; its owner may take the draft away. `n_parallel`:
  /// texts at once; fewer where a model has fewer sequences.
  BatchScheduler(ModelPair* models, const ModelLimits* limits, PairProfile* profile,
                 int n_parallel);

  /// As many texts run as may.
  bool full() const { return running_.size() >= n_parallel_ || target_seqs_.empty(); }

  /// There is a place for `next`, and the cells of both models suffice for it until its end, beside
  /// all texts that run. After scores that were not finite there is none beside others: a model
  /// cleans its memory when a text comes alone.
  bool admits(const Request& next) const;

  /// Before: `admits`.
  Place take_place(const Request& request);

  /// Of a text that never joined.
  void give_back(const Place& place);

  /// The text runs, on the place that it has taken. It must outlive its `leave`.
  void join(RunningText& text);

  /// The text has ended. `kept`: what its sequence of the target holds about, or nothing; no value:
  /// the target has not begun with it, so that the sequence holds what it held before.
  void leave(const RunningText& text,
             std::optional<std::vector<Token>> kept = std::vector<Token>());

  /// Queues what the decoder of `text` asks for, and aborts what it no longer needs. If it runs
  /// alone, idle models get it at once; others may have more for the same batch.
  void dispatch(RunningText& text, Commands commands);

  /// The event answers the command that its model computes.
  bool awaits(const Event& event) const;

  /// The events for the texts. Before: `awaits`.
  std::vector<Event> answer(Event event);

  /// The draft's state is unknown: it gets no more commands. All that wait for it, and all to come,
  /// have failed with this error.
  void lose_draft(const std::exception_ptr& error);

  /// The answer to a command that was never sent, because its text has ended or the draft is lost.
  std::optional<Event> next_dropped();

  /// Sends each idle model its next command.
  void send_waiting();

  /// Forgets what waits for both models.
  void clear();

 private:
  struct Running {
    RunningText* text = nullptr;
    GenerationId group = CommandQueue::kAlone;  ///< of those that may share a batch.
  };

  const CommandQueue& queue(ModelRole role) const {
    return role == ModelRole::kTarget ? of_target_ : of_draft_;
  }
  CommandQueue& queue(ModelRole role) {
    return role == ModelRole::kTarget ? of_target_ : of_draft_;
  }
  GenerationId group_for(const RunningText& text) const;
  GenerationId group_of(const RunningText& text) const;
  void add(RunningText& text, ModelRole role, Command command, GenerationId group);
  void abort(const RunningText& text, ModelRole role);
  void fail_draft_commands();
  void drop(Event event);
  void compose();
  void send_next(ModelRole role);
  int padding(int n_tokens) const;
  void tell_number();
  void note_damage(const std::vector<Event>& events);

  ModelPair* models_;
  const ModelLimits* limits_;
  PairProfile* profile_;
  std::size_t n_parallel_;
  SequencePool target_seqs_;
  std::vector<Running> running_;  ///< in the order in which they joined.
  CommandQueue of_target_;
  CommandQueue of_draft_;
  BatchComposer composer_;
  StepTimer timer_;  ///< of what the models do for all texts together.
  std::deque<Event> dropped_;
  std::exception_ptr draft_error_;  ///< set: the draft is lost.
  bool drains_ = false;             ///< no text joins those that run.
};

}  // namespace specbranch
