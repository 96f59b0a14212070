#include "specbranch/llama/models/draft.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/llama/context/sizes.h"
#include "specbranch/llama/runtime/backend.h"

namespace specbranch::llama {
namespace {

constexpr int kReserveOfSequence = 40;

/// For branches of each of several texts, where every sequence has a state of its own.
constexpr int kStateLanes = 6;

/// The sequence ids for branches, as many for each text.
int lanes_of(const Weights& weights, const DraftOptions& options) {
  if (options.n_texts <= 1) return options.n_seq;
  int most = max_sequences() / options.n_texts;
  if (!weights.can_roll_back()) {
    most = kStateLanes;
  } else if (weights.window() > 0) {
    most = max_sequences() / 2 / options.n_texts;
  }
  return std::min(options.n_seq, most * options.n_texts);
}

ContextShape shape_of(const Weights& weights, const ModelOptions& model,
                      const DraftOptions& options) {
  check_can_draft(weights.file());
  if (!model.swa_full) {
    throw InvalidArgument(
        "[LlamaDraft] swa_full of the draft is False; it must be True, as branches share cells");
  }
  ContextShape shape;
  shape.n_seq = draft_sequences(weights, model, options);
  shape.n_cells = total_length(weights, model, options.n_texts) +
                  (options.reserve > 0 ? options.reserve : options.n_seq * kReserveOfSequence);
  shape.n_outputs = shape.n_seq;
  if (options.n_texts > 1) shape.n_texts = shape.n_seq;
  return shape;
}

}  // namespace

int draft_sequences(const Weights& weights, const ModelOptions& model,
                    const DraftOptions& options) {
  const int lanes = lanes_of(weights, options);
  if (weights.can_roll_back()) return lanes;
  const int n_texts = std::max(1, options.n_texts);
  const int most = std::min(max_sequences(), model.n_batch) / n_texts * n_texts;
  return std::max(lanes, std::min(lanes + kStateSpares * n_texts, most));
}

LlamaDraft::LlamaDraft(const std::shared_ptr<const Weights>& weights, const ModelOptions& model,
                       const DraftOptions& options)
    : n_ctx_(context_length(*weights, model)),
      n_common_(options.n_common > 0 ? std::min(options.n_common, weights->vocabulary().size())
                                     : weights->vocabulary().size()),
      never_proposed_(options.never_proposed),
      chunk_(std::min(model.n_batch, model.n_ubatch)),
      n_ctx_total_(total_length(*weights, model, options.n_texts)),
      kept_texts_(n_ctx_total_ < std::int64_t{options.n_texts} * n_ctx_ ? n_ctx_total_ : 0),
      context_(weights, model, shape_of(*weights, model, options), &abort_),
      dry_(context_.weights().vocabulary(), n_ctx_) {
  if (!weights->can_roll_back()) checkpoints_.emplace(context_, chunk_, options.n_texts);
  // Of layers with a sliding window only whole texts could come back, and a text ends with branches
  // that nobody committed.
  if (const auto n = cache_limit(context_, model); n > 0 && weights->window() == 0) {
    cache_.emplace(context_, n, checkpoints_ ? &*checkpoints_ : nullptr);
  }
}

Capabilities LlamaDraft::capabilities() const {
  Capabilities result;
  result.n_vocab = context_.weights().vocabulary().size();
  result.n_ctx = n_ctx_;
  result.n_ctx_total = n_ctx_total_;
  result.n_seq = context_.n_seq();
  result.max_batch = context_.n_batch();
  result.prefill_chunk = chunk_;
  result.warms_up = context_.weights().offloaded();
  if (!context_.weights().can_roll_back()) result.rollback = Rollback::kCopies;
  result.splits_at_gaps = context_.weights().splits_at_gaps();
  return result;
}

Pos LlamaDraft::length(SeqId seq) const { return context_.length(seq); }
void LlamaDraft::truncate(const Truncate& op) { context_.truncate(op); }
void LlamaDraft::fork(const Fork& op) { context_.fork(op); }

int LlamaDraft::open(GenerationId id, const std::shared_ptr<const Request>& request,
                     std::span<const SeqId> seqs) {
  const std::vector<Token>& prompt = request->prompt;
  if (prompt.empty()) throw InvalidArgument("[LlamaDraft::open] the prompt is empty");
  if (static_cast<Pos>(prompt.size()) > n_ctx_) {
    throw ContextOverflow("[LlamaDraft::open] the prompt does not fit; " +
                          std::to_string(prompt.size()) + " tokens; " + std::to_string(n_ctx_));
  }
  install_log_sink();
  const auto& vocabulary = context_.weights().vocabulary();
  for (const Token token : prompt) {
    if (!vocabulary.contains(token)) {
      throw IncompatibleModels("[LlamaDraft::open] the draft has no such token; " +
                               std::to_string(token) + "; " + std::to_string(vocabulary.size()));
    }
  }
  if (seqs.empty()) throw PreconditionError("[LlamaDraft::open] there is no sequence");
  const auto wanted = std::span<const Token>(prompt).first(prompt.size() - 1);
  TokenDistribution distribution(request->sampling, &dry_, early_ends(vocabulary, *request));
  if (spoilt_ && sessions_.empty()) heal();
  const bool goes_on = sessions_.find(id) != nullptr;
  const Session& session = sessions_.open(
      id,
      Session{request, {seqs.begin(), seqs.end()}, std::move(distribution), HashedTokens(wanted)});
  const PromptCache::Text* copy = find_copy(session);
  const std::vector<SeqId> kept = keep_texts(session, copy, goes_on);
  const auto make_way = [&] {
    for (const SeqId old : kept_texts_.open(id, seqs, room_of(*request, n_ctx_))) empty(old);
  };
  if (copy != nullptr) {
    make_way();
    bring_back(session, *copy, kept);
  }
  const int n_own = keep_prefixes(seqs, session.wanted);
  const int n_shared = share_prefix(session, n_own);
  for (const SeqId old : kept) {
    if (!session.has(old)) empty(old);
  }
  for (SeqId seq = 0; cache_ && seq < context_.n_seq(); ++seq) {
    if (context_.length(seq) == 0) kept_texts_.emptied(seq);
  }
  make_way();
  return n_shared;
}

void LlamaDraft::prefill(GenerationId id, Pos begin, Pos end) {
  const Session& session = sessions_.at(id, "LlamaDraft::prefill");
  const SeqId seq = session.seqs.front();
  const std::vector<Token>& prompt = session.request->prompt;
  if (begin != context_.length(seq) || end <= begin || end - begin > chunk_ ||
      end >= static_cast<Pos>(prompt.size())) {
    throw PreconditionError("[LlamaDraft::prefill] no chunk of the prompt; " +
                            std::to_string(begin) + " to " + std::to_string(end));
  }
  if (abort_requested()) throw Aborted("[LlamaDraft::prefill] aborted on request");
  // Another session has read these tokens meanwhile.
  if (const SeqId other = holder(session, end); other != kNoSeq) {
    context_.fork({other, seq, begin, begin, end});
    return;
  }
  batch_.clear();
  for (Pos pos = begin; pos < end; ++pos) {
    batch_.push_back({prompt[static_cast<std::size_t>(pos)], seq, pos, /*wants_logits=*/false});
  }
  context_.decode(batch_);
  if (checkpoints_) checkpoints_->passed(seq);
}

void LlamaDraft::close(GenerationId id, bool forget) {
  const Session* session = sessions_.find(id);
  if (session == nullptr) return;
  if (session->spoilt) forget = spoilt_ = true;
  Pos longest = 0;
  for (const SeqId seq : session->seqs) {
    if (forget) empty(seq);
    longest = std::max(longest, context_.length(seq));
  }
  kept_texts_.close(id, longest);
  sessions_.close(id);
}

void LlamaDraft::check_inputs(std::span<const SequenceInput> inputs,
                              std::span<const RankOptions> ranks) {
  const auto broken = [](const std::string& what) {
    throw PreconditionError("[LlamaDraft::draft] " + what);
  };
  if (inputs.empty()) broken("there is no input");
  if (ranks.size() != 1 && ranks.size() != inputs.size()) {
    broken(std::to_string(ranks.size()) + " options for " + std::to_string(inputs.size()) +
           " inputs");
  }
  for (const RankOptions& rank : ranks) {
    if (rank.k < 1) broken("k must be at least 1; " + std::to_string(rank.k));
  }
  std::vector<bool> used(static_cast<std::size_t>(context_.n_seq()));
  for (const SequenceInput& input : inputs) {
    static_cast<void>(sessions_.at(input.generation_id, "LlamaDraft::draft"));
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
                                                      std::span<const RankOptions> ranks) {
  check_inputs(inputs, ranks);
  std::vector<std::vector<Candidate>> result;
  result.reserve(inputs.size());
  try {
    decode_inputs(inputs);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const auto path = context_.content(inputs[i].seq);
      const auto row = context_.logits(rows_[i]).first(static_cast<std::size_t>(n_common_));
      for (const Token token : never_proposed_) {
        row[static_cast<std::size_t>(token)] = -std::numeric_limits<float>::infinity();
      }
      // The first sequence of a text is the most probable one: there the order has to be the
      // target's.
      const bool first = i == 0 || inputs[i].generation_id != inputs[i - 1].generation_id;
      const SoftmaxSum sum = first ? SoftmaxSum::kExact : SoftmaxSum::kQuick;
      const RankOptions& rank = ranks[ranks.size() == 1 ? 0 : i];
      Session& session = sessions_.at(inputs[i].generation_id, "LlamaDraft::draft");
      result.push_back(session.distribution.rank(row, path, rank, sum, session.request->n_skipped));
    }
  } catch (const Aborted&) {
    take_back(inputs);
    throw;
  } catch (const DecodeError&) {
    if (is_error<NonFiniteScores>(std::current_exception())) {
      for (const SequenceInput& input : inputs) {
        sessions_.at(input.generation_id, "LlamaDraft::draft").spoilt = true;
      }
    }
    take_back(inputs);
    throw;
  }
  return result;
}

/// As LlamaTarget's.
void LlamaDraft::heal() {
  context_.clear(/*data=*/true);
  if (checkpoints_) checkpoints_->clear();
  if (cache_) cache_->clear();
  kept_texts_.emptied();
  spoilt_ = false;
}

void LlamaDraft::take_back(std::span<const SequenceInput> inputs) {
  for (const SequenceInput& input : inputs) {
    const Pos kept = context_.weights().can_roll_back() ? input.pos : 0;
    context_.truncate({input.seq, context_.length(input.seq), kept});
  }
}

void LlamaDraft::decode_inputs(std::span<const SequenceInput> inputs) {
  std::size_t n_left = 0;
  for (const SequenceInput& input : inputs) n_left += input.tokens.size();
  batch_.clear();  // the last tokens of every input, decoded together
  rows_.resize(inputs.size());
  std::vector<std::size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (context_.weights().splits_at_gaps()) {
    std::ranges::sort(order, {}, [&inputs](std::size_t i) { return inputs[i].seq; });
  }
  const auto limit = static_cast<std::size_t>(context_.n_batch());
  for (const std::size_t index : order) {
    const SequenceInput& input = inputs[index];
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
    rows_[index] = static_cast<int>(batch_.size()) - 1;
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
