#include "specbranch/llama/models/target.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <limits>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/row_padding.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/model/row_tree.h"

namespace specbranch::llama {
namespace {

constexpr int kCpuChunk = 128;

/// How this model takes back rejected tokens. Only a context tells whether it keeps snapshots. They
/// are of one physical batch, of which the verifications of several texts would be parts.
Rollback rollback_of(const std::shared_ptr<const Weights>& weights, const ModelOptions& model,
                     const TargetOptions& options) {
  if (kept_window(*weights, model) > 0) return Rollback::kLastBatch;
  if (weights->can_roll_back()) return Rollback::kAnywhere;
  if (options.max_batch == 1) return Rollback::kNothing;
  if (options.n_seq > 1) return Rollback::kCopies;
  ModelOptions small = model;
  small.n_batch = small.n_ubatch = 1;
  const std::atomic<bool> abort = false;
  const LlamaContext probe(weights, small, {.n_cells = 1, .n_rollback = 1}, &abort);
  return probe.max_rollback() > 0 ? Rollback::kLastBatch : Rollback::kCopies;
}

/// Tokens of one verification at most, so that its padded rows fit into a batch.
int max_batch(const Weights& weights, const ModelOptions& model, const TargetOptions& options,
              Rollback rollback) {
  if (options.max_batch < 1 || options.prefill_chunk < 0 || options.row_multiple < 1) {
    throw InvalidArgument(
        "[LlamaTarget] max_batch and row_multiple must be at least 1, prefill_chunk at least 0");
  }
  if (options.n_seq < 1) {
    throw InvalidArgument("[LlamaTarget] n_seq is " + std::to_string(options.n_seq) +
                          "; it must be at least 1");
  }
  if (options.n_seq > 1) check_several_texts(weights.file());
  if (rollback == Rollback::kLastBatch && !weights.can_roll_back()) {
    // Snapshots are of one physical batch.
    return std::min({options.max_batch, model.n_batch, model.n_ubatch, kMostSnapshots + 1});
  }
  // Where only windows are kept, every physical batch drops cells that the one before needs.
  const int n_batch =
      rollback == Rollback::kLastBatch ? std::min(model.n_batch, model.n_ubatch) : model.n_batch;
  const int rows = n_batch / options.row_multiple * options.row_multiple;
  if (rows == 0) {
    throw InvalidArgument("[LlamaTarget] n_batch is " + std::to_string(n_batch) +
                          "; batches are padded to " + std::to_string(options.row_multiple));
  }
  return std::min(options.max_batch, rows);
}

/// Rows of a batch at most, padding included.
int most_rows(const Weights& weights, const TargetOptions& options, int n_path) {
  if (!weights.can_roll_back()) return n_path;
  return std::max(2, padded_rows(n_path, options.row_multiple));
}

/// Branches of one verification at most. llama.cpp reserves a row of logits for every sequence, so
/// that there are no more sequences than rows.
int branches_of(const Weights& weights, const TargetOptions& options, Rollback rollback,
                int n_path) {
  if (rollback != Rollback::kAnywhere) return 0;
  const int left = most_rows(weights, options, n_path) - options.n_seq - 1;
  return std::clamp(left, 0, options.max_branches);
}

ContextShape shape_of(const Weights& weights, const ModelOptions& model,
                      const TargetOptions& options, Rollback rollback, int n_path) {
  const bool pads = weights.can_roll_back();
  const int rows = most_rows(weights, options, n_path);
  ContextShape shape;
  if (rollback == Rollback::kLastBatch && !pads) shape.n_rollback = n_path - 1;
  // One more for the padding, or one for the copy of each text.
  const int n_copies = rollback == Rollback::kCopies ? options.n_seq : 0;
  shape.n_seq =
      options.n_seq + (pads ? 1 : n_copies) + branches_of(weights, options, rollback, n_path);
  shape.n_cells = total_length(weights, model, options.n_seq) + rows;  // texts and padding
  shape.n_outputs = rows;
  if (options.n_seq > 1) shape.n_texts = options.n_seq;
  return shape;
}

int chunk_size(const Weights& weights, const ModelOptions& model, const TargetOptions& options) {
  const int wanted = options.prefill_chunk > 0 ? options.prefill_chunk
                     : weights.offloaded()     ? model.n_ubatch
                                               : kCpuChunk;
  return std::min({wanted, model.n_batch, model.n_ubatch});
}

}  // namespace

LlamaTarget::LlamaTarget(const std::shared_ptr<const Weights>& weights, const ModelOptions& model,
                         const TargetOptions& options)
    : options_(options),
      n_ctx_(context_length(*weights, model)),
      chunk_(chunk_size(*weights, model, options)),
      rollback_(rollback_of(weights, model, options)),
      max_batch_(max_batch(*weights, model, options, rollback_)),
      n_branches_(branches_of(*weights, options, rollback_, max_batch_)),
      context_(weights, model, shape_of(*weights, model, options, rollback_, max_batch_), &abort_),
      branches_(context_, options.n_seq + 1, n_branches_),
      prefilled_(static_cast<std::size_t>(options.n_seq), 0),
      held_adapters_(prefilled_.size()),
      n_ctx_total_(total_length(*weights, model, options.n_seq)),
      kept_texts_(n_ctx_total_ < std::int64_t{options.n_seq} * n_ctx_ ? n_ctx_total_ : 0),
      dry_(context_.weights().vocabulary(), n_ctx_) {
  if (rollback_ == Rollback::kLastBatch && !pads()) {
    max_batch_ = std::min(max_batch_, context_.max_rollback() + 1);
  }
  if (rollback_ != Rollback::kAnywhere && options.prefix_reuse != PrefixReuse::kOff) {
    checkpoints_.emplace(context_, chunk_, options.n_seq);
  }
  if (options.prefix_reuse != PrefixReuse::kOff) cache_texts(model);
}

/// Of a layer with a sliding window a copy has the last window, at the begin of the layer's cells.
/// There sums may be grouped otherwise, so that they would round otherwise.
void LlamaTarget::cache_texts(const ModelOptions& model) {
  const bool has_windows = context_.weights().window() > 0;
  if (has_windows && model.swa_full && options_.prefix_reuse == PrefixReuse::kExact) return;
  const std::uint64_t most = cache_limit(context_, model);
  if (most == 0) return;
  PromptCheckpoints* checkpoints = checkpoints_ ? &*checkpoints_ : nullptr;
  cache_.emplace(context_, most, checkpoints, /*only_whole=*/has_windows && checkpoints == nullptr);
}

Capabilities LlamaTarget::capabilities() const {
  Capabilities result;
  result.n_vocab = context_.weights().vocabulary().size();
  result.n_ctx = n_ctx_;
  result.n_ctx_total = n_ctx_total_;
  result.n_seq = options_.n_seq;
  result.rollback = rollback_;
  result.splits_at_gaps = context_.weights().splits_at_gaps();
  result.pads = pads();
  result.max_batch = max_batch_;
  result.n_feature_layers = context_.weights().n_feature_layers();
  result.n_embd = context_.weights().file().n_embd;
  result.prefill_chunk = chunk_;
  result.n_branches = n_branches_;
  result.warms_up = context_.weights().offloaded();
  result.n_adapters = static_cast<int>(context_.weights().adapters().size());
  return result;
}

Pos LlamaTarget::length(SeqId seq) const { return context_.length(seq); }

void LlamaTarget::truncate(const Truncate& op) {
  context_.truncate(op);
  if (op.seq < options_.n_seq) prefilled(op.seq) = std::min(prefilled(op.seq), op.length);
}

void LlamaTarget::fork(const Fork& op) { context_.fork(op); }

int LlamaTarget::open(GenerationId id, const std::shared_ptr<const Request>& request,
                      std::span<const SeqId> seqs) {
  const bool spare = rollback_ == Rollback::kCopies && seqs.size() == 2 &&
                     seqs[1] == capabilities().spare_of(seqs[0]);
  if ((seqs.size() != 1 && !spare) || seqs.front() < 0 || seqs.front() >= options_.n_seq) {
    throw PreconditionError("[LlamaTarget::open] a session has one sequence below " +
                            std::to_string(options_.n_seq) + ", and its spare where there is one");
  }
  const SeqId seq = seqs.front();
  if (request->prompt.empty()) throw InvalidArgument("[LlamaTarget::open] the prompt is empty");
  if (static_cast<Pos>(request->prompt.size()) > n_ctx_) {
    throw ContextOverflow("[LlamaTarget::open] the prompt does not fit; " +
                          std::to_string(request->prompt.size()) + " tokens; " +
                          std::to_string(n_ctx_));
  }
  const int n_layers = context_.weights().n_feature_layers();
  if (request->n_feature_layers < 0 || request->n_feature_layers > n_layers) {
    throw InvalidArgument("[LlamaTarget::open] n_feature_layers is " +
                          std::to_string(request->n_feature_layers) + "; it must be in 0 .. " +
                          std::to_string(n_layers));
  }
  if (request->n_feature_layers > 0 && !embedding_) embedding_.emplace(context_.weights().file());
  install_log_sink();
  branches_.clear();
  if (spoilt_ && sessions_.empty()) heal();
  const TargetSession& session = sessions_.open(
      id,
      TargetSession(context_.weights().vocabulary(), dry_, request, seq, adapters_of(*request)));
  const PromptCache::Text* copy = find_copy(session);
  const std::vector<SeqId> kept = keep_texts(session, copy);
  forget_other_adapters(session.adapters(), seq);
  if (session.scores_prompt()) empty(seq);  // the logits of cells that are there are gone
  const auto make_way = [&] {
    for (const SeqId old : kept_texts_.open(id, seqs, room_of(*request, n_ctx_))) empty(old);
  };
  if (copy != nullptr) {
    make_way();
    bring_back(session, *copy, kept);
  }
  const int n_reused = keep_prefix(session);
  for (const SeqId old : kept) {
    if (old != seq) leave(old);
  }
  make_way();
  if (spare) empty(seqs[1]);
  return n_reused;
}

AdapterSet LlamaTarget::adapters_of(const Request& request) const {
  if (request.adapters) return active_adapters(*request.adapters);
  std::vector<AdapterScale> scales;
  for (const Adapter& adapter : context_.weights().adapters()) {
    scales.push_back({static_cast<int>(scales.size()), adapter.scale});
  }
  return active_adapters(scales);
}

void LlamaTarget::prefill(GenerationId id, Pos begin, Pos end) {
  TargetSession& session = sessions_.at(id, "LlamaTarget::prefill");
  const std::span<const Token> tokens = session.prefill();
  if (begin != context_.length(session.seq()) || end <= begin || end - begin > chunk_ ||
      end > static_cast<Pos>(tokens.size())) {
    throw PreconditionError("[LlamaTarget::prefill] no chunk of the prompt; " +
                            std::to_string(begin) + " to " + std::to_string(end));
  }
  if (abort_requested()) throw Aborted("[LlamaTarget::prefill] aborted on request");
  session.reads();
  // Another session has read these tokens meanwhile.
  if (const SeqId other = holder(session, end);
      other != kNoSeq && end >= context_.least_prefix(other)) {
    take_over(other, session.seq(), end);
    session.add_shared(end - begin);
    return;
  }
  batch_.clear();
  for (Pos pos = begin; pos < end; ++pos) {
    batch_.push_back({tokens[static_cast<std::size_t>(pos)], session.seq(), pos,
                      /*wants_logits=*/false});
  }
  context_.use_adapters(session.adapters());
  context_.keep_layer_inputs(session.n_feature_layers());
  if (session.scores_prompt()) {
    decode_scored(session, begin);
  } else {
    context_.decode(batch_);
  }
  prefilled(session.seq()) = end;
  if (checkpoints_) checkpoints_->passed(session.seq());
}

/// Decodes the chunk in `batch_`, and scores the tokens after its rows. Where there is no room for
/// the logits of all rows, the chunk is first scored in shorter batches. They leave other cells, so
/// that the chunk is then decoded as without scores.
void LlamaTarget::decode_scored(TargetSession& session, Pos begin) {
  const SeqId seq = session.seq();
  const auto room = static_cast<std::size_t>(context_.n_outputs());
  const bool whole = batch_.size() <= room;
  const bool cuts = rollback_ == Rollback::kAnywhere || begin == 0;
  std::vector<std::uint8_t> state;
  if (!whole && !cuts) state = context_.save_state(seq);
  std::vector<TokenScore> scores;
  try {
    for (BatchToken& token : batch_) token.wants_logits = true;
    for (std::size_t first = 0; first < batch_.size(); first += room) {
      const std::size_t n = std::min(room, batch_.size() - first);
      context_.decode(std::span(batch_).subspan(first, n));
      const Pos pos = begin + static_cast<Pos>(first);
      session.score(pos, pos + static_cast<Pos>(n), context_, scores);
    }
    if (!whole) {
      if (cuts) {
        context_.truncate({seq, context_.length(seq), begin});
      } else {
        context_.restore_state(seq, begin, state);
      }
      for (BatchToken& token : batch_) token.wants_logits = false;
      context_.decode(batch_);
    }
  } catch (...) {
    if (is_error<NonFiniteScores>(std::current_exception())) session.set_spoilt();
    // What the shorter batches have left must not stay.
    if (context_.length(seq) > begin) truncate({seq, context_.length(seq), cuts ? begin : 0});
    throw;
  }
  session.keep_scores(scores);
}

std::vector<TokenScore> LlamaTarget::take_prompt_scores(GenerationId id) {
  return sessions_.at(id, "LlamaTarget::take_prompt_scores").take_scores();
}

int LlamaTarget::take_shared(GenerationId id) {
  return sessions_.at(id, "LlamaTarget::take_shared").take_shared();
}

ForcedRun LlamaTarget::forced(GenerationId id) {
  return sessions_.at(id, "LlamaTarget::forced").forced();
}

void LlamaTarget::close(GenerationId id, bool forget) {
  const TargetSession* session = sessions_.find(id);
  if (session == nullptr) return;
  branches_.clear();
  const SeqId seq = session->seq();
  // What has happened once may have happened to cells of which nobody has seen scores.
  const bool suspect = session->is_unseen() && (was_spoilt_ || session->scales_hugely());
  if (session->spoilt() || suspect) forget = spoilt_ = was_spoilt_ = true;
  // Without `forget`, what nothing can reuse goes, and what is not of the text.
  Pos kept = std::min(length(seq), session->n_text_cells().value_or(length(seq)));
  if (rollback_ == Rollback::kAnywhere) kept = std::min(kept, n_usable(seq));
  if (forget) kept = 0;
  if (context_.can_truncate(seq, kept)) truncate({seq, length(seq), kept});
  // A copy from before the last verification is of no more use, and its cells count for nobody.
  if (rollback_ == Rollback::kCopies) empty(capabilities().spare_of(seq));
  kept_texts_.close(id, length(seq));
  sessions_.close(id);
}

/// Makes all memory of the context numbers again. Before: no session is open. What closed ones have
/// left is lost.
void LlamaTarget::heal() {
  context_.clear(/*data=*/true);
  std::ranges::fill(prefilled_, 0);
  std::ranges::fill(held_adapters_, AdapterSet());
  if (checkpoints_) checkpoints_->clear();
  if (cache_) cache_->clear();
  kept_texts_.emptied();
  spoilt_ = false;
}

/// Returns the number of rows, padding tokens included.
int LlamaTarget::check_segments(std::span<const Segment> segments, int n_pad) {
  const auto broken = [](const std::string& what) {
    throw PreconditionError("[LlamaTarget::verify] " + what);
  };
  int n_rows = n_pad;
  std::vector<bool> used(static_cast<std::size_t>(options_.n_seq));
  for (const Segment& segment : segments) {
    const TargetSession& session = sessions_.at(segment.generation_id, "LlamaTarget::verify");
    if (session.seq() != segment.seq || used[static_cast<std::size_t>(segment.seq)]) {
      broken("a session appears twice, or with another sequence; " + std::to_string(segment.seq));
    }
    used[static_cast<std::size_t>(segment.seq)] = true;
    session.check(segment);
    const TargetSession& first =
        sessions_.at(segments.front().generation_id, "LlamaTarget::verify");
    if (session.adapters() != first.adapters()) broken("the sessions have different adapters");
    const Pos end = segment.pos + std::ranges::max(row_depths(segment.rows)) + 1;
    if (end > n_ctx_) {
      broken("the path leaves the context; " + std::to_string(end) + "; " + std::to_string(n_ctx_));
    }
    n_rows += static_cast<int>(segment.rows.size());
    const auto begins = [](const Row& row) { return row.parent != Row::kBefore; };
    const auto n_branches = std::ranges::count_if(segment.rows, begins);
    if (n_branches > n_branches_ || (n_branches > 0 && segments.size() > 1)) {
      broken("there are too many branches, or other segments beside them; " +
             std::to_string(n_branches) + "; " + std::to_string(n_branches_));
    }
  }
  if (segments.empty() || n_pad < 0 || (n_pad > 0 && !pads()) || n_rows > max_batch_) {
    broken("wrong number of rows; " + std::to_string(n_rows) + ", of which " +
           std::to_string(n_pad) + " for padding; at most " + std::to_string(max_batch_));
  }
  return n_rows;
}

void LlamaTarget::decode_segments(std::span<const Segment> segments, int n_rows) {
  batch_.clear();
  int n_layers = 0;
  for (const Segment& segment : segments) {
    // All logits are computed, wanted or not: the output matrix is multiplied with these rows only,
    // and its kernel, too, depends on their number.
    branches_.append(segment, batch_);
    const TargetSession& session = sessions_.at(segment.generation_id, "LlamaTarget::verify");
    n_layers = std::max(n_layers, session.n_feature_layers());
  }
  context_.use_adapters(
      sessions_.at(segments.front().generation_id, "LlamaTarget::verify").adapters());
  context_.keep_layer_inputs(n_layers);
  const SeqId dummy = options_.n_seq;
  if (pads()) append_dummies(batch_, padded_rows(n_rows, options_.row_multiple), dummy);
  context_.decode(batch_);
  if (pads()) context_.truncate({dummy, context_.length(dummy), 0});
  branches_.drop(segments.front().pos);
}

std::vector<SegmentResult> LlamaTarget::verify(std::span<const Segment> segments, int n_pad) {
  const int n_rows = check_segments(segments, n_pad);
  for (const Segment& segment : segments) {
    sessions_.at(segment.generation_id, "LlamaTarget::verify").begin(segment);
  }
  decode_segments(segments, n_rows);
  std::vector<SegmentResult> results;
  results.reserve(segments.size());
  int first_row = 0;
  try {
    for (const Segment& segment : segments) {
      results.push_back(choose(segment, first_row));
      first_row += static_cast<int>(segment.rows.size());
    }
  } catch (const Aborted&) {
    for (const Segment& segment : segments) take_back(segment);
    throw;
  }
  return results;
}

SegmentResult LlamaTarget::choose(const Segment& segment, int first_row) {
  TargetSession& session = sessions_.at(segment.generation_id, "LlamaTarget::verify");
  SegmentResult result;
  try {
    result = session.choose(segment, first_row, context_, embedding_ ? &*embedding_ : nullptr,
                            [this] { return abort_requested(); });
  } catch (const DecodeError&) {
    result.generation_id = segment.generation_id;
    result.error = std::current_exception();
    session.fail();
  }
  if (is_error<NonFiniteScores>(result.error) ||
      is_error<NonFiniteScores>(result.verification.error) || is_spoilt(segment, first_row)) {
    session.set_spoilt();
  }
  if (session.failed()) take_back(segment);
  session.set_text_cells(n_text_cells(segment, result.verification.choices));
  return result;
}

/// Some row of a segment is no number, also one that nothing was chosen from: a drafted token after
/// one that was rejected. One score tells it, as all are sums over the same activations.
bool LlamaTarget::is_spoilt(const Segment& segment, int first_row) {
  for (int i = 0; i < static_cast<int>(segment.rows.size()); ++i) {
    const float score = context_.logits(first_row + i).front();
    if (!(score <= std::numeric_limits<float>::max())) return true;
  }
  return false;
}

/// Cells of a segment's sequence that are of its text: those of its tokens that the text had, and
/// of the drafted ones that were chosen.
Pos LlamaTarget::n_text_cells(const Segment& segment, std::span<const Choice> choices) const {
  const std::span<const Token> cells = context_.content(segment.seq);
  const auto first_wanted = std::ranges::find_if(segment.rows, &Row::wanted);
  auto n = static_cast<std::size_t>(segment.pos) +
           static_cast<std::size_t>(first_wanted - segment.rows.begin()) + 1;
  for (const Choice& choice : choices) {
    if (n >= cells.size() || cells[n] != choice.token) break;
    ++n;
  }
  return static_cast<Pos>(std::min(n, cells.size()));
}

/// Drops the decoded rows of a segment, and the state of its session's sampler. A recurrent model
/// loses the text with them.
void LlamaTarget::take_back(const Segment& segment) {
  const Pos kept = context_.weights().can_roll_back() ? segment.pos : 0;
  truncate({segment.seq, context_.length(segment.seq), kept});
  sessions_.at(segment.generation_id, "LlamaTarget::verify").fail();
}

}  // namespace specbranch::llama
