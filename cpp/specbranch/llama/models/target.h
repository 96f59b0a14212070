/// The target on llama.cpp.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "specbranch/llama/context/context.h"
#include "specbranch/llama/file/embedding_table.h"
#include "specbranch/llama/sampling/sampler_chain.h"
#include "specbranch/model/model.h"

namespace specbranch::llama {

/// What `begin` keeps of the text before.
enum class PrefixReuse : std::uint8_t {
  kExact,  ///< only cells that a fresh prefill would compute in the same batches: equal logits.
  kFast,   ///< the whole common prefix; logits may differ by rounding (0.05), text at near-ties.
  kOff,    ///< nothing.
};

struct TargetOptions {
  PrefixReuse prefix_reuse = PrefixReuse::kExact;
  /// Rows of a batch are filled up to a multiple of this with dummy tokens (see RowPadding).
  int row_multiple = 1;
  /// Tokens of one `verify` at most; each costs n_vocab floats. From 64 on, the CPU's matrix
  /// products round differently than for fewer.
  int max_batch = 63;
  int prefill_chunk = 0;  ///< tokens of a prefill batch; 0: 128 on the CPU, else n_ubatch.
};

/// *Thread safety:* as Model. *Lifecycle:* 1. construct on the worker's thread 2. `begin` 3.
/// `verify` and `truncate` in turn 4. `begin` again, or destroy.
///
/// `verify` also requires that the path begins with the last token chosen (or of the prompt), at
/// its position: the penalties and the grammar must see the text that the cache holds.
class LlamaTarget final : public TargetModel {
 public:
  LlamaTarget(const std::shared_ptr<const Weights>& weights, const ModelOptions& model,
              const TargetOptions& options);

  Capabilities capabilities() const override;
  int begin(const Request& request) override;
  Pos length(SeqId seq) const override;
  void truncate(const Truncate& op) override;
  using TargetModel::verify;
  Verification verify(Pos pos, std::span<const Token> path, int n_pad) override;

  const LlamaContext& context() const noexcept { return context_; }
  /// The logits of the last `verify` after its token `index`. For tests.
  std::span<const float> logits(int index) { return context_.logits(index); }

 private:
  int reusable(std::span<const Token> prefill) const;
  void prefill(std::span<const Token> tokens, Progress* progress);
  void decode_path(Pos pos, std::span<const Token> path, int n_pad);
  Choice choose(std::span<float> logits, Token token) const;
  std::vector<float> features(int row, Token newest);

  ModelOptions model_;
  TargetOptions options_;
  Pos n_ctx_;
  int chunk_;
  int max_batch_;
  LlamaContext context_;
  std::vector<BatchToken> batch_;
  std::optional<SamplerChain> chain_;
  int n_logprobs_ = -1;
  int n_feature_layers_ = 0;
  std::optional<EmbeddingTable> embedding_;  ///< opened when features are asked for.
  Pos prefilled_ = 0;                        ///< cells [0, prefilled_) came from `begin`.
};

}  // namespace specbranch::llama
