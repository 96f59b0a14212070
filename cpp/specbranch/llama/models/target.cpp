#include "specbranch/llama/models/target.h"

#include <algorithm>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/row_padding.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/report/progress.h"

namespace specbranch::llama {
namespace {

constexpr int kCpuChunk = 128;
constexpr SeqId kText = kTextSequence;

/// Tokens of one verification at most, so that its padded rows fit into a batch.
int max_batch(const Weights& weights, const ModelOptions& model, const TargetOptions& options) {
  if (options.max_batch < 1 || options.prefill_chunk < 0 || options.row_multiple < 1) {
    throw InvalidArgument(
        "[LlamaTarget] max_batch and row_multiple must be at least 1, prefill_chunk at least 0");
  }
  if (!weights.can_roll_back()) return 1;
  const int rows = model.n_batch / options.row_multiple * options.row_multiple;
  if (rows == 0) {
    throw InvalidArgument("[LlamaTarget] n_batch is " + std::to_string(model.n_batch) +
                          "; batches are padded to " + std::to_string(options.row_multiple));
  }
  return std::min(options.max_batch, rows);
}

ContextShape shape_of(const Weights& weights, const ModelOptions& model,
                      const TargetOptions& options) {
  const int rows =
      weights.can_roll_back()
          ? std::max(2, padded_rows(max_batch(weights, model, options), options.row_multiple))
          : 1;
  ContextShape shape;
  shape.n_seq = weights.can_roll_back() ? 2 : 1;
  shape.n_cells = context_length(weights, model) + rows;  // the text and the padding
  shape.n_outputs = rows;
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
      max_batch_(max_batch(*weights, model, options)),
      context_(weights, model, shape_of(*weights, model, options), &abort_) {}

Capabilities LlamaTarget::capabilities() const {
  Capabilities result;
  result.n_vocab = context_.weights().vocabulary().size();
  result.n_ctx = n_ctx_;
  result.n_seq = 1;
  result.can_roll_back = context_.weights().can_roll_back();
  result.max_batch = max_batch_;
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

void LlamaTarget::decode_path(Pos pos, std::span<const Token> path, int n_pad) {
  batch_.clear();
  for (std::size_t i = 0; i < path.size(); ++i) {
    batch_.push_back({path[i], kText, pos + static_cast<Pos>(i), /*wants_logits=*/true});
  }
  const int n_rows = static_cast<int>(path.size()) + n_pad;
  if (context_.n_seq() > kDummySequence) {
    append_dummies(batch_, padded_rows(n_rows, options_.row_multiple));
  }
  context_.decode(batch_);
  if (context_.n_seq() > kDummySequence) {
    context_.truncate({kDummySequence, context_.length(kDummySequence), 0});
  }
}

Verification LlamaTarget::verify(Pos pos, std::span<const Token> path, int n_pad) {
  const auto broken = [](const std::string& what) {
    throw PreconditionError("[LlamaTarget::verify] " + what);
  };
  if (!chain_) broken("`begin` was not called");
  if (path.empty() || static_cast<int>(path.size()) > max_batch_) {
    broken("wrong number of tokens; " + std::to_string(path.size()) + "; 1 to " +
           std::to_string(max_batch_));
  }
  if (n_pad < 0 || static_cast<int>(path.size()) + n_pad > max_batch_) {
    broken("wrong number of padding tokens; " + std::to_string(n_pad) + "; 0 to " +
           std::to_string(max_batch_ - static_cast<int>(path.size())));
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
  for (const auto& [other, logit] : ScoreRow(logits).largest(n_logprobs_)) {
    choice.top.push_back({other, static_cast<float>(static_cast<double>(logit) - normaliser)});
  }
  return choice;
}

}  // namespace specbranch::llama
