#include "ggml.h"
#include "gguf.h"
#include "llama.h"
#include "specbranch/llama/file/weights.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <thread>

#include <unistd.h>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/info.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;
namespace fs = std::filesystem;

/// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(fs::temp_directory_path() / ("specbranch_test_" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A copy of the draft with changed metadata.
void write_edited(const std::string& path, const std::function<void(gguf_context*)>& edit) {
  GgufHandle gguf(gguf_init_from_file(draft_path().c_str(), {true, nullptr}));
  REQUIRE(gguf);
  const std::string bytes = read_file(draft_path());
  const std::string data = bytes.substr(gguf_get_data_offset(gguf.get()));
  edit(gguf.get());
  REQUIRE(gguf_write_to_file(gguf.get(), path.c_str(), /*only_meta=*/true));
  std::ofstream(path, std::ios::binary | std::ios::app) << data;
}

std::shared_ptr<const Weights> load(const std::string& path) {
  ModelOptions options;
  options.path = path;
  return Weights::load(options);
}

/// Why loading fails; empty when it does not.
std::string load_error(const std::string& path) {
  try {
    load(path);
    return "";
  } catch (const ModelLoadError& error) {
    return error.what();
  }
}

TEST_CASE("a model loads and tells about itself") {
  SPECBRANCH_NEEDS_MODELS();
  std::vector<float> seen;
  ModelOptions options;
  options.path = draft_path();
  const auto weights = Weights::load(options, [&](float share) {
    seen.push_back(share);
    return true;
  });
  CHECK(!seen.empty());
  CHECK(seen.back() == 1.0F);
  CHECK(weights->can_roll_back());
  CHECK(!weights->offloaded());
  CHECK(!weights->description().empty());
  const ModelFile& file = weights->file();
  CHECK(file.architecture == "llama");
  CHECK(file.n_vocab == weights->vocabulary().size());
  CHECK(file.n_ctx_train == weights->n_ctx_train());
  CHECK(file.weight_bytes <= fs::file_size(draft_path()));
  CHECK(file.cell_bytes(GGML_TYPE_F16, GGML_TYPE_F16) ==
        2 * static_cast<std::uint64_t>(file.k_elements + file.v_elements));
  CHECK(!library_info().versions.llama.empty());
  CHECK(!list_devices().empty());
}

TEST_CASE("what is not a model is refused with a reason") {
  SPECBRANCH_NEEDS_MODELS();
  const TemporaryFolder folder;
  const auto path = folder.file("bad.gguf");
  CHECK(load_error(folder.file("missing.gguf")).find("no such file") != std::string::npos);
  CHECK(load_error(folder.file("")).find("directory") != std::string::npos);
  CHECK(load_error("/dev/null").find("regular") != std::string::npos);
  write_file(path, "");
  CHECK(load_error(path).find("empty") != std::string::npos);
  write_file(path, "once upon a time there was no model");
  CHECK(load_error(path).find("not a GGUF file") != std::string::npos);
  write_file(path, "GGUF");
  CHECK(load_error(path).find("header") != std::string::npos);
  const std::string bytes = read_file(draft_path());
  for (const double share : {0.0001, 0.001, 0.01, 0.05, 0.2, 0.6, 0.999}) {
    CAPTURE(share);
    write_file(
        path, bytes.substr(0, static_cast<std::size_t>(static_cast<double>(bytes.size()) * share)));
    CHECK(!load_error(path).empty());
  }
  write_file(path, bytes.substr(0, bytes.size() - 40000));
  CHECK(load_error(path).find("truncated") != std::string::npos);
}

TEST_CASE("metadata that would kill the process is refused") {
  SPECBRANCH_NEEDS_MODELS();
  const TemporaryFolder folder;
  const auto path = folder.file("edited.gguf");
  const std::vector<std::pair<const char*, std::function<void(gguf_context*)>>> edits = {
      {"block_count", [](auto* g) { gguf_set_val_u32(g, "llama.block_count", 0); }},
      {"block_count", [](auto* g) { gguf_set_val_u32(g, "llama.block_count", 513); }},
      {"block_count", [](auto* g) { gguf_set_val_i32(g, "llama.block_count", -1); }},
      {"block_count", [](auto* g) { gguf_set_val_str(g, "llama.block_count", "2"); }},
      {"epsilon",
       [](auto* g) { gguf_set_val_f32(g, "llama.attention.layer_norm_rms_epsilon", -1e-5F); }},
      {"epsilon",
       [](auto* g) { gguf_set_val_f32(g, "llama.attention.layer_norm_rms_epsilon", NAN); }},
      {"expert", [](auto* g) { gguf_set_val_u32(g, "llama.expert_count", 100000); }},
      {"expert", [](auto* g) { gguf_set_val_u32(g, "llama.expert_used_count", 4); }},
      {"rope", [](auto* g) { gguf_set_val_str(g, "llama.rope.scaling.type", "magic"); }},
      {"encoder", [](auto* g) { gguf_set_val_bool(g, "llama.attention.causal", false); }},
      {"encoder", [](auto* g) { gguf_set_val_u32(g, "llama.pooling_type", 1); }},
      {"vocabulary", [](auto* g) { gguf_remove_key(g, "tokenizer.ggml.tokens"); }},
      {"vocabulary", [](auto* g) { gguf_set_val_str(g, "tokenizer.ggml.model", "no_vocab"); }},
      {"architecture", [](auto* g) { gguf_remove_key(g, "general.architecture"); }},
      {"adapter", [](auto* g) { gguf_set_val_str(g, "general.type", "adapter"); }},
      {"mmproj", [](auto* g) { gguf_set_val_str(g, "general.architecture", "clip"); }},
      {"context_length", [](auto* g) { gguf_set_val_u32(g, "llama.context_length", 0); }},
      {"nextn", [](auto* g) { gguf_set_val_u32(g, "llama.nextn_predict_layers", 99); }},
      {"embedding_length", [](auto* g) { gguf_set_val_u32(g, "llama.embedding_length", 0); }},
      {"wkv.head_size", [](auto* g) { gguf_set_val_u32(g, "llama.wkv.head_size", 32); }},
  };
  for (const auto& [word, edit] : edits) {
    CAPTURE(word);
    write_edited(path, edit);
    const std::string error = load_error(path);
    CAPTURE(error);
    CHECK(error.find(word) != std::string::npos);
  }
  SUBCASE("what llama.cpp refuses itself comes with its reason") {
    for (const char* key : {"llama.attention.head_count", "llama.attention.head_count_kv",
                            "llama.feed_forward_length", "llama.rope.dimension_count"}) {
      write_edited(path, [&](auto* g) { gguf_set_val_u32(g, key, 7); });
      CHECK(!load_error(path).empty());
    }
    write_edited(path, [](auto* g) { gguf_set_val_str(g, "general.architecture", "unheard"); });
    CHECK(!load_error(path).empty());
  }
  SUBCASE("a repeated token") {
    write_edited(path, [](auto* g) {
      const auto id = gguf_find_key(g, "tokenizer.ggml.tokens");
      std::vector<std::string> texts;
      for (std::size_t i = 0; i < gguf_get_arr_n(g, id); ++i) {
        texts.emplace_back(gguf_get_arr_str(g, id, i));
      }
      texts[300] = texts[299];
      std::vector<const char*> pointers;
      for (const std::string& text : texts) pointers.push_back(text.c_str());
      gguf_set_arr_str(g, "tokenizer.ggml.tokens", pointers.data(), pointers.size());
    });
    CHECK(load_error(path).find("twice") != std::string::npos);
  }
  SUBCASE("a matrix of integers") {
    write_edited(path, [](auto*) {});
    std::string bytes = read_file(path);
    // In the header: name, number of dimensions, two dimensions, type.
    const std::string name = "blk.0.ffn_down.weight";
    const std::size_t type = bytes.find(name) + name.size() + 4 + 16;
    bytes[type] = static_cast<char>(GGML_TYPE_I8);
    write_file(path, bytes);
    CHECK(!load_error(path).empty());
  }
  SUBCASE("a BOS token that is asked for and missing") {
    write_edited(path, [](auto* g) {
      gguf_set_val_bool(g, "tokenizer.ggml.add_bos_token", true);
      gguf_set_val_u32(g, "tokenizer.ggml.bos_token_id", 999999);
    });
    // llama.cpp may fall back to a default; then tokenizing must work.
    try {
      CHECK_NOTHROW(load(path)->vocabulary().tokenize("text", true, false));
    } catch (const ModelLoadError&) {
    }
  }
}

TEST_CASE("weights that are not numbers are refused") {
  SPECBRANCH_NEEDS_MODELS();
  const TemporaryFolder folder;
  const auto path = folder.file("nan.gguf");
  std::string bytes = read_file(draft_path());
  GgufHandle gguf(gguf_init_from_file(draft_path().c_str(), {true, nullptr}));
  auto id = gguf_find_tensor(gguf.get(), "output.weight");
  if (id < 0) id = gguf_find_tensor(gguf.get(), "token_embd.weight");
  REQUIRE(id >= 0);
  if (gguf_get_tensor_type(gguf.get(), id) != GGML_TYPE_Q8_0) return;
  const auto offset = gguf_get_data_offset(gguf.get()) + gguf_get_tensor_offset(gguf.get(), id);
  const std::uint16_t nan = 0x7E00;  // the f16 scale of the first block: one score is NaN
  std::memcpy(bytes.data() + offset, &nan, sizeof nan);
  write_file(path, bytes);
  CHECK(!load_error(path).empty());

  ModelOptions options = small_options(path);
  options.check_tensors = false;
  LlamaTarget target(Weights::load(options), options, {});
  const std::vector<Token> prompt{1, 2, 3};
  begin(target, request_of(prompt));
  CHECK_THROWS_AS(verify(target, 2, std::span(&prompt.back(), 1)), DecodeError);
  CHECK(target.length(0) == 2);
  // The sampler may have seen a part of the rows: this session is over, and the target is not.
  CHECK_THROWS_AS(verify(target, 2, std::span(&prompt.back(), 1)), PreconditionError);
  CHECK(begin(target, request_of(prompt)) == 2);
  CHECK_THROWS_AS(verify(target, 2, std::span(&prompt.back(), 1)), DecodeError);
  target.close(kSingleSession, /*forget=*/true);
  CHECK(target.length(0) == 0);
}

TEST_CASE("the progress callback can stop the loading, and its exceptions come out") {
  SPECBRANCH_NEEDS_MODELS();
  ModelOptions options;
  options.path = draft_path();
  CHECK_THROWS_WITH_AS(Weights::load(options, [](float) { return false; }),
                       doctest::Contains("stopped"), ModelLoadError);
  CHECK_THROWS_AS(Weights::load(options, [](float) -> bool { throw std::logic_error("mine"); }),
                  std::logic_error);
}

TEST_CASE("options out of range are refused") {
  SPECBRANCH_NEEDS_MODELS();
  const auto refused = [](const std::function<void(ModelOptions&)>& edit) {
    ModelOptions options = small_options(draft_path());
    edit(options);
    CHECK_THROWS_AS(validate(options), InvalidArgument);
    CHECK_THROWS_AS(Weights::load(options), InvalidArgument);
  };
  refused([](auto& o) { o.path = ""; });
  refused([](auto& o) { o.n_batch = 0; });
  refused([](auto& o) { o.n_ctx = -1; });
  refused([](auto& o) { o.n_threads = 2000; });
  refused([](auto& o) { o.type_k = 999; });
  refused([](auto& o) { o.type_k = 4; });  // a type that ggml has removed
  for (const ggml_type type : {GGML_TYPE_Q8_1, GGML_TYPE_Q8_K, GGML_TYPE_IQ2_XXS, GGML_TYPE_IQ2_XS,
                               GGML_TYPE_IQ2_S, GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ3_S, GGML_TYPE_IQ1_S,
                               GGML_TYPE_IQ1_M, GGML_TYPE_I8, GGML_TYPE_I16, GGML_TYPE_I32,
                               GGML_TYPE_I64, GGML_TYPE_F64, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K}) {
    refused([type](auto& o) { o.type_k = type; });
    refused([type](auto& o) { o.type_v = type; });
  }
  for (const ggml_type type :
       {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,
        GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1, GGML_TYPE_IQ4_NL}) {
    ModelOptions fine = small_options(draft_path());
    fine.type_k = fine.type_v = type;
    CHECK_NOTHROW(validate(fine));
  }
  refused([](auto& o) { o.split_mode = 9; });
  refused([](auto& o) { o.cpus = {-1}; });
  refused([](auto& o) {
    o.flash_attn = FlashAttention::kOff;
    o.type_v = GGML_TYPE_Q8_0;
  });
  ModelOptions options = small_options(draft_path());
  options.devices = {"NOSUCHDEVICE0"};
  CHECK_THROWS_AS(Weights::load(options), InvalidArgument);
}

TEST_CASE("log lines are collected, not printed; the sink comes back") {
  init_backend();
  drain_log_lines();
  llama_log_set(nullptr, nullptr);
  install_log_sink();
  ggml_log_callback callback = nullptr;
  void* user = nullptr;
  llama_log_get(&callback, &user);
  REQUIRE((callback != nullptr));
  callback(GGML_LOG_LEVEL_WARN, "first ", user);
  callback(GGML_LOG_LEVEL_CONT, "half\nsecond\n", user);
  callback(GGML_LOG_LEVEL_DEBUG, "hidden\n", user);
  std::thread([&] { callback(GGML_LOG_LEVEL_ERROR, "from a thread\n", user); }).join();
  auto lines = drain_log_lines();
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].text == "first half");
  CHECK(lines[0].level == LogLevel::kWarning);
  CHECK(lines[1].text == "second");
  CHECK(lines[2].level == LogLevel::kError);
  for (int i = 0; i < 3000; ++i) callback(GGML_LOG_LEVEL_INFO, "line\n", user);
  lines = drain_log_lines();
  CHECK(lines.size() == 1025);
  CHECK(lines.front().text.find("1976") != std::string::npos);
}

}  // namespace
}  // namespace specbranch::llama
