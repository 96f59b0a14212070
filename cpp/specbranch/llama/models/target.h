/// The target on llama.cpp.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "specbranch/llama/context/context.h"
#include "specbranch/llama/file/embedding_table.h"
#include "specbranch/llama/models/branch_rows.h"
#include "specbranch/llama/models/prompt_cache.h"
#include "specbranch/llama/models/prompt_checkpoints.h"
#include "specbranch/llama/models/target_session.h"
#include "specbranch/model/kept_texts.h"
#include "specbranch/model/model.h"
#include "specbranch/model/sessions.h"

namespace specbranch::llama {

/// What `open` keeps of the text before.
enum class PrefixReuse : std::uint8_t {
  kExact,  ///< only cells that a fresh prefill would compute in the same batches: equal logits.
  kFast,   ///< the whole common prefix; logits may differ by rounding (0.05), text at near-ties.
  kOff,    ///< nothing.
};

/// Tokens that a recurrent target can take back at most. Each costs a copy of the recurrent state:
/// of a large hybrid model tens of megabytes.
inline constexpr int kMostSnapshots = 7;

struct TargetOptions {
  PrefixReuse prefix_reuse = PrefixReuse::kExact;
  /// Rows of a batch are filled up to a multiple of this with dummy tokens (see RowPadding).
  int row_multiple = 1;
  /// Tokens of one `verify` at most; each costs n_vocab floats. From 64 on, the CPU's matrix
  /// products round differently than for fewer.
  int max_batch = 63;
  int prefill_chunk = 0;  ///< tokens of a prefill batch; 0: 128 on the CPU, else n_ubatch.
  int n_seq = 1;          ///< sessions that may be open at once.
  /// Branches of one verification at most, where the model can have them. Each is a sequence of the
  /// context. Their rows may have other bits than those of a path on a GPU, or with more threads
  /// than one.
  int max_branches = 0;
};

/// What an engine gives as `TargetOptions::max_branches`: more bring little.
inline constexpr int kMostBranches = 4;

/// Runs the batches of all sessions in one context. What belongs to one generation is in its
/// TargetSession.
///
/// *Thread safety:* as Model. *Lifecycle:* construct on the worker's thread; sessions as in Model.
///
/// `verify` also requires that the rows of a segment are those of its text (TargetSession::check):
/// the penalties and the grammar must see the text that the cache holds. The segments of a batch
/// have the same adapters.
class LlamaTarget final : public TargetModel {
 public:
  LlamaTarget(const std::shared_ptr<const Weights>& weights, const ModelOptions& model,
              const TargetOptions& options);

  Capabilities capabilities() const override;
  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override;
  void prefill(GenerationId id, Pos begin, Pos end) override;
  ForcedRun forced(GenerationId id) override;
  void close(GenerationId id, bool forget) override;
  Pos length(SeqId seq) const override;
  void truncate(const Truncate& op) override;
  void fork(const Fork& op) override;
  std::vector<SegmentResult> verify(std::span<const Segment> segments, int n_pad) override;
  std::vector<TokenScore> take_prompt_scores(GenerationId id) override;
  int take_shared(GenerationId id) override;

  const LlamaContext& context() const noexcept { return context_; }
  /// Null: texts are not copied. For tests.
  const PromptCache* cache() const noexcept { return cache_ ? &*cache_ : nullptr; }
  /// The logits of the last `verify` after its row `index`. For tests.
  std::span<const float> logits(int index) { return context_.logits(index); }

 private:
  AdapterSet adapters_of(const Request& request) const;
  void forget_other_adapters(const AdapterSet& adapters, SeqId seq);
  void empty(SeqId seq);
  int keep_prefix(const TargetSession& session);
  int reusable(std::span<const Token> prefill, SeqId seq) const;
  int reusable(std::span<const Token> prefill, Pos n_common, Pos from_prefill) const;
  Pos n_usable(SeqId seq) const;
  SeqId most_like(const TargetSession& session) const;
  SeqId holder(const TargetSession& session, Pos least) const;
  void take_over(SeqId from, SeqId seq, Pos length);
  void cache_texts(const ModelOptions& model);
  std::vector<SeqId> keep_texts(const TargetSession& session, const PromptCache::Text* needed);
  void leave(SeqId seq);
  Pos n_offered(const TargetSession& session) const;
  Pos n_offered(const TargetSession& session, const PromptCache::Text& text) const;
  const PromptCache::Text* find_copy(const TargetSession& session) const;
  void bring_back(const TargetSession& session, const PromptCache::Text& copy,
                  std::span<const SeqId> kept);
  void decode_scored(TargetSession& session, Pos begin);
  bool pads() const { return context_.weights().can_roll_back(); }
  Pos& prefilled(SeqId seq) { return prefilled_[static_cast<std::size_t>(seq)]; }
  int check_segments(std::span<const Segment> segments, int n_pad);
  void decode_segments(std::span<const Segment> segments, int n_rows);
  SegmentResult choose(const Segment& segment, int first_row);
  bool is_spoilt(const Segment& segment, int first_row);
  void heal();
  Pos n_text_cells(const Segment& segment, std::span<const Choice> choices) const;
  void take_back(const Segment& segment);

  TargetOptions options_;
  Pos n_ctx_;
  int chunk_;
  Rollback rollback_;
  int max_batch_;
  int n_branches_;
  LlamaContext context_;
  BranchRows branches_;
  std::optional<PromptCheckpoints> checkpoints_;  ///< where sequences cannot be cut.
  std::optional<PromptCache> cache_;              ///< none: texts are not copied.
  Sessions<TargetSession> sessions_;
  /// By sequence: so many cells came from `prefill`, or were kept by `open` because they did.
  std::vector<Pos> prefilled_;
  std::vector<AdapterSet> held_adapters_;  ///< by sequence: what its cells were computed with.
  Pos n_ctx_total_;
  KeptTexts kept_texts_;
  bool spoilt_ = false;      ///< free cells may hold what is no number; see `heal`.
  bool was_spoilt_ = false;  ///< some cells held what is no number, now or before.
  DryFactory dry_;
  std::optional<EmbeddingTable> embedding_;  ///< opened when features are asked for.
  std::vector<BatchToken> batch_;
};

}  // namespace specbranch::llama
