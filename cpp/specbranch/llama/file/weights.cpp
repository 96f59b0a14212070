#include "specbranch/llama/file/weights.h"

#include <algorithm>
#include <array>
#include <exception>
#include <string_view>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/file/embedding_table.h"
#include "specbranch/llama/file/gguf_reader.h"
#include "specbranch/llama/file/init_from_source.h"
#include "specbranch/llama/file/split_model.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/devices.h"
#include "specbranch/llama/runtime/llama_call.h"

namespace specbranch::llama {
namespace {

/// Carries a C++ callback through the C API.
struct ProgressCall {
  const Weights::Progress* progress;
  std::exception_ptr error;
  bool stopped = false;
};

bool report_progress(float share, void* data) noexcept {
  auto* call = static_cast<ProgressCall*>(data);
  LlamaCall::note_progress();
  try {
    if (!*call->progress || (*call->progress)(share)) return true;
    call->stopped = true;
  } catch (...) {
    call->error = std::current_exception();
  }
  return false;
}

/// Copies as much as fits beside a zero.
template <std::size_t N>
void set_text(char (&to)[N], const std::string& text) {
  to[text.copy(to, N - 1)] = '\0';
}

/// The devices beside the CPU that `options` names, null-terminated. Accelerators of the CPU are
/// not among them: llama.cpp uses them anyway.
std::vector<ggml_backend_dev_t> find_devices(const ModelOptions& options) {
  std::vector<ggml_backend_dev_t> devices;
  for (const std::string& name : options.devices) {
    ggml_backend_dev_t device = ggml_backend_dev_by_name(name.c_str());
    if (device == nullptr) {
      std::string known;
      for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        known += (i > 0 ? ", " : "") + std::string(ggml_backend_dev_name(ggml_backend_dev_get(i)));
      }
      throw InvalidArgument("[Weights::load] there is no such device; " + name + "; " + known);
    }
    if (!is_of_cpu(device)) devices.push_back(device);
  }
  devices.push_back(nullptr);
  return devices;
}

llama_load_mode load_mode(const ModelOptions& options) {
  if (options.use_mmap) {
    return options.use_mlock ? LLAMA_LOAD_MODE_MMAP_MLOCK : LLAMA_LOAD_MODE_MMAP;
  }
  return options.use_mlock ? LLAMA_LOAD_MODE_MLOCK : LLAMA_LOAD_MODE_NONE;
}

/// Settings in place of those of the file: as many tokens, but none with a text. Most of the time
/// of an outline would be the tokenizer's.
std::array<llama_model_kv_override, 3> without_tokenizer(const ModelFile& file) {
  std::array<llama_model_kv_override, 3> overrides{};  // the last one ends the list
  overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
  set_text(overrides[0].key, "tokenizer.ggml.model");
  set_text(overrides[0].val_str, "no_vocab");
  overrides[1].tag = LLAMA_KV_OVERRIDE_TYPE_INT;
  set_text(overrides[1].key, file.architecture + ".vocab_size");
  overrides[1].val_i64 = file.n_vocab;
  return overrides;
}

// The architectures whose graphs mark the input of every layer (`t_layer_inp` in llama.cpp's
// src/models); with any other one, asking for it aborts the process. Recurrent and hybrid ones
// that mark it cannot speculate, so that nobody needs it.
constexpr std::array kMarkLayerInputs = {
    std::string_view("llama"),      std::string_view("qwen3"),      std::string_view("qwen3moe"),
    std::string_view("gpt-oss"),    std::string_view("gemma4"),     std::string_view("mimo2"),
    std::string_view("minimax-m2"), std::string_view("hunyuan_vl"),
};

}  // namespace

std::shared_ptr<const Weights> Weights::load(const ModelOptions& options, const Progress& progress,
                                             const TensorFill& fill) {
  return read(options, progress, fill, /*outline=*/false);
}

std::shared_ptr<const Weights> Weights::outline(const ModelOptions& options, bool with_weights) {
  TensorFill none;
  if (!with_weights) {
    none = [](const std::string& name, std::span<std::byte>) {
      throw FatalError("[Weights::outline] llama.cpp asks for the weights; " + name);
    };
  }
  return read(options, {}, none, /*outline=*/true);
}

std::shared_ptr<const Weights> Weights::read(const ModelOptions& options, const Progress& progress,
                                             const TensorFill& fill, bool outline) {
  validate(options);
  init_backend();
  std::shared_ptr<Weights> weights(new Weights);
  weights->is_outline_ = outline;
  weights->file_ = inspect_model_file(options.path, /*with_weights=*/!fill);

  // Before the weights, which take long.
  const AdapterCheck check{.values = options.check_tensors && !outline, .model_has_weights = !fill};
  for (const AdapterOptions& adapter : options.adapters) {
    weights->adapters_.push_back(
        {inspect_adapter_file(adapter.path, weights->file_, check), adapter.scale});
  }

  std::vector<ggml_backend_dev_t> devices = find_devices(options);
  const bool named_none = !options.devices.empty() && devices.size() == 1;
  const bool cpu_only = options.n_gpu_layers == 0 || named_none;
  // llama.cpp reads llama_max_devices() shares.
  std::vector<float> split = options.tensor_split;
  split.resize(llama_max_devices(), 0.0F);
  ProgressCall call{&progress, nullptr};
  const std::array overrides = without_tokenizer(weights->file_);

  llama_model_params params = llama_model_default_params();
  if (cpu_only || !options.devices.empty()) {
    // An empty list keeps a GPU out even of long prompts, which llama.cpp would send there.
    if (cpu_only) devices.assign(1, nullptr);
    params.devices = devices.data();
  }
  params.n_gpu_layers = options.n_gpu_layers;
  params.split_mode = static_cast<llama_split_mode>(options.split_mode);
  params.main_gpu = options.main_gpu;
  if (!options.tensor_split.empty()) params.tensor_split = split.data();
  params.no_alloc = outline;
  if (outline) params.kv_overrides = overrides.data();
  // llama.cpp asserts that an outline maps nothing.
  params.load_mode = outline ? LLAMA_LOAD_MODE_NONE : load_mode(options);
  params.check_tensors = options.check_tensors;
  params.use_extra_bufts = options.use_extra_bufts;
  params.progress_callback = report_progress;
  params.progress_callback_user_data = &call;
  if (cpu_only && params.split_mode == LLAMA_SPLIT_MODE_TENSOR) {
    throw InvalidArgument(
        "[Weights::load] split_mode 3 needs layers on devices; n_gpu_layers is 0, or no GPU is "
        "named");
  }

  const LlamaCall running;
  const ErrorCapture errors;
  try {
    if (fill) {
      const auto report = [&](float share) { return report_progress(share, &call); };
      const GgufReader gguf(options.path, /*with_weights=*/false);
      weights->model_ = init_from_source(gguf, fill, report, params);
    } else {
      weights->model_ = load_parts(weights->file_.parts, params);
    }
  } catch (const Error&) {
    throw;  // ours already
  } catch (const std::exception& error) {
    throw ModelLoadError(std::string("[Weights::load] ") + error.what() + "; " + options.path);
  }
  if (call.error) std::rethrow_exception(call.error);
  if (!weights->model_) {
    if (call.stopped) {
      throw ModelLoadError("[Weights::load] stopped by the progress callback; " + options.path);
    }
    throw ModelLoadError("[Weights::load] " +
                         errors.reason("llama.cpp refused the file without a reason") + "; " +
                         options.path);
  }
  llama_model* model = weights->model_.get();
  if (llama_model_has_encoder(model) || !llama_model_has_decoder(model) ||
      llama_model_is_diffusion(model)) {
    throw ModelLoadError("[Weights::load] the model does not generate token after token; " +
                         options.path);
  }
  const llama_vocab* vocab = llama_model_get_vocab(model);
  weights->vocabulary_ = outline ? std::make_unique<Vocabulary>(vocab, weights->file_.n_vocab)
                                 : std::make_unique<Vocabulary>(vocab);
  weights->offloaded_ = !cpu_only && has_gpu();
  if (!outline) weights->load_adapters();
  return weights;
}

void Weights::load_adapters() {
  for (Adapter& adapter : adapters_) {
    const ErrorCapture errors;
    std::string reason;
    try {
      adapter.handle = llama_adapter_lora_init(model_.get(), adapter.file.path.c_str());
    } catch (const std::exception& error) {
      reason = error.what();
    }
    if (adapter.handle == nullptr) {
      throw ModelLoadError("[Weights::load] llama.cpp refused the adapter; " +
                           errors.reason(reason.empty() ? "no reason given" : reason) + "; " +
                           adapter.file.path);
    }
  }
}

std::string Weights::description() const {
  std::array<char, 256> text{};
  llama_model_desc(model_.get(), text.data(), text.size());
  return text.data();
}

std::map<std::string, std::string> Weights::metadata() const {
  const llama_model* model = model_.get();
  // Both return the length that the text has, or would have; negative: there is none.
  const auto text = [](auto read) {
    std::string value(256, '\0');
    for (;;) {
      const int n = read(value.data(), value.size());
      const auto length = static_cast<std::size_t>(std::max(n, 0));
      const bool fits = length < value.size();
      value.resize(fits ? length : length + 1);
      if (fits) return value;
    }
  };
  std::map<std::string, std::string> found;
  for (int i = 0; i < llama_model_meta_count(model); ++i) {
    std::string key = text([&](char* buffer, std::size_t size) {
      return llama_model_meta_key_by_index(model, i, buffer, size);
    });
    found[std::move(key)] = text([&](char* buffer, std::size_t size) {
      return llama_model_meta_val_str_by_index(model, i, buffer, size);
    });
  }
  return found;
}

int Weights::n_ctx_train() const { return llama_model_n_ctx_train(model_.get()); }

int Weights::n_feature_layers() const {
  const bool marked = std::find(kMarkLayerInputs.begin(), kMarkLayerInputs.end(),
                                file_.architecture) != kMarkLayerInputs.end();
  if (!marked || !can_roll_back() || !EmbeddingTable::can_read(file_)) return 0;
  if (llama_model_n_embd(model_.get()) != file_.n_embd) return 0;
  // The input of the first layer is the embedding itself, which tells nothing of the text.
  return llama_model_n_layer(model_.get()) - 1;
}

bool Weights::can_roll_back() const {
  return !llama_model_is_recurrent(model_.get()) && !llama_model_is_hybrid(model_.get());
}

bool Weights::splits_at_gaps() const { return llama_model_is_recurrent(model_.get()); }

int Weights::window() const { return llama_model_n_swa(model_.get()); }

}  // namespace specbranch::llama
