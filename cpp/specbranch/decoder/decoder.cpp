#include "specbranch/decoder/decoder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

DraftRecord record(const Node& parent, Token token) {
  DraftRecord found;
  for (const Candidate& candidate : parent.candidates) {
    if (candidate.token == token) found.hit_rank = static_cast<int>(found.confidences.size());
    found.confidences.push_back(static_cast<float>(candidate.confidence));
  }
  return found;
}

}  // namespace

Decoder::Decoder(std::shared_ptr<const Request> request, const ModelLimits& limits, Epoch epoch,
                 std::unique_ptr<Planner> planner, CommitSink sink)
    : request_(std::move(request)),
      limits_(limits),
      epoch_(epoch),
      planner_(std::move(planner)),
      sink_(std::move(sink)),
      monitor_(request_->policy.kind == PolicyOptions::Kind::kHook) {
  const auto n_prompt = static_cast<Pos>(request_->prompt.size());
  limit_ = limits_.target.n_ctx;
  if (request_->max_tokens >= 0 && request_->max_tokens < limit_ - n_prompt) {
    limit_ = n_prompt + request_->max_tokens;
  }
  draft_usable_ = limits_.draft.has_value() && request_->mode != Mode::kAutoregressive;
  if (draft_usable_ && n_prompt >= limits_.draft->n_ctx) {
    disable_draft("the prompt of " + std::to_string(n_prompt) + " tokens leaves no room in the " +
                  "draft's context of " + std::to_string(limits_.draft->n_ctx));
  }
  if (draft_usable_) {
    for (const Token token : request_->prompt) follow_with_draft(token);
  }
}

Commands Decoder::start() {
  Commands commands;
  tree_.reset(request_->prompt.back(), static_cast<Pos>(request_->prompt.size()) - 1);
  if (tree_.at(tree_.root()).pos + 1 >= limit_) {
    finish_with(Finish::kLength, commands);
    return commands;
  }
  timer_.issued(Side::kTarget, 0, now_us_);
  commands.target = Command{epoch_, BeginCommand{request_}};
  if (draft_usable_) {
    lanes_.reset(request_->prompt, limits_.draft->n_seq);
    if (planner_->wants_draft(view())) begin_draft(commands);
  }
  return commands;
}

void Decoder::begin_draft(Commands& commands) {
  std::shared_ptr<const Request> text = request_;
  if (counters_.n_generated > 0) {
    auto grown = std::make_shared<Request>(*request_);
    grown->prompt.assign(lanes_.text().begin(), lanes_.text().end());
    lanes_.reset(grown->prompt, limits_.draft->n_seq);
    text = std::move(grown);
  }
  draft_begun_ = true;
  timer_.issued(Side::kDraft, 0, now_us_);
  commands.draft = Command{epoch_, BeginCommand{std::move(text)}};
}

Commands Decoder::on(const Event& event) {
  Commands commands;
  if (event.epoch != epoch_) return commands;
  if (const auto* plan = std::get_if<PlanDone>(&event.body)) {
    apply_plan(*plan, commands);
    return commands;
  }
  const bool target = event.side == Side::kTarget;
  if (!timer_.busy(event.side)) {
    throw PreconditionError("[Decoder::on] an event for which no command is under way");
  }
  now_us_ = std::max(now_us_, event.end_us);
  const StepTime step = timer_.ended(event.side, event.begin_us, event.end_us);

  if (const auto* fail = std::get_if<FailDone>(&event.body)) {
    // Of two failures the first is told, unless only the second says that a model is lost.
    if (!error_ || (!is_fatal(error_) && is_fatal(fail->error))) error_ = fail->error;
    // A failure outweighs an end that was found meanwhile: the models' state must be looked at.
    finish_ = Finish::kFailed;
    request_aborts(commands);
  } else if (std::holds_alternative<AbortDone>(event.body)) {
    if (!target && pass_cancelled_) {
      lanes_.undo(tree_);
    } else {
      finish_with(Finish::kCancelled, commands);
    }
  } else if (const auto* begin = std::get_if<BeginDone>(&event.body)) {
    if (target) {
      n_reused_ = begin->n_reused;
      target_ready_ = true;
      target_length_ = tree_.at(tree_.root()).pos;
    }
  } else if (const auto* verify = std::get_if<VerifyDone>(&event.body)) {
    report(step);
    waiting_ = verify->verdict;
    if (!waiting_->features.empty()) planner_->on_features(waiting_->features);
  } else if (const auto* draft = std::get_if<DraftDone>(&event.body)) {
    report(step);
    apply_draft(*draft);
  }
  if (!target) pass_cancelled_ = false;
  if (finish_ == Finish::kNone) advance(commands);
  if (idle()) settle();
  return commands;
}

Commands Decoder::cancel() {
  Commands commands;
  if (finish_ == Finish::kNone) {
    finish_with(Finish::kCancelled, commands);
    if (idle()) settle();
  }
  return commands;
}

void Decoder::apply_plan(const PlanDone& done, Commands& commands) {
  // A generation may end while its policy thinks.
  if (finish_ != Finish::kNone) return;
  if (!asked_) throw PreconditionError("[Decoder::apply_plan] a plan that was not asked for");
  try {
    if (done.error) std::rethrow_exception(done.error);
    if (done.plan) validate(*done.plan, *asked_);
  } catch (const Error&) {
    error_ = std::current_exception();
    finish_with(Finish::kFailed, commands);
    if (idle()) settle();
    return;
  }
  asked_.reset();
  plan_ = done.plan;
  if (done.plan) {
    monitor_.forget_outcomes();
  } else {
    ++counters_.policy_skipped;
  }
  planner_->on_plan(done.plan);
  advance(commands);
  if (idle()) settle();
}

void Decoder::advance(Commands& commands) {
  const bool asks_first = planner_->lock_step() || !waiting_;
  if (asks_first) ask_planner(commands);
  if (!waiting_ || (planner_->lock_step() && !planner_->may_apply(view()))) return;
  apply_verdict(*std::exchange(waiting_, std::nullopt), commands);
  if (finish_ != Finish::kNone) return;
  cancel_useless_pass(commands);
  ask_planner(commands);
}

void Decoder::ask_planner(Commands& commands) {
  if (draft_usable_ && !draft_begun_ && planner_->wants_draft(view())) begin_draft(commands);
  // The draft may be ready before the target: the planner sees a busy target then.
  if ((timer_.busy(Side::kTarget) && timer_.busy(Side::kDraft)) || asked_) return;
  if (monitor_.active() && planner_->wants_plan(view())) {
    asked_ = plan_limits(view(), *request_);
    commands.ask = true;
    return;
  }
  carry_out(planner_->next(view()), commands);
}

void Decoder::carry_out(const Decision& decision, Commands& commands) {
  for (const NodeRef& ref : decision.grow) make(ref);
  const NodeId submit = make(decision.submit);
  std::vector<NodeId> evaluate;
  for (const NodeRef& ref : decision.evaluate) evaluate.push_back(make(ref));
  if (!evaluate.empty()) commands.draft = plan_draft(evaluate);
  if (submit != kNoNode) commands.target = plan_verify(submit, decision.n_pad);
}

void Decoder::cancel_useless_pass(Commands& commands) {
  if (!timer_.busy(Side::kDraft) || lanes_.in_flight().empty() || pass_cancelled_) return;
  if (!planner_->cancels_draft() || lanes_.matters(tree_)) return;
  pass_cancelled_ = true;
  commands.abort_draft = true;
}

void Decoder::report(const StepTime& step) {
  planner_->on_step(step);
  monitor_.on_step(step);
}

View Decoder::view() const {
  const Pos root = tree_.at(tree_.root()).pos;
  View view{.tree = tree_};
  view.target_idle = !timer_.busy(Side::kTarget) && !waiting_;
  view.draft_idle = !timer_.busy(Side::kDraft) && (draft_begun_ || !draft_usable_);
  view.now_us = now_us_;
  view.draft_usable = draft_usable_;
  view.submitted = submitted_.empty() ? kNoNode : submitted_.back();
  view.evaluating = lanes_.in_flight();
  // The target adds one token of its own to every path, so the last useful node is one before the
  // end.
  view.max_depth = limit_ - root - 2;
  if (draft_usable_) view.max_depth = std::min(view.max_depth, limits_.draft->n_ctx - root);
  view.max_path = std::min(view.max_depth, limits_.target.max_batch - 1);
  view.free_seqs = draft_usable_ ? lanes_.count_free(tree_) : 0;
  view.n_seqs = draft_usable_ ? lanes_.n_seq() : 0;
  return view;
}

NodeId Decoder::make(const NodeRef& ref) {
  const std::size_t before = tree_.size();
  const NodeId id = tree_.add(ref);
  if (tree_.size() > before) {
    ++counters_.n_all_drafted;
    Node& node = tree_.at(id);
    node.main = ref.rank == 0 && (ref.node == tree_.root() || tree_.at(ref.node).main);
    if (node.main) ++counters_.n_drafted;
  }
  return id;
}

Command Decoder::plan_verify(NodeId end, int n_pad) {
  if (timer_.busy(Side::kTarget) || !submitted_.empty()) {
    throw PreconditionError("[Decoder::plan_verify] the target is still at work");
  }
  VerifyCommand verify;
  verify.pos = tree_.at(tree_.root()).pos;
  verify.path = tree_.path(end);
  verify.n_pad = n_pad;
  if (target_length_ > verify.pos) verify.truncate = Truncate{0, target_length_, verify.pos};
  target_length_ = verify.pos + static_cast<Pos>(verify.path.size());
  submitted_ = tree_.path_nodes(end);
  timer_.issued(Side::kTarget, verify.n_tokens(), now_us_);
  ++counters_.n_target_steps;
  if (request_->trace) record_window(end);
  return Command{epoch_, std::move(verify)};
}

void Decoder::record_window(NodeId submitted) {
  next_round_ = TraceRound{};
  const NodeId root = tree_.root();
  next_round_.pos = tree_.at(root).pos;
  next_round_.n_submitted = tree_.depth(submitted);
  // What is submitted may be a branch; the window goes on from there.
  for (const NodeId id : tree_.path_nodes(tree_.main_leaf(submitted))) {
    if (id == root) continue;
    next_round_.window.push_back(tree_.at(id).token);
    next_round_.confidence.push_back(static_cast<float>(tree_.at(id).confidence));
  }
  next_round_.features = std::move(features_);
  features_.clear();
}

Command Decoder::plan_draft(std::span<const NodeId> nodes) {
  if (timer_.busy(Side::kDraft)) {
    throw PreconditionError("[Decoder::plan_draft] the draft is still at work");
  }
  DraftCommand draft = lanes_.plan(tree_, nodes, planner_->width());
  timer_.issued(Side::kDraft, draft.n_tokens(), now_us_);
  counters_.n_draft_lanes += draft.n_tokens();
  ++counters_.n_draft_steps;
  return Command{epoch_, std::move(draft)};
}

void Decoder::apply_draft(const DraftDone& done) {
  const std::span<const NodeId> sent = lanes_.in_flight();
  if (done.candidates.size() != sent.size()) {
    throw PreconditionError("[Decoder::apply_draft] answers for " +
                            std::to_string(done.candidates.size()) + " lanes; " +
                            std::to_string(sent.size()) + " were sent");
  }
  for (std::size_t i = 0; i < sent.size(); ++i) {
    // A lane whose node was dropped meanwhile has changed the KV, which the ledger knows; no more.
    if (!tree_.contains(sent[i])) continue;
    Node& node = tree_.at(sent[i]);
    node.candidates = done.candidates[i];
    node.evaluated = true;
  }
  lanes_.done();
}

void Decoder::apply_verdict(const Verdict& verdict, Commands& commands) {
  const std::vector<NodeId> path = std::exchange(submitted_, {});
  NodeId last = path.front();
  std::size_t n_matched = 0;
  const Choice* miss = nullptr;
  bool hit = false;
  PolicyOutcome outcome;
  outcome.plan = std::exchange(plan_, std::nullopt);
  outcome.n_submitted = static_cast<int>(path.size()) - 1;
  const std::int64_t rolled_back_before = counters_.n_rolled_back;
  if (request_->trace) {
    rounds_.push_back(std::exchange(next_round_, {}));
    features_ = verdict.features;
  }
  const View before = view();  // the tree changes when all choices have been told
  for (const Choice& choice : verdict.choices) {
    if (miss != nullptr || hit) {
      throw PreconditionError("[Decoder::apply_verdict] a choice past the first difference");
    }
    planner_->on_choice(before, last, choice.token);
    if (choice.end) {
      finish_with(Finish::kStop, commands);
      break;
    }
    if (request_->trace) rounds_.back().proposals.push_back(record(tree_.at(last), choice.token));
    const NodeId next = tree_.find_child(last, choice.token);
    if (next == kNoNode) {
      miss = &choice;
    } else {
      promote_main(next);
      ++counters_.n_accepted;
      last = next;
      const bool on_path = n_matched + 1 < path.size() && path[n_matched + 1] == next;
      hit = !on_path;
      if (on_path) ++n_matched;
    }
    if (monitor_.active()) outcome.committed.push_back(choice.token);
    const Origin origin = next == kNoNode ? Origin::kTarget
                          : hit           ? Origin::kBranch
                                          : Origin::kDraft;
    if (commit({choice, origin}, commands)) break;
  }
  if (verdict.exhausted) finish_with(Finish::kStop, commands);
  if (request_->mode != Mode::kAutoregressive) {
    auto& histogram = counters_.acceptance_histogram;
    if (histogram.size() <= n_matched) histogram.resize(n_matched + 1);
    ++histogram[n_matched];
    if (hit) ++counters_.branch_hits;
    if (miss != nullptr) ++counters_.branch_misses;
  }
  if (request_->trace) {
    rounds_.back().n_accepted = static_cast<int>(n_matched);
    rounds_.back().branch_hit = hit;
    rounds_.back().branch_miss = miss != nullptr && request_->mode != Mode::kAutoregressive;
  }
  move_root(last, miss);
  if (finish_ != Finish::kNone) return;
  outcome.n_accepted = static_cast<int>(n_matched);
  outcome.branch_hit = hit;
  outcome.n_rolled_back = static_cast<int>(counters_.n_rolled_back - rolled_back_before);
  monitor_.on_features(verdict.features);
  monitor_.on_outcome(outcome);
  planner_->on_outcome(outcome);
  planner_->on_verdict(view(), hit);
}

void Decoder::move_root(NodeId last, const Choice* miss) {
  if (last != tree_.root()) {
    for (const Node& node : tree_.reroot(last)) roll_back(node);
  }
  if (miss == nullptr) return;
  for (const Node& node : tree_.descendants(last)) roll_back(node);
  tree_.reset(miss->token, tree_.at(tree_.root()).pos + 1);
}

void Decoder::roll_back(const Node& node) {
  if (!node.main) return;
  ++counters_.n_rolled_back;
  if (request_->trace) rounds_.back().rolled_back.push_back(node.token);
}

bool Decoder::commit(const Committed& committed, Commands& commands) {
  ++counters_.n_generated;
  if (request_->trace) rounds_.back().committed.push_back(committed.choice.token);
  lanes_.commit(committed.choice.token);
  if (draft_usable_) follow_with_draft(committed.choice.token);
  const bool stop = sink_ && sink_(committed);
  const auto length =
      static_cast<Pos>(request_->prompt.size() + static_cast<std::size_t>(counters_.n_generated));
  if (stop) {
    finish_with(Finish::kStop, commands);
  } else if (length >= limit_) {
    finish_with(Finish::kLength, commands);
  } else if (draft_usable_ && length >= limits_.draft->n_ctx) {
    disable_draft("the text left the draft's context of " + std::to_string(limits_.draft->n_ctx));
  }
  return finish_ != Finish::kNone;
}

void Decoder::promote_main(NodeId id) {
  // Up to the nearest counted ancestor nothing is left out: a path is promoted from the root on.
  for (;;) {
    Node& node = tree_.at(id);
    if (!node.main) {
      node.main = true;
      ++counters_.n_drafted;
    }
    const auto first = std::ranges::find_if(
        node.children, [&](NodeId child) { return tree_.at(child).rank == 0; });
    if (first == node.children.end()) return;
    id = *first;
  }
}

void Decoder::follow_with_draft(Token token) {
  if (token < limits_.draft->n_vocab) return;
  disable_draft("the text has token " + std::to_string(token) +
                ", which the draft's vocabulary of " + std::to_string(limits_.draft->n_vocab) +
                " lacks");
}

void Decoder::disable_draft(std::string why) {
  draft_usable_ = false;
  why_ = std::move(why);
}

void Decoder::finish_with(Finish finish, Commands& commands) {
  if (finish_ == Finish::kNone) finish_ = finish;
  request_aborts(commands);
}

void Decoder::request_aborts(Commands& commands) const {
  commands.abort_target = timer_.busy(Side::kTarget);
  commands.abort_draft = timer_.busy(Side::kDraft);
}

void Decoder::settle() {
  for (const Node& node : tree_.descendants(tree_.root())) {
    if (node.main) ++counters_.n_unresolved;
  }
}

}  // namespace specbranch
