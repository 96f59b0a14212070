/// A planner decides which nodes the draft evaluates and which ones the target verifies.
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

/// The state that a planner sees. References are valid during the call.
struct View {
  const SpeculationTree& tree;
  bool target_idle = true;
  bool target_open = true;  ///< false: it is not known yet which part of the prompt it holds.
  bool draft_idle = true;
  bool draft_usable = true;    ///< false, and for good: the draft cannot follow, or has failed.
  bool draft_reads = false;    ///< the draft is busy with the text, before it drafts anything.
  NodeId submitted = kNoNode;  ///< end of the path under verification; kNoNode: none.
  /// Nodes that the draft evaluates now. GCC warns without the initializer.
  std::span<const NodeId> evaluating = {};  // NOLINT(readability-redundant-member-init)
  int max_depth = 0;     ///< depth of the deepest node that can still be committed and drafted.
  int max_path = 0;      ///< maximum drafted tokens of one verification.
  int n_replayed = 0;    ///< rows of the next verification that decode the text again.
  bool replays = false;  ///< after a rejection the accepted tokens are decoded again.
  bool pads = true;      ///< a verification may have padding tokens.
  int n_branches = 0;    ///< branches that a verification may have beside its path.
  /// Tokens of the text that no sequence of the draft holds. Before it begins, it is at most so
  /// many, and those are left out that the target has yet to read, too.
  int n_unread = 0;
  int free_seqs = 0;        ///< sequences of the draft that further branches may take.
  int n_seqs = 0;           ///< all sequences of the draft.
  std::int64_t now_us = 0;  ///< the time of the newest event.
};

/// The time of one finished step of a model.
struct StepTime {
  ModelRole role = ModelRole::kTarget;
  int n_tokens = 0;  ///< tokens of the batch for this text, padding included.
  int n_extra = 0;   ///< tokens among them that only bring a sequence up to the text.
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
  double overlap = 0.0;  ///< share of the time in which the other model was busy, 0 to 1.
  int n_others = 0;      ///< tokens of other texts in the same batch.
  int n_texts = 1;       ///< texts in the batch.
  int n_parts = 1;       ///< see `Event::n_batch_parts`.
  int n_pad = 0;         ///< padding tokens of a batch of several texts.
};

/// What to start now; only for a model that is idle. Children that are named here and not yet in
/// the tree join it, those of `grow` first, then that of `submit`, then those of `evaluate`. Their
/// parents must be evaluated and have such a candidate.
struct Decision {
  /// The draft evaluates each of these nodes in a sequence of its own.
  std::vector<NodeRef> evaluate;
  NodeRef submit;  ///< the target verifies the path from the root to here.
  /// The same verification is also of the paths to these nodes, which leave the one to `submit`:
  /// at most `View::n_branches`, each within `View::max_path` tokens, as are all rows together.
  /// They join the tree after `submit`. GCC warns without the initializer.
  std::vector<NodeRef> branches = {};  // NOLINT(readability-redundant-member-init)
  int n_pad = 0;  ///< padding tokens of the verification, where a longer batch is faster.
  /// Where several texts share a batch, `submit` is an offer: the engine verifies as much of the
  /// path as is worth its price beside the others. Of each of its drafted tokens, the probability
  /// that it becomes text; they do not increase. None: the verification is as it is.
  std::optional<std::vector<double>> offered = {};  // NOLINT(readability-redundant-member-init)
  /// Drafted tokens that need no evaluation yet. GCC warns without the initializer.
  std::vector<NodeRef> grow = {};  // NOLINT(readability-redundant-member-init)
};

/// *Contract:* deterministic; looks at nothing but what it is told and its own state.
class Planner {
 public:
  virtual ~Planner() = default;

  /// Asked after every event while a model is idle.
  virtual Decision next(const View& view) = 0;

  /// A verification waits for the end of its round: `next` is called before `may_apply`. Otherwise
  /// the decoder applies a verification at once.
  virtual bool lock_step() const { return false; }

  /// Lock-step only: the pending verification may be applied now. The draft may still be busy.
  virtual bool may_apply(const View& /*view*/) { return true; }

  /// The end of the most probable path, from which texts may go on; kNoNode: nowhere. The child of
  /// `rank` joins the tree.
  virtual NodeRef text_tip(const View& /*view*/) { return {}; }

  /// The draft needs the text. Called after every event until the draft has the text.
  virtual bool wants_draft(const View& /*view*/) { return true; }

  /// The decoder aborts a draft pass if none of its nodes is left in the tree.
  virtual bool cancels_draft() const { return false; }

  /// Candidates wanted after each evaluated node.
  virtual int width() const = 0;

  /// How the draft ranks the candidates after a node.
  virtual RankOptions rank_options() const { return width(); }

  /// A verification or a draft pass has ended.
  virtual void on_step(const StepTime& /*step*/) {}

  /// A verification with features (see `Verification::features`) has arrived, but is not applied.
  virtual void on_features(std::span<const float> /*features*/) {}

  /// The caller's policy must answer before `next` is called. Only if the request has a policy.
  virtual bool wants_plan(const View& /*view*/) const { return false; }

  /// The policy's plan, which is within `plan_limits`; empty: no reader waited.
  virtual void on_plan(const std::optional<Plan>& /*plan*/) {}

  /// The outcome of a verified path. Comes before `on_verification`.
  virtual void on_outcome(const PolicyOutcome& /*outcome*/) {}

  /// The target chose `token` after `parent`, which is still in the tree. Called in order for every
  /// choice of a verification, before the tree changes.
  virtual void on_choice(const View& /*view*/, NodeId /*parent*/, Token /*token*/) {}

  /// A verification was applied: the tree is rooted at the newest token. `hit`: that token was a
  /// node.
  virtual void on_verification(const View& view, bool hit) = 0;

  /// The reason for the schedule, for the user; empty: no reason.
  virtual std::string mode_reason() const { return {}; }
};

/// Makes the planner of `request.mode`. `profile`: the profile of the pair, which outlives the
/// planner; every mode refines its costs, `auto` uses it. Null: no profile. `has_draft`: there is a
/// draft model.
std::unique_ptr<Planner> make_planner(const Request& request, PairProfile* profile = nullptr,
                                      bool has_draft = true);

}  // namespace specbranch
