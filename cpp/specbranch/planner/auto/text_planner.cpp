#include "specbranch/planner/auto/text_planner.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace specbranch {

namespace {

/// A less probable run is not verified before the costs are known.
constexpr double kSafeRun = 0.5;
constexpr double kTextRunGain = 1.0;  ///< tokens.

/// What the grammar forces, at the beginning of a path.
std::span<const double> forced_of(const View& view, const TextPath& path) {
  std::size_t n = 0;
  while (n < path.chances.size() && view.tree.at(path.nodes[n + 1]).forced) ++n;
  return std::span(path.chances).first(n);
}

/// Tokens of a verification of what the grammar forces, the root among them. It is too sure for the
/// gate, which judges texts.
int length_of_forced(const View& view, const CostModel& costs, const TextGate& gate,
                     std::span<const double> chances) {
  if (costs.target_known()) return best_length(costs, view, chances, gate.rate()).n;
  const auto safe = std::ranges::find_if(chances, [](double p) { return p < kSafeRun; });
  return static_cast<int>(safe - chances.begin()) + 1;
}

}  // namespace

TextRun find_text_run(const View& view, const CostModel& costs, const TextGate& gate) {
  TextRun run{best_text_path(view.tree, view.max_path), {}};
  if (!costs.crowded()) run.best = best_length(costs, view, run.path.chances, gate.rate());
  return run;
}

bool text_run_gains(const TextRun& run, const TextGate& gate) {
  return run.best.gain >= kTextRunGain && gate.open(run.best.gain);
}

void submit_text_run(TextRun run, const View& view, const CostModel& costs, const TextGate& gate,
                     Decision& decision) {
  TextPath& path = run.path;
  const std::span<const double> forced = forced_of(view, path);
  if (costs.crowded()) {
    const bool open = gate.open(gate.gain_beside_others(path.chances));
    const std::size_t n = open ? path.chances.size() : forced.size();
    decision.submit = {path.nodes[n]};
    path.chances.resize(n);
    decision.offered = std::move(path.chances);
    return;
  }
  const VerificationLength& best = run.best;
  const int n = gate.open(best.gain) ? gate.longest(path.chances, best.n, view.max_path + 1) : 1;
  const int n_rows = std::max(n, length_of_forced(view, costs, gate, forced));
  decision.submit = {path.nodes[static_cast<std::size_t>(n_rows) - 1]};
  decision.n_pad = verification_padding(costs, view, n_rows);
}

TextPlanner::TextPlanner(const Request& request, PairProfile* profile)
    : profile_(profile == nullptr ? &own_profile_ : profile),
      costs_(profile_),
      gate_(costs_, &profile_->lookup[static_cast<std::size_t>(
                        temperature_class(request.sampling.temperature))]) {}

Decision TextPlanner::next(const View& view) {
  costs_.set_padding(view.pads);
  Decision decision;
  if (!view.target_idle || view.submitted != kNoNode) return decision;
  submit_text_run(find_text_run(view, costs_, gate_), view, costs_, gate_, decision);
  return decision;
}

void TextPlanner::on_step(const StepTime& step) {
  if (step.role != ModelRole::kTarget) return;
  costs_.on_step(step);
  gate_.on_step(step, static_cast<double>(step.end_us - step.begin_us));
}

void TextPlanner::on_verification(const View& view, bool /*hit*/) {
  const Pos root = view.tree.at(view.tree.root()).pos;
  if (root_ >= 0) gate_.on_verification(root - root_);
  root_ = root;
}

std::string TextPlanner::mode_reason() const {
  if (!gate_.closed()) return "the text itself drafts: there is no draft model";
  return "autoregressive: what the text drafted has cost more than it brought; there is no draft "
         "model";
}

}  // namespace specbranch
