/// The weights of one model, shared by every context that runs it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/llama/file/adapter_file.h"
#include "specbranch/llama/file/model_file.h"
#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/file/tensor_source.h"
#include "specbranch/llama/runtime/handles.h"
#include "specbranch/llama/vocabulary/vocabulary.h"

struct llama_adapter_lora;

namespace specbranch::llama {

/// A LoRA adapter that was loaded with a model, which owns it.
struct Adapter {
  AdapterFile file;
  float scale = 1.0F;                    ///< of texts that say nothing else.
  llama_adapter_lora* handle = nullptr;  ///< null: the model is an outline.
};

/// A loaded model.
///
/// *Thread safety:* immutable after `load`; any number of contexts in any threads.
/// *Lifecycle:* 1. `load` 2. contexts hold a shared_ptr 3. freed with the last of them.
class Weights {
 public:
  /// Told the share loaded so far (0 to 1), on the loading thread; false stops the loading.
  using Progress = std::function<bool(float)>;

  /// Throws ModelLoadError (also when `progress` stops it), or InvalidArgument for the options.
  /// What `progress` throws comes out unchanged.
  /// With a `fill` the file holds the metadata alone, of the llama architecture, and `fill` gives
  /// the weights; what it throws comes out unchanged too. Such a model has no feature layers, and
  /// `use_mmap`, `use_mlock` and `use_extra_bufts` are as if off.
  static std::shared_ptr<const Weights> load(const ModelOptions& options,
                                             const Progress& progress = {},
                                             const TensorFill& fill = {});

  /// The model without its weights, read from the header alone. Contexts of it allocate next to
  /// nothing and tell what they would allocate (see Footprint); they must not decode.
  /// `with_weights` of false: the file lacks the weights, as with a `fill`. Throws as `load`.
  static std::shared_ptr<const Weights> outline(const ModelOptions& options,
                                                bool with_weights = true);

  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  const Vocabulary& vocabulary() const noexcept { return *vocabulary_; }
  const ModelFile& file() const noexcept { return file_; }
  /// In the order of the options.
  const std::vector<Adapter>& adapters() const noexcept { return adapters_; }
  /// For creating contexts: llama.cpp takes a mutable pointer but only reads.
  llama_model* get() const noexcept { return model_.get(); }

  std::string description() const;  ///< e.g. "llama 7B Q8_0".
  /// What the file says of the model, by key; arrays are left out. Bytes, mostly UTF-8.
  std::map<std::string, std::string> metadata() const;
  int n_ctx_train() const;
  /// Whether tokens of a text can be taken back anywhere. Of recurrent and hybrid models, whole
  /// sequences can be copied and dropped.
  bool can_roll_back() const;

  /// A batch of several sequences is computed in parts, and a gap between their ids begins a new
  /// part. Hybrid models have no such parts, because their attention cells are in one cache.
  bool splits_at_gaps() const;

  /// Positions that the layers with a sliding window look back; 0: there are none.
  int window() const;
  /// Layers, counted from the last, whose inputs a context can give (see
  /// LlamaContext::keep_layer_inputs); 0: none, as llama.cpp would abort for this architecture.
  int n_feature_layers() const;
  /// Whether any layer is on a device other than the CPU.
  bool offloaded() const noexcept { return offloaded_; }
  /// Whether this came from `outline`.
  bool is_outline() const noexcept { return is_outline_; }

 private:
  Weights() = default;

  static std::shared_ptr<const Weights> read(const ModelOptions& options, const Progress& progress,
                                             const TensorFill& fill, bool outline);
  void load_adapters();

  ModelFile file_;
  ModelHandle model_;
  std::vector<Adapter> adapters_;
  std::unique_ptr<Vocabulary> vocabulary_;
  bool offloaded_ = false;
  bool is_outline_ = false;
};

}  // namespace specbranch::llama
