#include "specbranch/llama/vocabulary/vocabulary.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/system.h"
#include "specbranch/llama/vocabulary/byte_tokens.h"
#include "specbranch/llama/vocabulary/token_trie.h"

namespace specbranch::llama {
namespace {

/// What a stack of any thread suffices for.
constexpr std::size_t kShortRun = 2048;
constexpr std::size_t kLongestRun = std::size_t{1} << 19U;
/// About three times what a letter took with libstdc++ 12.
constexpr std::size_t kStackOfLetter = 1024;

enum class Kind : std::uint8_t { kLetter, kDigit, kBlank, kSign };

Kind kind_of(char letter) {
  const auto byte = static_cast<unsigned char>(letter);
  if (byte >= 0x80 || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z')) {
    return Kind::kLetter;
  }
  if (byte >= '0' && byte <= '9') return Kind::kDigit;
  const bool blank = byte == ' ' || (byte >= '\t' && byte <= '\r');
  return blank ? Kind::kBlank : Kind::kSign;
}

/// Bytes of the longest part of `text` that a pre-tokenizer could take as one piece: letters (bytes
/// beyond ASCII count as such), digits, blanks, or other signs, in a row.
std::size_t longest_run(std::string_view text) {
  std::size_t longest = 0;
  std::size_t run = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    run = i > 0 && kind_of(text[i]) == kind_of(text[i - 1]) ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  return longest;
}

std::string piece_of(const llama_vocab* vocab, Token token, bool special) {
  std::string piece(32, '\0');
  for (;;) {
    const int n = llama_token_to_piece(vocab, token, piece.data(), static_cast<int>(piece.size()),
                                       /*lstrip=*/0, special);
    if (n >= 0) {
      piece.resize(static_cast<std::size_t>(n));
      return piece;
    }
    piece.resize(static_cast<std::size_t>(-n));
  }
}

void check_special_tokens(const llama_vocab* vocab) {
  // Tokenizing would assert.
  if (llama_vocab_get_add_bos(vocab) && llama_vocab_bos(vocab) == LLAMA_TOKEN_NULL) {
    throw ModelLoadError("[Vocabulary] the model asks for a BOS token and has none");
  }
  if (llama_vocab_get_add_eos(vocab) && llama_vocab_eos(vocab) == LLAMA_TOKEN_NULL) {
    throw ModelLoadError("[Vocabulary] the model asks for an EOS token and has none");
  }
  if (llama_vocab_get_add_sep(vocab) && llama_vocab_sep(vocab) == LLAMA_TOKEN_NULL) {
    throw ModelLoadError("[Vocabulary] the model asks for a SEP token and has none");
  }
}

}  // namespace

Vocabulary::Vocabulary(const llama_vocab* vocab) : vocab_(vocab) {
  const int n = llama_vocab_n_tokens(vocab);
  if (n <= 0 || llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE) {
    throw ModelLoadError("[Vocabulary] the model has no vocabulary");
  }
  check_special_tokens(vocab);
  pieces_.reserve(static_cast<std::size_t>(n));
  for (Token token = 0; token < n; ++token) {
    try {
      pieces_.push_back(piece_of(vocab, token, /*special=*/false));
      const std::string& plain = pieces_.back();
      longest_ = std::max(
          longest_, plain.empty() ? piece_of(vocab, token, /*special=*/true).size() : plain.size());
    } catch (const std::exception& error) {
      throw ModelLoadError("[Vocabulary] token " + std::to_string(token) + " has no text; " +
                           error.what());
    }
  }
}

std::vector<Token> Vocabulary::tokenize(std::string_view text, bool add_special,
                                        bool parse_special) const {
  // llama.cpp splits a text for some pre-tokenizers with a regular expression, which the standard
  // library matches in frames of the stack, some for each letter of a piece.
  const std::size_t run = llama_vocab_type(vocab_) == LLAMA_VOCAB_TYPE_BPE ? longest_run(text) : 0;
  if (run <= kShortRun) return tokenize_here(text, add_special, parse_special);
  if (run > kLongestRun) {
    throw InvalidArgument("[Vocabulary::tokenize] a run of " + std::to_string(run) +
                          " letters, digits, blanks or signs is too long; at most " +
                          std::to_string(kLongestRun));
  }
  std::vector<Token> tokens;
  call_with_stack((kShortRun + run) * kStackOfLetter,
                  [&] { tokens = tokenize_here(text, add_special, parse_special); });
  return tokens;
}

std::vector<Token> Vocabulary::tokenize_here(std::string_view text, bool add_special,
                                             bool parse_special) const {
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) / 2) {
    throw InvalidArgument("[Vocabulary::tokenize] the text is too long; " +
                          std::to_string(text.size()) + " bytes; 1073741823");
  }
  const char* const bytes = text.data();
  const auto n_bytes = static_cast<std::int32_t>(text.size());
  // No token is shorter than a byte, but for BOS, EOS and a leading space.
  std::vector<Token> tokens(text.size() + 8);
  try {
    for (;;) {
      const auto n =
          llama_tokenize(vocab_, bytes, n_bytes, tokens.data(),
                         static_cast<std::int32_t>(tokens.size()), add_special, parse_special);
      if (n >= 0) {
        tokens.resize(static_cast<std::size_t>(n));
        if (add_special) drop_second_bos(tokens);
        return tokens;
      }
      if (n == std::numeric_limits<std::int32_t>::min()) {
        throw InvalidArgument("[Vocabulary::tokenize] the text has too many tokens");
      }
      tokens.resize(static_cast<std::size_t>(-n));
    }
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw InvalidArgument(std::string("[Vocabulary::tokenize] the text cannot be tokenized; ") +
                          error.what());
  }
}

/// A text that begins with the name of the BOS token has it already.
void Vocabulary::drop_second_bos(std::vector<Token>& tokens) const {
  const Token token = bos();
  if (adds_bos() && tokens.size() >= 2 && tokens[0] == token && tokens[1] == token) {
    tokens.erase(tokens.begin());
  }
}

const std::string& Vocabulary::piece(Token token) const {
  if (!contains(token)) {
    throw InvalidArgument("[Vocabulary::piece] there is no such token; " + std::to_string(token) +
                          "; 0 to " + std::to_string(size() - 1));
  }
  return pieces_[static_cast<std::size_t>(token)];
}

std::string Vocabulary::detokenize(const std::vector<Token>& tokens, bool special) const {
  std::string text;
  for (const Token token : tokens) {
    const std::string& plain = piece(token);
    text += special && plain.empty() ? piece_of(vocab_, token, /*special=*/true) : plain;
  }
  return text;
}

bool Vocabulary::is_end(Token token) const {
  return contains(token) && llama_vocab_is_eog(vocab_, token);
}

Token Vocabulary::bos() const noexcept { return llama_vocab_bos(vocab_); }
Token Vocabulary::eos() const noexcept { return llama_vocab_eos(vocab_); }
Token Vocabulary::eot() const noexcept { return llama_vocab_eot(vocab_); }
bool Vocabulary::adds_bos() const noexcept { return llama_vocab_get_add_bos(vocab_); }
bool Vocabulary::adds_eos() const noexcept { return llama_vocab_get_add_eos(vocab_); }

std::optional<FimTokens> Vocabulary::fim() const {
  const FimTokens tokens{llama_vocab_fim_pre(vocab_), llama_vocab_fim_suf(vocab_),
                         llama_vocab_fim_mid(vocab_)};
  if (!contains(tokens.prefix) || !contains(tokens.suffix) || !contains(tokens.middle)) {
    return std::nullopt;
  }
  return tokens;
}

const TokenTrie& Vocabulary::trie() const {
  std::call_once(trie_made_, [this] { trie_ = std::make_shared<const TokenTrie>(*this); });
  return *trie_;
}

const ByteTokens& Vocabulary::byte_tokens() const {
  std::call_once(byte_tokens_found_,
                 [this] { byte_tokens_ = std::make_shared<const ByteTokens>(*this); });
  return *byte_tokens_;
}

}  // namespace specbranch::llama
