/// What several generations ask of one model, and the batch that the model computes now.
#pragma once

#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "specbranch/model/messages.h"

namespace specbranch {

/// Makes one batch of the verifications, or of the draft passes, that wait while the model is busy;
/// of its answer, an event for each generation.
///
/// A batch has at most `max_tokens` tokens. With `splits_at_gaps`, the texts are in the order of
/// their sequences, which makes the fewest parts (`batch_parts`). Prompts are read chunk by chunk
/// between the batches: no two chunks follow each other while a verification or a pass waits.
///
/// It sends nothing: its owner does. *Thread safety:* none.
class CommandQueue {
 public:
  /// The group of commands that go alone. No generation has this number.
  static constexpr GenerationId kAlone = 0;

  /// Padding tokens for a batch of so many tokens of several texts.
  using Padding = std::function<int(int n_tokens)>;

  /// `padding`: empty: none. `rollback`: of the model. A pass that fails leaves the sequences as
  /// they were only with Rollback::kAnywhere.
  CommandQueue(ModelRole role, int max_tokens, Padding padding = {},
               Rollback rollback = Rollback::kAnywhere, bool splits_at_gaps = false)
      : role_(role),
        max_tokens_(max_tokens),
        padding_(std::move(padding)),
        can_repeat_(rollback == Rollback::kAnywhere),
        in_parts_(rollback == Rollback::kCopies),
        splits_at_gaps_(splits_at_gaps) {}

  /// Adds a command of a generation, which waits for no other command here. Commands of different
  /// groups never share a batch, and a verification with branches goes alone.
  void add(Command command, GenerationId group);

  /// Removes what a generation asks for and is not being computed. Returns the answer to it, if
  /// there was something. Only for a generation that has ended: a draft's cells are not as it
  /// thinks afterwards.
  std::optional<Event> drop(GenerationId id);

  /// Removes everything that waits. Returns the answers: it has failed.
  std::vector<Event> fail_waiting(const std::exception_ptr& error);

  /// Removes everything that waits.
  void clear() { waiting_.clear(); }

  /// The generation does not need the batch that is being computed. True: nobody does, so it should
  /// be aborted.
  bool release(GenerationId id);

  /// The model computes nothing.
  bool idle() const { return parts_.empty(); }

  /// Tokens of the passes of a group that wait.
  int n_waiting_tokens(GenerationId group) const;

  /// The command for the idle model; the model is busy from then on. Empty: it is busy already, or
  /// nothing waits.
  std::optional<Command> next();

  /// The event answers the command that the model computes.
  bool answered_by(const Event& event) const {
    return !parts_.empty() && event.generation_id == sent_id_;
  }

  /// The answers for the generations whose command the model has carried out; the model is idle.
  /// None if `event` answers something else, such as the end of a session. A batch that failed as a
  /// whole and left the model as it was gives no answer, except to what nobody wants any more: its
  /// commands are tried again one by one, so that only the generation fails whose fault it was.
  /// They all fail where commands cannot be repeated.
  std::vector<Event> answer(Event event);

 private:
  struct Part {
    Command command;
    GenerationId group = kAlone;
    bool wanted = true;
  };

  std::size_t first() const;
  static bool is_pass(const Command& command);
  static int n_tokens(const Command& command);
  int n_batch_parts() const;
  Command merged();
  std::vector<Event> divided(const Event& event) const;
  bool may_try_again(const Event& event) const;
  std::vector<Event> try_again(const Event& event);
  Event own_event(GenerationId id, EventBody body) const;

  ModelRole role_;
  int max_tokens_;
  Padding padding_;
  bool can_repeat_;
  bool in_parts_;             ///< see `Event::n_batch_parts`.
  bool splits_at_gaps_;       ///< see `batch_parts`.
  std::deque<Part> waiting_;  ///< in the order of arrival.
  std::vector<Part> parts_;   ///< of the batch that the model computes; empty: it is idle.
  GenerationId sent_id_ = 0;  ///< of the command of that batch; 0: of several.
  int n_pad_ = 0;             ///< padding tokens of a batch of several.
  bool read_last_ = false;    ///< the last command was a chunk of a prompt.
};

}  // namespace specbranch
