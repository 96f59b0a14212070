#include "specbranch/llama/vocabulary/token_trie.h"

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/llama/vocabulary/vocabulary.h"

namespace specbranch::llama {
namespace {

/// llguidance's mark before the name of a token that is no text: no UTF-8 has this byte.
constexpr char kNoText = '\xFF';

struct TokenBytes {
  std::vector<std::uint8_t> all;
  std::vector<std::uint32_t> lengths;
  std::vector<std::uint32_t> ends;
  std::vector<ControlToken> controls;

  void add(const std::string& bytes, bool is_text) {
    if (!is_text) all.push_back(static_cast<std::uint8_t>(kNoText));
    all.insert(all.end(), bytes.begin(), bytes.end());
    lengths.push_back(static_cast<std::uint32_t>(bytes.size() + (is_text ? 0 : 1)));
  }
};

TokenBytes bytes_of(const Vocabulary& vocabulary) {
  TokenBytes bytes;
  bytes.lengths.reserve(static_cast<std::size_t>(vocabulary.size()));
  for (Token token = 0; token < vocabulary.size(); ++token) {
    const std::string& piece = vocabulary.piece(token);
    const std::string name = piece.empty() ? vocabulary.detokenize({token}, true) : piece;
    bytes.add(name, !vocabulary.is_end(token));
    if (vocabulary.is_end(token)) {
      bytes.ends.push_back(static_cast<std::uint32_t>(token));
    } else if (piece.empty() && !name.empty()) {
      bytes.controls.push_back({token, name});
    }
  }
  return bytes;
}

}  // namespace

TokenTrie::TokenTrie(const Vocabulary& vocabulary) {
  const Llguidance& library = Llguidance::get();
  TokenBytes bytes = bytes_of(vocabulary);
  Llguidance::TokenizerOptions options;
  options.n_tokens = static_cast<std::uint32_t>(bytes.lengths.size());
  options.lengths = bytes.lengths.data();
  options.bytes = bytes.all.data();
  if (!bytes.ends.empty()) {
    options.end_token = bytes.ends.front();
    options.other_end_tokens = bytes.ends.data() + 1;
    options.n_other_end_tokens = static_cast<std::uint32_t>(bytes.ends.size() - 1);
  }
  std::array<char, 1024> reason{};
  tokenizer_.reset(library.new_tokenizer(&options, reason.data(), reason.size()));
  if (!tokenizer_) {
    throw InvalidArgument(std::string("[TokenTrie] llguidance refuses the vocabulary; ") +
                          reason.data());
  }
  controls_ = std::move(bytes.controls);
}

LlgMatcherHandle TokenTrie::matcher(const std::string& lark) const {
  if (lark.find('\0') != std::string::npos) {
    throw InvalidArgument("[check_constraint] the grammar holds a zero byte");
  }
  const Llguidance& library = Llguidance::get();
  Llguidance::MatcherOptions options;
  library.set_defaults(&options, tokenizer_.get());
  options.log_stderr_level = 0;
  LlgMatcherHandle matcher(library.new_matcher(&options, "lark", lark.c_str()));
  if (const std::string reason = library.reason(matcher.get()); !reason.empty()) {
    throw InvalidArgument("[check_constraint] the grammar is wrong; " + reason);
  }
  return matcher;
}

}  // namespace specbranch::llama
