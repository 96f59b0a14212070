/// The draft on llama.cpp.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "specbranch/llama/context/context.h"
#include "specbranch/llama/models/prompt_cache.h"
#include "specbranch/llama/models/prompt_checkpoints.h"
#include "specbranch/llama/sampling/token_distribution.h"
#include "specbranch/model/kept_texts.h"
#include "specbranch/model/model.h"
#include "specbranch/model/sessions.h"

namespace specbranch::llama {

struct DraftOptions {
  /// Sequence ids (branches and their spares), at most `max_sequences`; nearly free. In a recurrent
  /// or hybrid model each has a state of its own: for several texts there are fewer, and each text
  /// gets `kStateSpares` more. A model with sliding windows gets at most half of `max_sequences`
  /// for several texts, because each takes a second id that keeps its cells.
  int n_seq = 8;
  int n_texts = 1;  ///< sessions that may be open at once.
  /// Cells beyond those of the texts for branches that are not committed; 0: 40 for each sequence
  /// id.
  int reserve = 0;
  /// Ids from this one on are never proposed: the target lacks them (see check_compatible). 0: all
  /// of the draft's own.
  int n_common = 0;
  /// Ids below that which are never proposed either, as the target has other texts for them. GCC
  /// warns without the initializer.
  std::vector<Token> never_proposed = {};  // NOLINT(readability-redundant-member-init)
};

/// Sequences of a recurrent draft, for each text, that branches leave to checkpoints (see
/// StatePlacement).
inline constexpr int kStateSpares = 4;

/// The number of sequences of a draft, as many for each text.
int draft_sequences(const Weights& weights, const ModelOptions& model, const DraftOptions& options);

/// Drafts with the target's settings, without its grammar: bias and all samplers along each
/// sequence's own path, the same noise (see TokenDistribution::rank). Mirostat and adaptive-p
/// remember what was chosen; here they have the target's memory after the newest token.
///
/// *Thread safety:* as Model. *Lifecycle:* construct on the worker's thread; sessions as in Model.
class LlamaDraft final : public DraftModel {
 public:
  LlamaDraft(const std::shared_ptr<const Weights>& weights, const ModelOptions& model,
             const DraftOptions& options);

  /// `n_vocab` counts the draft's own tokens: it cannot read others.
  Capabilities capabilities() const override;
  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override;
  void prefill(GenerationId id, Pos begin, Pos end) override;
  void close(GenerationId id, bool forget) override;
  Pos length(SeqId seq) const override;
  void truncate(const Truncate& op) override;
  void fork(const Fork& op) override;
  using DraftModel::draft;
  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> inputs,
                                            std::span<const RankOptions> ranks) override;

  const LlamaContext& context() const noexcept { return context_; }
  /// Null: texts are not copied. For tests.
  const PromptCache* cache() const noexcept { return cache_ ? &*cache_ : nullptr; }
  /// The logits after the last token of input `index` of the last `draft`. For tests.
  std::span<const float> logits(int index);

 private:
  struct Session {
    std::shared_ptr<const Request> request;
    std::vector<SeqId> seqs;
    TokenDistribution distribution;
    HashedTokens wanted;  ///< the prompt without its last token.
    bool spoilt = false;  ///< its cells gave scores that are not finite.

    bool has(SeqId seq) const { return std::ranges::find(seqs, seq) != seqs.end(); }
  };

  void check_inputs(std::span<const SequenceInput> inputs, std::span<const RankOptions> ranks);
  void decode_inputs(std::span<const SequenceInput> inputs);
  void read_ahead(const SequenceInput& input, std::size_t n);
  SeqId holder(const Session& session, Pos least) const;
  int share_prefix(const Session& session, int n_own);
  int keep_prefixes(std::span<const SeqId> seqs, const HashedTokens& wanted);
  int keep_states(std::span<const SeqId> seqs, const HashedTokens& wanted,
                  std::span<const Pos> common);
  std::vector<SeqId> keep_texts(const Session& session, const PromptCache::Text* needed,
                                bool goes_on);
  void empty(SeqId seq);
  Pos n_offered(const Session& session) const;
  Pos n_offered(const Session& session, const PromptCache::Text& text) const;
  const PromptCache::Text* find_copy(const Session& session) const;
  void bring_back(const Session& session, const PromptCache::Text& copy,
                  std::span<const SeqId> kept);
  void take_back(std::span<const SequenceInput> inputs);
  void heal();

  Pos n_ctx_;
  int n_common_;
  std::vector<Token> never_proposed_;
  int chunk_;
  Pos n_ctx_total_;
  KeptTexts kept_texts_;
  LlamaContext context_;
  std::optional<PromptCheckpoints> checkpoints_;  ///< where sequences cannot be cut.
  std::optional<PromptCache> cache_;              ///< none: texts are not copied.
  bool spoilt_ = false;  ///< free cells may hold what is no number; see `heal`.
  DryFactory dry_;
  Sessions<Session> sessions_;
  std::vector<BatchToken> batch_;
  std::vector<int> rows_;  ///< index in the batch of the last token of each input.
};

}  // namespace specbranch::llama
