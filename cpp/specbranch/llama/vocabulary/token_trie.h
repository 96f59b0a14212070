/// A vocabulary as llguidance knows it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/llama/runtime/llguidance.h"

namespace specbranch::llama {

class Vocabulary;

using LlgMatcherHandle = std::unique_ptr<LlgMatcher, FreeLlg>;

/// A token without text that ends nothing. A grammar may name it.
struct ControlToken {
  Token token = -1;
  std::string name;
};

/// The tokens by their bytes. A control token has the bytes of its name, an end token has none that
/// a text could equal.
///
/// *Thread safety:* immutable; any thread.
class TokenTrie {
 public:
  /// Takes about 0.5 s for 150,000 tokens, and 70 MB stay. Throws InvalidArgument: llguidance is
  /// not loaded, or it refuses the vocabulary.
  explicit TokenTrie(const Vocabulary& vocabulary);

  /// A matcher at the begin of a text. Throws InvalidArgument: `lark` is not a grammar, or it is
  /// too large.
  LlgMatcherHandle matcher(const std::string& lark) const;

  const std::vector<ControlToken>& controls() const noexcept { return controls_; }

 private:
  std::vector<ControlToken> controls_;
  std::unique_ptr<LlgTokenizer, FreeLlg> tokenizer_;
};

}  // namespace specbranch::llama
