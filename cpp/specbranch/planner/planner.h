/// Planners decide what the draft expands and what the target verifies; one small class per mode.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/options.h"
#include "specbranch/model/policy.h"
#include "specbranch/report/profile.h"
#include "specbranch/tree/tree.h"

namespace specbranch {

/// What a planner sees. References hold during the call.
struct View {
  const SpeculationTree& tree;
  bool target_idle = true;
  bool draft_idle = true;
  bool draft_usable = true;    ///< false: the draft cannot follow this text (vocabulary, context).
  NodeId submitted = kNoNode;  ///< end of the path under verification; kNoNode: none.
  /// Nodes that the draft evaluates now, one sequence each. GCC warns without the initializer.
  std::span<const NodeId> evaluating = {};  // NOLINT(readability-redundant-member-init)
  int max_depth = 0;        ///< deepest useful node: more cannot be committed or drafted.
  int max_path = 0;         ///< drafted tokens that one verification takes at most.
  int free_seqs = 0;        ///< sequences that no live node uses.
  int n_seqs = 0;           ///< sequences of the draft in all.
  std::int64_t now_us = 0;  ///< when the newest event happened; a clock that only events move.
};

/// One step that a model has finished.
struct StepTime {
  ModelRole role = ModelRole::kTarget;
  int n_tokens = 0;  ///< tokens of the batch, padding included.
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
  double overlap = 0.0;  ///< share of the time in which the other model was at work, 0 to 1.
};

/// What to start now; only for a model that is idle. Children that are named here and not yet in
/// the tree join it, those of `grow` first, then that of `submit`, then those of `evaluate`. Their
/// parents must be evaluated and have such a candidate.
struct Decision {
  /// The draft finds the tokens after each of these, one sequence each.
  std::vector<NodeRef> evaluate;
  NodeRef submit;  ///< the target verifies the path from the root to here.
  int n_pad = 0;   ///< dummy tokens that join the verification, where a longer batch is cheaper.
  /// Drafted tokens that need no evaluation yet. GCC warns without the initializer.
  std::vector<NodeRef> grow = {};  // NOLINT(readability-redundant-member-init)
};

/// *Contract:* deterministic; looks at nothing but what it is told and its own state.
class Planner {
 public:
  virtual ~Planner() = default;

  /// Asked after every event while a model is idle.
  virtual Decision next(const View& view) = 0;

  /// Verifications wait for the end of a round: `next` is asked before `may_apply`, so that what
  /// could start has started. Without it a verification is applied at once.
  virtual bool lock_step() const { return false; }

  /// Lock-step only. A verification is waiting while the draft may still be at work: may it be
  /// applied now?
  virtual bool may_apply(const View& /*view*/) { return true; }

  /// Give the draft the text (again asked after every event while it does not have it).
  virtual bool wants_draft(const View& /*view*/) { return true; }

  /// A draft pass of which no sequence is left in the tree is cut short.
  virtual bool cancels_draft() const { return false; }

  /// Candidates wanted after each evaluated node.
  virtual int width() const = 0;

  /// A verification or a draft pass has ended.
  virtual void on_step(const StepTime& /*step*/) {}

  /// A verification with features (see `Verification::features`) has arrived; it is applied later.
  virtual void on_features(std::span<const float> /*features*/) {}

  /// The caller's policy is to be asked before `next` is asked again. Only if the request has one.
  virtual bool wants_plan(const View& /*view*/) const { return false; }

  /// Its answer, which is within `plan_limits`; none: it could not be asked.
  virtual void on_plan(const std::optional<Plan>& /*plan*/) {}

  /// What became of the path that a verification was about. Comes before `on_verification`.
  virtual void on_outcome(const PolicyOutcome& /*outcome*/) {}

  /// The target chose `token` after `parent`, which is still in the tree. Called in order for every
  /// choice of a verification, before the tree changes.
  virtual void on_choice(const View& /*view*/, NodeId /*parent*/, Token /*token*/) {}

  /// A verification was applied: the tree is rooted at the newest token. `hit`: that token was a
  /// node.
  virtual void on_verification(const View& view, bool hit) = 0;

  /// Why it decodes as it does, for the user; empty: nothing to say.
  virtual std::string mode_reason() const { return {}; }
};

/// The planner of `request.mode`. `profile`: what is known of the pair, which `auto` uses and
/// refines while it lives; null: nothing is known, nothing is kept.
std::unique_ptr<Planner> make_planner(const Request& request, PairProfile* profile = nullptr);

}  // namespace specbranch
