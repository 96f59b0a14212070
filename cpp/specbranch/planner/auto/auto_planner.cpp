// The model behind the decisions. A microsecond is worth `rate` tokens: the rate that decoding
// reaches. Verifying n tokens is then worth
//     value(n) = expected tokens committed - rate * microseconds of the verification.
// The target verifies the n of the greatest value. It waits for the draft only if a longer path
// will be worth more than now by more than `rate` times the wait. The draft evaluates the nodes
// that bring the most probability per microsecond, beside a busy target only if that outweighs its
// delay.
#include "specbranch/planner/auto/auto_planner.h"

#include <algorithm>

namespace specbranch {
namespace {

constexpr int kMaxPassNodes = 16;
constexpr int kManySequences = 16;
constexpr double kMinChance = 0.01;              ///< less probable nodes are not drafted.
constexpr double kMinChanceFewSequences = 0.04;  ///< the same with fewer than kManySequences.
constexpr int kMaxAwaited = 16;  ///< further draft steps that the target may wait for.

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
      schedule_choice_(costs_, acceptance_, initial.max_submit + 1, initial.switching),
      width_(std::max(2, initial.max_branches)) {}

bool AutoPlanner::wants_draft(const View& /*view*/) { return schedule_choice_.drafts(); }

Decision AutoPlanner::next(const View& view) {
  costs_.set_padding(view.pads);
  Decision decision;
  const bool target_free = view.target_idle && view.submitted == kNoNode;
  if (schedule_choice_.schedule() == Schedule::kAutoregressive) {
    if (schedule_choice_.probing()) probe(view, decision);
    // The first choice of the draft makes the second token of a trial.
    const Node& root = view.tree.at(view.tree.root());
    const bool trying = schedule_choice_.trying() && longest(view) > 0;
    const bool drafted = root.evaluated && !root.candidates.empty();
    const bool awaited = !decision.evaluate.empty() || !view.evaluating.empty();
    if (target_free && !(trying && !drafted && awaited)) {
      submit(view, DraftPath{view.tree.root(), false, {}}, trying && drafted ? 2 : 1, decision);
    }
    return decision;
  }
  if (target_free) {
    plain_step_ = schedule_choice_.wants_plain_step();
    if (plain_step_) {
      submit(view, DraftPath{view.tree.root(), false, {}}, 1, decision);
    } else {
      verify(view, decision);
    }
  }
  const bool waits = target_free && decision.submit.node == kNoNode;
  if (view.draft_idle && view.draft_usable) draft(view, !waits, decision);
  if (waits && decision.evaluate.empty() && view.evaluating.empty()) {
    const DraftPath path = best_path(view, acceptance_, longest(view));
    submit(view, path, static_cast<int>(path.chances.size()) + 1, decision);
  }
  if (!decision.evaluate.empty()) {
    n_pass_nodes_ = static_cast<int>(decision.evaluate.size());
    pass_begin_us_ = view.now_us;
  }
  return decision;
}

int AutoPlanner::longest(const View& view) const {
  return std::max(0, std::min(view.max_path, bounds_.max_submit));
}

int AutoPlanner::horizon(const View& view, int n_submitted) const {
  return std::min(view.max_depth, n_submitted + bounds_.max_depth);
}

void AutoPlanner::verify(const View& view, Decision& decision) {
  const DraftPath path = best_path(view, acceptance_, longest(view));
  const VerificationLength best = best_length(costs_, view, path.chances, schedule_choice_.rate());
  if (!worth_waiting(view, path, best)) submit(view, path, best.n, decision);
}

bool AutoPlanner::worth_waiting(const View& view, const DraftPath& path,
                                const VerificationLength& best) const {
  const bool passing = !view.evaluating.empty();
  const bool can_draft = view.draft_usable && (view.draft_idle || passing);
  const int length = static_cast<int>(path.chances.size());
  const int room = std::min(longest(view), horizon(view, 0)) - length;
  if (!can_draft || room <= 0 || best.n < length + 1) return false;
  const double rate = schedule_choice_.rate();
  const double step = costs_.draft(1);
  double wait = 0.0;  // microseconds until the draft has one more token of the path
  if (passing) {
    const auto spent = static_cast<double>(view.now_us - pass_begin_us_);
    wait = std::max(0.0, costs_.draft(n_pass_nodes_) - spent);
    // The pass brings the next token of the chain only if its end is in it.
    const bool extends = std::ranges::count(view.evaluating, path.end) > 0 && !path.open;
    if (!extends) wait += step;
  } else {
    wait = step;
  }
  const double alpha = acceptance_.alpha();
  double expected = 1.0;
  for (const double p : path.chances) expected += p;
  double chance = path.chances.empty() ? 1.0 : path.chances.back();
  for (int m = 1; m <= std::min(room, kMaxAwaited); ++m) {
    chance *= alpha;
    expected += chance;
    const double later =
        expected - rate * verification_us(costs_, view, length + m + 1, expected, chance);
    if (later - best.value > rate * (wait + static_cast<double>(m - 1) * step)) return true;
  }
  return false;
}

void AutoPlanner::submit(const View& view, const DraftPath& path, int n, Decision& decision) {
  NodeId end = path.end;
  // The path may be longer than `n`, or one candidate shorter.
  while (view.tree.depth(end) > n - 1) end = view.tree.at(end).parent;
  decision.submit = view.tree.depth(end) < n - 1 ? NodeRef{end, 0} : NodeRef{end};
  decision.n_pad = costs_.pad(n, view.max_path + 1);
}

void AutoPlanner::draft(const View& view, bool target_busy, Decision& decision) {
  const bool sequential = schedule_choice_.schedule() == Schedule::kSequential;
  if (sequential && target_busy) return;
  if (target_busy && plain_step_) return;
  const NodeRef submitted =
      decision.submit.node != kNoNode ? decision.submit : NodeRef{view.submitted};
  ExpansionLimits limits;
  limits.max_depth = horizon(view, submitted.node == kNoNode ? 0 : view.tree.depth(submitted));
  limits.max_branches = bounds_.max_branches;
  limits.max_nodes = sequential ? 1 : std::min(kMaxPassNodes, view.n_seqs);
  limits.min_chance = view.n_seqs >= kManySequences ? kMinChance : kMinChanceFewSequences;
  const std::vector<ExpansionCandidate> expansion =
      best_expansion(view, acceptance_, costs_, limits);
  if (expansion.empty()) return;
  if (target_busy) {
    double sum = 0.0;
    for (const ExpansionCandidate& one : expansion) sum += one.chance;
    const double delay = costs_.interference() * costs_.draft(static_cast<int>(expansion.size()));
    if (sum * costs_.draft(1) < delay) return;
  }
  for (const ExpansionCandidate& one : expansion) decision.evaluate.push_back(one.node);
}

void AutoPlanner::probe(const View& view, Decision& decision) {
  const NodeId root = view.tree.root();
  if (schedule_choice_.settling()) return;
  if (!view.draft_idle || !view.draft_usable || view.max_depth < 1) return;
  if (!view.tree.at(root).evaluated) decision.evaluate.push_back({root});
}

void AutoPlanner::on_step(const StepTime& step) { costs_.on_step(step); }

void AutoPlanner::on_choice(const View& view, NodeId parent, Token token) {
  const Node& node = view.tree.at(parent);
  if (!node.evaluated || node.candidates.empty()) return;
  acceptance_.observe(node.candidates, token);
  schedule_choice_.on_observation();
}

void AutoPlanner::on_verification(const View& view, bool /*hit*/) {
  // Without a draft there is nothing to choose, and the rate says nothing about the draft.
  if (!view.draft_usable) return;
  const Pos root = view.tree.at(view.tree.root()).pos;
  schedule_choice_.on_verification(view.now_us, root_ < 0 ? 1 : root - root_);
  root_ = root;
}

}  // namespace specbranch
