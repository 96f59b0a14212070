#include "specbranch/llama/models/draft.h"

#include <algorithm>
#include <optional>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/backend.h"

namespace specbranch::llama {
namespace {

constexpr int kReserveOfSequence = 40;

ContextShape shape_of(const Weights& weights, const ModelOptions& model,
                      const DraftOptions& options) {
  if (!weights.can_roll_back()) {
    throw IncompatibleModels("[LlamaDraft] a recurrent or hybrid model cannot take guesses back; " +
                             weights.file().architecture);
  }
  ContextShape shape;
  shape.n_seq = options.n_seq;
  shape.n_cells = context_length(weights, model) +
                  (options.reserve > 0 ? options.reserve : options.n_seq * kReserveOfSequence);
  shape.n_outputs = options.n_seq;
  return shape;
}

}  // namespace

LlamaDraft::LlamaDraft(const std::shared_ptr<const Weights>& weights, const ModelOptions& model,
                       const DraftOptions& options)
    : n_ctx_(context_length(*weights, model)),
      n_common_(options.n_common > 0 ? std::min(options.n_common, weights->vocabulary().size())
                                     : weights->vocabulary().size()),
      chunk_(std::min(model.n_batch, model.n_ubatch)),
      context_(weights, model, shape_of(*weights, model, options), &abort_) {}

Capabilities LlamaDraft::capabilities() const {
  Capabilities result;
  result.n_vocab = context_.weights().vocabulary().size();
  result.n_ctx = n_ctx_;
  result.n_seq = context_.n_seq();
  result.max_batch = context_.n_batch();
  return result;
}

Pos LlamaDraft::length(SeqId seq) const { return context_.length(seq); }
void LlamaDraft::truncate(const Truncate& op) { context_.truncate(op); }
void LlamaDraft::fork(const Fork& op) { context_.fork(op); }

int LlamaDraft::begin(const Request& request) {
  if (request.prompt.empty()) throw InvalidArgument("[LlamaDraft::begin] the prompt is empty");
  if (static_cast<Pos>(request.prompt.size()) > n_ctx_) {
    throw ContextOverflow("[LlamaDraft::begin] the prompt does not fit; " +
                          std::to_string(request.prompt.size()) + " tokens; " +
                          std::to_string(n_ctx_));
  }
  install_log_sink();
  const auto& vocabulary = context_.weights().vocabulary();
  for (const Token token : request.prompt) {
    if (!vocabulary.contains(token)) {
      throw IncompatibleModels("[LlamaDraft::begin] the draft has no such token; " +
                               std::to_string(token) + "; " + std::to_string(vocabulary.size()));
    }
  }
  distribution_.emplace(request.sampling);
  const auto wanted = std::span<const Token>(request.prompt).first(request.prompt.size() - 1);
  const int n_reused = keep_prefixes(HashedTokens(wanted));
  const auto end = static_cast<Pos>(wanted.size());
  for (Pos pos = n_reused; pos < end;) {
    if (abort_requested()) throw Aborted("[LlamaDraft::begin] aborted on request");
    batch_.clear();
    for (const Pos stop = std::min(end, pos + chunk_); pos < stop; ++pos) {
      batch_.push_back({wanted[static_cast<std::size_t>(pos)], 0, pos, /*wants_logits=*/false});
    }
    context_.decode(batch_);
  }
  return n_reused;
}

/// Cuts every sequence to its common prefix with `wanted`. Sequence 0 takes over the longest one;
/// returns its length.
int LlamaDraft::keep_prefixes(const HashedTokens& wanted) {
  SeqId best = 0;
  std::vector<Pos> common;
  for (SeqId seq = 0; seq < context_.n_seq(); ++seq) {
    common.push_back(static_cast<Pos>(context_.held(seq).common(wanted)));
    if (common.back() > common[static_cast<std::size_t>(best)]) best = seq;
  }
  const Pos longest = common[static_cast<std::size_t>(best)];
  if (longest == 0) {
    // Nothing stays: one call, where cutting each sequence would visit its cells one by one.
    context_.clear();
    return 0;
  }
  if (best != 0) context_.fork({best, 0, common[0], context_.length(0), longest});
  for (SeqId seq = best == 0 ? 0 : 1; seq < context_.n_seq(); ++seq) {
    context_.truncate({seq, context_.length(seq), common[static_cast<std::size_t>(seq)]});
  }
  return longest;
}

void LlamaDraft::check_inputs(std::span<const SequenceInput> inputs, int k) const {
  const auto broken = [](const std::string& what) {
    throw PreconditionError("[LlamaDraft::draft] " + what);
  };
  if (!distribution_) broken("`begin` was not called");
  if (inputs.empty()) broken("there is no input");
  if (k < 1) broken("k must be at least 1; " + std::to_string(k));
  std::vector<bool> used(static_cast<std::size_t>(context_.n_seq()));
  for (const SequenceInput& input : inputs) {
    if (input.seq < 0 || input.seq >= context_.n_seq()) {
      broken("there is no such sequence; " + std::to_string(input.seq));
    }
    if (used[static_cast<std::size_t>(input.seq)]) {
      broken("a sequence appears twice; " + std::to_string(input.seq));
    }
    used[static_cast<std::size_t>(input.seq)] = true;
    if (input.tokens.empty()) broken("an input is empty; sequence " + std::to_string(input.seq));
    if (input.pos != context_.length(input.seq)) {
      broken("an input does not begin where its sequence ends; " + std::to_string(input.pos) +
             "; " + std::to_string(context_.length(input.seq)));
    }
    if (input.pos + static_cast<Pos>(input.tokens.size()) > n_ctx_) {
      broken("an input leaves the context; " +
             std::to_string(input.pos + static_cast<Pos>(input.tokens.size())) + "; " +
             std::to_string(n_ctx_));
    }
  }
}

std::vector<std::vector<Candidate>> LlamaDraft::draft(std::span<const SequenceInput> inputs,
                                                      int k) {
  check_inputs(inputs, k);
  const auto restore = [&] {
    for (const SequenceInput& input : inputs) {
      context_.truncate({input.seq, context_.length(input.seq), input.pos});
    }
  };
  std::vector<std::vector<Candidate>> result;
  result.reserve(inputs.size());
  try {
    decode_inputs(inputs);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const auto path = context_.content(inputs[i].seq);
      const auto row = context_.logits(rows_[i]).first(static_cast<std::size_t>(n_common_));
      // The first sequence is the most probable one: there the order has to be the target's.
      const SoftmaxSum sum = i == 0 ? SoftmaxSum::kExact : SoftmaxSum::kQuick;
      result.push_back(distribution_->rank(row, path, k, sum));
    }
  } catch (const Aborted&) {
    restore();
    throw;
  } catch (const DecodeError&) {
    restore();
    throw;
  }
  return result;
}

void LlamaDraft::decode_inputs(std::span<const SequenceInput> inputs) {
  std::size_t n_left = 0;
  for (const SequenceInput& input : inputs) n_left += input.tokens.size();
  batch_.clear();  // the last tokens of every input, decoded together
  rows_.clear();
  const auto limit = static_cast<std::size_t>(context_.n_batch());
  for (const SequenceInput& input : inputs) {
    // A draft that was not asked for long has more to read than a batch takes: what needs no
    // logits goes ahead.
    const std::size_t n_ahead =
        n_left > limit ? std::min(n_left - limit, input.tokens.size() - 1) : 0;
    read_ahead(input, n_ahead);
    n_left -= n_ahead;
    for (std::size_t i = n_ahead; i < input.tokens.size(); ++i) {
      batch_.push_back({input.tokens[i], input.seq, input.pos + static_cast<Pos>(i), false});
    }
    batch_.back().wants_logits = true;
    rows_.push_back(static_cast<int>(batch_.size()) - 1);
  }
  context_.decode(batch_);
}

void LlamaDraft::read_ahead(const SequenceInput& input, std::size_t n) {
  const auto chunk = static_cast<std::size_t>(chunk_);
  for (std::size_t i = 0; i < n;) {
    if (abort_requested()) throw Aborted("[LlamaDraft::draft] aborted on request");
    std::vector<BatchToken> batch;
    for (const std::size_t stop = std::min(n, i + chunk); i < stop; ++i) {
      batch.push_back({input.tokens[i], input.seq, input.pos + static_cast<Pos>(i), false});
    }
    context_.decode(batch);
  }
}

std::span<const float> LlamaDraft::logits(int index) {
  return context_.logits(rows_.at(static_cast<std::size_t>(index)));
}

}  // namespace specbranch::llama
