/// How one model is loaded and run. Names and meanings are llama-cpp-python's where it has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "specbranch/llama/runtime/cores.h"

namespace specbranch::llama {

/// llama.cpp's `llama_flash_attn_type`.
enum class FlashAttention : std::int8_t { kAuto = -1, kOff = 0, kOn = 1 };

/// A LoRA adapter of a model.
struct AdapterOptions {
  std::string path;
  float scale = 1.0F;  ///< of texts that say nothing else; 0: loaded, but off.
};

struct ModelOptions {
  std::string path;
  std::vector<AdapterOptions> adapters;  ///< of a target.

  // The weights.
  int n_gpu_layers = 0;              ///< layers on devices; negative: all; 0: the CPU alone.
  int main_gpu = 0;                  ///< the device of everything when split_mode is 0.
  std::vector<std::string> devices;  ///< ggml's names (`CUDA0`); empty: all that there are.
  int split_mode = 1;                ///< 0 one device, 1 by layers, 2 by rows, 3 by tensors.
  std::vector<float> tensor_split;   ///< share of each device; empty: by free memory.
  bool use_mmap = true;              ///< map the file instead of copying it.
  bool use_mlock = false;            ///< keep the weights from being swapped out.
  /// Read every weight once and refuse NaN and Inf, which would otherwise give NaN logits.
  /// Costs one pass over the file, on several threads.
  bool check_tensors = true;
  /// Allow repacked weights and matrix instructions (AMX). Off: slower, but it helps where the CPU
  /// lists instructions that the kernel does not enable.
  bool use_extra_bufts = true;

  // The context.
  int n_ctx = 4096;  ///< positions of a text; 0: the length that the model was trained with.
  bool within_training = false;  ///< n_ctx is no longer than that.
  int n_ctx_total = 0;           ///< positions of all texts at once; 0: n_ctx for each.
  int n_batch = 512;             ///< tokens of one call of llama_decode at most.
  int n_ubatch = 512;            ///< tokens of one forward pass at most.
  /// On and off hold everywhere; off: logits depend on the placement of cells. Automatic: on, but
  /// of a model with layers on devices, llama.cpp turns it off where a device has no kernel for it
  /// (of heads of 32 values, say), and would let the CPU compute it.
  FlashAttention flash_attn = FlashAttention::kAuto;
  int type_k = 1;           ///< ggml_type of the K cache; 1: f16.
  int type_v = 1;           ///< ggml_type of the V cache; another than f16 needs flash attention.
  bool offload_kqv = true;  ///< keep the cache on the device of its layer.
  /// Of a target: keep the cells of all positions in layers with a sliding window, too. Off: about
  /// a window of them, so that the cache is smaller, only the last batch can be taken back, and the
  /// order of the cells, on which the last bits of the logits depend, is another.
  bool swa_full = true;
  /// MiB of host memory for texts that no sequence holds any more (see PromptCache); none: as many
  /// as the KV cache takes, 256 to 8192; 0: no text is kept; -1: no limit.
  std::optional<int> cache_ram;
  int n_threads = 0;        ///< 0: chosen by plan_threads.
  int n_threads_batch = 0;  ///< for more than one token at once; 0: as n_threads.
  std::vector<int> cpus;    ///< CPUs that the model's threads are pinned to; empty: all.
};

/// CPU cores (not hyper-threads) that this process may use: affinity mask and cgroup quota.
int usable_cores();

/// The GPUs and the processor that threads are planned for.
struct ThreadSites {
  bool devices = false;  ///< there are some.
  Processor processor;
};

/// Sets n_threads and n_threads_batch where they are 0. Both models run at the same time, so they
/// share the cores: OpenMP threads spin, and more threads than cores cost factors of 100. The draft
/// gets a quarter of the cores and at least one, the target the rest and at least one; a model
/// with `cpus` of its own gets one thread a CPU. A model whose layers are all on devices with their
/// caches (`n_gpu_layers` below 0, `offload_kqv`) gets one thread, and one on the CPU the rest. A
/// target without a draft gets all cores if it does not get one thread.
///
/// A draft on a hybrid CPU beside a target on devices gets threads on the fast cores alone, and is
/// pinned to them (`cpus`): threads wait for each other after every matrix, so that one on a slow
/// core holds up the others. The target's thread, which starts the device's work, takes one of
/// them. Not if the caller has given threads or CPUs. It gets 16 threads at most: its layers are
/// small, and every thread more takes longer to meet the others.
void plan_threads(ModelOptions& target, ModelOptions* draft);

/// As above on another machine.
void plan_threads(ModelOptions& target, ModelOptions* draft, const ThreadSites& sites);

/// Throws InvalidArgument for the first option that is out of its range. Looks at no file.
void validate(const ModelOptions& options);

}  // namespace specbranch::llama
