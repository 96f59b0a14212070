#include "random_weights.h"

#include "support.h"

namespace specbranch::llama::testing {

RandomTensors::RandomTensors(gguf_context* gguf)
    : gguf_(gguf), context_(ggml_init({std::size_t{64} << 20U, nullptr, false})) {}

void RandomTensors::add(const std::string& name, std::int64_t a, std::int64_t b, float mean,
                        float spread) {
  ggml_tensor* tensor = b > 0 ? ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, a, b)
                              : ggml_new_tensor_1d(context_.get(), GGML_TYPE_F32, a);
  ggml_set_name(tensor, name.c_str());
  std::normal_distribution<float> normal(mean, spread);
  auto* data = static_cast<float*>(ggml_get_data(tensor));
  for (std::int64_t i = 0; i < ggml_nelements(tensor); ++i) data[i] = normal(random_);
  gguf_add_tensor(gguf_, tensor);
}

GgufHandle metadata_of(const char* architecture,
                       const std::vector<std::pair<const char*, std::uint32_t>>& numbers) {
  const GgufHandle source(gguf_init_from_file(draft_path().c_str(), {true, nullptr}));
  GgufHandle gguf(gguf_init_empty());
  gguf_set_kv(gguf.get(), source.get());
  gguf_set_val_str(gguf.get(), "general.architecture", architecture);
  for (const auto& [key, value] : numbers) gguf_set_val_u32(gguf.get(), key, value);
  return gguf;
}

std::int64_t vocabulary_size(const GgufHandle& gguf) {
  return static_cast<std::int64_t>(
      gguf_get_arr_n(gguf.get(), gguf_find_key(gguf.get(), "tokenizer.ggml.tokens")));
}

}  // namespace specbranch::llama::testing
