#include "specbranch/llama/models/target.h"

#include <algorithm>
#include <limits>
#include <string>

#include "ggml.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/report/progress.h"

namespace specbranch::llama {
namespace {

constexpr int kCpuChunk = 128;
constexpr SeqId kText = 0;
constexpr SeqId kDummy = 1;
// From this many cells on, ggml splits the attention of a single token over the threads. The cache
// grows in steps of 256 cells.
constexpr Pos kSplitCells = 512;
constexpr Pos kCellStep = 256;
constexpr Pos kNever = std::numeric_limits<Pos>::max();

/// The first position from which a single token needs company.
Pos find_pad_from(const Weights& weights, const ModelOptions& model, PadSingle pad) {
  if (pad == PadSingle::kOff || !weights.can_roll_back()) return kNever;
  if (pad == PadSingle::kOn) return 0;
  if (weights.offloaded()) return kNever;
  if (!ggml_is_quantized(static_cast<ggml_type>(weights.file().weight_type))) return 0;
  const int n_threads = model.n_threads > 0 ? model.n_threads : usable_cores();
  const bool split = n_threads > 1 && model.type_k == GGML_TYPE_F16 &&
                     model.type_v == GGML_TYPE_F16 && model.flash_attn != FlashAttention::kOff;
  return split ? kSplitCells - kCellStep : kNever;
}

int max_batch(const ModelOptions& model, const TargetOptions& options) {
  if (options.max_batch < 1 || options.prefill_chunk < 0) {
    throw InvalidArgument("[LlamaTarget] max_batch must be at least 1, prefill_chunk at least 0");
  }
  return std::min(options.max_batch, model.n_batch);
}

ContextShape shape_of(const Weights& weights, const ModelOptions& model,
                      const TargetOptions& options) {
  ContextShape shape;
  shape.n_seq = weights.can_roll_back() ? 2 : 1;
  const int longest = weights.can_roll_back() ? std::max(2, max_batch(model, options)) : 1;
  shape.n_cells = context_length(weights, model) + longest;  // the text and the padding
  shape.n_outputs = longest;
  return shape;
}

int chunk_size(const Weights& weights, const ModelOptions& model, const TargetOptions& options) {
  const int wanted = options.prefill_chunk > 0 ? options.prefill_chunk
                     : weights.offloaded()     ? model.n_ubatch
                                               : kCpuChunk;
  return std::min({wanted, model.n_batch, model.n_ubatch});
}

std::size_t common_prefix(std::span<const Token> a, std::span<const Token> b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return static_cast<std::size_t>(end - a.begin());
}

}  // namespace

LlamaTarget::LlamaTarget(const std::shared_ptr<const Weights>& weights, const ModelOptions& model,
                         const TargetOptions& options)
    : model_(model),
      options_(options),
      n_ctx_(context_length(*weights, model)),
      chunk_(chunk_size(*weights, model, options)),
      pad_wants_logits_(!ggml_is_quantized(static_cast<ggml_type>(weights->file().weight_type))),
      pad_from_(find_pad_from(*weights, model, options.pad_single)),
      context_(weights, model, shape_of(*weights, model, options), &abort_) {}

Capabilities LlamaTarget::capabilities() const {
  Capabilities result;
  result.n_vocab = context_.weights().vocabulary().size();
  result.n_ctx = n_ctx_;
  result.n_seq = 1;
  result.can_roll_back = context_.weights().can_roll_back();
  result.max_batch = result.can_roll_back ? std::min(options_.max_batch, context_.n_batch()) : 1;
  result.n_feature_layers = context_.weights().n_feature_layers();
  result.n_embd = context_.weights().file().n_embd;
  return result;
}

Pos LlamaTarget::length(SeqId seq) const { return context_.length(seq); }

void LlamaTarget::truncate(const Truncate& op) {
  context_.truncate(op);
  prefilled_ = std::min(prefilled_, context_.length(kText));
}

int LlamaTarget::begin(const Request& request) {
  if (request.prompt.empty()) throw InvalidArgument("[LlamaTarget::begin] the prompt is empty");
  if (static_cast<Pos>(request.prompt.size()) > n_ctx_) {
    throw ContextOverflow("[LlamaTarget::begin] the prompt does not fit; " +
                          std::to_string(request.prompt.size()) + " tokens; " +
                          std::to_string(n_ctx_));
  }
  const int n_layers = context_.weights().n_feature_layers();
  if (request.n_feature_layers < 0 || request.n_feature_layers > n_layers) {
    throw InvalidArgument("[LlamaTarget::begin] n_feature_layers is " +
                          std::to_string(request.n_feature_layers) + "; it must be in 0 .. " +
                          std::to_string(n_layers));
  }
  if (request.n_feature_layers > 0 && !embedding_) embedding_.emplace(context_.weights().file());
  install_log_sink();
  n_feature_layers_ = request.n_feature_layers;
  context_.keep_layer_inputs(n_feature_layers_);
  chain_.emplace(context_.weights().vocabulary(), request.sampling, request.prompt);
  n_logprobs_ = request.logprobs;

  const auto wanted = std::span<const Token>(request.prompt).first(request.prompt.size() - 1);
  const int n_reused = reusable(wanted);
  context_.truncate({kText, context_.length(kText), n_reused});
  prefilled_ = n_reused;
  prefill(wanted, request.progress.get());
  return n_reused;
}

int LlamaTarget::reusable(std::span<const Token> prefill) const {
  if (options_.prefix_reuse == PrefixReuse::kOff || !context_.weights().can_roll_back()) return 0;
  const auto held = context_.content(kText);
  const auto n_common = static_cast<Pos>(common_prefix(held, prefill));
  if (options_.prefix_reuse == PrefixReuse::kFast) return n_common;
  // A fresh prefill computes whole chunks up to its own last one, which is shorter. Cells that came
  // from generation were computed in other batches.
  const auto end = static_cast<Pos>(prefill.size());
  const Pos same = std::min(n_common, prefilled_);
  if (same == end && prefilled_ == end) return end;
  return same / chunk_ * chunk_;
}

void LlamaTarget::prefill(std::span<const Token> tokens, Progress* progress) {
  const auto end = static_cast<Pos>(tokens.size());
  for (Pos pos = context_.length(kText); pos < end;) {
    if (abort_requested()) throw Aborted("[LlamaTarget::begin] aborted on request");
    // Chunks end at absolute multiples of their size, wherever the reuse ended.
    const Pos stop = std::min(end, (pos / chunk_ + 1) * chunk_);
    batch_.clear();
    for (; pos < stop; ++pos) {
      batch_.push_back({tokens[static_cast<std::size_t>(pos)], kText, pos, /*wants_logits=*/false});
    }
    context_.decode(batch_);
    prefilled_ = stop;
    if (progress != nullptr) progress->set_prefilled(stop);
  }
}

bool LlamaTarget::pads_single_at(Pos pos) const noexcept { return pos >= pad_from_; }

void LlamaTarget::decode_path(Pos pos, std::span<const Token> path, int n_pad) {
  batch_.clear();
  for (std::size_t i = 0; i < path.size(); ++i) {
    batch_.push_back({path[i], kText, pos + static_cast<Pos>(i), /*wants_logits=*/true});
  }
  if (n_pad == 0 && path.size() == 1 && pads_single_at(pos)) n_pad = 1;
  for (Pos i = 0; i < n_pad; ++i) batch_.push_back({path.front(), kDummy, i, pad_wants_logits_});
  context_.decode(batch_);
  if (n_pad > 0) context_.truncate({kDummy, n_pad, 0});
}

Verification LlamaTarget::verify(Pos pos, std::span<const Token> path, int n_pad) {
  const auto broken = [](const std::string& what) {
    throw PreconditionError("[LlamaTarget::verify] " + what);
  };
  if (!chain_) broken("`begin` was not called");
  if (path.empty() || static_cast<int>(path.size()) > capabilities().max_batch) {
    broken("wrong number of tokens; " + std::to_string(path.size()) + "; 1 to " +
           std::to_string(capabilities().max_batch));
  }
  if (n_pad < 0 || static_cast<int>(path.size()) + n_pad > capabilities().max_batch) {
    broken("wrong number of padding tokens; " + std::to_string(n_pad) + "; 0 to " +
           std::to_string(capabilities().max_batch - static_cast<int>(path.size())));
  }
  const auto text = chain_->history();
  if (pos != static_cast<Pos>(text.size()) - 1 || path.front() != text.back()) {
    broken("the path does not begin with the last token of the text; position " +
           std::to_string(pos) + "; " + std::to_string(text.size() - 1));
  }
  if (pos + static_cast<Pos>(path.size()) > n_ctx_) {
    broken("the path leaves the context; " + std::to_string(pos + static_cast<Pos>(path.size())) +
           "; " + std::to_string(n_ctx_));
  }

  decode_path(pos, path, n_pad);
  Verification verification;
  try {
    for (std::size_t i = 0; i < path.size(); ++i) {
      const std::span<float> logits = context_.logits(static_cast<int>(i));
      const std::optional<Token> token = chain_->choose(logits);
      if (!token) {
        verification.exhausted = true;
        break;
      }
      verification.choices.push_back(choose(logits, *token));
      chain_->accept(*token);
      if (verification.choices.back().end) break;
      if (i + 1 < path.size() && *token != path[i + 1]) break;
    }
    if (n_feature_layers_ > 0 && !verification.choices.empty()) {
      const int row = static_cast<int>(verification.choices.size()) - 1;
      verification.features = features(row, verification.choices.back().token);
    }
  } catch (const DecodeError&) {
    if (context_.weights().can_roll_back()) {
      context_.truncate({kText, context_.length(kText), pos});
    } else {
      context_.clear();
    }
    chain_.reset();
    throw;
  }
  return verification;
}

std::vector<float> LlamaTarget::features(int row, Token newest) {
  const auto n_embd = static_cast<std::size_t>(embedding_->n_embd());
  std::vector<float> features;
  features.reserve(n_embd * static_cast<std::size_t>(n_feature_layers_ + 1));
  for (int layer = n_feature_layers_ - 1; layer >= 0; --layer) {
    const std::span<const float> input = context_.layer_input(layer, row);
    features.insert(features.end(), input.begin(), input.end());
  }
  features.resize(features.size() + n_embd);
  embedding_->read(newest, std::span(features).last(n_embd));
  return features;
}

Choice LlamaTarget::choose(std::span<float> logits, Token token) const {
  Choice choice;
  choice.token = token;
  choice.end = context_.weights().vocabulary().is_end(token);
  if (n_logprobs_ < 0) return choice;
  const double logprob = log_softmax_at(logits, token);
  choice.logprob = static_cast<float>(logprob);
  const double normaliser = static_cast<double>(logits[static_cast<std::size_t>(token)]) - logprob;
  for (const auto& [other, logit] : top_scores(logits, n_logprobs_)) {
    choice.top.push_back({other, static_cast<float>(static_cast<double>(logit) - normaliser)});
  }
  return choice;
}

}  // namespace specbranch::llama
