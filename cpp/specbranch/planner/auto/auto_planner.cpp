// The model behind the decisions. A microsecond is worth `rate` tokens: the rate that decoding
// reaches. Verifying n tokens is then worth
//     value(n) = expected tokens committed - rate * microseconds of the verification.
// The target verifies the n of the greatest value, or a path with branches if that is worth more.
// It waits for the draft only if a longer path will be worth more than now by more than `rate`
// times the wait. The draft evaluates the nodes that bring the most probability per microsecond,
// beside a busy target only if that outweighs its delay.
#include "specbranch/planner/auto/auto_planner.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "specbranch/lookup/text_path.h"
#include "specbranch/planner/auto/text_planner.h"
#include "specbranch/planner/auto/verification_tree.h"

namespace specbranch {
namespace {

constexpr int kMaxPassNodes = 16;
constexpr int kManySequences = 16;
constexpr double kMinChance = 0.01;              ///< less probable nodes are not drafted.
constexpr double kMinChanceFewSequences = 0.04;  ///< the same with fewer than kManySequences.
constexpr double kMinTipChance = 0.05;           ///< texts are not asked after less probable paths.
constexpr int kTypicalRows = 4;                  ///< of a text, in a batch of several.
constexpr double kLeastBranchGain = 0.05;  ///< tokens; branches are less certain than the path.
constexpr int kMaxAwaited = 16;            ///< further draft steps that the target may wait for.
/// Where single tokens are worth the most, and only the measurement while loading says that a long
/// verification is worth more, it must be worth it even if it takes so much longer.
constexpr double kCaution = 1.4;

}  // namespace

AutoBounds auto_bounds(const Request& request) {
  AutoBounds bounds;
  bounds.max_depth = bounds.max_submit = request.max_draft;
  bounds.max_branches = std::min(request.max_branches, AcceptanceTable::kRanks);
  return bounds;
}

AutoPlanner::AutoPlanner(const AutoBounds& initial, float temperature, PairProfile* profile)
    : bounds_(initial),
      own_profile_(profile == nullptr ? std::make_unique<PairProfile>() : nullptr),
      profile_(profile == nullptr ? own_profile_.get() : profile),
      costs_(profile_),
      acceptance_(&profile_->acceptance[static_cast<std::size_t>(temperature_class(temperature))]),
      agreement_(&profile_->lookup[static_cast<std::size_t>(temperature_class(temperature))]),
      gate_(costs_, &profile_->lookup[static_cast<std::size_t>(temperature_class(temperature))]),
      schedule_choice_(costs_, acceptance_, initial.max_submit + 1, initial.switching),
      width_(std::max(2, initial.max_branches)) {}

bool AutoPlanner::wants_draft(const View& view) {
  if (view.target_open) schedule_choice_.on_open(view.n_unread);
  return schedule_choice_.drafts();
}

Decision AutoPlanner::next(const View& view) {
  costs_.set_padding(view.pads);
  Decision decision;
  const bool target_free = view.target_idle && view.submitted == kNoNode;
  if (schedule_choice_.schedule() == Schedule::kAutoregressive) {
    if (schedule_choice_.probing()) probe(view, decision);
    if (!target_free) return decision;
    // The first choice of the draft makes the second token of a trial.
    const Node& root = view.tree.at(view.tree.root());
    const bool trying = schedule_choice_.trying() && longest(view) > 0;
    const bool drafted = root.evaluated && !root.candidates.empty();
    const bool awaited = !decision.evaluate.empty() || !view.evaluating.empty();
    // No step is alone while the draft reads a long text: nothing settles until then.
    const bool settles = schedule_choice_.settling() && !view.draft_reads;
    TextRun run = find_text_run(view, costs_, gate_);
    texts_alone_ = !trying && (!settles || text_run_gains(run, gate_));
    if (texts_alone_) {
      submit_text_run(std::move(run), view, costs_, gate_, decision);
    } else if (!(trying && !drafted && awaited)) {
      submit(view, view.tree.root(), trying && drafted ? 2 : 1, decision);
    }
    return decision;
  }
  if (target_free) {
    texts_alone_ = false;
    // A step beside the draft would not tell, and the draft may have a long text to read.
    const bool alone = view.evaluating.empty() && !view.draft_reads;
    plain_step_ = schedule_choice_.wants_plain_step() && alone;
    if (plain_step_) {
      submit(view, view.tree.root(), 1, decision);
    } else {
      verify(view, /*may_wait=*/true, decision);
    }
  }
  const bool waits = target_free && decision.submit.node == kNoNode;
  if (view.draft_idle && view.draft_usable) draft(view, !waits, decision);
  const bool in_vain = decision.evaluate.empty() && view.evaluating.empty();
  if (waits && in_vain) verify(view, /*may_wait=*/false, decision);
  if (!decision.evaluate.empty()) pass_begin_us_ = view.now_us;
  return decision;
}

DraftPath AutoPlanner::likeliest(const View& view, NodeId begin) const {
  return best_path(view, sources(), begin, view.max_path, bounds_.max_submit);
}

NodeRef AutoPlanner::text_tip(const View& view) {
  if (schedule_choice_.schedule() == Schedule::kAutoregressive) return {};
  const NodeId begin = view.submitted == kNoNode ? view.tree.root() : view.submitted;
  const DraftPath path = likeliest(view, begin);
  if (!path.chances.empty() && path.chances.back() < kMinTipChance) return {};
  return path.open ? NodeRef{path.end, 0} : NodeRef{path.end};
}

int AutoPlanner::longest(const View& view) const {
  return std::max(0, std::min(view.max_path, bounds_.max_submit));
}

int AutoPlanner::horizon(const View& view, int n_submitted) const {
  return std::min(view.max_depth, n_submitted + bounds_.max_depth);
}

void AutoPlanner::verify(const View& view, bool may_wait, Decision& decision) {
  const DraftPath path = likeliest(view, view.tree.root());
  awaited_ = {};
  if (costs_.crowded()) {
    // The text waits for nothing: its place in the batches would be lost.
    submit(view, path.end, static_cast<int>(path.chances.size()) + 1, decision);
    decision.offered = path.chances;
    return;
  }
  const VerificationLength best = best_length(costs_, view, path.chances, schedule_choice_.rate());
  const auto whole = static_cast<int>(path.chances.size());
  // The draft may say more at the end of the path, however little of it is worth verifying now, and
  // at each token before that only a text has proposed so far.
  for (int n = 0; may_wait && n <= whole; ++n) {
    if (n >= best.n && n < whole) continue;
    const DraftPath begin = cut(view.tree, path, n);
    const bool said = n < whole && view.tree.at(begin.end).evaluated;
    if (said || !worth_waiting(view, begin, best)) continue;
    if (path.n_text > 0 && begin.open) awaited_ = {begin.end, 0};
    if (path.n_text > 0 && !view.tree.at(begin.end).evaluated) awaited_ = {begin.end};
    return;
  }
  if (branches_can_pay(view, costs_)) {
    const int max_drafted = std::min(bounds_.max_submit, view.max_path);
    const VerificationTree tree =
        best_tree(view, sources(), costs_, max_drafted, schedule_choice_.rate());
    if (!tree.branches.empty() && tree.value > best.value + kLeastBranchGain) {
      decision.submit = tree.end;
      decision.branches = tree.branches;
      decision.n_pad = verification_padding(costs_, view, tree.n_rows);
      return;
    }
  }
  submit(view, path.end, best.n, decision);
}

bool AutoPlanner::worth_waiting(const View& view, const DraftPath& path,
                                const VerificationLength& best) const {
  const bool passing = !view.evaluating.empty();
  const bool can_draft = view.draft_usable && (view.draft_idle || passing);
  const int length = static_cast<int>(path.chances.size());
  const int room = std::min(longest(view), horizon(view, 0)) - length;
  if (!can_draft || room <= 0) return false;
  const double rate = schedule_choice_.rate();
  const double step = costs_.draft(1);
  double wait = 0.0;  // microseconds until the draft has one more token of the path
  if (passing) {
    const auto spent = static_cast<double>(view.now_us - pass_begin_us_);
    wait = std::max(0.0, costs_.draft(n_pass_tokens_) - spent);
    // The pass brings the next token of the chain only if its end is in it.
    const bool extends = std::ranges::count(view.evaluating, path.end) > 0 && !path.open;
    if (!extends) wait += step;
  } else {
    // What the draft has not read is not counted: it must be read once, and later it is more.
    wait = step;
  }
  const double alpha = acceptance_.alpha();
  const double caution = costs_.verification_unproven() && length >= best.n ? kCaution : 1.0;
  double now = 1.0;  // expected tokens of the path
  for (const double p : path.chances) now += p;
  const double chance = path.chances.empty() ? 1.0 : path.chances.back();
  const int most = std::min(room, kMaxAwaited);
  std::array<double, kMaxAwaited> cost{};  // of a verification of m more tokens, in tokens
  double expected = now;
  double last = chance;
  for (int m = 1; m <= most; ++m) {
    last *= alpha;
    expected += last;
    const double us = verification_us(costs_, view, length + m + 1, expected, last);
    const double price = rate * (caution * us + static_cast<double>(m - 1) * step);
    cost[static_cast<std::size_t>(m - 1)] = price;
    if (expected - price - best.value > rate * wait) return true;
  }
  // No length pays on the mean. But the pass tells how sure the draft is of its next token, and the
  // chain may end there.
  double gain = 0.0;
  for (const AcceptanceClass& next : acceptance_.acceptance_classes(0.0)) {
    double value = best.value;
    double tokens = now;
    double further = chance * next.chance;
    for (int m = 1; m <= most && further > kMinChance; ++m) {
      tokens += further;
      value = std::max(value, tokens - cost[static_cast<std::size_t>(m - 1)]);
      further *= alpha;
    }
    gain += next.share * (value - best.value);
  }
  return gain > rate * wait;
}

void AutoPlanner::submit(const View& view, NodeId end, int n, Decision& decision) {
  // The path may be longer than `n`, or one candidate shorter.
  while (view.tree.depth(end) > n - 1) end = view.tree.at(end).parent;
  decision.submit = view.tree.depth(end) < n - 1 ? NodeRef{end, 0} : NodeRef{end};
  decision.n_pad = verification_padding(costs_, view, n);
}

void AutoPlanner::draft(const View& view, bool target_busy, Decision& decision) {
  const bool sequential = schedule_choice_.schedule() == Schedule::kSequential;
  // Beside other texts the target waits for nobody, and what a pass costs must be learned there.
  if (sequential && target_busy && !costs_.crowded()) return;
  if (target_busy && (plain_step_ || schedule_choice_.wants_plain_step())) return;
  const NodeRef submitted =
      decision.submit.node != kNoNode ? decision.submit : NodeRef{view.submitted};
  ExpansionLimits limits;
  limits.max_depth = horizon(view, submitted.node == kNoNode ? 0 : view.tree.depth(submitted));
  limits.max_branches = bounds_.max_branches;
  limits.max_nodes = sequential ? 1 : std::min(kMaxPassNodes, view.n_seqs);
  limits.min_chance = view.n_seqs >= kManySequences ? kMinChance : kMinChanceFewSequences;
  if (!target_busy) limits.awaited = awaited_;
  const std::vector<ExpansionCandidate> expansion = best_expansion(view, sources(), costs_, limits);
  if (expansion.empty()) return;
  if (costs_.crowded()) {
    if (costs_.known() && !pays_beside_others(expansion)) return;
  } else if (target_busy) {
    double sum = 0.0;
    for (const ExpansionCandidate& one : expansion) sum += one.chance;
    const double delay = costs_.interference() * costs_.draft(static_cast<int>(expansion.size()));
    if (sum * costs_.draft(1) < delay) return;
  }
  n_pass_tokens_ = 0;
  for (const ExpansionCandidate& one : expansion) {
    decision.evaluate.push_back(one.node);
    n_pass_tokens_ += one.n_tokens;
  }
}

/// Beside other texts nobody waits for the draft. So its tokens are worth what they add to the next
/// batch, less the time of their rows, and must pay for the delay of all texts, which is shared.
bool AutoPlanner::pays_beside_others(std::span<const ExpansionCandidate> expansion) const {
  const double rate = schedule_choice_.rate();
  const double row = rate * costs_.n_texts() * costs_.row_us(kTypicalRows);
  double gain = 0.0;
  for (const ExpansionCandidate& one : expansion) gain += std::max(0.0, one.chance - row);
  const double delay = costs_.interference() * costs_.draft(static_cast<int>(expansion.size()));
  return gain > rate * delay;
}

void AutoPlanner::probe(const View& view, Decision& decision) {
  const NodeId root = view.tree.root();
  if (schedule_choice_.settling()) return;
  if (!view.draft_idle || !view.draft_usable || view.max_depth < 1) return;
  // Where texts have moved the root, drafted tokens may follow it in every sequence.
  if (!view.tree.at(root).evaluated && view.free_seqs > 0) decision.evaluate.push_back({root});
}

void AutoPlanner::on_step(const StepTime& step) {
  costs_.on_step(step);
  if (step.role != ModelRole::kTarget) return;
  step_us_ = static_cast<double>(step.end_us - step.begin_us);
  // What the draft's work beside it costs is not the fault of texts.
  const double beside = 1.0 - step.overlap + step.overlap / costs_.target_slowdown();
  gate_.on_step(step, beside * step_us_);
}

void AutoPlanner::on_choice(const View& view, NodeId parent, Token token) {
  const Node& node = view.tree.at(parent);
  const NodeId text = best_text_child(view.tree, parent);
  if (text != kNoNode && view.tree.at(text).token == token) schedule_choice_.on_text_token();
  if (!node.evaluated || node.candidates.empty()) return;
  // The draft does not know the grammar.
  if (text != kNoNode && view.tree.at(text).forced) return;
  if (text != kNoNode) {
    const double draft = acceptance_.chances(node.candidates, 1).front();
    const Node& child = view.tree.at(text);
    const Token first = node.candidates.front().token;
    if (child.token == first) {
      agreement_.observe_together(draft, child.text_probability, token == first);
    } else {
      agreement_.observe_apart(draft, child.text_probability, token == first, token == child.token);
    }
  }
  acceptance_.observe(node.candidates, token);
  schedule_choice_.on_observation();
}

void AutoPlanner::on_verification(const View& view, bool /*hit*/) {
  // Without a draft there is nothing to choose, and the rate says nothing about the draft.
  if (!view.draft_usable) {
    schedule_choice_.lose_draft();
    return;
  }
  const Pos root = view.tree.at(view.tree.root()).pos;
  const int n_tokens = root_ < 0 ? 1 : root - root_;
  if (texts_alone_) gate_.on_verification(n_tokens);
  schedule_choice_.on_verification(view.now_us, step_us_, n_tokens, view.n_unread);
  root_ = root;
}

}  // namespace specbranch
