/// The state machine of one generation: events in, commands out. No threads, no clock, no I/O.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "specbranch/decoder/draft_tally.h"
#include "specbranch/decoder/draft_window.h"
#include "specbranch/decoder/round_recorder.h"
#include "specbranch/decoder/submission.h"
#include "specbranch/decoder/target_text.h"
#include "specbranch/decoder/walk.h"
#include "specbranch/lookup/proposer.h"
#include "specbranch/model/messages.h"
#include "specbranch/model/prompt_reader.h"
#include "specbranch/planner/planner.h"
#include "specbranch/planner/policy_monitor.h"
#include "specbranch/planner/step_timer.h"
#include "specbranch/report/stats.h"
#include "specbranch/report/trace.h"
#include "specbranch/tree/draft_sequences.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

enum class Finish : std::uint8_t { kNone, kStop, kLength, kCancelled, kFailed };

/// The limits of the models that the decoder must know.
struct ModelLimits {
  Capabilities target;
  /// None: every mode decodes without a draft. Its sequences are those of one generation.
  std::optional<Capabilities> draft;
  SeqId first_draft_seq = 0;  ///< the first of them.
  /// The reason for users; empty: there was never a draft. GCC warns without the initializer.
  std::string why_no_draft = {};  // NOLINT(readability-redundant-member-init)
};

/// At most one command a model.
struct Commands {
  std::optional<Command> target;
  std::optional<Command> draft;
  bool abort_draft = false;  ///< the draft's running command is no longer useful.
  bool abort_target = false;
  /// Send `Decoder::policy_round` to the caller's policy, and its answer as PolicyReply. Until then
  /// no round begins.
  bool ask_policy = false;
};

/// A path that a text would like to verify, in a batch with other texts.
struct Offer {
  NodeId end = kNoNode;
  int n_replayed = 0;           ///< rows before the path, which decode the text again.
  std::vector<double> chances;  ///< see `Decision::offered`.
};

/// A token that was committed to the text.
struct Committed {
  Choice choice;
  Origin origin = Origin::kTarget;

  bool from_draft() const { return origin != Origin::kTarget; }
};

/// Called for every committed token, in order; true ends the text with it (a stop string).
using CommitSink = std::function<bool(const Committed&)>;

/// Whether the draft takes part in a generation.
enum class DraftState : std::uint8_t {
  kAbsent,      ///< there is none, or the mode does not use it.
  kNotStarted,  ///< it has not been given the text yet, or not the end of a text that outgrew it.
  kStarted,     ///< it has, or is reading it now.
  kDropped,     ///< it has failed.
};

/// *Lifecycle:* `start()` once, then `on(event)` for the answer to every command, until `idle()`.
/// After `finish()` is known no new command is issued; those under way are still waited for.
/// *Thread safety:* none; owned by one thread.
class Decoder final {
 public:
  /// `target_seq`: the target's sequence for this text. All of the draft's sequences are for it.
  /// `proposer`: of drafts from the text, null: none. Its text is the prompt.
  Decoder(std::shared_ptr<const Request> request, const ModelLimits& limits,
          GenerationId generation_id, std::unique_ptr<Planner> planner, CommitSink sink,
          SeqId target_seq = 0, std::unique_ptr<Proposer> proposer = nullptr);

  Commands start();
  Commands on(const Event& event);

  /// What the text offers for the next batch of the target, until the next event; null: nothing.
  const Offer* offer() const { return offer_ ? &*offer_ : nullptr; }

  /// The command that verifies the first `n_drafted` tokens of the offer, for the idle target.
  Command take_offer(int n_drafted);

  /// The round for the caller's policy. Only between `Commands::ask_policy` and PolicyReply.
  PolicyRound policy_round() const { return monitor_.round(view(), *request_); }

  /// Ends the generation with what is committed; the answer to running commands is still awaited.
  Commands cancel();

  Finish finish() const { return finish_; }
  /// The generation is finished, and no command runs.
  bool idle() const {
    return finish_ != Finish::kNone && !timer_.busy(ModelRole::kTarget) &&
           !timer_.busy(ModelRole::kDraft);
  }
  /// The model of `role` has opened its session, and has not read the whole prompt yet.
  bool reading(ModelRole role) const { return prompt_of(role).next().has_value(); }
  std::exception_ptr error() const { return error_; }
  /// What made the draft fail. The text does not depend on the draft, so it goes on without it.
  std::exception_ptr draft_error() const { return draft_error_; }
  /// The first verification was asked for.
  bool text_begun() const { return text_begun_; }
  const Counters& counters() const { return tally_.counters(); }
  int n_reused() const { return n_reused_; }
  /// The prompt and the committed tokens.
  std::vector<Token> text() const { return {sequences_.text().begin(), sequences_.text().end()}; }
  /// The committed tokens.
  std::span<const Token> answer() const {
    return sequences_.text().last(static_cast<std::size_t>(counters().n_generated));
  }
  /// The reason why the draft is not used, or the planner's reason for its schedule.
  std::string mode_reason() const { return reason_.empty() ? planner_->mode_reason() : reason_; }
  const SpeculationTree& tree() const { return tree_; }
  /// The verifications applied so far, if the request asked for a trace; `at_us` is the caller's to
  /// set.
  std::vector<TraceRound>& rounds() { return recorder_.rounds(); }

 private:
  NodeId make(const NodeRef& ref);
  std::vector<NodeId> make(std::span<const NodeRef> refs);
  View view() const;
  void advance(Commands& commands);
  void apply_policy_reply(const PolicyReply& done, Commands& commands);
  void ask_planner(Commands& commands);
  /// Adds what texts propose after the root, and after the end of the most probable path.
  void ask_proposer();
  /// Gives the draft the text, if it has not got it and is wanted.
  void begin_wanted_draft(Commands& commands);
  void begin_draft(Commands& commands);
  /// The position after the last one that the draft can read, once it has been given the text.
  Pos draft_end() const;
  /// The window of a draft that begins now.
  DraftWindow next_window() const;
  /// `View::n_unread` of a draft that has not been given the text; it may hold some of it.
  int n_before_draft() const;
  /// Nothing is to be generated after the prompt.
  bool ends_with_prompt() const { return static_cast<Pos>(request_->prompt.size()) >= limit_; }
  const PromptReader& prompt_of(ModelRole role) const {
    return role == ModelRole::kTarget ? target_prompt_ : draft_prompt_;
  }
  void apply_open(ModelRole role, const OpenDone& done);
  void apply_prefill(ModelRole role, const PrefillDone& done);
  bool read_on(ModelRole role, Commands& commands);
  void cancel_useless_pass(Commands& commands);
  void report(const StepTime& step);
  void apply_draft(const DraftDone& done);
  void hold_verification(const VerifyDone& done, Commands& commands);
  void apply_verification(const Verification& verification, Commands& commands);
  /// Returns how many steps became text.
  std::size_t commit(std::span<const WalkStep> steps, Commands& commands);
  bool commit_token(const Committed& committed, Commands& commands);
  std::vector<Token> move_root(std::span<const WalkStep> steps);
  bool drafts() const { return request_->mode != Mode::kAutoregressive; }
  bool draft_usable() const {
    return draft_ == DraftState::kNotStarted || draft_ == DraftState::kStarted;
  }
  void disable_draft(std::string reason);
  void fail_target(std::exception_ptr error, Commands& commands);
  void fail_draft(std::exception_ptr error);
  void finish_with(Finish finish, Commands& commands);
  void request_aborts(Commands& commands) const;
  void carry_out(const Decision& decision, Commands& commands);
  Command plan_draft(std::span<const NodeId> nodes);
  Command plan_verify(Submission submission, int n_pad);

  std::shared_ptr<const Request> request_;
  ModelLimits limits_;
  GenerationId generation_id_;
  std::unique_ptr<Planner> planner_;
  CommitSink sink_;
  std::unique_ptr<Proposer> proposer_;
  TargetText target_text_;
  PromptReader target_prompt_;
  PromptReader draft_prompt_;
  SpeculationTree tree_;
  DraftSequences sequences_;
  DraftWindow window_;
  DraftTally tally_;
  PolicyMonitor monitor_;
  RoundRecorder recorder_;
  std::optional<PlanLimits> pending_plan_limits_;     ///< of the plan that the policy is asked for.
  std::optional<Plan> plan_;                          ///< what it said for the round that runs.
  std::optional<Verification> pending_verification_;  ///< held back by a lock-step planner.
  std::optional<Offer> offer_;
  std::optional<SamplerState> sampler_state_;  ///< the target's, after the newest token.
  Submission submitted_;                       ///< the nodes under verification.
  bool text_begun_ = false;
  Pos limit_ = 0;  ///< text length at which the generation ends.
  DraftState draft_ = DraftState::kAbsent;
  Finish finish_ = Finish::kNone;
  std::exception_ptr error_;
  std::exception_ptr draft_error_;
  bool target_open_ = false;
  int n_reused_ = 0;
  std::string reason_;

  StepTimer timer_;  ///< also of which commands are under way.
  std::int64_t now_us_ = 0;
};

}  // namespace specbranch
