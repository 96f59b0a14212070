/// Text to tokens and back.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "specbranch/base/types.h"

struct llama_vocab;

namespace specbranch::llama {

class ByteTokens;
class TokenTrie;

/// What a prompt of a model that fills in the middle of a text is made of.
struct FimTokens {
  Token prefix = -1;  ///< before the text before the gap.
  Token suffix = -1;  ///< before the text after it.
  Token middle = -1;  ///< last: the model goes on with the text in the gap.
};

/// A model's vocabulary.
///
/// *Thread safety:* immutable after construction; any thread.
/// *Lifecycle:* lives inside Weights; the pointer to llama.cpp's vocabulary dies with the model.
class Vocabulary {
 public:
  /// Computes the bytes of every token once (about 0.1 s for 150,000). Throws ModelLoadError for a
  /// vocabulary that llama.cpp could not tokenize with.
  explicit Vocabulary(const llama_vocab* vocab);
  /// `n_tokens` tokens without texts, for a model that decodes nothing: no text can be tokenized.
  Vocabulary(const llama_vocab* vocab, int n_tokens)
      : vocab_(vocab), pieces_(static_cast<std::size_t>(n_tokens)) {}

  const llama_vocab* get() const noexcept { return vocab_; }
  int size() const noexcept { return static_cast<int>(pieces_.size()); }

  /// The bytes of `text` as tokens. `add_special`: with the BOS/EOS that the model asks for; a text
  /// that begins with the name of the BOS token, parsed, gets no second one.
  /// `parse_special`: text such as `<|im_end|>` becomes the control token of that name, so that
  /// text from strangers must not be parsed so. Throws InvalidArgument, also for a run of more than
  /// half a million letters, digits, blanks or signs: some tokenizers need stack for each of them.
  std::vector<Token> tokenize(std::string_view text, bool add_special, bool parse_special) const;

  /// The bytes that `token` adds to a text; empty for control tokens. Throws InvalidArgument.
  const std::string& piece(Token token) const;

  /// `piece` of each token, joined; with `special`, control tokens have their names.
  std::string detokenize(const std::vector<Token>& tokens, bool special = false) const;

  /// Bytes that one token adds to a text at most; control tokens by their names.
  std::size_t longest() const noexcept { return longest_; }

  bool contains(Token token) const noexcept { return token >= 0 && token < size(); }
  bool is_end(Token token) const;  ///< ends a generation (EOS, EOT, ...).
  Token bos() const noexcept;      ///< -1: none.
  Token eos() const noexcept;      ///< -1: none.
  Token eot() const noexcept;      ///< of a turn; -1: none.
  bool adds_bos() const noexcept;
  bool adds_eos() const noexcept;
  /// None unless the model has all three: by the file's keys, or by the names that llama.cpp knows.
  std::optional<FimTokens> fim() const;

  /// For Lark grammars; made by the first call. Throws what making it throws.
  const TokenTrie& trie() const;

  /// The tokens of single bytes; found by the first call.
  const ByteTokens& byte_tokens() const;

 private:
  std::vector<Token> tokenize_here(std::string_view text, bool add_special,
                                   bool parse_special) const;
  void drop_second_bos(std::vector<Token>& tokens) const;

  const llama_vocab* vocab_;
  std::vector<std::string> pieces_;
  std::size_t longest_ = 1;
  mutable std::once_flag trie_made_;
  mutable std::shared_ptr<const TokenTrie> trie_;
  mutable std::once_flag byte_tokens_found_;
  mutable std::shared_ptr<const ByteTokens> byte_tokens_;
};

}  // namespace specbranch::llama
