#include "specbranch/llama/file/model_options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/devices.h"
#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw InvalidArgument("[ModelOptions] " + what);
}

void require_range(const char* name, int value, int low, int high) {
  if (value < low || value > high) {
    refuse(std::string(name) + " is out of range; " + std::to_string(value) + "; " +
           std::to_string(low) + " to " + std::to_string(high));
  }
}

/// Of a draft on the CPU beside a target on devices.
constexpr int kMostDraftThreads = 16;

/// Types in which keys and values can be written on every device, and read again. The CPU writes
/// others, too; llama.cpp would end the process where a GPU should.
constexpr std::array kCacheTypes = {GGML_TYPE_F32,  GGML_TYPE_F16,  GGML_TYPE_BF16,
                                    GGML_TYPE_Q8_0, GGML_TYPE_Q5_1, GGML_TYPE_Q5_0,
                                    GGML_TYPE_Q4_1, GGML_TYPE_Q4_0, GGML_TYPE_IQ4_NL};

void check_cache_type(const char* name, int number) {
  require_range(name, number, 0, GGML_TYPE_COUNT - 1);
  const auto type = static_cast<ggml_type>(number);
  if (ggml_type_size(type) == 0) {
    refuse(std::string(name) + " is not a type that ggml has; " + std::to_string(number));
  }
  // llama.cpp would end the process in the first decode, or read where nothing is.
  if (std::ranges::find(kCacheTypes, type) == kCacheTypes.end()) {
    refuse(std::string(name) + " is a type in which ggml keeps no keys and values; " +
           std::to_string(number) + " (" + ggml_type_name(type) + ")");
  }
}

}  // namespace

int usable_cores() { return this_processor().n_usable(); }

void plan_threads(ModelOptions& target, ModelOptions* draft, const ThreadSites& sites) {
  const int n_cores = sites.processor.n_usable();
  const auto fill = [](ModelOptions& options, int share) {
    if (options.n_threads <= 0) {
      options.n_threads = options.cpus.empty() ? share : static_cast<int>(options.cpus.size());
    }
    if (options.n_threads_batch <= 0) options.n_threads_batch = options.n_threads;
  };
  const auto on_device = [&](const ModelOptions& options) {
    return sites.devices && options.n_gpu_layers < 0 && options.offload_kqv;
  };
  if (draft == nullptr) {
    fill(target, on_device(target) ? 1 : n_cores);
    return;
  }
  if (on_device(target) && !on_device(*draft)) {
    const bool is_free = draft->n_threads <= 0 && draft->cpus.empty() && target.cpus.empty();
    fill(target, 1);
    int n_left = std::min(n_cores - target.n_threads, kMostDraftThreads);
    const std::vector<Core> fast = sites.processor.fast_cores();
    if (is_free && !fast.empty()) {
      n_left = std::min(n_left, static_cast<int>(fast.size()) - target.n_threads);
      draft->n_threads = std::max(1, n_left);
      for (const Core& core : fast) {
        draft->cpus.insert(draft->cpus.end(), core.cpus.begin(), core.cpus.end());
      }
    }
    fill(*draft, std::max(1, n_left));
    return;
  }
  fill(*draft, on_device(*draft) ? 1 : std::max(1, n_cores / 4));
  fill(target, on_device(target) ? 1 : std::max(1, n_cores - draft->n_threads));
}

void plan_threads(ModelOptions& target, ModelOptions* draft) {
  plan_threads(target, draft, {has_gpu(), this_processor()});
}

void validate(const ModelOptions& options) {
  if (options.path.empty()) refuse("the path is empty");
  if (options.path.find('\0') != std::string::npos) refuse("the path holds a zero byte");
  for (const AdapterOptions& adapter : options.adapters) {
    if (adapter.path.empty()) refuse("the path of an adapter is empty");
    if (adapter.path.find('\0') != std::string::npos) {
      refuse("the path of an adapter holds a zero byte");
    }
    if (!std::isfinite(adapter.scale)) {
      refuse("the scale of an adapter is not finite; " + std::to_string(adapter.scale) + "; " +
             adapter.path);
    }
  }
  if (!options.adapters.empty() && options.split_mode == LLAMA_SPLIT_MODE_TENSOR &&
      options.n_gpu_layers != 0) {
    refuse("split_mode 3 takes no adapters");
  }
  require_range("main_gpu", options.main_gpu, -1, 1 << 10);
  require_range("split_mode", options.split_mode, LLAMA_SPLIT_MODE_NONE, LLAMA_SPLIT_MODE_TENSOR);
  require_range("n_ctx", options.n_ctx, 0, 1 << 30);
  require_range("cache_ram", options.cache_ram.value_or(0), -1, std::numeric_limits<int>::max());
  require_range("n_batch", options.n_batch, 1, 1 << 20);
  require_range("n_ubatch", options.n_ubatch, 1, 1 << 20);
  require_range("n_threads", options.n_threads, 0, 512);
  require_range("n_threads_batch", options.n_threads_batch, 0, 512);
  check_cache_type("type_k", options.type_k);
  check_cache_type("type_v", options.type_v);
  if (options.flash_attn == FlashAttention::kOff &&
      ggml_is_quantized(static_cast<ggml_type>(options.type_v))) {
    refuse("a quantized type_v needs flash attention");
  }
  for (const int cpu : options.cpus) require_range("cpus", cpu, 0, kMaxCpus - 1);
  if (options.tensor_split.size() > llama_max_devices()) {
    refuse("tensor_split has " + std::to_string(options.tensor_split.size()) + " shares; at most " +
           std::to_string(llama_max_devices()));
  }
  for (const float share : options.tensor_split) {
    if (!(share >= 0.0F && std::isfinite(share))) refuse("a share of tensor_split is negative");
  }
}

}  // namespace specbranch::llama
