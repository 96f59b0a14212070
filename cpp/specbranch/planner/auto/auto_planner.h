/// The planner of `auto` with a draft model: expands the tree best first, and backs off to plain
/// decoding.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "specbranch/planner/auto/next_tokens.h"
#include "specbranch/planner/auto/schedule_choice.h"
#include "specbranch/planner/auto/source_agreement.h"
#include "specbranch/planner/auto/text_gate.h"
#include "specbranch/planner/auto/tree_expansion.h"
#include "specbranch/planner/auto/verification_length.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// The limits of the draft tree.
struct AutoBounds {
  int max_depth = 8;      ///< tokens drafted past the path under verification.
  int max_branches = 4;   ///< children of a node that are drafted.
  int max_submit = 8;     ///< drafted tokens of one verification.
  bool switching = true;  ///< false: always speculates, even where that is slower (tests).
};

AutoBounds auto_bounds(const Request& request);

/// Both models work without a barrier. The draft evaluates the most probable nodes of the tree. The
/// target verifies the prefix of the most probable path that has the highest expected value, with
/// branches where these add to it. Tokens that texts propose are nodes without a draft cost. While
/// the draft is paused, the target verifies them alone, as in `TextPlanner`.
class AutoPlanner final : public Planner {
 public:
  /// `profile` outlives the planner, which refines it. Null: the planner begins without knowledge.
  AutoPlanner(const AutoBounds& bounds, float temperature, PairProfile* profile);

  Decision next(const View& view) override;
  bool wants_draft(const View& view) override;
  NodeRef text_tip(const View& view) override;
  bool cancels_draft() const override { return true; }
  int width() const override { return width_; }
  RankOptions rank_options() const override { return acceptance_.rank_options(width_); }
  void on_step(const StepTime& step) override;
  void on_choice(const View& view, NodeId parent, Token token) override;
  void on_verification(const View& view, bool hit) override;
  std::string mode_reason() const override { return schedule_choice_.mode_reason(); }

 private:
  TokenSources sources() const { return {acceptance_, agreement_}; }
  DraftPath likeliest(const View& view, NodeId begin) const;
  /// Submits what is worth the most. `may_wait`: nothing, if it is worth waiting for the draft.
  void verify(const View& view, bool may_wait, Decision& decision);
  /// The target should wait until the draft has made `path` longer. `best`: what it could verify.
  bool worth_waiting(const View& view, const DraftPath& path, const VerificationLength& best) const;
  /// Verifies the `n` tokens from the root on that lead to `end`, or to its best candidate.
  void submit(const View& view, NodeId end, int n, Decision& decision);
  void draft(const View& view, bool target_busy, Decision& decision);
  bool pays_beside_others(std::span<const ExpansionCandidate> expansion) const;
  void probe(const View& view, Decision& decision);
  int longest(const View& view) const;
  int horizon(const View& view, int n_submitted) const;

  AutoBounds bounds_;
  std::unique_ptr<PairProfile> own_profile_;  ///< where the caller gave none.
  PairProfile* profile_;
  CostModel costs_;
  AcceptanceModel acceptance_;
  SourceAgreement agreement_;
  TextGate gate_;
  ScheduleChoice schedule_choice_;
  int width_;
  NodeRef awaited_;                 ///< the target waits for what the draft says after it.
  Pos root_ = -1;                   ///< position of the root at the last verification.
  std::int64_t pass_begin_us_ = 0;  ///< of the last draft pass.
  double step_us_ = 0.0;            ///< of the last verification.
  int n_pass_tokens_ = 0;           ///< of the last draft pass.
  bool texts_alone_ = false;  ///< the last verification was one of texts, with the draft paused.
  bool plain_step_ = false;   ///< the target decodes one token alone, to time it.
};

}  // namespace specbranch
