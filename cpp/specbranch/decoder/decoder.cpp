#include "specbranch/decoder/decoder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/decoder/readable_text.h"
#include "specbranch/lookup/text_path.h"

namespace specbranch {
namespace {

/// Paths of the text with a smaller probability are not even candidates.
constexpr double kLeastTextProbability = 0.02;
/// Ends of paths after which texts are asked at once; each proposal may make another path the best.
constexpr int kMaxTips = 4;

}  // namespace

Decoder::Decoder(std::shared_ptr<const Request> request, const ModelLimits& limits,
                 GenerationId generation_id, std::unique_ptr<Planner> planner, CommitSink sink,
                 SeqId target_seq, std::unique_ptr<Proposer> proposer)
    : request_(std::move(request)),
      limits_(limits),
      generation_id_(generation_id),
      planner_(std::move(planner)),
      sink_(std::move(sink)),
      proposer_(std::move(proposer)),
      target_text_(limits.target, target_seq),
      monitor_(request_->policy.kind == PolicyOptions::Kind::kHook),
      recorder_(request_->trace) {
  const auto n_prompt = static_cast<Pos>(request_->prompt.size());
  limit_ = limits_.target.n_ctx;
  if (request_->max_tokens >= 0 && request_->max_tokens < limit_ - n_prompt) {
    limit_ = n_prompt + request_->max_tokens;
  }
  if (request_->mode != Mode::kAutoregressive) {
    if (limits_.draft) draft_ = DraftState::kNotStarted;
    reason_ = limits_.why_no_draft;
  }
  if (limits_.draft) {
    window_ = DraftWindow(limits_.draft->n_ctx, limit_);
    window_.move_to(n_prompt);
  }
}

Commands Decoder::start() {
  Commands commands;
  tree_.reset(request_->prompt.back(), static_cast<Pos>(request_->prompt.size()) - 1);
  if (ends_with_prompt() && !request_->scores_prompt()) {
    finish_with(Finish::kLength, commands);
    return commands;
  }
  timer_.issued(ModelRole::kTarget, 0, now_us_);
  commands.target = Command{generation_id_, OpenCommand{request_, target_text_.seqs()}};
  // Without a draft this is only the text, which the target may have to decode again.
  sequences_.reset(request_->prompt, limits_.draft.value_or(Capabilities{}), window_.begin(),
                   limits_.first_draft_seq);
  begin_wanted_draft(commands);
  return commands;
}

Commands Decoder::on(const Event& event) {
  Commands commands;
  if (event.generation_id != generation_id_) return commands;
  if (const auto* reply = std::get_if<PolicyReply>(&event.body)) {
    apply_policy_reply(*reply, commands);
    return commands;
  }
  const bool target = event.role == ModelRole::kTarget;
  if (!timer_.busy(event.role)) {
    throw PreconditionError("[Decoder::on] an event for which no command is under way");
  }
  now_us_ = std::max(now_us_, event.end_us);
  // A copy of a long prefix would pass for a slow step.
  StepTime step = timer_.ended(event.role, event.begin_us + event.ops_us, event.end_us);
  if (event.n_batch_tokens > 0) step.n_others = std::max(0, event.n_batch_tokens - step.n_tokens);
  step.n_texts = std::max(1, event.n_batch_texts);
  step.n_parts = event.n_batch_parts;
  step.n_pad = event.n_batch_pad;
  if (event.overlap) step.overlap = *event.overlap;

  if (const auto* fail = std::get_if<FailDone>(&event.body)) {
    if (target) {
      fail_target(fail->error, commands);
    } else {
      fail_draft(fail->error);
    }
  } else if (std::holds_alternative<AbortDone>(event.body)) {
    if (target) {
      finish_with(Finish::kCancelled, commands);
    } else if (sequences_.cancelled()) {
      sequences_.undo(tree_);
    } else if (finish_ == Finish::kNone) {
      fail_draft(std::make_exception_ptr(DecodeError("it stopped, and nobody had asked it to")));
    }
  } else if (const auto* open = std::get_if<OpenDone>(&event.body)) {
    apply_open(event.role, *open);
    if (target) begin_wanted_draft(commands);
    if (read_on(event.role, commands)) return commands;
  } else if (const auto* prefill = std::get_if<PrefillDone>(&event.body)) {
    apply_prefill(event.role, *prefill);
    if (read_on(event.role, commands)) return commands;
  } else if (const auto* verify = std::get_if<VerifyDone>(&event.body)) {
    report(step);
    hold_verification(*verify, commands);
  } else if (const auto* draft = std::get_if<DraftDone>(&event.body)) {
    report(step);
    apply_draft(*draft);
  }
  if (finish_ == Finish::kNone) advance(commands);
  if (idle()) tally_.settle(tree_);
  return commands;
}

Commands Decoder::cancel() {
  Commands commands;
  if (finish_ == Finish::kNone) {
    finish_with(Finish::kCancelled, commands);
    if (idle()) tally_.settle(tree_);
  }
  return commands;
}

void Decoder::apply_policy_reply(const PolicyReply& reply, Commands& commands) {
  // A generation may end while its policy thinks.
  if (finish_ != Finish::kNone) return;
  if (!pending_plan_limits_) {
    throw PreconditionError("[Decoder::apply_policy_reply] a plan that was not asked for");
  }
  try {
    if (reply.error) std::rethrow_exception(reply.error);
    if (reply.plan) validate(*reply.plan, *pending_plan_limits_);
  } catch (const Error&) {
    error_ = std::current_exception();
    finish_with(Finish::kFailed, commands);
    if (idle()) tally_.settle(tree_);
    return;
  }
  pending_plan_limits_.reset();
  plan_ = reply.plan;
  if (reply.plan) {
    monitor_.forget_outcomes();
  } else {
    tally_.policy_skipped();
  }
  planner_->on_plan(reply.plan);
  advance(commands);
  if (idle()) tally_.settle(tree_);
}

void Decoder::advance(Commands& commands) {
  const bool lock_step = planner_->lock_step();
  if (lock_step || !pending_verification_) ask_planner(commands);
  if (!pending_verification_ || (lock_step && !planner_->may_apply(view()))) return;
  apply_verification(*std::exchange(pending_verification_, std::nullopt), commands);
  if (finish_ != Finish::kNone) return;
  cancel_useless_pass(commands);
  ask_planner(commands);
}

Pos Decoder::draft_end() const {
  return draft_ == DraftState::kNotStarted ? next_window().end() : window_.end();
}

DraftWindow Decoder::next_window() const {
  DraftWindow window = window_;
  window.move_to(tree_.at(tree_.root()).pos + 1);
  return window;
}

int Decoder::n_before_draft() const {
  Pos held = target_prompt_.held();
  if (counters().n_generated > 0) held = static_cast<Pos>(sequences_.text().size());
  return std::max(0, held - next_window().begin());
}

void Decoder::ask_planner(Commands& commands) {
  const bool idle = draft_ == DraftState::kStarted && !timer_.busy(ModelRole::kDraft);
  if (idle && window_.outgrown(tree_.at(tree_.root()).pos + 1)) {
    // It begins anew with the end of the text, when it is wanted.
    draft_ = DraftState::kNotStarted;
    tree_.forget_sequences();
  }
  begin_wanted_draft(commands);
  // The draft may be ready before the target: the planner sees a busy target then.
  if (timer_.busy(ModelRole::kTarget) && timer_.busy(ModelRole::kDraft)) return;
  if (pending_plan_limits_) return;
  if (proposer_) ask_proposer();
  if (monitor_.active() && planner_->wants_plan(view())) {
    pending_plan_limits_ = plan_limits(view(), *request_);
    commands.ask_policy = true;
    return;
  }
  carry_out(planner_->next(view()), commands);
}

void Decoder::ask_proposer() {
  if (!timer_.busy(ModelRole::kTarget)) {
    extend_by_text(tree_, *proposer_, tree_.root(), {view().max_path, kLeastTextProbability});
  }
  for (int i = 0; i < kMaxTips; ++i) {
    const View now = view();
    const NodeRef ref = planner_->text_tip(now);
    if (ref.node == kNoNode) return;
    const NodeId tip = make(ref);
    const int n_submitted = now.submitted == kNoNode ? 0 : tree_.depth(now.submitted);
    const int max_depth = std::min(now.max_depth, n_submitted + now.max_path);
    if (extend_by_text(tree_, *proposer_, tip, {max_depth, kLeastTextProbability}) == tip) return;
  }
}

void Decoder::carry_out(const Decision& decision, Commands& commands) {
  offer_.reset();
  make(decision.grow);
  const NodeId submit = make(decision.submit);
  const std::vector<NodeId> branches = make(decision.branches);
  const std::vector<NodeId> evaluate = make(decision.evaluate);
  if (!evaluate.empty()) commands.draft = plan_draft(evaluate);
  if (submit == kNoNode) return;
  if (decision.offered) {
    offer_ = Offer{submit, view().n_replayed, *decision.offered};
  } else {
    commands.target = plan_verify(Submission(tree_, submit, branches), decision.n_pad);
  }
}

Command Decoder::take_offer(int n_drafted) {
  const Offer offer = std::exchange(offer_, std::nullopt).value();
  NodeId end = offer.end;
  while (tree_.depth(end) > n_drafted) end = tree_.at(end).parent;
  return plan_verify(Submission(tree_, end, {}), 0);
}

void Decoder::cancel_useless_pass(Commands& commands) {
  const bool passing = timer_.busy(ModelRole::kDraft) && !sequences_.in_flight().empty();
  if (!passing || sequences_.cancelled()) return;
  if (!planner_->cancels_draft() || sequences_.matters(tree_)) return;
  sequences_.cancel();
  commands.abort_draft = true;
}

void Decoder::report(const StepTime& step) {
  planner_->on_step(step);
  monitor_.on_step(step);
}

View Decoder::view() const {
  const Pos root = tree_.at(tree_.root()).pos;
  View view{.tree = tree_};
  view.target_idle = !timer_.busy(ModelRole::kTarget) && !pending_verification_;
  view.target_open = target_open_;
  view.draft_idle = !timer_.busy(ModelRole::kDraft) && draft_ != DraftState::kNotStarted;
  view.draft_reads = timer_.busy(ModelRole::kDraft) && sequences_.in_flight().empty();
  view.now_us = now_us_;
  view.draft_usable = draft_usable();
  view.submitted = submitted_.end();
  view.evaluating = sequences_.in_flight();
  // The target adds one token of its own to every path, so the last useful node is one before the
  // end.
  view.max_depth = limit_ - root - 2;
  if (draft_usable()) view.max_depth = std::min(view.max_depth, std::max(1, draft_end() - root));
  view.max_path = std::min(view.max_depth, target_text_.max_path(root));
  view.n_replayed = target_text_.n_replayed(root);
  view.replays = limits_.target.rollback == Rollback::kCopies;
  view.pads = limits_.target.pads;
  view.n_branches = request_->processors ? 0 : limits_.target.n_branches;
  view.n_unread = draft_ == DraftState::kStarted ? sequences_.n_unread() : n_before_draft();
  view.free_seqs = draft_usable() ? sequences_.count_free(tree_) : 0;
  view.n_seqs = draft_usable() ? sequences_.n_seq() : 0;
  return view;
}

NodeId Decoder::make(const NodeRef& ref) {
  const std::size_t before = tree_.size();
  const NodeId id = tree_.add(ref);
  if (tree_.size() > before) tally_.drafted(tree_, id);
  return id;
}

std::vector<NodeId> Decoder::make(std::span<const NodeRef> refs) {
  std::vector<NodeId> nodes;
  nodes.reserve(refs.size());
  for (const NodeRef& ref : refs) nodes.push_back(make(ref));
  return nodes;
}

Command Decoder::plan_verify(Submission submission, int n_pad) {
  if (timer_.busy(ModelRole::kTarget) || !submitted_.empty()) {
    throw PreconditionError("[Decoder::plan_verify] the target is still at work");
  }
  VerifyCommand verify = target_text_.verify(generation_id_, tree_.at(tree_.root()).pos,
                                             sequences_.text(), submission.rows(tree_));
  verify.n_pad = n_pad;
  submitted_ = std::move(submission);
  text_begun_ = true;
  timer_.issued(ModelRole::kTarget, verify.n_tokens(), now_us_);
  tally_.submitted(tree_, submitted_);
  recorder_.on_submit(tree_, submitted_.end());
  return Command{generation_id_, std::move(verify)};
}

Command Decoder::plan_draft(std::span<const NodeId> nodes) {
  if (timer_.busy(ModelRole::kDraft)) {
    throw PreconditionError("[Decoder::plan_draft] the draft is still at work");
  }
  DraftCommand draft = sequences_.plan(tree_, nodes, planner_->rank_options().with(sampler_state_));
  for (SequenceInput& input : draft.inputs) {
    input.generation_id = generation_id_;
    make_readable(input.tokens, limits_.draft->n_vocab);
  }
  const int n_tokens = draft.n_tokens();
  timer_.issued(ModelRole::kDraft, n_tokens, now_us_,
                n_tokens - static_cast<int>(draft.inputs.size()));
  tally_.draft_step(n_tokens);
  return Command{generation_id_, std::move(draft)};
}

void Decoder::hold_verification(const VerifyDone& done, Commands& commands) {
  if (done.results.size() != 1 || done.results.front().generation_id != generation_id_) {
    throw PreconditionError("[Decoder::hold_verification] results of another batch");
  }
  const SegmentResult& result = done.results.front();
  if (result.error) {
    fail_target(result.error, commands);
    return;
  }
  tally_.verified(submitted_);
  pending_verification_ = result.verification;
  const std::vector<float>& features = result.verification.features;
  if (!features.empty()) planner_->on_features(features);
}

void Decoder::apply_draft(const DraftDone& done) {
  const std::span<const NodeId> sent = sequences_.in_flight();
  if (done.candidates.size() != sent.size()) {
    fail_draft(std::make_exception_ptr(PreconditionError(
        "[Decoder::apply_draft] answers for " + std::to_string(done.candidates.size()) +
        " sequences; " + std::to_string(sent.size()) + " were sent")));
    return;
  }
  for (std::size_t i = 0; i < sent.size(); ++i) {
    // A sequence whose node was dropped meanwhile has changed the KV, which the ledger knows; no
    // more.
    if (!tree_.contains(sent[i])) continue;
    Node& node = tree_.at(sent[i]);
    node.candidates = done.candidates[i];
    node.evaluated = true;
  }
  sequences_.done();
}

void Decoder::apply_verification(const Verification& verification, Commands& commands) {
  // 1. Walk: follow the target's tokens down the tree, as far as drafted; commit: make them text.
  // 2. Move the root to the newest token; what does not descend from it is dropped.
  // 3. Report what became of the round to the trace, the policy and the planner.
  const Submission submitted = std::exchange(submitted_, {});
  std::vector<WalkStep> steps = walk(tree_, submitted.nodes(), verification.choices);
  NodeId accepted = tree_.root();
  for (const WalkStep& step : steps) {
    if (step.origin == Origin::kDraft) accepted = step.node;
  }
  const NodeId end = submitted.end_of(accepted);
  target_text_.keep(tree_.at(tree_.root()).pos + submitted.n_on_path(accepted));
  if (end != submitted.end()) recorder_.on_branch(tree_, end);
  steps.resize(commit(steps, commands));
  if (verification.exhausted) finish_with(Finish::kStop, commands);
  if (verification.error && finish_ == Finish::kNone) fail_target(verification.error, commands);

  PolicyOutcome outcome;
  outcome.plan = std::exchange(plan_, std::nullopt);
  outcome.n_submitted = tree_.depth(end);
  for (const WalkStep& step : steps) {
    if (step.origin == Origin::kDraft) ++outcome.n_accepted;
    if (step.origin == Origin::kBranch) outcome.branch_hit = true;
    outcome.committed.push_back(step.choice->token);
  }
  const bool missed = tally_.committed(tree_, submitted, steps, outcome, drafts());

  sampler_state_ = verification.sampler_state;
  std::vector<Token> rolled_back = move_root(steps);
  outcome.n_rolled_back = static_cast<int>(rolled_back.size());

  recorder_.on_outcome(outcome, missed, std::move(rolled_back), verification.features);
  if (finish_ != Finish::kNone) return;
  if (proposer_) proposer_->force(verification.forced);
  monitor_.on_features(verification.features);
  monitor_.on_outcome(outcome);
  planner_->on_outcome(outcome);
  planner_->on_verification(view(), outcome.branch_hit);
}

std::size_t Decoder::commit(std::span<const WalkStep> steps, Commands& commands) {
  const View before = view();  // the tree does not change in this loop
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto& [choice, parent, node, origin] = steps[i];
    planner_->on_choice(before, parent, choice->token);
    if (choice->end) {
      finish_with(Finish::kStop, commands);
      return i;
    }
    recorder_.on_choice(tree_.at(parent), choice->token);
    if (commit_token({*choice, origin}, commands)) return i + 1;
  }
  return steps.size();
}

/// Returns the tokens of the main path that were dropped.
std::vector<Token> Decoder::move_root(std::span<const WalkStep> steps) {
  NodeId last = tree_.root();
  for (const WalkStep& step : steps) {
    if (step.node != kNoNode) last = step.node;
  }
  std::vector<Node> dropped;
  if (last != tree_.root()) dropped = tree_.reroot(last);
  if (!steps.empty() && steps.back().node == kNoNode) {
    for (Node& node : tree_.descendants(last)) dropped.push_back(std::move(node));
    tree_.reset(steps.back().choice->token, tree_.at(last).pos + 1);
  }
  return tally_.dropped(dropped);
}

bool Decoder::commit_token(const Committed& committed, Commands& commands) {
  tally_.generated();
  sequences_.commit(committed.choice.token);
  if (proposer_) proposer_->commit(committed.choice.token);
  const bool stop = sink_ && sink_(committed);
  const auto length =
      static_cast<Pos>(request_->prompt.size() + static_cast<std::size_t>(counters().n_generated));
  if (stop) {
    finish_with(Finish::kStop, commands);
  } else if (length >= limit_) {
    finish_with(Finish::kLength, commands);
  }
  return finish_ != Finish::kNone;
}

void Decoder::disable_draft(std::string reason) {
  draft_ = DraftState::kDropped;
  reason_ = std::move(reason);
}

/// Also where an end was found meanwhile: the caller must learn of it.
void Decoder::fail_target(std::exception_ptr error, Commands& commands) {
  error_ = std::move(error);
  finish_ = Finish::kFailed;
  offer_.reset();
  request_aborts(commands);
}

void Decoder::fail_draft(std::exception_ptr error) {
  draft_error_ = std::move(error);
  sequences_.done();
  // The nodes that the draft has evaluated stay: the target may still verify them.
  if (finish_ == Finish::kNone && draft_usable()) {
    disable_draft("the draft failed: " + error_text(draft_error_));
  }
  draft_ = DraftState::kDropped;
}

void Decoder::finish_with(Finish finish, Commands& commands) {
  if (finish_ == Finish::kNone) finish_ = finish;
  offer_.reset();
  request_aborts(commands);
}

void Decoder::request_aborts(Commands& commands) const {
  commands.abort_target = timer_.busy(ModelRole::kTarget);
  commands.abort_draft = timer_.busy(ModelRole::kDraft);
}

}  // namespace specbranch
