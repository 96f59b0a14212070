#include "specbranch/llama/file/adapter_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "ggml.h"
#include "gguf.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/file/gguf_reader.h"
#include "specbranch/llama/vocabulary/quote.h"

namespace specbranch::llama {
namespace {

constexpr std::string_view kSuffixA = ".lora_a";
constexpr std::string_view kSuffixB = ".lora_b";
constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kOutput = "output.weight";

/// The types that llama.cpp's converter writes.
constexpr std::array kTypes = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0};

/// A tensor of a file.
struct Matrix {
  std::int64_t index = -1;  ///< in its file; -1: there is none.
  ggml_type type = GGML_TYPE_F32;
  std::array<std::int64_t, GGML_MAX_DIMS> shape{};  ///< columns and rows first.

  bool exists() const { return index >= 0; }
};

struct Pair {
  Matrix a;
  Matrix b;
};

Matrix matrix_at(const GgufReader& gguf, std::int64_t index) {
  Matrix matrix{index, gguf_get_tensor_type(gguf.get(), index), {}};
  const std::int64_t* shape = gguf_get_tensor_ne(gguf.get(), index);
  std::copy_n(shape, GGML_MAX_DIMS, matrix.shape.begin());
  return matrix;
}

std::map<std::string, Matrix, std::less<>> matrices_of(const ModelFile& model, bool has_weights) {
  std::map<std::string, Matrix, std::less<>> found;
  for (const std::string& part : model.parts) {
    const GgufReader gguf(part, has_weights);
    for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf.get()); ++i) {
      found.emplace(gguf_get_tensor_name(gguf.get(), i), matrix_at(gguf, i));
    }
  }
  return found;
}

std::string shown(const Matrix& matrix) {
  std::string text = "[";
  for (int i = 0; i < 3; ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(matrix.shape[static_cast<std::size_t>(i)]);
  }
  return text + "]";
}

void require_text(const GgufReader& gguf, const std::string& key, const std::string& expected) {
  const auto found = gguf.text(key);
  if (!found) gguf.refuse("this is not a LoRA adapter: the metadata has no text " + key);
  if (*found != expected) {
    gguf.refuse("the adapter's " + key + " is " + quote(*found) + "; it must be " +
                quote(expected));
  }
}

/// llama.cpp asserts the types of these keys.
void check_metadata(const GgufReader& gguf, const ModelFile& model, AdapterFile& file) {
  require_text(gguf, "general.type", "adapter");
  require_text(gguf, "adapter.type", "lora");
  const auto architecture = gguf.text("general.architecture");
  if (architecture != model.architecture) {
    gguf.refuse("the adapter is for the architecture " + quote(architecture.value_or("")) +
                "; the model has " + quote(model.architecture));
  }
  const std::string alpha = "adapter.lora.alpha";
  if (const auto key = gguf_find_key(gguf.get(), alpha.c_str()); key >= 0) {
    if (gguf_get_kv_type(gguf.get(), key) != GGUF_TYPE_FLOAT32) {
      gguf.refuse(alpha + " is not a number of 32 bits");
    }
    file.alpha = gguf_get_val_f32(gguf.get(), key);
    if (!std::isfinite(file.alpha)) {
      gguf.refuse(alpha + " is " + std::to_string(file.alpha) + "; it must be a finite number");
    }
  }
  if (gguf_find_key(gguf.get(), "adapter.alora.invocation_tokens") >= 0) {
    gguf.refuse(
        "this is an activated adapter (aLoRA), which acts from its invocation tokens on; only "
        "adapters that act on the whole text are supported");
  }
  file.name = gguf.text("general.name").value_or("");
  file.task_name = gguf.text("adapter.lora.task_name").value_or("");
  file.prompt_prefix = gguf.text("adapter.lora.prompt_prefix").value_or("");
}

/// By the names of the model's matrices.
std::map<std::string, Pair, std::less<>> pairs_of(const GgufReader& gguf, AdapterFile& file) {
  std::map<std::string, Pair, std::less<>> pairs;
  for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf.get()); ++i) {
    const std::string_view name = gguf_get_tensor_name(gguf.get(), i);
    const bool is_a = name.ends_with(kSuffixA);
    if (!is_a && !name.ends_with(kSuffixB)) {
      if (!name.ends_with("_norm.weight")) {
        gguf.refuse("tensor '" + std::string(name) +
                    "' ends neither with .lora_a nor with .lora_b");
      }
      ++file.n_ignored;
      continue;
    }
    Pair& pair = pairs[std::string(name.substr(0, name.size() - kSuffixA.size()))];
    (is_a ? pair.a : pair.b) = matrix_at(gguf, i);
    file.n_bytes += gguf_get_tensor_size(gguf.get(), i);
  }
  if (pairs.empty()) gguf.refuse("the adapter has no matrices");
  return pairs;
}

void check_type(const GgufReader& gguf, const std::string& name, const Matrix& matrix) {
  if (std::find(kTypes.begin(), kTypes.end(), matrix.type) != kTypes.end()) return;
  gguf.refuse("the adapter of '" + name + "' has the type " + ggml_type_name(matrix.type) +
              "; it must be f32, f16, bf16 or q8_0");
}

/// ggml asserts what llama.cpp does not check, and reads beyond the matrices of too few experts.
void check_shapes(const GgufReader& gguf, const std::string& name, const Pair& pair,
                  const Matrix& changed) {
  const auto& [a, b] = pair;
  // The embedding is read by rows, so that its adapter is transposed.
  const std::size_t input = name.ends_with(kEmbedding) ? 1 : 0;
  const std::int64_t rank = a.shape[1 - input];
  const bool fits = b.shape[0] == rank && a.shape[input] == changed.shape[input] &&
                    b.shape[1] == changed.shape[1 - input];
  const bool same_depth = a.shape[2] == changed.shape[2] && b.shape[2] == changed.shape[2] &&
                          a.shape[3] == 1 && b.shape[3] == 1 && changed.shape[3] == 1;
  if (rank < 1 || !fits || !same_depth) {
    gguf.refuse("the adapter does not fit the model: '" + name + "' is " + shown(changed) +
                ", A is " + shown(a) + ", B is " + shown(b));
  }
}

void check_pair(const GgufReader& gguf, const std::string& name, const Pair& pair,
                const std::map<std::string, Matrix, std::less<>>& model) {
  if (!pair.a.exists() || !pair.b.exists()) {
    gguf.refuse("the adapter of '" + name + "' has no " + (pair.a.exists() ? "B" : "A"));
  }
  const auto found = model.find(name);
  if (found == model.end())
    gguf.refuse("the model has no '" + name + "', which the adapter changes");
  const Matrix& changed = found->second;
  if (changed.shape[1] <= 1) gguf.refuse("'" + name + "' is not a matrix");
  // llama.cpp asserts this.
  if (changed.type == GGML_TYPE_NVFP4) {
    gguf.refuse("'" + name + "' has the type nvfp4, to which llama.cpp applies no adapter");
  }
  // llama.cpp would apply the transposed adapter to the output, too, and abort.
  if (name == kEmbedding && !model.contains(kOutput)) {
    gguf.refuse("the adapter changes '" + name +
                "', which is also the output matrix of this model; llama.cpp cannot apply it");
  }
  check_type(gguf, name, pair.a);
  check_type(gguf, name, pair.b);
  check_shapes(gguf, name, pair, changed);
}

/// Refuses NaN and Inf.
void check_values(const GgufReader& gguf, const Matrix& matrix, std::ifstream& stream) {
  const auto n = static_cast<std::size_t>(gguf_get_tensor_size(gguf.get(), matrix.index));
  std::vector<char> bytes(n);
  stream.seekg(static_cast<std::streamoff>(gguf_get_data_offset(gguf.get()) +
                                           gguf_get_tensor_offset(gguf.get(), matrix.index)));
  if (!stream.read(bytes.data(), static_cast<std::streamsize>(n))) {
    gguf.refuse("the adapter's matrices cannot be read");
  }
  const std::int64_t row = matrix.shape[0];
  const std::size_t row_bytes = ggml_row_size(matrix.type, row);
  std::vector<float> values(static_cast<std::size_t>(row));
  for (std::size_t begin = 0; begin < n; begin += row_bytes) {
    if (matrix.type == GGML_TYPE_F32) {
      std::copy_n(bytes.data() + begin, row_bytes, reinterpret_cast<char*>(values.data()));
    } else {
      ggml_get_type_traits(matrix.type)->to_float(bytes.data() + begin, values.data(), row);
    }
    if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
      gguf.refuse("tensor '" + std::string(gguf_get_tensor_name(gguf.get(), matrix.index)) +
                  "' has a value that is NaN or infinite");
    }
  }
}

}  // namespace

AdapterFile inspect_adapter_file(const std::string& path, const ModelFile& model,
                                 const AdapterCheck& check) {
  const GgufReader gguf(path);
  AdapterFile file;
  file.path = path;
  check_metadata(gguf, model, file);
  const auto pairs = pairs_of(gguf, file);
  const auto matrices = matrices_of(model, check.model_has_weights);
  for (const auto& [name, pair] : pairs) {
    check_pair(gguf, name, pair, matrices);
    file.has_floats |= !ggml_is_quantized(pair.a.type) || !ggml_is_quantized(pair.b.type);
    file.rank = std::max(file.rank, static_cast<int>(pair.b.shape[0]));
    auto& n_product = name == kOutput ? file.n_output_product : file.n_product;
    n_product = std::max(n_product, pair.b.shape[1]);
  }
  file.n_matrices = static_cast<int>(pairs.size());
  if (check.values) {
    std::ifstream stream(path, std::ios::binary);
    for (const auto& [name, pair] : pairs) {
      check_values(gguf, pair.a, stream);
      check_values(gguf, pair.b, stream);
    }
  }
  return file;
}

}  // namespace specbranch::llama
