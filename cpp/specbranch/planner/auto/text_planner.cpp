#include "specbranch/planner/auto/text_planner.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "specbranch/lookup/text_path.h"
#include "specbranch/planner/auto/verification_length.h"

namespace specbranch {

namespace {

/// A less probable run is not verified before the costs are known.
constexpr double kSafeRun = 0.5;

/// Tokens of a verification of what the grammar forces, the root among them. It is too sure for the
/// gate, which judges texts.
int length_of_forced(const View& view, const CostModel& costs, const TextGate& gate,
                     const TextPath& path) {
  std::size_t n = 0;
  while (n < path.chances.size() && view.tree.at(path.nodes[n + 1]).forced) ++n;
  const std::span<const double> chances = std::span(path.chances).first(n);
  if (costs.target_known()) return best_length(costs, view, chances, gate.rate()).n;
  const auto safe = std::ranges::find_if(chances, [](double p) { return p < kSafeRun; });
  return static_cast<int>(safe - chances.begin()) + 1;
}

}  // namespace

NodeRef best_text_run(const View& view, const CostModel& costs, const TextGate& gate) {
  const TextPath path = best_text_path(view.tree, view.max_path);
  const VerificationLength best = best_length(costs, view, path.chances, gate.rate());
  const int n = gate.open(best.gain) ? gate.longest(best.n, view.max_path + 1) : 1;
  const int n_forced = length_of_forced(view, costs, gate, path);
  return {path.nodes[static_cast<std::size_t>(std::max(n, n_forced)) - 1]};
}

TextPlanner::TextPlanner(const Request& request, PairProfile* profile)
    : profile_(profile == nullptr ? &own_profile_ : profile),
      costs_(profile_),
      table_(
          &profile_
               ->lookup[static_cast<std::size_t>(temperature_class(request.sampling.temperature))]),
      gate_(costs_, table_) {}

Decision TextPlanner::next(const View& view) {
  costs_.set_padding(view.pads);
  Decision decision;
  if (!view.target_idle || view.submitted != kNoNode) return decision;
  decision.submit = best_text_run(view, costs_, gate_);
  decision.n_pad = verification_padding(costs_, view, view.tree.depth(decision.submit) + 1);
  return decision;
}

void TextPlanner::on_step(const StepTime& step) {
  if (step.role != ModelRole::kTarget) return;
  costs_.on_step(step);
  gate_.on_step(step.n_tokens, static_cast<double>(step.end_us - step.begin_us));
}

void TextPlanner::on_verification(const View& view, bool /*hit*/) {
  const Pos root = view.tree.at(view.tree.root()).pos;
  if (root_ >= 0) gate_.on_verification(root - root_);
  root_ = root;
}

std::string TextPlanner::mode_reason() const {
  if (!table_->closed) return "the text itself drafts: there is no draft model";
  return "autoregressive: what the text drafted has cost more than it brought; there is no draft "
         "model";
}

}  // namespace specbranch
