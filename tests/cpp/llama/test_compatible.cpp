#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "gguf.h"
#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;
namespace fs = std::filesystem;

/// A model of which only the vocabulary is read.
struct VocabularyOnly {
  ModelHandle model;
  std::unique_ptr<Vocabulary> vocabulary;
};

/// The draft's vocabulary, edited.
VocabularyOnly edited(const std::function<void(std::vector<std::string>&)>& edit_texts,
                      const std::function<void(gguf_context*)>& edit_keys) {
  const GgufHandle source(gguf_init_from_file(draft_path().c_str(), {true, nullptr}));
  const GgufHandle gguf(gguf_init_empty());
  gguf_set_kv(gguf.get(), source.get());
  const auto id = gguf_find_key(gguf.get(), "tokenizer.ggml.tokens");
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < gguf_get_arr_n(gguf.get(), id); ++i) {
    texts.emplace_back(gguf_get_arr_str(gguf.get(), id, i));
  }
  edit_texts(texts);
  std::vector<const char*> pointers;
  pointers.reserve(texts.size());
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  gguf_set_arr_str(gguf.get(), "tokenizer.ggml.tokens", pointers.data(), pointers.size());
  const std::vector<std::int32_t> types(texts.size(), LLAMA_TOKEN_TYPE_NORMAL);
  gguf_set_arr_data(gguf.get(), "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(),
                    types.size());
  edit_keys(gguf.get());
  const auto path = (fs::temp_directory_path() / "specbranch_test_vocabulary.gguf").string();
  gguf_write_to_file(gguf.get(), path.c_str(), /*only_meta=*/true);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  VocabularyOnly result;
  result.model.reset(llama_model_load_from_file(path.c_str(), params));
  fs::remove(path);
  REQUIRE(result.model);
  result.vocabulary = std::make_unique<Vocabulary>(llama_model_get_vocab(result.model.get()));
  return result;
}

VocabularyOnly edited(const std::function<void(std::vector<std::string>&)>& edit_texts) {
  return edited(edit_texts, [](gguf_context*) {});
}

TEST_CASE("vocabularies are compared as llama.cpp does") {
  SPECBRANCH_NEEDS_MODELS();
  const Vocabulary& target = target_weights()->vocabulary();
  CHECK(check_compatible(target, draft_weights()->vocabulary()) == target.size());

  const auto same = edited([](auto&) {});
  CHECK(check_compatible(*same.vocabulary, *same.vocabulary) == same.vocabulary->size());

  SUBCASE("padding at the end is normal, in both directions") {
    const auto padded = edited([](auto& texts) {
      for (int i = 0; i < 100; ++i) texts.push_back("<pad" + std::to_string(i) + ">");
    });
    const int n = same.vocabulary->size();
    CHECK(padded.vocabulary->size() == n + 100);
    CHECK(check_compatible(*same.vocabulary, *padded.vocabulary) == n);
    CHECK(check_compatible(*padded.vocabulary, *same.vocabulary) == n);
  }
  SUBCASE("too much of it is not") {
    const auto padded = edited([](auto& texts) {
      for (int i = 0; i < 200; ++i) texts.push_back("<pad" + std::to_string(i) + ">");
    });
    CHECK_THROWS_WITH_AS(check_compatible(*same.vocabulary, *padded.vocabulary),
                         doctest::Contains("sizes"), IncompatibleModels);
  }
  SUBCASE("the first token that differs is named, with both texts") {
    const auto other = edited([](auto& texts) {
      texts[1000] = "something\nelse";
      texts[2000] = "later";
    });
    const std::string text = llama_vocab_get_text(same.vocabulary->get(), 1000);
    try {
      check_compatible(*same.vocabulary, *other.vocabulary);
      FAIL("accepted");
    } catch (const IncompatibleModels& error) {
      const std::string message = error.what();
      CAPTURE(message);
      CHECK(message.find("token 1000 ") != std::string::npos);
      CHECK(message.find("'something\\x0aelse'") != std::string::npos);
      CHECK(message.find(text) != std::string::npos);
    }
  }
  SUBCASE("the first five ids may differ") {
    const auto other = edited([](auto& texts) { texts[3] = "something else"; });
    CHECK_NOTHROW(check_compatible(*same.vocabulary, *other.vocabulary));
  }
  SUBCASE("special tokens and settings must not") {
    const auto other = edited(
        [](auto&) {},
        [](gguf_context* gguf) { gguf_set_val_u32(gguf, "tokenizer.ggml.eos_token_id", 77); });
    CHECK_THROWS_WITH_AS(check_compatible(*same.vocabulary, *other.vocabulary),
                         doctest::Contains("EOS"), IncompatibleModels);
    const auto adding = edited([](auto&) {},
                               [](gguf_context* gguf) {
                                 gguf_set_val_u32(gguf, "tokenizer.ggml.bos_token_id", 1);
                                 gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", true);
                               });
    const auto plain = edited([](auto&) {},
                              [](gguf_context* gguf) {
                                gguf_set_val_u32(gguf, "tokenizer.ggml.bos_token_id", 1);
                                gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", false);
                              });
    CHECK_THROWS_WITH_AS(check_compatible(*adding.vocabulary, *plain.vocabulary),
                         doctest::Contains("BOS"), IncompatibleModels);
  }
}

}  // namespace
}  // namespace specbranch::llama
