#include "specbranch/llama/file/model_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "gguf.h"
#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/file/file_facts.h"
#include "specbranch/llama/file/gguf_reader.h"
#include "specbranch/llama/file/shape_rules.h"
#include "specbranch/llama/file/split_model.h"
#include "specbranch/llama/vocabulary/quote.h"

namespace specbranch::llama {
namespace {

constexpr std::int64_t kMaxLayers = 512;  // llama.cpp asserts this (LLAMA_MAX_LAYERS)
constexpr std::size_t kLongestName = 64;  // of an architecture, far above llama.cpp's longest

// llama.cpp stores the states of all but the first sequence of a batch in the wrong places.
constexpr std::array kOneSequenceAtOnce = {std::string_view("plamo2")};

// It takes the wrong tokens' shifts for states where several sequences have several tokens each. A
// draft only guesses worse then.
constexpr std::array kOneTokenOfEach = {std::string_view("rwkv6qwen2"), std::string_view("arwkv7")};

constexpr std::array kNotGenerative = {
    std::string_view("bert"),
    std::string_view("modern-bert"),
    std::string_view("nomic-bert"),
    std::string_view("nomic-bert-moe"),
    std::string_view("neo-bert"),
    std::string_view("jina-bert-v2"),
    std::string_view("jina-bert-v3"),
    std::string_view("eurobert"),
    std::string_view("t5"),
    std::string_view("t5encoder"),
    std::string_view("wavtokenizer-dec"),
    std::string_view("gemma-embedding"),
    std::string_view("llama-embed"),
    std::string_view("eagle3"),
    std::string_view("dflash"),
};

constexpr std::array kRopeScalings = {std::string_view("none"), std::string_view("linear"),
                                      std::string_view("yarn"), std::string_view("longrope")};

void require_integer(const GgufReader& gguf, const std::string& key, std::int64_t low,
                     std::int64_t high) {
  const auto value = gguf.integer(key);
  if (!value) gguf.refuse("the metadata has no integer " + key);
  gguf.require(key, *value, low, high);
}

void check_epsilons(const GgufReader& gguf, const std::string& arch) {
  for (const char* name : {"layer_norm_epsilon", "layer_norm_rms_epsilon", "group_norm_epsilon"}) {
    const std::string key = arch + ".attention." + name;
    const auto epsilon = gguf.number(key);
    if (epsilon && !(*epsilon >= 0.0 && std::isfinite(*epsilon))) {
      gguf.refuse(key + " is " + std::to_string(*epsilon) + ", not a number of at least 0");
    }
  }
}

void check_architecture(const GgufReader& gguf, const std::string& arch) {
  if (contains(kNotGenerative, arch) || !gguf.flag(arch + ".attention.causal").value_or(true) ||
      gguf.integer(arch + ".pooling_type").value_or(0) > 0) {
    gguf.refuse(quote(arch) +
                " with these settings is an encoder or a model for embeddings or "
                "ranking; it cannot generate text");
  }
  require_integer(gguf, arch + ".block_count", 1, kMaxLayers);
  const auto n_layers = *gguf.integer(arch + ".block_count");
  const auto nextn = gguf.integer(arch + ".nextn_predict_layers").value_or(0);
  gguf.require(arch + ".nextn_predict_layers", nextn, 0, n_layers);
  require_integer(gguf, arch + ".context_length", 1, std::int64_t{1} << 30);
  require_integer(gguf, arch + ".embedding_length", 1, 1 << 20);
  check_epsilons(gguf, arch);
  const auto scaling = gguf.text(arch + ".rope.scaling.type");
  if (scaling && !contains(kRopeScalings, *scaling)) {
    gguf.refuse(arch + ".rope.scaling.type is " + quote(*scaling) +
                ", which llama.cpp does not know");
  }
}

/// llama.cpp ends the process where a vocabulary of this kind has a token for a byte.
void check_byte_tokens(const GgufReader& gguf, std::string_view model) {
  if (model != "bert") return;
  const auto id = gguf_find_key(gguf.get(), "tokenizer.ggml.token_type");
  if (id < 0 || gguf_get_kv_type(gguf.get(), id) != GGUF_TYPE_ARRAY) return;
  const gguf_type type = gguf_get_arr_type(gguf.get(), id);
  if (type != GGUF_TYPE_INT32 && type != GGUF_TYPE_UINT32) return;
  const auto* types = static_cast<const std::int32_t*>(gguf_get_arr_data(gguf.get(), id));
  const std::size_t n = gguf_get_arr_n(gguf.get(), id);
  for (std::size_t i = 0; i < n; ++i) {
    if (types[i] == LLAMA_TOKEN_TYPE_BYTE) {
      gguf.refuse("token " + std::to_string(i) +
                  " stands for a byte, which a vocabulary of the kind 'bert' cannot have");
    }
  }
}

int check_vocabulary(const GgufReader& gguf) {
  const auto model = gguf.text("tokenizer.ggml.model");
  const auto id = gguf_find_key(gguf.get(), "tokenizer.ggml.tokens");
  if (!model || *model == "no_vocab" || *model == "none" || id < 0 ||
      gguf_get_kv_type(gguf.get(), id) != GGUF_TYPE_ARRAY ||
      gguf_get_arr_type(gguf.get(), id) != GGUF_TYPE_STRING ||
      gguf_get_arr_n(gguf.get(), id) == 0) {
    gguf.refuse("the file has no vocabulary");
  }
  const std::size_t n = gguf_get_arr_n(gguf.get(), id);
  if (n > std::size_t{1} << 24) gguf.refuse("a vocabulary of " + std::to_string(n) + " tokens");
  check_byte_tokens(gguf, *model);
  if (*model == "hybriddna") return static_cast<int>(n);  // repeats tokens, with a marker
  std::unordered_set<std::string_view> seen;
  seen.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::string_view text = gguf_get_arr_str(gguf.get(), id, i);
    // llama.cpp renames empty tokens, and asserts that no other one repeats.
    if (!text.empty() && !seen.insert(text).second) {
      gguf.refuse("token " + std::to_string(i) + " (" + quote(text) +
                  ") is in the vocabulary twice");
    }
  }
  return static_cast<int>(n);
}

/// Adds the tensors of one part to `file` and `facts`, and their bytes to `bytes_of_type`.
void add_tensors(const GgufReader& gguf, ModelFile& file, FileFacts& facts,
                 std::map<int, std::uint64_t>& bytes_of_type) {
  check_tensor_types(gguf);
  facts.add_tensors(gguf);
  for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf.get()); ++i) {
    const std::int64_t* shape = gguf_get_tensor_ne(gguf.get(), i);
    const std::uint64_t bytes = gguf_get_tensor_size(gguf.get(), i);
    file.weight_bytes += bytes;
    file.n_parameters += shape[0] * shape[1] * shape[2] * shape[3];
    if (std::string_view(gguf_get_tensor_name(gguf.get(), i)) == "token_embd.weight") {
      file.embedding = {gguf.path(),
                        gguf_get_data_offset(gguf.get()) + gguf_get_tensor_offset(gguf.get(), i),
                        gguf_get_tensor_type(gguf.get(), i), shape[0], shape[1]};
    }
    // Norms and biases are F32 in every file.
    if (shape[1] > 1) bytes_of_type[gguf_get_tensor_type(gguf.get(), i)] += bytes;
  }
}

void count_cell_elements(const GgufReader& gguf, const std::string& arch, ModelFile& file) {
  const auto heads = gguf.integers(arch + ".attention.head_count");
  auto kv_heads = gguf.integers(arch + ".attention.head_count_kv");
  if (heads.empty() || heads.front() <= 0) return;
  // Compressed (MLA), recurrent and shared layers store something else.
  if (gguf.integer(arch + ".attention.kv_lora_rank") || gguf.integer(arch + ".ssm.state_size") ||
      gguf.integer(arch + ".attention.shared_kv_layers")) {
    return;
  }
  if (kv_heads.empty()) kv_heads = heads;
  const std::int64_t head = file.n_embd / heads.front();
  const auto k = gguf.integer(arch + ".attention.key_length").value_or(head);
  const auto v = gguf.integer(arch + ".attention.value_length").value_or(head);
  for (int layer = 0; layer < file.n_layers; ++layer) {
    const auto n = static_cast<std::size_t>(layer) < kv_heads.size()
                       ? kv_heads[static_cast<std::size_t>(layer)]
                       : kv_heads.front();
    file.k_elements += n * k;
    file.v_elements += n * v;
  }
}

[[noreturn]] void refuse_several(const ModelFile& file, const std::string& why) {
  throw IncompatibleModels("[ModelFile] llama.cpp cannot decode several texts of a '" +
                           file.architecture + "' model at once, " + why + "; " + file.path);
}

}  // namespace

std::uint64_t ModelFile::cell_bytes(int type_k, int type_v) const {
  const auto bytes = [](int type, std::int64_t n) -> std::uint64_t {
    if (n <= 0) return 0;
    const auto known = static_cast<ggml_type>(type);
    return static_cast<std::uint64_t>(n) * ggml_type_size(known) /
           static_cast<std::uint64_t>(ggml_blck_size(known));
  };
  return bytes(type_k, k_elements) + bytes(type_v, v_elements);
}

void check_can_draft(const ModelFile& file) {
  if (!contains(kOneSequenceAtOnce, file.architecture)) return;
  refuse_several(file, "as a draft does");
}

void check_several_texts(const ModelFile& file) {
  if (!contains(kOneSequenceAtOnce, file.architecture) &&
      !contains(kOneTokenOfEach, file.architecture)) {
    return;
  }
  refuse_several(file, "as a target does with n_parallel above 1");
}

ModelFile inspect_model_file(const std::string& path, bool with_weights) {
  const GgufReader gguf(path, with_weights);
  if (!with_weights && gguf.integer("split.count").value_or(1) > 1) {
    gguf.refuse("metadata without weights cannot be split");
  }
  // The other parts have hardly any metadata, so this comes before all checks of metadata.
  std::vector<std::string> parts = find_parts(gguf);
  if (parts.size() > 1) check_part(gguf, 0, static_cast<int>(parts.size()));
  const auto arch = gguf.text("general.architecture");
  if (!arch) gguf.refuse("the metadata has no general.architecture; this is not a language model");
  if (arch->size() > kLongestName) {
    gguf.refuse("llama.cpp knows no architecture " + quote(*arch));
  }
  // Old files of vision projectors have no type.
  const auto kind =
      *arch == "clip" ? std::optional<std::string>("mmproj") : gguf.text("general.type");
  if (kind && *kind != "model") {
    gguf.refuse("the file holds a " + quote(*kind) + ", not a language model");
  }

  ModelFile file;
  file.path = path;
  file.architecture = *arch;
  file.name = gguf.text("general.name").value_or("");
  check_architecture(gguf, *arch);
  file.n_layers = static_cast<int>(*gguf.integer(*arch + ".block_count"));
  file.n_embd = static_cast<int>(*gguf.integer(*arch + ".embedding_length"));
  file.n_ctx_train = static_cast<int>(*gguf.integer(*arch + ".context_length"));
  file.n_vocab = check_vocabulary(gguf);

  FileFacts facts(gguf, *arch);
  std::map<int, std::uint64_t> bytes_of_type;
  add_tensors(gguf, file, facts, bytes_of_type);
  if (!with_weights) file.embedding = {};
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const GgufReader part(parts[i]);
    check_part(part, static_cast<int>(i), static_cast<int>(parts.size()));
    add_tensors(part, file, facts, bytes_of_type);
  }
  check_shapes(gguf, facts);
  file.n_positions = static_cast<int>(facts.n_rows("position_embd.weight").value_or(0));
  if (bytes_of_type.empty()) gguf.refuse("the file has no weights");
  const auto most =
      std::max_element(bytes_of_type.begin(), bytes_of_type.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  file.weight_type = most->first;
  file.quantization = ggml_type_name(static_cast<ggml_type>(most->first));
  file.uniform_weights = bytes_of_type.size() == 1;
  count_cell_elements(gguf, *arch, file);
  file.parts = std::move(parts);
  return file;
}

}  // namespace specbranch::llama
