/// The planner of `auto` without a draft model.
#pragma once

#include <string>

#include "specbranch/lookup/text_path.h"
#include "specbranch/planner/auto/text_gate.h"
#include "specbranch/planner/auto/verification_length.h"
#include "specbranch/planner/cost_model.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// What texts propose after the root.
struct TextRun {
  TextPath path;
  VerificationLength best;  ///< of the path; where several texts share the batches, a single token.
};

TextRun find_text_run(const View& view, const CostModel& costs, const TextGate& gate);

/// So much is expected of the run that no time of a single token need be known better.
bool text_run_gains(const TextRun& run, const TextGate& gate);

/// Submits as much of the run as is worth the most, by measured costs; only the root if nothing is.
/// Where several texts share the batches, it offers the run.
void submit_text_run(TextRun run, const View& view, const CostModel& costs, const TextGate& gate,
                     Decision& decision);

/// The target verifies what texts propose: as many tokens as are worth their time by the measured
/// costs, mostly none.
class TextPlanner final : public Planner {
 public:
  /// `profile` outlives the planner, which refines it. Null: the planner begins without knowledge.
  TextPlanner(const Request& request, PairProfile* profile);

  Decision next(const View& view) override;
  bool wants_draft(const View& /*view*/) override { return false; }
  int width() const override { return 1; }
  void on_step(const StepTime& step) override;
  void on_verification(const View& view, bool hit) override;
  std::string mode_reason() const override;

 private:
  PairProfile own_profile_;  ///< where the caller gave none.
  PairProfile* profile_;
  CostModel costs_;
  TextGate gate_;
  Pos root_ = -1;  ///< position of the root at the last verification.
};

}  // namespace specbranch
