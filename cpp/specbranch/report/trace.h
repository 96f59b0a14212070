/// The trace of one generation: the commands of each model, and the outcome of each round.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/messages.h"

namespace specbranch {

class Progress;

/// One command on one model.
struct TraceSpan {
  enum class Kind : std::uint8_t { kPrefill, kVerify, kDraft };
  enum class End : std::uint8_t { kDone, kAborted, kFailed };
  /// The outcome of a verification.
  struct Applied {
    int n_accepted = 0;        ///< tokens of the path that were accepted.
    bool branch_hit = false;   ///< the token after them was on a branch.
    bool branch_miss = false;  ///< it was not, although branches stood there: the draft began anew.
  };
  ModelRole role = ModelRole::kTarget;
  Kind kind = Kind::kVerify;
  End end = End::kDone;
  std::int64_t begin_us = 0;  ///< since the generation began.
  std::int64_t end_us = 0;
  int n_tokens = 0;    ///< decoded tokens: of the prompt, the verified path, or all branches.
  int n_padding = 0;   ///< dummy tokens that a verification decoded besides.
  int n_branches = 0;  ///< branches that a draft pass extended.
  std::optional<Applied> applied;  ///< empty: the verification was not applied.
};

/// What the draft proposed at one place, and what was right there.
struct DraftRecord {
  std::vector<float> confidences;  ///< of its candidates, best first; empty: not known.
  int hit_rank = -1;               ///< index of the right one; negative: none of them.

  bool operator==(const DraftRecord&) const = default;
};

/// One verification as it was applied.
struct TraceRound {
  std::int64_t at_us = 0;          ///< since the generation began.
  int n_accepted = 0;              ///< tokens of the verified path that were accepted.
  std::vector<Token> committed;    ///< all that was committed, the target's own token included.
  std::vector<Token> rolled_back;  ///< drafted tokens of the main path that were dropped.
  bool branch_hit = false;         ///< the last committed token was on a branch.
  bool branch_miss = false;        ///< tokens were drafted at its place, but not this one.

  // What was known when the round's verification was submitted. What became of the window is told
  // by the text that follows: `committed` of this round and of the next ones.
  Pos pos = 0;                    ///< of the last committed token; the window begins after it.
  int n_submitted = 0;            ///< drafted tokens that were verified: the window's first ones.
  std::vector<Token> window;      ///< all that was drafted on the main path by then.
  std::vector<float> confidence;  ///< the draft's, for each token of the window.
  /// `Verification::features` of the verification before, which chose the token at `pos`. Empty
  /// unless the request asked for them, and in the first round, which no verification precedes.
  std::vector<float> features;
  /// What the draft had proposed for each of `committed`, as far as it was known by then.
  std::vector<DraftRecord> proposals;
};

struct Trace {
  std::vector<TraceSpan> spans;
  std::vector<TraceRound> rounds;
  /// When the generation began, by `now_us`: so traces can be laid side by side. 0: it has not.
  std::int64_t begin_us = 0;
};

/// Turns commands, their answers and the decoder's rounds into a trace; takes its time from them.
///
/// *Lifecycle:* `sent` for every command, `ended` for its answer once the decoder has seen it, then
/// `take`. *Thread safety:* none.
class TraceRecorder {
 public:
  /// All times of the trace count from `begin_us`. `live`, if any, is told everything at once.
  explicit TraceRecorder(std::int64_t begin_us, std::shared_ptr<Progress> live = nullptr);

  void sent(ModelRole role, const Command& command);

  /// `rounds`: all that the decoder has applied so far; those since the last call happened now.
  void ended(const Event& event, std::span<TraceRound> rounds, std::int64_t now_us);

  Trace take(std::vector<TraceRound> rounds);

 private:
  std::shared_ptr<Progress> live_;
  TraceSpan running_[2];                   ///< by role.
  std::optional<std::size_t> unanswered_;  ///< the newest verification, if it is not applied yet.
  std::size_t n_rounds_ = 0;
  Trace trace_;
};

}  // namespace specbranch
