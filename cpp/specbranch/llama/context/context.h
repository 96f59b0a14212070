/// One llama.cpp context with checked sequence bookkeeping.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "specbranch/llama/context/hashed_tokens.h"
#include "specbranch/llama/context/sequence_copy.h"
#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/runtime/handles.h"
#include "specbranch/model/model.h"

namespace specbranch::llama {

/// What a context must have room for.
struct ContextShape {
  int n_seq = 1;      ///< sequence ids, 0 to n_seq-1; at most `max_sequences`.
  Pos n_cells = 0;    ///< cells of the KV cache, shared by all ids; rounded up to 256.
  int n_outputs = 1;  ///< rows of logits of one `decode` at most; they cost n_vocab floats each.
  /// Recurrent and hybrid models: tokens of the last `decode` that may be taken back, at most. Each
  /// costs a copy of the recurrent state.
  int n_rollback = 0;
  /// The first so many sequences hold texts that are cut, continued or shared later. Where layers
  /// have a sliding window, llama.cpp would give cells behind it to other sequences, although
  /// `swa_full` has room for all; so each of these sequences takes a second id, its guard's.
  int n_texts = 0;
};

/// One token to decode.
struct BatchToken {
  Token token = 0;
  SeqId seq = 0;
  Pos pos = 0;                ///< the next position of `seq`.
  bool wants_logits = false;  ///< its logits are wanted.
  /// Sequences that get the same cell. Each holds the same tokens as `seq`. Not in a recurrent or
  /// hybrid model, nor where only windows are kept. GCC warns without the initializer.
  std::span<const SeqId> also = {};  // NOLINT(readability-redundant-member-init)
};

/// Positions that a text may have: what the options ask for, else what the model was trained with.
/// At most those that the model has learned a vector for.
Pos context_length(const ModelFile& file, const ModelOptions& options);
Pos context_length(const Weights& weights, const ModelOptions& options);

/// Positions that `n_texts` texts at once may have. Throws InvalidArgument for a total that is less
/// than one text may have.
Pos total_length(const Weights& weights, const ModelOptions& options, int n_texts);

/// Positions of which layers with a sliding window keep cells, where they keep no others; 0: all
/// layers keep all cells.
Pos kept_window(const Weights& weights, const ModelOptions& options);

/// The KV cache and the forward pass of one model.
///
/// It knows the tokens that each sequence id holds, so that whatever llama.cpp would get wrong
/// silently (facts about its cache: stale tails, repeated positions) is refused here. Every broken
/// precondition throws PreconditionError and changes nothing.
///
/// *Thread safety:* confined to the thread that created it; `abort` may be set by any.
/// *Lifecycle:* keeps the weights alive. After FatalError nothing but destruction is allowed.
class LlamaContext {
 public:
  /// Pins the calling thread (and so all of the model's threads) to options.cpus, if any.
  /// `abort`: polled during `decode` (on the CPU: every graph node); must outlive this.
  /// Throws ModelLoadError when there is not enough memory, InvalidArgument for the options.
  LlamaContext(std::shared_ptr<const Weights> weights, const ModelOptions& options,
               const ContextShape& shape, const std::atomic<bool>* abort);

  LlamaContext(const LlamaContext&) = delete;
  LlamaContext& operator=(const LlamaContext&) = delete;

  const Weights& weights() const noexcept { return *weights_; }
  const llama_context* get() const noexcept { return context_.get(); }
  int n_seq() const noexcept { return static_cast<int>(contents_.size()); }
  int n_batch() const noexcept { return n_batch_; }
  int n_outputs() const noexcept { return n_outputs_; }
  Pos n_cells() const noexcept { return n_cells_; }
  int n_threads() const noexcept { return n_threads_; }

  /// One forward pass. Throws Aborted; DecodeError (KV cache full, batch refused): after both every
  /// sequence is as before; of a recurrent or hybrid model those of the batch are empty. There a
  /// pass over several sequences beside which others hold tokens ignores an abort. FatalError:
  /// unknown state.
  void decode(std::span<const BatchToken> batch);

  /// The logits after the token at `index` of the last batch, one per token of the vocabulary.
  /// Valid until the next `decode`; may be written to.
  std::span<float> logits(int index);

  /// From the next `decode` on, keep the inputs of the last `n_layers` layers; 0: of none. A change
  /// makes the next `decode` reserve its graph again (5 ms), and the first time takes memory for
  /// n_layers * n_embd floats a token of a batch. At most `Weights::n_feature_layers`.
  void keep_layer_inputs(int n_layers);

  /// The input of a layer, counted from the last (0), at the token `index` of the last batch; one
  /// number for each of the model's dimensions. Valid until the next `decode`.
  std::span<const float> layer_input(int layer_from_end, int index) const;

  /// From the next `decode` on, these adapters of the weights act. A change makes that `decode`
  /// reserve its graph again: 5 ms on the CPU, and devices also allocate their buffers anew. Cells
  /// keep what they were computed with.
  void use_adapters(const AdapterSet& adapters);

  Pos length(SeqId seq) const { return static_cast<Pos>(held(seq).size()); }

  /// The tokens that `seq` holds. Valid until the next change.
  std::span<const Token> content(SeqId seq) const { return held(seq).tokens(); }

  /// The same with the hashes of all prefixes. Valid until the next change.
  const HashedTokens& held(SeqId seq) const;

  /// At most two calls into llama.cpp, each linear in the number of cells (0.43 ns). Our own part
  /// depends on the copied tokens only, not on the shared ones. Of recurrent and hybrid models only
  /// whole sequences: the state itself is copied when one of them is decoded further, where it is
  /// read anyway. Not where only windows are kept.
  void fork(const Fork& op);
  void truncate(const Truncate& op);

  /// `seq` can be cut to `length` tokens, which it holds.
  bool can_truncate(SeqId seq, Pos length) const;

  /// Of a recurrent or hybrid model, or where only windows are kept: what `seq` is without the
  /// cells of its attention layers over the whole text, as bytes in host memory; tens of megabytes
  /// for a large model. Throws DecodeError.
  std::vector<std::uint8_t> save_state(SeqId seq);

  /// A copy of another sequence can be cut back to a saved state: false where llama.cpp cannot copy
  /// a part of a sequence (DeepSeek V4). There it would leave wrong cells without a word.
  bool can_restore_copies() const;

  /// Cuts `seq` to its first `length` tokens, whose state `state` is. Throws FatalError.
  void restore_state(SeqId seq, Pos length, std::span<const std::uint8_t> state);

  /// Bytes of a copy of all that `seq` holds.
  std::size_t copy_bytes(SeqId seq);

  /// A copy of all that `seq` holds, cells and states, in host memory. Throws DecodeError.
  SequenceCopy copy_out(SeqId seq);

  /// `seq`, which is empty, gets what `copy` holds, bit by bit. Its cells keep their order, and its
  /// last batch cannot be taken back. Of layers with a sliding window, llama.cpp copies the last
  /// window only: `seq` cannot be cut to fewer tokens than the copy has. False: there are too few
  /// free cells. Throws FatalError.
  bool copy_in(SeqId seq, const SequenceCopy& copy);

  /// A prefix of `seq` that others get must be so long: its beginning lacks cells.
  Pos least_prefix(SeqId seq) const { return least_prefix_[static_cast<std::size_t>(seq)]; }

  /// Empties every sequence. `data`: overwrites its cells and states, too.
  void clear(bool data = false);

  /// Tokens of the last `decode` that can be taken back: of a recurrent or hybrid model as many as
  /// its architecture allows, of any other all that there are.
  int max_rollback() const noexcept { return max_rollback_; }

  /// Layers with a sliding window keep about so many cells of a sequence; 0: all layers keep all.
  Pos window() const noexcept { return window_; }

  /// Calls that changed the KV cache, other than `decode`. For tests of the cost.
  std::int64_t n_memory_calls() const noexcept { return n_memory_calls_; }
  std::int64_t n_decodes() const noexcept { return n_decodes_; }

 private:
  void check_batch(std::span<const BatchToken> batch) const;
  void check_shared(SeqId seq, SeqId other, std::span<const Pos> next,
                    std::span<const std::size_t> last) const;
  void check_seq(SeqId seq, const char* where) const;
  void check_rollback(const Truncate& op) const;
  bool has_states() const { return is_recurrent_ || window_ > 0; }
  bool may_stop(std::span<const BatchToken> batch) const;
  /// Removes the cells of `seq` from `from` on; false when llama.cpp cannot.
  bool remove(SeqId seq, Pos from);
  bool is_guarded(SeqId seq) const { return seq < n_guarded_; }
  static SeqId guard_of(SeqId seq);
  /// Of a copy of so many tokens: one that is no longer than the window has all cells.
  Pos least_prefix_of(Pos length) const {
    const Pos window = weights_->window();
    return window > 0 && length > window ? length : 0;
  }
  /// Gives the cells of `from` to `to`, and to its guard.
  void copy(SeqId from, SeqId to, Pos begin, Pos end);
  void restore(std::span<const BatchToken> batch);
  [[noreturn]] void fail(int code, std::span<const BatchToken> batch, const std::string& reason);

  /// What llama.cpp asks for during a pass.
  struct StopSign {
    const std::atomic<bool>* abort;
    bool ignored = false;  ///< by the pass that runs.
  };
  static bool is_stopped(void* sign) noexcept;

  std::shared_ptr<const Weights> weights_;
  StopSign stop_;
  ContextHandle context_;
  std::vector<HashedTokens> contents_;
  AdapterSet adapters_;        ///< of the next batch.
  bool is_recurrent_ = false;  ///< or hybrid.
  Pos window_ = 0;
  int max_rollback_ = 0;
  /// By sequence: its length before the last decode. Of a recurrent model, llama.cpp keeps
  /// snapshots of that decode only, and gives a wrong state silently for anything else. Where only
  /// windows are kept, every decode drops what its first token does not look back to.
  std::vector<Pos> last_begin_;
  std::vector<bool> rolled_back_;  ///< since the last decode: no snapshot is left.
  /// By sequence: it came from a copy of so many tokens, with the last window of some layers only.
  std::vector<Pos> least_prefix_;
  /// The cells of the first so many sequences have a second id, their guard's: llama.cpp takes only
  /// cells away that have a single one.
  int n_guarded_ = 0;
  int n_batch_ = 0;
  int n_ubatch_ = 0;
  int n_outputs_ = 0;
  int n_threads_ = 0;
  int n_kept_layers_ = 0;     ///< whose inputs the next batch will keep.
  int n_decoded_layers_ = 0;  ///< whose inputs the last batch has kept.
  Pos n_cells_ = 0;
  std::int64_t n_memory_calls_ = 0;
  std::int64_t n_decodes_ = 0;

  // The arrays of a llama_batch, kept to save allocations.
  std::vector<Token> batch_tokens_;
  std::vector<Pos> batch_positions_;
  std::vector<std::int32_t> batch_n_seqs_;
  std::vector<SeqId> batch_seqs_;
  std::vector<SeqId*> batch_seq_pointers_;
  std::vector<std::int8_t> batch_outputs_;
};

}  // namespace specbranch::llama
