#include "specbranch/llama/file/init_from_source.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ggml-backend.h"
#include "ggml.h"
#include "gguf.h"
#include "llama.h"

namespace specbranch::llama {
namespace {

using Dims = std::array<std::int64_t, 2>;  ///< columns and rows, as in GGUF.

std::int64_t require_size(const GgufReader& gguf, const char* key, std::int64_t otherwise) {
  const std::string name = std::string("llama.") + key;
  const bool is_known = gguf_find_key(gguf.get(), name.c_str()) >= 0;
  const auto size = gguf.integer(name).value_or(is_known ? 0 : otherwise);  // 0: no integer
  if (size < 1 || size > (1 << 24)) {
    gguf.refuse(name + " is " + std::to_string(size) + "; it must be in 1 .. 16777216");
  }
  return size;
}

/// The sizes that llama.cpp gives the tensors of a block and of the whole model, by what follows
/// the last number in their names.
std::map<std::string_view, Dims> expected_sizes(const GgufReader& gguf) {
  const auto n_embd = require_size(gguf, "embedding_length", 0);
  const auto n_ff = require_size(gguf, "feed_forward_length", 0);
  const auto n_head = require_size(gguf, "attention.head_count", 0);
  const auto n_head_kv = require_size(gguf, "attention.head_count_kv", n_head);
  const auto head = require_size(gguf, "attention.key_length", n_embd / n_head);
  // llama.cpp asserts this.
  if (require_size(gguf, "attention.value_length", n_embd / n_head) != head ||
      require_size(gguf, "rope.dimension_count", head) != head) {
    gguf.refuse("heads have other sizes for values or rotations than for keys, " +
                std::to_string(head));
  }
  const auto n_vocab = static_cast<std::int64_t>(gguf_get_arr_n(
      gguf.get(), gguf_find_key(gguf.get(), "tokenizer.ggml.tokens")));  // checked before
  if (gguf.integer("llama.vocab_size").value_or(n_vocab) != n_vocab) {
    gguf.refuse("llama.vocab_size is not the size of the vocabulary, " + std::to_string(n_vocab));
  }
  const auto n_query = n_head * head;
  const auto n_key = n_head_kv * head;
  return {
      {"token_embd.weight", {n_embd, n_vocab}},
      {"output.weight", {n_embd, n_vocab}},
      {"output_norm.weight", {n_embd, 1}},
      {"rope_freqs.weight", {head / 2, 1}},
      {"attn_norm.weight", {n_embd, 1}},
      {"attn_q.weight", {n_embd, n_query}},
      {"attn_k.weight", {n_embd, n_key}},
      {"attn_v.weight", {n_embd, n_key}},
      {"attn_q.bias", {n_query, 1}},
      {"attn_k.bias", {n_key, 1}},
      {"attn_v.bias", {n_key, 1}},
      {"attn_output.weight", {n_query, n_embd}},
      {"attn_output.bias", {n_embd, 1}},
      {"ffn_norm.weight", {n_embd, 1}},
      {"ffn_gate.weight", {n_embd, n_ff}},
      {"ffn_up.weight", {n_embd, n_ff}},
      {"ffn_down.weight", {n_ff, n_embd}},
      {"ffn_gate.bias", {n_ff, 1}},
      {"ffn_up.bias", {n_ff, 1}},
      {"ffn_down.bias", {n_embd, 1}},
  };
}

/// llama.cpp takes the sizes from the settings and the types from the tensors, and aborts where a
/// row of that size is no whole number of that type's blocks.
void check_tensors(const GgufReader& gguf) {
  if (gguf.text("general.architecture") != "llama" ||
      gguf.integer("llama.expert_count").value_or(0) > 0) {
    gguf.refuse("weights that are not in the file need the llama architecture without experts");
  }
  const auto expected = expected_sizes(gguf);
  for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf.get()); ++i) {
    const std::string_view name = gguf_get_tensor_name(gguf.get(), i);
    std::string_view kind = name;
    if (name.starts_with("blk.")) {
      kind.remove_prefix(std::min(name.find('.', 4), name.size() - 1) + 1);
    }
    const auto found = expected.find(kind);
    const std::int64_t* shape = gguf_get_tensor_ne(gguf.get(), i);
    if (found == expected.end()) {
      gguf.refuse("there is no place for tensor '" + std::string(name) + "'");
    }
    const auto [columns, rows] = found->second;
    if (shape[0] != columns || shape[1] != rows || shape[2] != 1 || shape[3] != 1) {
      gguf.refuse("tensor '" + std::string(name) + "' has " + std::to_string(shape[0]) + " x " +
                  std::to_string(shape[1]) + " weights; " + std::to_string(columns) + " x " +
                  std::to_string(rows) + " are needed");
    }
  }
}

/// Carries what is needed through the C API.
struct FillCall {
  const GgufReader* gguf;
  const TensorFill* fill;
  const SourceProgress* progress;
  bool check_values = false;
  std::size_t total = 0;
  std::size_t done = 0;
  std::exception_ptr error = nullptr;
  bool stopped = false;
};

/// What a tensor holds that llama.cpp creates although the metadata lack it.
void fill_default(const GgufReader& gguf, std::string_view name, std::span<std::byte> bytes) {
  float value = 0.0F;
  if (name == "rope_freqs.weight" || name.ends_with("scale")) {  // .scale and .input_scale
    value = 1.0F;
  } else if (!name.ends_with(".bias")) {
    gguf.refuse("the metadata lack tensor '" + std::string(name) + "'");
  }
  for (std::size_t at = 0; at < bytes.size(); at += sizeof value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
}

void fill_tensor(ggml_tensor* tensor, FillCall& call) {
  const std::string name = ggml_get_name(tensor);
  const std::size_t n_bytes = ggml_nbytes(tensor);
  std::vector<std::byte> copy;
  std::span<std::byte> bytes;
  const bool on_host = ggml_backend_buffer_is_host(tensor->buffer);
  if (on_host) {
    bytes = {static_cast<std::byte*>(tensor->data), n_bytes};
  } else {
    copy.resize(n_bytes);
    bytes = copy;
  }
  if (gguf_find_tensor(call.gguf->get(), name.c_str()) < 0) {
    fill_default(*call.gguf, name, bytes);
  } else {
    (*call.fill)(name, bytes);
    if (call.check_values && !ggml_validate_row_data(tensor->type, bytes.data(), n_bytes)) {
      call.gguf->refuse("tensor '" + name + "' has weights that are NaN or infinite");
    }
    call.done += n_bytes;
  }
  if (!on_host) ggml_backend_tensor_set(tensor, bytes.data(), 0, n_bytes);
}

void set_tensor(ggml_tensor* tensor, void* data) noexcept {
  auto& call = *static_cast<FillCall*>(data);
  if (call.error || call.stopped) return;  // llama.cpp goes on to the last tensor
  try {
    fill_tensor(tensor, call);
    const double share = static_cast<double>(call.done) / static_cast<double>(call.total);
    call.stopped = *call.progress && !(*call.progress)(static_cast<float>(std::min(1.0, share)));
  } catch (...) {
    call.error = std::current_exception();
  }
}

}  // namespace

ModelHandle init_from_source(const GgufReader& gguf, const TensorFill& fill,
                             const SourceProgress& progress, llama_model_params params) {
  check_tensors(gguf);
  FillCall call{.gguf = &gguf, .fill = &fill, .progress = &progress};
  call.check_values = params.check_tensors;
  for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf.get()); ++i) {
    call.total += gguf_get_tensor_size(gguf.get(), i);
  }
  call.total = std::max<std::size_t>(1, call.total);
  // llama.cpp only reads the metadata, and only until it returns.
  ModelHandle model(llama_model_init_from_user(const_cast<gguf_context*>(gguf.get()), &set_tensor,
                                               &call, params));
  if (call.error) std::rethrow_exception(call.error);
  if (call.stopped) model.reset();
  return model;
}

}  // namespace specbranch::llama
