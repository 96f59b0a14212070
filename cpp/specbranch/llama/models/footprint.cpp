#include "specbranch/llama/models/footprint.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "llama.h"
#include "llama_extra.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/models/prompt_checkpoints.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/devices.h"
#include "specbranch/llama/runtime/memory.h"

namespace specbranch::llama {
namespace {

constexpr Pos kCells = 256;  // llama.cpp rounds their number up to a multiple

/// Where the bytes of a type of buffer are; null: in main memory.
ggml_backend_dev_t device_of(ggml_backend_buffer_type_t type) {
  if (ggml_backend_buft_is_host(type)) return nullptr;
  ggml_backend_dev_t device = ggml_backend_buft_get_device(type);
  return device == nullptr || is_of_cpu(device) ? nullptr : device;
}

/// What LlamaContext::save_state copies at most: the recurrent state of a sequence, or its windows.
/// 0: nothing, as every cell is kept.
std::uint64_t state_bytes(const std::shared_ptr<const Weights>& weights, ModelOptions options) {
  const Pos window = kept_window(*weights, options);
  if (weights->can_roll_back() && window == 0) return 0;
  const Pos most = total_length(*weights, options, 1);
  options.n_batch = options.n_ubatch = 1;  // windows have cells for a batch too
  const auto with_cells = [&](Pos n_cells) {
    const std::atomic<bool> abort{false};
    const ContextShape shape{.n_seq = 1, .n_cells = n_cells, .n_outputs = 1};
    const Footprint one = footprint_of(LlamaContext(weights, options, shape, &abort));
    std::uint64_t n_bytes = one.host.context;
    for (const MemoryShare& device : one.devices) n_bytes += device.context;
    return n_bytes;
  };
  // Layers that keep all cells grow with their number; states and windows do not.
  const Pos n_parts = std::min(window, most) / kCells + 1;
  const std::uint64_t n_bytes = with_cells(n_parts * kCells);
  const std::uint64_t of_part = with_cells((n_parts + 1) * kCells) - n_bytes;
  return n_bytes - std::min(n_bytes, of_part * static_cast<std::uint64_t>(n_parts));
}

/// Refuses recurrent states that do not fit: llama.cpp allocates them even for an outline, and the
/// kernel kills the process that writes to more memory than there is.
void check_states(const Weights& weights, std::uint64_t state, int n_states) {
  if (weights.can_roll_back() || weights.offloaded()) return;
  const std::uint64_t needed = state * static_cast<std::uint64_t>(n_states);
  const std::optional<std::uint64_t> available = available_memory();
  if (available && needed > *available) {
    throw ModelLoadError("[Footprint] the recurrent states do not fit into memory; " +
                         std::to_string(n_states) + " need " + std::to_string(needed >> 20U) +
                         " MiB; " + std::to_string(*available >> 20U) + " MiB are free");
  }
}

/// A matrix of an adapter lies where the matrix lies that it changes. llama.cpp does not tell where
/// that is, so the bytes are shared out like the weights.
void add_adapters(const Weights& weights, Footprint& footprint) {
  std::uint64_t n_bytes = 0;
  for (const Adapter& adapter : weights.adapters()) n_bytes += adapter.file.n_bytes;
  std::uint64_t in_devices = 0;
  for (const MemoryShare& device : footprint.devices) in_devices += device.weights;
  const std::uint64_t all = in_devices + footprint.host.weights + footprint.host.repacked;
  std::uint64_t left = n_bytes;
  for (MemoryShare& device : footprint.devices) {
    if (device.weights == 0) continue;
    const double share = static_cast<double>(device.weights) / static_cast<double>(all);
    device.adapters = static_cast<std::uint64_t>(share * static_cast<double>(n_bytes));
    left -= std::min(left, device.adapters);
  }
  footprint.host.adapters = left;
}

/// What a pass takes with adapters, which an outline cannot lay out: one more product of the
/// largest matrix is alive at once. That matrix may be anywhere.
void add_products(const LlamaContext& context, Footprint& footprint) {
  std::uint64_t n_values = 0;
  for (const Adapter& adapter : context.weights().adapters()) {
    const auto n = static_cast<std::uint64_t>(adapter.file.rank + adapter.file.n_product) *
                   llama_n_ubatch(context.get());
    const auto n_outputs = static_cast<std::uint64_t>(adapter.file.n_output_product) *
                           static_cast<std::uint64_t>(context.n_outputs());
    n_values = std::max({n_values, n, n_outputs});
  }
  const std::uint64_t n_bytes = sizeof(float) * n_values;
  footprint.host.compute += n_bytes;
  for (MemoryShare& device : footprint.devices) {
    if (device.weights > 0) device.compute += n_bytes;
  }
}

/// On a thread of its own: creating a context pins its thread, and both are quiet.
Footprint measure(const std::function<Footprint()>& lay_out) {
  Footprint footprint;
  std::exception_ptr error;
  std::thread([&] {
    try {
      const QuietLog quiet;
      footprint = lay_out();
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
  return footprint;
}

/// The options that count for the memory.
ModelOptions plain_options(const ModelOptions& options, bool with_weights) {
  ModelOptions plain = options;
  plain.cpus.clear();
  plain.n_threads = 1;
  plain.n_threads_batch = 1;
  if (!with_weights) plain.use_extra_bufts = false;  // what llama.cpp gets is never repacked
  return plain;
}

}  // namespace

Footprint footprint_of(const LlamaContext& context) {
  Footprint footprint;
  footprint.host.device = "CPU";
  footprint.n_layers = context.weights().file().n_layers + 1;
  const llama_model* model = context.weights().get();
  for (int i = 0; i < llama_model_n_devices(model); ++i) {
    footprint.devices.push_back({ggml_backend_dev_name(llama_model_get_device(model, i))});
  }
  for (const auto& [type, bytes] : llama_get_memory_breakdown(context.get())) {
    ggml_backend_dev_t device = device_of(type);
    MemoryShare* share = &footprint.host;
    if (device != nullptr) {
      const std::string name = ggml_backend_dev_name(device);
      const auto known = std::find_if(footprint.devices.begin(), footprint.devices.end(),
                                      [&](const MemoryShare& one) { return one.device == name; });
      share = known != footprint.devices.end() ? &*known
                                               : &footprint.devices.emplace_back(MemoryShare{name});
    }
    // Types of buffers for repacked weights belong to the CPU, but no one else can read them.
    const bool is_repacked = device == nullptr && !ggml_backend_buft_is_host(type);
    (is_repacked ? share->repacked : share->weights) += bytes.weights;
    share->context += bytes.context;
    share->compute += bytes.compute;
  }
  footprint.host.outputs = sizeof(float) * static_cast<std::uint64_t>(context.n_outputs()) *
                           static_cast<std::uint64_t>(context.weights().vocabulary().size());
  add_adapters(context.weights(), footprint);
  return footprint;
}

Footprint target_footprint(const ModelOptions& options, const TargetOptions& target,
                           bool with_weights) {
  return measure([&] {
    const ModelOptions plain = plain_options(options, with_weights);
    const auto weights = Weights::outline(plain, with_weights);
    const std::uint64_t state = state_bytes(weights, plain);
    check_states(*weights, state, target.n_seq > 1 ? 2 * target.n_seq : kMostSnapshots + 1);
    const LlamaTarget model(weights, plain, target);
    Footprint footprint = footprint_of(model.context());
    add_products(model.context(), footprint);
    if (target.prefix_reuse != PrefixReuse::kOff) {
      footprint.host.checkpoints = state * PromptCheckpoints::most(target.n_seq);
    }
    return footprint;
  });
}

Footprint draft_footprint(const ModelOptions& options, const DraftOptions& draft,
                          bool with_weights) {
  return measure([&] {
    const ModelOptions plain = plain_options(options, with_weights);
    const auto weights = Weights::outline(plain, with_weights);
    const std::uint64_t state = state_bytes(weights, plain);
    check_states(*weights, state, draft_sequences(*weights, plain, draft));
    Footprint footprint = footprint_of(LlamaDraft(weights, plain, draft).context());
    footprint.host.checkpoints = state * PromptCheckpoints::most(draft.n_texts);
    return footprint;
  });
}

}  // namespace specbranch::llama
