#include "specbranch/llama/context/context.h"

#include <algorithm>
#include <limits>
#include <string>

#include "llama.h"
#include "llama_extra.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/context/sizes.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/llama_call.h"

namespace specbranch::llama {
namespace {

[[noreturn]] void broken(const char* where, const std::string& what) {
  throw PreconditionError(std::string("[LlamaContext::") + where + "] " + what);
}

/// DeepSeek V4's memory aborts at a range, even at that of the whole sequence. Other memories with
/// a recurrent state take the range for their attention layers, and copy the state whole.
bool copies_ranges(const Weights& weights) { return weights.file().architecture != "deepseek4"; }

std::string of(const char* name, std::int64_t value) {
  return std::string(name) + " " + std::to_string(value);
}

template <class Use>
void for_each_seq(const BatchToken& item, Use use) {
  use(item.seq);
  for (const SeqId seq : item.also) use(seq);
}

}  // namespace

void LlamaContext::check_seq(SeqId seq, const char* where) const {
  if (seq < 0 || seq >= n_seq()) {
    broken(where, "there is no such sequence; " + std::to_string(seq) + "; 0 to " +
                      std::to_string(n_seq() - 1));
  }
}

const HashedTokens& LlamaContext::held(SeqId seq) const {
  check_seq(seq, "held");
  return contents_[static_cast<std::size_t>(seq)];
}

void LlamaContext::check_batch(std::span<const BatchToken> batch) const {
  if (batch.empty()) broken("decode", "the batch is empty");
  if (weights_->is_outline()) broken("decode", "the model was laid out, but not loaded");
  if (batch.size() > static_cast<std::size_t>(n_batch_)) {
    broken("decode", "the batch is too large; " + std::to_string(batch.size()) + "; " +
                         std::to_string(n_batch_));
  }
  std::vector<Pos> next(contents_.size());
  for (std::size_t i = 0; i < contents_.size(); ++i) {
    next[i] = static_cast<Pos>(contents_[i].size());
  }
  // Of each sequence its last token in the batch; beyond it: none.
  std::vector<std::size_t> last(contents_.size(), batch.size());
  int n_wanted = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const BatchToken& item = batch[i];
    check_seq(item.seq, "decode");
    if (!weights_->vocabulary().contains(item.token)) {
      broken("decode", "there is no such token; " + std::to_string(item.token) + "; 0 to " +
                           std::to_string(weights_->vocabulary().size() - 1));
    }
    const Pos expected = next[static_cast<std::size_t>(item.seq)];
    if (item.pos != expected) {
      broken("decode", of("wrong position for sequence", item.seq) + "; " +
                           std::to_string(item.pos) + "; " + std::to_string(expected));
    }
    for (const SeqId other : item.also) {
      if (std::ranges::count(item.also, other) > 1) broken("decode", of("twice:", other));
      check_shared(item.seq, other, next, last);
    }
    for_each_seq(item, [&](SeqId seq) {
      ++next[static_cast<std::size_t>(seq)];
      last[static_cast<std::size_t>(seq)] = i;
    });
    n_wanted += item.wants_logits ? 1 : 0;
  }
  if (n_wanted > n_outputs_) {
    broken("decode", "logits of too many tokens are wanted; " + std::to_string(n_wanted) + "; " +
                         std::to_string(n_outputs_));
  }
}

/// Before a token of the batch that two sequences get: they hold the same, and will then, too.
void LlamaContext::check_shared(SeqId seq, SeqId other, std::span<const Pos> next,
                                std::span<const std::size_t> last) const {
  check_seq(other, "decode");
  if (has_states()) {
    broken("decode",
           "only cells of attention over the whole text can be shared; " + of("sequence", other));
  }
  const auto a = static_cast<std::size_t>(seq);
  const auto b = static_cast<std::size_t>(other);
  // llama.cpp checks the lengths only, and would compute with another text.
  const bool same = a != b && next[a] == next[b] && last[a] == last[b] &&
                    contents_[a].size() == contents_[b].size() &&
                    contents_[a].shares(contents_[b], contents_[a].size());
  if (same) return;
  broken("decode", of("the sequences hold different tokens;", seq) + "; " + std::to_string(other));
}

/// llama.cpp moves the states of a batch next to each other. In their way may be the state of
/// another sequence, which has changed places when the pass begins, but is copied in each layer on
/// its own: a pass that ends early would leave it with the state of another text.
bool LlamaContext::may_stop(std::span<const BatchToken> batch) const {
  if (!is_recurrent_) return true;
  const auto in_batch = [batch](SeqId seq) {
    return std::ranges::find(batch, seq, &BatchToken::seq) != batch.end();
  };
  if (std::ranges::all_of(batch,
                          [&](const BatchToken& item) { return item.seq == batch[0].seq; })) {
    return true;
  }
  for (SeqId seq = 0; seq < n_seq(); ++seq) {
    if (length(seq) > 0 && !in_batch(seq)) return false;
  }
  return true;
}

void LlamaContext::decode(std::span<const BatchToken> batch) {
  check_batch(batch);
  stop_.ignored = !may_stop(batch);
  const std::size_t n = batch.size();
  batch_tokens_.resize(n);
  batch_positions_.resize(n);
  batch_n_seqs_.resize(n);
  batch_seqs_.clear();
  batch_seq_pointers_.resize(n);
  batch_outputs_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    batch_tokens_[i] = batch[i].token;
    batch_positions_[i] = batch[i].pos;
    batch_n_seqs_[i] = 1 + static_cast<std::int32_t>(batch[i].also.size());
    for_each_seq(batch[i], [this](SeqId seq) { batch_seqs_.push_back(seq); });
    batch_outputs_[i] = batch[i].wants_logits ? 1 : 0;
  }
  SeqId* seqs = batch_seqs_.data();
  for (std::size_t i = 0; i < n; ++i) {
    batch_seq_pointers_[i] = seqs;
    seqs += batch_n_seqs_[i];
  }
  const llama_batch raw{static_cast<std::int32_t>(n),
                        batch_tokens_.data(),
                        /*embd=*/nullptr,
                        batch_positions_.data(),
                        batch_n_seqs_.data(),
                        batch_seq_pointers_.data(),
                        batch_outputs_.data()};
  ++n_decodes_;
  const LlamaCall call;
  const ErrorCapture errors(stop_.ignored ? nullptr : stop_.abort);
  int code = 0;
  std::string reason;
  try {
    code = llama_decode(context_.get(), raw);
    // A device computes asynchronously; its failures and its time belong to this call.
    if (code == 0) llama_synchronize(context_.get());
  } catch (const std::exception& error) {
    code = std::numeric_limits<int>::min();
    reason = error.what();
  }
  if (code != 0) fail(code, batch, reason.empty() ? errors.reason("no reason given") : reason);
  n_decoded_layers_ = n_kept_layers_;
  for (const BatchToken& item : batch) {
    for_each_seq(item, [this](SeqId id) {
      const auto seq = static_cast<std::size_t>(id);
      last_begin_[seq] = static_cast<Pos>(contents_[seq].size());
      rolled_back_[seq] = false;
    });
  }
  for (const BatchToken& item : batch) {
    for_each_seq(
        item, [&](SeqId seq) { contents_[static_cast<std::size_t>(seq)].push_back(item.token); });
  }
  for (SeqId seq = 0; seq < n_guarded_; ++seq) {
    const Pos begin = last_begin_[static_cast<std::size_t>(seq)];
    const bool is_new = std::ranges::any_of(batch, [seq](const BatchToken& item) {
      return item.seq == seq || std::ranges::find(item.also, seq) != item.also.end();
    });
    if (is_new) copy(seq, guard_of(seq), begin, length(seq));
  }
  if (window_ == 0 || n <= static_cast<std::size_t>(n_ubatch_)) return;
  // Cells are dropped at the begin of every forward pass, the last of which may have one token.
  for (const BatchToken& item : batch) {
    last_begin_[static_cast<std::size_t>(item.seq)] = item.pos;
  }
}

void LlamaContext::fail(int code, std::span<const BatchToken> batch, const std::string& reason) {
  restore(batch);
  // The only place that knows llama_decode's codes.
  switch (code) {
    case 1:
      throw DecodeError("[LlamaContext::decode] the KV cache is full; a batch of " +
                        std::to_string(batch.size()) + "; " + std::to_string(n_cells_) + " cells");
    case 2:
      throw Aborted("[LlamaContext::decode] aborted on request");
    case -1:
      throw DecodeError("[LlamaContext::decode] llama.cpp refused the batch; " + reason);
    default:
      throw FatalError("[LlamaContext::decode] llama.cpp failed with code " + std::to_string(code) +
                       "; " + reason);
  }
}

void LlamaContext::restore(std::span<const BatchToken> batch) {
  // Afterwards llama.cpp would still hand out the logits of an earlier batch.
  batch_outputs_.clear();
  n_decoded_layers_ = 0;
  // It leaves finished parts of an aborted batch in the cache.
  for (SeqId seq = 0; seq < n_seq(); ++seq) {
    const bool involved = std::ranges::any_of(batch, [seq](const BatchToken& item) {
      return item.seq == seq || std::ranges::find(item.also, seq) != item.also.end();
    });
    if (!involved) continue;
    auto& tokens = contents_[static_cast<std::size_t>(seq)];
    // A recurrent state may be half written: only an empty one is certain.
    if (is_recurrent_) tokens.clear();
    if (!remove(seq, static_cast<Pos>(tokens.size()))) {
      throw FatalError("[LlamaContext::decode] the KV cache could not be restored; " +
                       of("sequence", seq));
    }
    // Where only windows are kept, the pass may have taken cells that its first token did not look
    // back to.
    last_begin_[static_cast<std::size_t>(seq)] = static_cast<Pos>(tokens.size());
    if (tokens.size() == 0) least_prefix_[static_cast<std::size_t>(seq)] = 0;
  }
}

std::span<float> LlamaContext::logits(int index) {
  if (index < 0 || static_cast<std::size_t>(index) >= batch_outputs_.size() ||
      batch_outputs_[static_cast<std::size_t>(index)] == 0) {
    broken("logits", "no logits were requested; " + of("index", index));
  }
  float* row = llama_get_logits_ith(context_.get(), index);
  if (row == nullptr) {
    throw FatalError("[LlamaContext::logits] llama.cpp has no logits; " + of("index", index));
  }
  return {row, static_cast<std::size_t>(weights_->vocabulary().size())};
}

void LlamaContext::keep_layer_inputs(int n_layers) {
  if (n_layers < 0 || n_layers > weights_->n_feature_layers()) {
    broken("keep_layer_inputs", of("wrong number of layers;", n_layers) + "; 0 to " +
                                    std::to_string(weights_->n_feature_layers()));
  }
  const int n_all = llama_model_n_layer(weights_->get());
  for (int i = 0; i < std::max(n_layers, n_kept_layers_); ++i) {
    const bool wanted = i < n_layers;
    if (wanted == (i < n_kept_layers_)) continue;
    llama_set_embeddings_layer_inp(context_.get(), static_cast<std::uint32_t>(n_all - 1 - i),
                                   wanted);
  }
  n_kept_layers_ = n_layers;
  n_decoded_layers_ = 0;  // the buffers of the last batch may be gone
}

void LlamaContext::use_adapters(const AdapterSet& adapters) {
  if (adapters == adapters_) return;
  std::vector<llama_adapter_lora*> handles;
  std::vector<float> scales;
  for (const auto& [index, scale] : adapters) {
    const auto n = static_cast<int>(weights_->adapters().size());
    if (index < 0 || index >= n || weights_->is_outline()) {
      broken("use_adapters",
             of("there is no such adapter;", index) + "; " + std::to_string(n) + " were loaded");
    }
    handles.push_back(weights_->adapters()[static_cast<std::size_t>(index)].handle);
    scales.push_back(scale);
  }
  llama_set_adapters_lora(context_.get(), handles.data(), handles.size(), scales.data());
  adapters_ = adapters;
}

std::span<const float> LlamaContext::layer_input(int layer_from_end, int index) const {
  if (layer_from_end < 0 || layer_from_end >= n_decoded_layers_) {
    broken("layer_input", of("not kept by the last batch; layer from the end", layer_from_end) +
                              "; 0 to " + std::to_string(n_decoded_layers_ - 1));
  }
  if (index < 0 || static_cast<std::size_t>(index) >= batch_outputs_.size()) {
    broken("layer_input", of("there is no such token in the last batch; index", index));
  }
  const int layer = llama_model_n_layer(weights_->get()) - 1 - layer_from_end;
  const float* rows =
      llama_get_embeddings_layer_inp(context_.get(), static_cast<std::uint32_t>(layer));
  if (rows == nullptr) {
    throw FatalError("[LlamaContext::layer_input] llama.cpp has no input; " + of("layer", layer));
  }
  const auto n_embd = static_cast<std::size_t>(llama_model_n_embd(weights_->get()));
  return {rows + static_cast<std::size_t>(index) * n_embd, n_embd};
}

/// The memory calls take every id below LLAMA_MAX_SEQ; those of batches are the lowest.
SeqId LlamaContext::guard_of(SeqId seq) { return max_sequences() - 1 - seq; }

bool LlamaContext::remove(SeqId seq, Pos from) {
  ++n_memory_calls_;
  llama_memory_t memory = llama_get_memory(context_.get());
  const Pos begin = from == 0 ? -1 : from;
  const bool guarded = !is_guarded(seq) || llama_memory_seq_rm(memory, guard_of(seq), begin, -1);
  return llama_memory_seq_rm(memory, seq, begin, -1) && guarded;
}

void LlamaContext::copy(SeqId from, SeqId to, Pos begin, Pos end) {
  ++n_memory_calls_;
  llama_memory_t memory = llama_get_memory(context_.get());
  llama_memory_seq_cp(memory, from, to, begin, end);
  if (is_guarded(to)) llama_memory_seq_cp(memory, from, guard_of(to), begin, end);
}

bool LlamaContext::can_restore_copies() const { return copies_ranges(*weights_); }

void LlamaContext::fork(const Fork& op) {
  check_seq(op.from, "fork");
  check_seq(op.to, "fork");
  auto& to = contents_[static_cast<std::size_t>(op.to)];
  const auto& from = contents_[static_cast<std::size_t>(op.from)];
  if (op.from == op.to) broken("fork", of("from and to are the same;", op.from));
  // llama.cpp never drops a cell that two sequences share, so that the cache would run full.
  if (window_ > 0) broken("fork", "only windows are kept; " + of("window", window_));
  if (op.to_length != static_cast<Pos>(to.size())) {
    broken("fork", of("`to` holds another number of tokens; expected", op.to_length) + "; " +
                       std::to_string(to.size()));
  }
  if (op.length < 0 || op.length > static_cast<Pos>(from.size())) {
    broken("fork",
           of("`from` holds fewer tokens; wanted", op.length) + "; " + std::to_string(from.size()));
  }
  if (op.shared < 0 || op.shared > op.length || op.shared > op.to_length) {
    broken("fork", of("the shared prefix is longer than both;", op.shared));
  }
  if (!to.shares(from, static_cast<std::size_t>(op.shared))) {
    broken("fork", of("the prefixes differ within the shared tokens;", op.shared));
  }
  Pos& least = least_prefix_[static_cast<std::size_t>(op.to)];
  if (op.length > 0 &&
      (op.length < least_prefix(op.from) || (op.shared > 0 && op.shared < least))) {
    broken("fork", of("layers with a sliding window lack cells of the prefix;", op.length) + "; " +
                       std::to_string(op.shared));
  }
  const bool whole =
      op.length == static_cast<Pos>(from.size()) && (op.shared == 0 || op.shared == op.to_length);
  if (is_recurrent_ && !whole) {
    broken("fork", "a recurrent state can only be copied as a whole; length " +
                       std::to_string(op.length) + " of " + std::to_string(from.size()));
  }

  const bool ranged = copies_ranges(*weights_);
  const Pos kept = ranged ? op.shared : 0;
  if (op.to_length > kept) {
    if (!remove(op.to, kept)) {
      throw FatalError("[LlamaContext::fork] llama.cpp could not cut " + of("sequence", op.to));
    }
    to.truncate(static_cast<std::size_t>(kept));
  }
  if (op.length > kept) {
    copy(op.from, op.to, ranged ? kept : -1, ranged ? op.length : -1);
    to.extend(from, static_cast<std::size_t>(op.length));
  }
  least = op.length == 0 ? 0 : std::max(least_prefix(op.from), op.shared > 0 ? least : 0);
  // Snapshots belong to the sequence that was decoded.
  last_begin_[static_cast<std::size_t>(op.to)] = op.length;
}

void LlamaContext::truncate(const Truncate& op) {
  check_seq(op.seq, "truncate");
  auto& tokens = contents_[static_cast<std::size_t>(op.seq)];
  if (op.expected != static_cast<Pos>(tokens.size())) {
    broken("truncate", of("the sequence holds another number of tokens; expected", op.expected) +
                           "; " + std::to_string(tokens.size()));
  }
  if (op.length < 0 || op.length > op.expected) {
    broken("truncate",
           of("it cannot become longer; length", op.length) + "; " + std::to_string(op.expected));
  }
  if (op.length == op.expected) return;
  check_rollback(op);
  if (!remove(op.seq, op.length)) {
    throw FatalError("[LlamaContext::truncate] llama.cpp could not cut " + of("sequence", op.seq));
  }
  tokens.truncate(static_cast<std::size_t>(op.length));
  rolled_back_[static_cast<std::size_t>(op.seq)] = op.length > 0;
  if (op.length > 0) return;
  last_begin_[static_cast<std::size_t>(op.seq)] = 0;
  least_prefix_[static_cast<std::size_t>(op.seq)] = 0;
}

bool LlamaContext::can_truncate(SeqId seq, Pos length) const {
  const Pos held = this->length(seq);
  if (length == 0 || length == held) return true;
  const auto i = static_cast<std::size_t>(seq);
  if (length < least_prefix_[i]) return false;
  if (is_recurrent_) {
    return !rolled_back_[i] && length > last_begin_[i] && held - length <= max_rollback_;
  }
  // The next token looks back at no cell that the last decode may have dropped.
  return window_ == 0 || last_begin_[i] < window_ || length >= last_begin_[i];
}

void LlamaContext::check_rollback(const Truncate& op) const {
  if (can_truncate(op.seq, op.length)) return;
  // llama.cpp would return true, and the state would be wrong.
  const std::string begin = "; length " + std::to_string(op.length) + "; the batch began at " +
                            std::to_string(last_begin_[static_cast<std::size_t>(op.seq)]);
  if (op.length < least_prefix(op.seq)) {
    broken("truncate", of("layers with a sliding window lack cells of the prefix;", op.length) +
                           "; " + std::to_string(least_prefix(op.seq)));
  }
  if (!is_recurrent_) {
    broken("truncate", "only windows are kept, and tokens before the last batch stay; window " +
                           std::to_string(window_) + begin);
  }
  if (max_rollback_ == 0) broken("truncate", "a recurrent state cannot be cut");
  broken("truncate", "a recurrent model takes back at most " + std::to_string(max_rollback_) +
                         " tokens of its last batch, once" + begin);
}

void LlamaContext::clear(bool data) {
  ++n_memory_calls_;
  llama_memory_clear(llama_get_memory(context_.get()), data);
  for (auto& tokens : contents_) tokens.clear();
  std::ranges::fill(last_begin_, 0);
  std::ranges::fill(least_prefix_, 0);
}

}  // namespace specbranch::llama
