#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gguf.h"
#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/vocabulary/compatible.h"
#include "specbranch/llama/vocabulary/quote.h"
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
  const auto path = temporary_file("specbranch_test_vocabulary.gguf").string();
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

/// What the comparison refuses with.
std::string refusal(const Vocabulary& target, const Vocabulary& draft) {
  try {
    check_compatible(target, draft);
  } catch (const IncompatibleModels& error) {
    return error.what();
  }
  FAIL("accepted");
  return {};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("vocabularies of one tokenizer fit, whatever is at their ends") {
  SPECBRANCH_NEEDS_MODELS();
  const Vocabulary& target = target_weights()->vocabulary();
  const SharedVocabulary pair = check_compatible(target, draft_weights()->vocabulary());
  CHECK(pair.n_common == target.size());
  CHECK(pair.different.empty());
  CHECK(pair.notes.empty());

  const auto same = edited([](auto&) {});
  const int n = same.vocabulary->size();
  int most = 128;
  while (most + 1 <= (n + most + 1) / 20) ++most;
  const auto padded_by = [](int count) {
    return edited([count](auto& texts) {
      for (int i = 0; i < count; ++i) texts.push_back("<pad" + std::to_string(i) + ">");
    });
  };
  const auto padded = padded_by(most);
  CHECK(padded.vocabulary->size() == n + most);
  CHECK(check_compatible(*same.vocabulary, *padded.vocabulary).n_common == n);
  CHECK(check_compatible(*padded.vocabulary, *same.vocabulary).n_common == n);
  const auto other = padded_by(most + 1);
  const std::string message = refusal(*same.vocabulary, *other.vocabulary);
  CAPTURE(message);
  CHECK(has(message, "target " + std::to_string(n) + ", draft " + std::to_string(n + most + 1)));
  CHECK(has(message, "at most " + std::to_string(most)));
  CHECK(has(message, "family"));
}

TEST_CASE("a few tokens with other texts are listed, many are refused") {
  SPECBRANCH_NEEDS_MODELS();
  const auto same = edited([](auto&) {});
  const int n = same.vocabulary->size();
  const auto changed = [](int first, int count) {
    return edited([=](auto& texts) {
      for (int i = first; i < first + count; ++i) {
        texts[static_cast<std::size_t>(i)] = "<other" + std::to_string(i) + ">";
      }
    });
  };
  SUBCASE("any of them, the first ids as well") {
    const auto few = changed(3, 2);
    const SharedVocabulary shared = check_compatible(*same.vocabulary, *few.vocabulary);
    CHECK(shared.n_common == n);
    CHECK(shared.different == std::vector<Token>{3, 4});
    REQUIRE(shared.notes.size() == 1);
    CHECK(has(shared.notes[0], "2 tokens have another text"));
    CHECK(has(shared.notes[0], "token 3 is"));
    CHECK(has(shared.notes[0], "'<other4>' in the draft"));
  }
  SUBCASE("the limit is a share of the ids that both have") {
    const auto many = changed(1000, n / 20);
    CHECK(check_compatible(*same.vocabulary, *many.vocabulary).different.size() ==
          static_cast<std::size_t>(n / 20));
    const auto more = changed(1000, n / 20 + 1);
    const std::string message = refusal(*same.vocabulary, *more.vocabulary);
    CAPTURE(message);
    CHECK(has(message, std::to_string(n / 20 + 1) + " of " + std::to_string(n)));
    CHECK(has(message, "token 1000 is '"));
    CHECK(has(message, "token 1002 is '"));
    CHECK(!has(message, "token 1003"));
    CHECK(has(message, "family"));
  }
}

TEST_CASE("only the target's special tokens count") {
  SPECBRANCH_NEEDS_MODELS();
  const auto with = [](Token bos, Token eos, bool adds) {
    return edited(
        [](auto&) {},
        [=](gguf_context* gguf) {
          gguf_set_val_u32(gguf, "tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(bos));
          gguf_set_val_u32(gguf, "tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(eos));
          gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", adds);
          gguf_set_val_bool(gguf, "tokenizer.ggml.add_eos_token", !adds);
        });
  };
  const auto target = with(1, 2, true);
  CHECK(check_compatible(*target.vocabulary, *with(1, 2, true).vocabulary).notes.empty());
  const auto draft = with(77, 78, false);
  const auto notes = check_compatible(*target.vocabulary, *draft.vocabulary).notes;
  REQUIRE(notes.size() == 4);
  CHECK(has(notes[0], "another BOS token (target 1 '"));
  CHECK(has(notes[0], ", draft 77 '"));
  CHECK(has(notes[1], "the target adds a BOS token to a prompt and the draft does not"));
  CHECK(has(notes[2], "another EOS token"));
  CHECK(has(notes[3], "the draft adds an EOS token to a prompt and the target does not"));
}

/// Makes a SentencePiece vocabulary of a file.
void make_sentencepiece(gguf_context* gguf) {
  const auto id = gguf_find_key(gguf, "tokenizer.ggml.tokens");
  const std::vector<float> scores(gguf_get_arr_n(gguf, id), 0.0F);
  gguf_set_arr_data(gguf, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(), scores.size());
  gguf_set_val_str(gguf, "tokenizer.ggml.model", "llama");
}

TEST_CASE("of two kinds of tokenizers, the bytes of the tokens count") {
  SPECBRANCH_NEEDS_MODELS();
  SUBCASE("the same spelling means other bytes") {
    const auto same = edited([](auto&) {});
    REQUIRE(llama_vocab_type(same.vocabulary->get()) == LLAMA_VOCAB_TYPE_BPE);
    const auto other = edited([](auto&) {}, make_sentencepiece);
    const std::string message = refusal(*same.vocabulary, *other.vocabulary);
    CAPTURE(message);
    CHECK(has(message, "target byte-level BPE, draft SentencePiece BPE"));
    CHECK(has(message, "family"));
  }
  SUBCASE("the same bytes under two spellings") {
    const auto words = [](const std::string& space) {
      return [space](auto& texts) {
        for (std::size_t i = 300; i < texts.size(); ++i) texts[i] = space + "w" + std::to_string(i);
        for (std::size_t i = 0; i < 300; ++i) texts[i] = "b" + std::to_string(i);
      };
    };
    const auto target = edited(words("\u0120"));
    const auto draft = edited(words("\u2581"), make_sentencepiece);
    REQUIRE(target.vocabulary->piece(1000) == " w1000");
    const SharedVocabulary shared = check_compatible(*target.vocabulary, *draft.vocabulary);
    CHECK(shared.different.empty());
    REQUIRE(!shared.notes.empty());
    CHECK(has(shared.notes[0], "different kinds of tokenizers"));
  }
}

TEST_CASE("texts in messages are short and readable") {
  CHECK(quote("") == "''");
  CHECK(quote("größer ≤ 日本語 🎉") == "'größer ≤ 日本語 🎉'");
  CHECK(quote("a\nb\x7f\\") == R"('a\x0ab\x7f\x5c')");
  CHECK(quote("\xc2\x85") == R"('\xc2\x85')");  // a control character of two bytes
  CHECK(quote("\xff\xc3") == R"('\xff\xc3')");  // no UTF-8
  CHECK(quote(std::string(48, 'y')) == "'" + std::string(48, 'y') + "'");
  CHECK(quote(std::string(60'000, 'y')) == "'" + std::string(48, 'y') + "...' (60000 bytes)");
  // No character is cut in two.
  CHECK(quote(std::string(47, 'y') + "日本") == "'" + std::string(47, 'y') + "...' (53 bytes)");
}

}  // namespace
}  // namespace specbranch::llama
