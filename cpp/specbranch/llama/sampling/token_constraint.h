/// A rule for the tokens of a text.
#pragma once

#include <bitset>
#include <memory>
#include <span>

#include "specbranch/base/types.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "specbranch/model/sampling_options.h"

namespace specbranch::llama {

/// The bytes with which a text may go on.
struct NextBytes {
  std::bitset<256> bytes;
  bool ends = false;  ///< the text may end, too.

  /// More are not needed to know that nothing is forced.
  bool many() const { return bytes.count() > 2; }
};

/// Which tokens may follow a text. It starts at the begin of an answer and grows with it.
///
/// *Thread safety:* one thread at a time.
class TokenConstraint {
 public:
  TokenConstraint() = default;
  virtual ~TokenConstraint() = default;
  TokenConstraint(const TokenConstraint&) = delete;
  TokenConstraint& operator=(const TokenConstraint&) = delete;

  /// Whether `token` may follow. Throws DecodeError: the rule is too complex here.
  virtual bool allows(Token token) = 0;

  /// Sets the logits of all tokens that may not follow to -inf. Throws as `allows`.
  virtual void mask(std::span<float> logits) = 0;

  /// Appends a token that may follow and does not end the text. Throws as `allows`.
  virtual void accept(Token token) = 0;

  /// A constraint of its own that is where this one is. It may take some time. Throws as `allows`.
  virtual std::unique_ptr<TokenConstraint> copy() const = 0;

  /// Copies and marks take at most milliseconds.
  virtual bool copies_fast() const { return true; }

  /// The next `go_back` takes back what is accepted from now on.
  virtual void set_mark() = 0;
  virtual void go_back() = 0;

  /// The bytes that may follow; three or more need not be all. Throws as `allows`.
  virtual NextBytes next_bytes() = 0;

  /// Names of control tokens stand for these tokens.
  virtual bool names_controls() const { return false; }
};

/// The rule of `options`: GBNF, Lark, or null. `vocabulary` outlives it. Throws InvalidArgument for
/// a bad grammar.
std::unique_ptr<TokenConstraint> make_constraint(const Vocabulary& vocabulary,
                                                 const SamplingOptions& options);

/// Throws InvalidArgument for a bad grammar. Any thread. llama.cpp prints the reason for GBNF to
/// stderr itself.
void check_constraint(const Vocabulary& vocabulary, const SamplingOptions& options);

}  // namespace specbranch::llama
