/// What the decoder tells the workers, and what they answer. Plain data; no logits cross threads.
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

/// Start a generation: prefill the prompt but for its last token.
struct BeginCommand {
  std::shared_ptr<const Request> request;
};

/// Target: optionally roll back, then verify `path` from `pos`.
struct VerifyCommand {
  std::optional<Truncate> truncate;
  Pos pos = 0;
  std::vector<Token> path;
  int n_pad = 0;  ///< dummy tokens that are decoded with it and leave no trace.

  /// Tokens that are decoded, padding included.
  int n_tokens() const { return static_cast<int>(path.size()) + n_pad; }
};

using KvOp = std::variant<Fork, Truncate>;

/// Draft: bring the sequences into place, then one forward pass over all sequences.
struct DraftCommand {
  std::vector<KvOp> ops;  ///< in this order, before the pass.
  std::vector<SequenceInput> inputs;
  int k = 1;  ///< candidates wanted after each sequence.

  /// Tokens that are decoded on all sequences.
  int n_tokens() const {
    int n = 0;
    for (const SequenceInput& input : inputs) n += static_cast<int>(input.tokens.size());
    return n;
  }
};

struct Command {
  GenerationId generation_id = 0;
  std::variant<BeginCommand, VerifyCommand, DraftCommand> body;
};

/// The prompt is in place.
struct BeginDone {
  int n_reused = 0;
};

struct VerifyDone {
  Verification verification;
};

/// Candidates sequence by sequence, in the order of the command's sequences.
struct DraftDone {
  std::vector<std::vector<Candidate>> candidates;
};

/// The command was cut short on request; the model's sequences are as before it.
struct AbortDone {};

/// The command failed; the model's sequences are as before it.
struct FailDone {
  std::exception_ptr error;
};

/// The answer to `Commands::ask`, which may come between those of the models.
struct PolicyReply {
  std::optional<Plan> plan;  ///< none: nobody could be asked; the built-in rule does this round.
  std::exception_ptr error;  ///< the policy failed: so does the generation.
};

/// One answer to one command, in the order of the commands; or a policy's answer, which has no
/// side.
struct Event {
  ModelRole role = ModelRole::kTarget;
  GenerationId generation_id = 0;
  std::variant<BeginDone, VerifyDone, DraftDone, AbortDone, FailDone, PolicyReply> body;
  std::int64_t begin_us = 0;  ///< when the model began and ended the work, on the steady clock; the
  std::int64_t end_us = 0;    ///< decoder never looks at it.
};

}  // namespace specbranch
