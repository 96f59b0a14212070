/// The memory that a model takes, found out before it is loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/models/draft.h"
#include "specbranch/llama/models/target.h"

namespace specbranch::llama {

/// What a model has in one memory, in bytes.
struct MemoryShare {
  std::string device;          ///< ggml's name, such as `CUDA0`; `CPU`: main memory.
  std::uint64_t weights = 0;   ///< as they are in the file. In main memory `use_mmap` maps them.
  std::uint64_t repacked = 0;  ///< copies of weights for this CPU; never mapped.
  std::uint64_t context = 0;   ///< KV cells and recurrent states, with all their snapshots.
  std::uint64_t compute = 0;   ///< buffers of a forward pass.
  std::uint64_t outputs = 0;   ///< rows of logits.
  std::uint64_t adapters = 0;  ///< LoRA adapters; never mapped.
  /// States of prompts, once there are as many as are kept (see PromptCheckpoints).
  std::uint64_t checkpoints = 0;

  std::uint64_t total() const noexcept {
    return weights + repacked + context + compute + outputs + adapters + checkpoints;
  }
};

/// The buffers that llama.cpp allocates for a model and its context, and the copies of states.
struct Footprint {
  MemoryShare host;
  /// The devices that the options allow, in llama.cpp's order, also those that get nothing.
  std::vector<MemoryShare> devices;
  int n_layers = 0;  ///< layers that can be on devices: the blocks and the output.
};

/// The buffers that a context and its weights have; those of an outline: that they would have.
Footprint footprint_of(const LlamaContext& context);

/// llama.cpp's own sizes: it lays the model and its context out without allocating them
/// (`no_alloc`), as the engine would create them. So they hold for every architecture, cache type
/// and split, and cost a read of the header (10 to 150 ms) but no memory. Recurrent states alone
/// are allocated for a moment.
///
/// Of `options.cpus` and the threads nothing is used. `with_weights` of false: the file lacks the
/// weights, which come from a TensorFill. Throws what loading throws for the file and the options;
/// ModelLoadError also if the recurrent states do not fit into memory. Not for split_mode 3.
Footprint target_footprint(const ModelOptions& options, const TargetOptions& target,
                           bool with_weights = true);
Footprint draft_footprint(const ModelOptions& options, const DraftOptions& draft,
                          bool with_weights = true);

}  // namespace specbranch::llama
