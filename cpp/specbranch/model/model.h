/// The two models as the core sees them. Implementations: llama.cpp, the programmable fake.
///
/// A model serves sessions. A session is the model's part in one generation: `open`, then `prefill`
/// chunk by chunk until all of the prompt but its last token is decoded, then passes, then `close`.
///
/// *Thread safety:* a model is confined to the thread of its worker; only `request_abort` and
/// `clear_abort` may be called from another one.
/// *Preconditions* are stated with sizes and positions by the caller and checked by the model:
/// breaking one throws PreconditionError and changes nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/forced_run.h"
#include "specbranch/model/options.h"
#include "specbranch/model/token_score.h"
#include "specbranch/sampling/choice.h"

namespace specbranch {

/// What a model can take back of what it has decoded.
enum class Rollback : std::uint8_t {
  kNothing,    ///< of a target: only autoregressive decoding works.
  kLastBatch,  ///< of a target: rows of the last `verify` but its first, once; or all of a
               ///< sequence.
  /// A sequence is copied or dropped as a whole, and a pass that ends early loses those that it was
  /// to extend: recurrent and hybrid models.
  kCopies,
  kAnywhere,  ///< a sequence is cut to any length, and a copy shares the cells.
};

struct Capabilities {
  int n_vocab = 0;
  Pos n_ctx = 0;        ///< positions that a text may have, reserve for branches not counted.
  int n_seq = 1;        ///< sequence ids that may be used, 0 .. n_seq-1; see `spare_of`.
  int max_batch = 512;  ///< maximum rows of one `verify`, padding included.
  Rollback rollback = Rollback::kAnywhere;
  /// Of the sequences of a batch only those are computed at once whose ids follow each other, where
  /// a batch is computed in parts (see `batch_parts`).
  bool splits_at_gaps = false;
  bool pads = true;  ///< `verify` takes padding tokens.
  /// Target: the maximum of `Request::n_feature_layers`; 0: no features.
  int n_feature_layers = 0;
  int n_embd = 0;      ///< width of such an input.
  int n_adapters = 0;  ///< of a target: adapters that were loaded with it.
  /// Tokens of one `prefill` at most. Chunks end at multiples of this, wherever they begin, so that
  /// a reused prefix leads to the same batches.
  int prefill_chunk = 128;
  /// Positions that all texts at once may have; at least `n_ctx`. 0: `n_ctx` for each sequence.
  Pos n_ctx_total = 0;
  /// Target: branches that one verification may have beside its path (see `Segment`); 0: none. Only
  /// with Rollback::kAnywhere.
  int n_branches = 0;
  /// A device beside the CPU computes it: kernels are compiled or loaded when a step first needs
  /// them, so that the first step of a length says nothing of the next ones.
  bool warms_up = false;

  /// Drafted tokens can be verified: those that are rejected can be taken back.
  bool can_roll_back() const { return rollback != Rollback::kNothing; }

  /// Of a target with Rollback::kCopies: the sequence beside `seq` that its session may copy to.
  SeqId spare_of(SeqId seq) const { return n_seq + seq; }
};

/// Copy the cells [shared, length) of `from` to `to`.
/// Before: `to` holds exactly `shared` or more cells of which the first `shared` equal `from`'s;
/// its cells from `shared` on are dropped. `from` holds at least `length`. After: `to` holds
/// `length`. Where only whole sequences can be copied, `length` is all of `from`, and `shared` all
/// of `to` or 0.
struct Fork {
  SeqId from = 0;
  SeqId to = 0;
  Pos shared = 0;     ///< longest common prefix of the two paths, at most `length`.
  Pos to_length = 0;  ///< what `to` holds before.
  Pos length = 0;     ///< what `to` holds afterwards; `from` holds at least this.
};

/// Drop the cells of `seq` from `length` on. Before: it holds exactly `expected` (>= length). See
/// `Rollback`.
struct Truncate {
  SeqId seq = 0;
  Pos expected = 0;
  Pos length = 0;
};

/// Tokens to append to one sequence of the draft. The draft returns candidates after the last one.
struct SequenceInput {
  NodeId node = kNoNode;  ///< whose candidates these are; opaque to the model.
  SeqId seq = 0;
  Pos pos = 0;                ///< position of the first of `tokens`; what `seq` holds before.
  std::vector<Token> tokens;  ///< at least one.
  GenerationId generation_id = 0;
};

/// A token of a batch of the target.
struct Row {
  static constexpr int kBefore = -1;

  Token token = 0;
  /// The target chooses a token after it. False: the text has this token's successor already, so
  /// that only its cell is missing.
  bool wanted = true;
  /// The index of the row that this one follows; kBefore: it follows the row before it, and the
  /// first one the text. Any other row begins a branch.
  int parent = kBefore;
};

/// The rows of one session in a batch of the target: first those whose choice is not wanted, then
/// [last committed token, drafted tokens ...]. This is the path. Branches may follow (see
/// row_tree.h), of which the sequence holds nothing afterwards.
struct Segment {
  GenerationId generation_id = 0;
  SeqId seq = 0;
  Pos pos = 0;  ///< position of the first row; what `seq` holds before.
  std::vector<Row> rows;
};

/// Rows that are all wanted, each after the one before.
inline std::vector<Row> path_rows(std::span<const Token> path) {
  std::vector<Row> rows;
  rows.reserve(path.size());
  for (const Token token : path) rows.push_back({token});
  return rows;
}

/// A segment whose rows are all wanted.
inline Segment path_segment(GenerationId id, SeqId seq, Pos pos, std::span<const Token> path) {
  return {id, seq, pos, path_rows(path)};
}

/// One token that the target chose.
struct Choice {
  Token token = 0;
  bool end = false;               ///< an end-of-generation token: the text stops before it.
  float logprob = 0.0F;           ///< log-softmax of the logits; only if asked for, else 0.
  std::vector<TokenLogprob> top;  ///< the best alternatives; only if asked for.
};

/// The result of a verification: the target's choices down the rows, in order, up to the first
/// choice that no row follows with.
struct Verification {
  std::vector<Choice> choices;
  /// The text ends after the last choice: the grammar or the caller's functions allow no token, or
  /// a function ends it.
  bool exhausted = false;
  /// [K][n_embd]: the inputs of the last K layers, the deepest last, at the position whose scores
  /// gave the last choice; then [n_embd]: the embedding of that choice, which no layer has seen.
  /// Empty unless `Request::n_feature_layers` = K > 0 asked for it, and without a choice.
  std::vector<float> features;
  /// What the samplers remember after the last choice; empty: nothing. GCC warns without the
  /// initializer.
  std::optional<SamplerState> sampler_state = {};  // NOLINT(readability-redundant-member-init)
  /// What failed at the position after the last choice: a function of the caller; or logits or the
  /// grammar, after which the sequence is as before the batch. The text fails if it gets there.
  std::exception_ptr error = {};  // NOLINT(readability-redundant-member-init)
  /// What the rule of the text says of the tokens after the last choice.
  ForcedRun forced = {};  // NOLINT(readability-redundant-member-init)
};

/// What a verification gave for one segment.
struct SegmentResult {
  GenerationId generation_id = 0;
  Verification verification;
  /// This segment failed before its first choice, and the others did not: its sequence is as before
  /// the batch.
  std::exception_ptr error;
  std::int64_t waited_us = 0;  ///< for functions of the caller (`Request::processors`).
};

class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  virtual Capabilities capabilities() const = 0;

  /// Opens a session for `request` on the sequences `seqs`, at least one; one that is open begins
  /// anew. Afterwards the first sequence holds the longest prefix of prompt[0 .. n-1) that it may
  /// reuse, and every other one what it may keep of its common prefix with these tokens, so that no
  /// fork copies this prefix again; see `length`. Decodes nothing. Returns how many tokens the
  /// first one reuses.
  virtual int open(GenerationId id, const std::shared_ptr<const Request>& request,
                   std::span<const SeqId> seqs) = 0;

  /// Decodes the tokens [begin, end) of the prompt: one chunk. Before: the session's first sequence
  /// holds exactly `begin`. After Aborted or DecodeError it holds `begin` again, or nothing if the
  /// model cannot roll back.
  virtual void prefill(GenerationId id, Pos begin, Pos end) = 0;

  /// Ends a session, if it is open. Its cells stay, for the next one to reuse, unless `forget`.
  virtual void close(GenerationId id, bool forget) = 0;

  /// Cells that `seq` holds.
  virtual Pos length(SeqId seq) const = 0;

  virtual void truncate(const Truncate& op) = 0;

  virtual void fork(const Fork& op) = 0;

  /// Asks a running `prefill` or forward to stop with Aborted, soon. Any thread.
  void request_abort() noexcept { abort_.store(true, std::memory_order_relaxed); }
  void clear_abort() noexcept { abort_.store(false, std::memory_order_relaxed); }

 protected:
  Model() = default;
  bool abort_requested() const noexcept { return abort_.load(std::memory_order_relaxed); }

  std::atomic<bool> abort_{false};
};

/// The model whose text is wanted. Each session has one sequence; with Rollback::kCopies also the
/// spare one beside it.
class TargetModel : public Model {
 public:
  /// Decodes the rows of all `segments`, each at its own positions, in one forward pass. No session
  /// may appear twice, and a segment with branches is the only one. Returns a result for each, in
  /// their order.
  /// Before: every sequence holds exactly its segment's `pos`. After: also the rows of its path.
  /// Choices are computed in order and stop at the first that no row follows with, or that ends the
  /// text; the sampler's state advances with them. After Aborted or DecodeError every sequence is
  /// as before, or empty if the model cannot roll back. It asks the functions of the caller
  /// (`Request::processors`) before each choice; an abort ends this wait, too.
  /// `n_pad` dummy tokens make the batch longer where that is faster; they leave no trace.
  /// All rows + n_pad <= max_batch.
  virtual std::vector<SegmentResult> verify(std::span<const Segment> segments, int n_pad) = 0;

  /// The scores of the tokens after those that `prefill` has decoded since the last call, in order,
  /// if the request asks for them (`Request::prompt_logprobs`); `open` then reuses nothing. A model
  /// without probabilities has none.
  virtual std::vector<TokenScore> take_prompt_scores(GenerationId /*id*/) { return {}; }

  /// Tokens of the prompt that `prefill` has not decoded since the last call, because another
  /// session had their cells.
  virtual int take_shared(GenerationId /*id*/) { return 0; }

  /// What the rule of an open session says of the tokens after its prompt; later see
  /// `Verification::forced`. Nothing where it has no rule.
  virtual ForcedRun forced(GenerationId /*id*/) { return {}; }
};

/// The model that drafts.
class DraftModel : public Model {
 public:
  /// Appends every input to its sequence, in one forward pass if the batch size allows. Returns the
  /// best candidates after each input, in order of inputs. No sequence may appear twice. After
  /// Aborted or DecodeError every sequence is as before the call; but where only whole sequences
  /// can be dropped, those of `inputs` are empty. `ranks`: of the candidates after each input, or
  /// one for all.
  virtual std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> inputs,
                                                    std::span<const RankOptions> ranks) = 0;

  /// With one `rank` for all.
  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> inputs,
                                            const RankOptions& rank) {
    return draft(inputs, std::span(&rank, 1));
  }
};

/// Called once, on the worker's thread, which then owns the model.
template <class M>
using ModelFactory = std::function<std::unique_ptr<M>()>;

}  // namespace specbranch
