#include "llama.h"
#include "specbranch/llama/vocabulary/vocabulary.h"

#include "specbranch/base/errors.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

TEST_CASE("text survives tokens and back, byte by byte") {
  SPECBRANCH_NEEDS_MODELS();
  const Vocabulary& vocabulary = target_weights()->vocabulary();
  for (const std::string text :
       {"", "def f(x):\n    return x\n", "  leading", "tabs\t\t", "größer ≤ 日本語 🎉",
        "\x01\x02\x7f", "a very long word: pneumonoultramicroscopicsilicovolcanoconiosis"}) {
    CAPTURE(text);
    const auto tokens = vocabulary.tokenize(text, false, false);
    CHECK(vocabulary.detokenize(tokens) == text);
  }
  const std::string with_zero("a\0b", 3);
  CHECK(vocabulary.detokenize(vocabulary.tokenize(with_zero, false, false)) == with_zero);
  CHECK_NOTHROW(vocabulary.tokenize("\xff\xfe broken UTF-8 \xc3", false, false));
}

TEST_CASE("control tokens are parsed only on request and have no text") {
  SPECBRANCH_NEEDS_MODELS();
  const Vocabulary& vocabulary = target_weights()->vocabulary();
  const Token eos = vocabulary.eos();
  if (eos < 0) return;
  CHECK(vocabulary.is_end(eos));
  CHECK(vocabulary.piece(eos).empty());
  const std::string text = llama_vocab_get_text(vocabulary.get(), eos);
  const std::vector<Token> only_eos{eos};
  CHECK(vocabulary.tokenize(text, false, true) == only_eos);
  CHECK(vocabulary.tokenize(text, false, false) != only_eos);
}

TEST_CASE("ids out of range are refused") {
  SPECBRANCH_NEEDS_MODELS();
  const Vocabulary& vocabulary = target_weights()->vocabulary();
  CHECK_THROWS_AS(vocabulary.piece(-1), InvalidArgument);
  CHECK_THROWS_AS(vocabulary.piece(vocabulary.size()), InvalidArgument);
  CHECK_THROWS_AS(vocabulary.detokenize({0, 1 << 30}), InvalidArgument);
  CHECK(!vocabulary.is_end(-1));
  CHECK(!vocabulary.is_end(1 << 30));
}

}  // namespace
}  // namespace specbranch::llama
