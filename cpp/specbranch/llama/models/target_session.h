/// What the target keeps for one generation: its sampler and what its caller wants to know.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "specbranch/llama/context/context.h"
#include "specbranch/llama/file/embedding_table.h"
#include "specbranch/llama/sampling/sampler_chain.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "specbranch/model/model.h"
#include "specbranch/model/stop_matcher.h"

namespace specbranch::llama {

/// The choices along a segment's rows. It owns no cells and decodes nothing.
///
/// *Thread safety:* none; on the target's thread.
class TargetSession {
 public:
  /// `vocabulary` outlives this. Throws InvalidArgument for a bad grammar or sequence breaker.
  TargetSession(const Vocabulary& vocabulary, DryFactory& dry,
                std::shared_ptr<const Request> request, SeqId seq, AdapterSet adapters = {});

  SeqId seq() const { return seq_; }
  const AdapterSet& adapters() const { return adapters_; }
  int n_feature_layers() const { return request_->n_feature_layers; }

  /// The prompt without its last token.
  std::span<const Token> prefill() const;

  bool scores_prompt() const { return request_->scores_prompt(); }

  /// Appends to `scores` those of the tokens (begin, end] of the prompt. The first row of the last
  /// batch of `context` is that of `begin`. Throws DecodeError on NaN.
  void score(Pos begin, Pos end, LlamaContext& context, std::vector<TokenScore>& scores) const;

  /// Keeps scores of a chunk of the prompt until they are taken.
  void keep_scores(std::span<const TokenScore> scores) {
    scores_.insert(scores_.end(), scores.begin(), scores.end());
  }
  std::vector<TokenScore> take_scores() { return std::exchange(scores_, {}); }

  /// Counts tokens of the prompt whose cells are those of another session.
  void add_shared(int n) { n_shared_ += n; }
  int take_shared() { return std::exchange(n_shared_, 0); }

  /// What the grammar forces after the text; nothing where no mode drafts.
  ForcedRun forced() { return chain_.forced(); }

  /// The sampler's state is lost: no segment is right from now on.
  void fail() { failed_ = true; }
  bool failed() const { return failed_; }

  /// Cells of its sequence that are of its text; drafted tokens that were rejected follow them.
  /// None before the first verification.
  std::optional<Pos> n_text_cells() const { return n_text_cells_; }
  void set_text_cells(Pos n) { n_text_cells_ = n; }

  /// Its cells gave scores that are not finite.
  bool spoilt() const { return spoilt_; }
  void set_spoilt() { spoilt_ = true; }

  /// Nobody has seen scores of the cells that it has computed.
  bool is_unseen() const { return has_read_ && !n_text_cells_; }
  /// It scales adapters as nobody does who wants a text: any number may be infinite.
  bool scales_hugely() const;
  /// It computes cells.
  void reads() { has_read_ = true; }

  /// Throws PreconditionError unless the rows are those of this text: the committed tokens from
  /// `segment.pos` on without wanted choices, the last one with, then drafted ones.
  void check(const Segment& segment) const;

  /// A checked segment will be decoded: functions of the caller may begin.
  void begin(const Segment& segment);

  /// Chooses down the rows of a checked segment, of which the batch of `context` holds the first
  /// at `first_row`. The sampler's state advances with the choices. `embedding`: with
  /// n_feature_layers > 0. Throws DecodeError on NaN or a grammar that cannot be followed, and
  /// Aborted if `aborting` while functions of the caller compute; then the session must `fail`.
  /// After a choice it throws no such DecodeError: it has failed, and the result says why.
  SegmentResult choose(const Segment& segment, int first_row, LlamaContext& context,
                       EmbeddingTable* embedding, const std::function<bool()>& aborting);

 private:
  int choose_down(const Segment& segment, int first_row, LlamaContext& context,
                  const std::function<bool()>& aborting, SegmentResult& result);
  std::optional<Token> next(std::span<float> logits, SegmentResult& result,
                            const std::function<bool()>& aborting);
  void accept(Token token);
  Choice describe(std::span<const float> logits, Token token) const;
  std::vector<float> features(int row, Token newest, const LlamaContext& context,
                              EmbeddingTable& embedding) const;

  const Vocabulary* vocabulary_;
  std::shared_ptr<const Request> request_;
  SeqId seq_;
  AdapterSet adapters_;
  SamplerChain chain_;
  std::vector<TokenScore> scores_;  ///< of the prompt, not taken yet.
  int n_shared_ = 0;                ///< the same.
  bool failed_ = false;
  bool spoilt_ = false;
  bool has_read_ = false;
  std::optional<Pos> n_text_cells_;
  // With functions of the caller only: nothing beyond the text's end may be asked of them.
  StopMatcher stops_;
  bool stopped_ = false;
  std::vector<float> processed_;
};

}  // namespace specbranch::llama
