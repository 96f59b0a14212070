/// Messages between the decoder and the workers: commands and events. No logits cross threads.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/model.h"
#include "specbranch/model/options.h"
#include "specbranch/model/policy.h"

namespace specbranch {

/// Opens a session; the first command of a generation to a model.
struct OpenCommand {
  std::shared_ptr<const Request> request;
  std::vector<SeqId> seqs = {0};
};

/// Decodes a chunk of the prompt, [begin, end).
struct PrefillCommand {
  Pos begin = 0;
  Pos end = 0;
};

/// Ends a session. A generation does not wait for it.
struct CloseCommand {
  bool forget = false;  ///< drop the cells, which the next session could reuse.
};

using KvOp = std::variant<Fork, Truncate>;

/// Target: roll back, then verify the segments in one forward pass.
struct VerifyCommand {
  std::vector<KvOp> ops;  ///< in this order, before the pass.
  std::vector<Segment> segments;
  int n_pad = 0;  ///< padding tokens of the batch, which leave no cells.

  /// Tokens that are decoded, padding included.
  int n_tokens() const {
    int n = n_pad;
    for (const Segment& segment : segments) n += static_cast<int>(segment.rows.size());
    return n;
  }
};

/// Draft: fork and cut sequences, then decode the inputs of all sequences in one forward pass.
struct DraftCommand {
  std::vector<KvOp> ops;  ///< in this order, before the pass.
  std::vector<SequenceInput> inputs;
  RankOptions rank;                ///< of the candidates after each input.
  std::vector<RankOptions> ranks;  ///< by input, where they differ; empty: `rank` for all.

  /// Tokens of all inputs.
  int n_tokens() const {
    int n = 0;
    for (const SequenceInput& input : inputs) n += static_cast<int>(input.tokens.size());
    return n;
  }
};

struct Command {
  GenerationId generation_id = 0;
  std::variant<OpenCommand, PrefillCommand, VerifyCommand, DraftCommand, CloseCommand> body;
};

/// The session is open.
struct OpenDone {
  int n_reused = 0;  ///< tokens of the prompt that need no prefill.
  /// Cells of each of its sequences: prefixes of the prompt.
  std::vector<Pos> lengths;
  /// Of the target: `TargetModel::forced`.
  ForcedRun forced = {};  // NOLINT(readability-redundant-member-init): GCC warns
};

struct PrefillDone {
  Pos length = 0;  ///< what the sequence holds now.
  /// Of the target: `take_prompt_scores`. GCC warns without the initializer.
  std::vector<TokenScore> scores = {};  // NOLINT(readability-redundant-member-init)
  int n_shared = 0;                     ///< of the target: `take_shared`.
};

struct CloseDone {};

/// A result for each segment, in the order of the command's segments.
struct VerifyDone {
  std::vector<SegmentResult> results;
};

/// Candidates for each input, in the order of the command's inputs.
struct DraftDone {
  std::vector<std::vector<Candidate>> candidates;
};

/// The command was aborted on request. The model's sequences are as before the command, or empty if
/// the model cannot roll back.
struct AbortDone {};

/// The command failed. The model's sequences are as after an abort, unless the error is fatal.
struct FailDone {
  std::exception_ptr error;
};

/// The answer of the caller's policy to `Commands::ask_policy`. Events of models may come before
/// it.
struct PolicyReply {
  std::optional<Plan> plan;  ///< empty: no reader waited, so the built-in rule plans this round.
  std::exception_ptr error;  ///< the policy raised it; the generation fails.
};

using EventBody = std::variant<OpenDone, PrefillDone, VerifyDone, DraftDone, CloseDone, AbortDone,
                               FailDone, PolicyReply>;

/// The answer to one command, in the order of the commands. Or a policy's answer, which has no
/// role.
struct Event {
  ModelRole role = ModelRole::kTarget;
  GenerationId generation_id = 0;
  EventBody body;
  std::int64_t begin_us = 0;  ///< when the model began the work, on the steady clock.
  std::int64_t end_us = 0;    ///< when the model ended the work.
  /// The first part of the work: forks and cuts of the KV cache, before the forward pass.
  std::int64_t ops_us = 0;
  /// That the target waited for functions of the caller. `end_us` does not count it.
  std::int64_t waited_us = 0;
  /// Tokens of the whole batch, where it was one for several generations; 0: it was not.
  int n_batch_tokens = 0;
  int n_batch_pad = 0;    ///< padding tokens beside them.
  int n_batch_texts = 0;  ///< those generations.
  /// The parts in which the model computed that batch, one after the other (`batch_parts`). More
  /// than one only with Rollback::kCopies.
  int n_batch_parts = 1;
  /// The share of the time in which the other model was at work, 0 to 1, where the engine knows it:
  /// a text does not see the passes of others.
  std::optional<double> overlap = {};  // NOLINT(readability-redundant-member-init): GCC warns
};

}  // namespace specbranch
