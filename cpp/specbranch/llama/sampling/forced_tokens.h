/// Finds the tokens about which a constraint leaves no choice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "specbranch/llama/sampling/token_constraint.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "specbranch/model/forced_run.h"

namespace specbranch::llama {

/// A constraint forces bytes, such as those of a property's name, and mostly several tokens may
/// begin them. So the bytes are followed one by one while only one may come next, and their usual
/// tokens are proposed. Where a space may stand or not, as in JSON after a colon, the text probably
/// goes on as it did there before.
///
/// It works on a copy of the constraint: whatever goes wrong, the text does not notice.
///
/// *Thread safety:* one thread at a time.
class ForcedTokens {
 public:
  /// At the begin of an answer. `vocabulary` outlives this. `rule` is only copied.
  ForcedTokens(const Vocabulary& vocabulary, const TokenConstraint& rule);

  /// A token that does not end the text joins it.
  void accept(Token token);

  /// What is forced after `text`, the prompt and all accepted tokens.
  ForcedRun after(std::span<const Token> text);

 private:
  enum class Space : std::uint8_t { kUnknown, kAbsent, kPresent };

  /// Bytes that probably come next.
  struct Bytes {
    std::string text;
    std::size_t n_sure = 0;           ///< those before the first guess.
    std::vector<std::size_t> spaces;  ///< where a space may stand or not; the last may be the end.
    bool whole = true;                ///< no limit has ended them.
  };

  void learn(unsigned char byte);
  bool drop_seen();
  void follow_bytes();
  std::string bytes_of(Token token) const;
  Space& space_after(std::size_t n_bytes);
  ForcedRun spelled(std::span<const Token> text);
  std::vector<Token> tokens_after(std::span<const Token> text) const;

  const Vocabulary& vocabulary_;
  std::unique_ptr<TokenConstraint> rule_;  ///< null: it has failed.
  Bytes expected_;                         ///< after the last `follow_bytes`.
  std::size_t n_seen_ = 0;                 ///< bytes of them that have come.
  bool follows_ = false;                   ///< they have come as expected.
  ForcedRun run_;                          ///< the tokens of `expected_` that are left.
  unsigned char before_ = 0;               ///< the byte before `expected_`.
  unsigned char last_ = 0;                 ///< the last byte of the text.
  std::array<Space, 256> spaces_{};        ///< by the byte before the space.
};

}  // namespace specbranch::llama
