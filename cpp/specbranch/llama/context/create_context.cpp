// The constructor of LlamaContext: options to llama_context_params, memory, threads.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/context/context.h"
#include "specbranch/llama/context/sizes.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/llama_call.h"
#include "specbranch/llama/runtime/memory.h"
#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

constexpr Pos kCellAlignment = 256;
/// Of texts; batches and branches need some more.
constexpr Pos kMostCells = 0x7fffffff - 0xfffff;

/// llama.cpp's lists of positions and sequence ids, also where the cells are on a device.
constexpr std::uint64_t kCellListBytes = 64;

/// Refuses what would not fit into the machine's memory: llama.cpp writes zeros to the whole cache
/// at once, and the kernel kills the process instead of failing the allocation.
void check_memory(const Weights& weights, const ModelOptions& options, Pos n_cells) {
  std::uint64_t cell_bytes = kCellListBytes;
  // A device fails properly, and an outline has no cells. Where only windows are kept, the layout
  // alone tells how many cells a layer has (see Footprint).
  if (!weights.offloaded() && !weights.is_outline() && options.swa_full) {
    cell_bytes += weights.file().cell_bytes(options.type_k, options.type_v);
  }
  const std::uint64_t needed = cell_bytes * static_cast<std::uint64_t>(n_cells);
  const std::optional<std::uint64_t> available = available_memory();
  if (available && needed > *available) {
    throw ModelLoadError("[LlamaContext] the KV cache does not fit into memory; " +
                         std::to_string(n_cells) + " cells need " + std::to_string(needed >> 20U) +
                         " MiB; " + std::to_string(*available >> 20U) + " MiB are free");
  }
}

/// With flash attention llama.cpp aborts when it builds the graph of these, because their values
/// are no longer split into heads.
void check_flash_attention(const Weights& weights, const ModelOptions& options) {
  if (options.flash_attn == FlashAttention::kOff || weights.file().architecture != "plm") return;
  throw ModelLoadError("[LlamaContext] llama.cpp cannot run a 'plm' model with flash attention; " +
                       weights.file().path + "; set flash_attn=False");
}

/// What llama.cpp is asked for. On the CPU every model can have it.
llama_flash_attn_type flash_attention(const Weights& weights, const ModelOptions& options) {
  if (options.flash_attn == FlashAttention::kAuto && !weights.offloaded()) {
    return LLAMA_FLASH_ATTN_TYPE_ENABLED;
  }
  return static_cast<llama_flash_attn_type>(options.flash_attn);
}

void use_cpus(const std::vector<int>& cpus) {
  if (cpus.empty()) return;
  const Pinning done = pin_thread(cpus);
  if (done == Pinning::kDone) return;
  std::string list;
  for (const int cpu : cpus) list += " " + std::to_string(cpu);
  throw InvalidArgument(done == Pinning::kRefused
                            ? "[LlamaContext] none of these CPUs may be used;" + list
                            : "[LlamaContext] this system does not bind threads to CPUs; cpus is" +
                                  list + "; it must be empty");
}

}  // namespace

Pos context_length(const ModelFile& file, const ModelOptions& options) {
  Pos length = options.n_ctx > 0 ? options.n_ctx : file.n_ctx_train;
  if (options.within_training) length = std::min(length, file.n_ctx_train);
  return file.n_positions > 0 ? std::min(length, file.n_positions) : length;
}

Pos context_length(const Weights& weights, const ModelOptions& options) {
  return context_length(weights.file(), options);
}

Pos total_length(const Weights& weights, const ModelOptions& options, int n_texts) {
  const Pos n_ctx = context_length(weights, options);
  const std::int64_t most = std::int64_t{n_texts} * n_ctx;
  if (options.n_ctx_total != 0 && options.n_ctx_total < n_ctx) {
    throw InvalidArgument("[LlamaContext] n_ctx_total is " + std::to_string(options.n_ctx_total) +
                          "; it must be at least n_ctx, which is " + std::to_string(n_ctx) +
                          ", or 0");
  }
  const std::int64_t total =
      options.n_ctx_total == 0 ? most : std::min<std::int64_t>(options.n_ctx_total, most);
  if (total > kMostCells) {
    throw InvalidArgument("[LlamaContext] " + std::to_string(n_texts) + " texts of n_ctx " +
                          std::to_string(n_ctx) + " need " + std::to_string(total) +
                          " cells; there may be " + std::to_string(kMostCells));
  }
  return static_cast<Pos>(total);
}

Pos kept_window(const Weights& weights, const ModelOptions& options) {
  return options.swa_full ? 0 : weights.window();
}

bool LlamaContext::is_stopped(void* sign) noexcept {
  const auto& stop = *static_cast<const StopSign*>(sign);
  return !stop.ignored && stop.abort->load(std::memory_order_relaxed);
}

LlamaContext::LlamaContext(std::shared_ptr<const Weights> weights, const ModelOptions& options,
                           const ContextShape& shape, const std::atomic<bool>* abort)
    : weights_(std::move(weights)),
      stop_{abort},
      is_recurrent_(!weights_->can_roll_back()),
      window_(kept_window(*weights_, options)) {
  if (shape.n_seq < 1 || shape.n_seq > max_sequences()) {
    throw InvalidArgument("[LlamaContext] the number of sequences is out of range; " +
                          std::to_string(shape.n_seq) + "; 1 to " +
                          std::to_string(max_sequences()));
  }
  if (shape.n_cells < 1 || shape.n_outputs < 1) {
    throw InvalidArgument("[LlamaContext] a context needs at least one cell and one output");
  }
  // llama.cpp asserts that every sequence may have an output in one batch.
  if (options.n_batch < std::max(shape.n_seq, shape.n_outputs)) {
    throw InvalidArgument("n_batch is " + std::to_string(options.n_batch) +
                          "; with these options it must be at least " +
                          std::to_string(std::max(shape.n_seq, shape.n_outputs)));
  }
  install_log_sink();
  use_cpus(options.cpus);
  n_cells_ = (shape.n_cells + kCellAlignment - 1) / kCellAlignment * kCellAlignment;
  check_memory(*weights_, options, n_cells_);
  check_flash_attention(*weights_, options);
  if (window_ > 0 && is_recurrent_) {
    throw InvalidArgument(
        "[LlamaContext] swa_full is off, but a recurrent or hybrid model must keep"
        " the cells of all positions; " +
        weights_->file().path);
  }
  n_batch_ = std::min(options.n_batch, n_cells_);
  n_ubatch_ = std::min(options.n_ubatch, n_batch_);
  n_outputs_ = std::min(std::max(shape.n_outputs, shape.n_seq), n_batch_);
  n_threads_ = options.n_threads > 0 ? options.n_threads : usable_cores();
  const bool takes_cells = !is_recurrent_ && window_ == 0 && weights_->window() > 0;
  n_guarded_ = takes_cells ? shape.n_texts : 0;
  if (n_guarded_ > max_sequences() - shape.n_seq) {
    throw InvalidArgument("[LlamaContext] too few sequence ids are left to keep the cells of " +
                          std::to_string(n_guarded_) + " texts; " + std::to_string(shape.n_seq) +
                          " of " + std::to_string(max_sequences()) + " are taken");
  }
  contents_.resize(static_cast<std::size_t>(shape.n_seq));
  last_begin_.assign(contents_.size(), 0);
  rolled_back_.assign(contents_.size(), false);
  least_prefix_.assign(contents_.size(), 0);

  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<std::uint32_t>(n_cells_);
  params.n_batch = static_cast<std::uint32_t>(n_batch_);
  params.n_ubatch = static_cast<std::uint32_t>(n_ubatch_);
  params.n_seq_max = static_cast<std::uint32_t>(shape.n_seq);
  // Of a model without a recurrent state, llama.cpp ignores it.
  if (is_recurrent_) params.n_rs_seq = static_cast<std::uint32_t>(std::max(0, shape.n_rollback));
  params.n_outputs_max = static_cast<std::uint32_t>(n_outputs_);
  params.n_threads = n_threads_;
  params.n_threads_batch = options.n_threads_batch > 0 ? options.n_threads_batch : n_threads_;
  params.flash_attn_type = flash_attention(*weights_, options);
  params.type_k = static_cast<ggml_type>(options.type_k);
  params.type_v = static_cast<ggml_type>(options.type_v);
  params.offload_kqv = options.offload_kqv;
  params.op_offload = weights_->offloaded();
  params.kv_unified = true;  // branches share cells
  params.swa_full = window_ == 0;
  params.no_perf = true;
  params.abort_callback = is_stopped;
  params.abort_callback_data = &stop_;

  const LlamaCall call;
  const ErrorCapture errors;
  std::string reason;
  try {
    context_.reset(llama_init_from_model(weights_->get(), params));
  } catch (const std::exception& error) {
    reason = error.what();
  }
  if (!context_) {
    throw ModelLoadError("[LlamaContext] llama.cpp could not create the context; " +
                         std::to_string(n_cells_) + " cells; " +
                         errors.reason(reason.empty() ? "no reason given" : reason));
  }
  max_rollback_ = is_recurrent_ ? static_cast<int>(llama_n_rs_seq(context_.get()))
                                : std::numeric_limits<int>::max();
  if (llama_get_memory(context_.get()) == nullptr) {
    throw ModelLoadError("[LlamaContext] the model keeps no text in memory; it cannot generate");
  }
}

}  // namespace specbranch::llama
