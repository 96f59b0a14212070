#include "specbranch/llama/sampling/lark_constraint.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/llguidance.h"
#include "specbranch/llama/vocabulary/byte_tokens.h"
#include "specbranch/llama/vocabulary/token_trie.h"

namespace specbranch::llama {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr std::size_t kMaskBits = 32;  // of a word of the mask

class LarkConstraint final : public TokenConstraint {
 public:
  /// `forbidden`: tokens that may nowhere follow, in order.
  LarkConstraint(const Vocabulary& vocabulary, LlgMatcherHandle matcher,
                 std::vector<Token> forbidden)
      : vocabulary_(vocabulary),
        library_(Llguidance::get()),
        matcher_(std::move(matcher)),
        forbidden_(std::move(forbidden)),
        mask_(library_.mask_bytes(matcher_.get()) / sizeof(std::uint32_t)) {}

  bool allows(Token token) override {
    if (vocabulary_.is_end(token)) return library_.accepts(matcher_.get());
    if (std::ranges::binary_search(forbidden_, token)) return false;
    const auto one = static_cast<std::uint32_t>(token);
    const std::int32_t n = library_.validate(matcher_.get(), &one, 1);
    if (n < 0) fail();
    return n == 1;
  }

  void mask(std::span<float> logits) override {
    compute();
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const std::size_t word = i / kMaskBits;
      const bool allowed = word < mask_.size() && ((mask_[word] >> (i % kMaskBits)) & 1U) != 0;
      if (!allowed) logits[i] = kNever;
    }
    for (const Token token : forbidden_) logits[static_cast<std::size_t>(token)] = kNever;
  }

  std::unique_ptr<TokenConstraint> copy() const override {
    LlgMatcherHandle matcher(library_.clone_matcher(matcher_.get()));
    if (!matcher) throw DecodeError("[LarkConstraint] the grammar cannot be copied");
    return std::make_unique<LarkConstraint>(vocabulary_, std::move(matcher), forbidden_);
  }

  void set_mark() override { n_since_mark_ = 0; }

  void go_back() override {
    if (library_.rollback(matcher_.get(), n_since_mark_) != 0) fail();
    n_since_mark_ = 0;
  }

  NextBytes next_bytes() override {
    NextBytes next;
    // Letters and digits: inside of strings this is enough, and much quicker.
    for (const unsigned byte : {0x61U, 0x62U, 0x30U}) {
      const Token token = vocabulary_.byte_tokens().of(static_cast<unsigned char>(byte));
      if (token >= 0 && allows(token)) next.bytes.set(byte);
    }
    if (next.many()) return next;
    compute();
    for (std::size_t word = 0; word < mask_.size(); ++word) {
      for (std::uint32_t rest = mask_[word]; rest != 0; rest &= rest - 1) {
        const auto bit = static_cast<std::size_t>(std::countr_zero(rest));
        add(static_cast<Token>(word * kMaskBits + bit), next);
        if (next.many()) return next;
      }
    }
    return next;
  }

  bool names_controls() const override { return true; }

  void accept(Token token) override {
    ++n_since_mark_;
    if (library_.consume(matcher_.get(), static_cast<std::uint32_t>(token)) != 0) fail();
  }

 private:
  void compute() {
    if (library_.compute_mask(matcher_.get(), mask_.data(), mask_.size() * sizeof(std::uint32_t)) !=
        0) {
      fail();
    }
  }

  /// A token that the mask allows.
  void add(Token token, NextBytes& next) const {
    if (!vocabulary_.contains(token) || std::ranges::binary_search(forbidden_, token)) return;
    if (vocabulary_.is_end(token)) {
      next.ends = true;
      return;
    }
    // A control token counts as its name.
    const std::string& piece = vocabulary_.piece(token);
    const std::string name = piece.empty() ? vocabulary_.detokenize({token}, true) : piece;
    if (!name.empty()) next.bytes.set(static_cast<unsigned char>(name.front()));
  }

  [[noreturn]] void fail() const {
    throw DecodeError("[LarkConstraint] the grammar cannot be followed; " +
                      library_.reason(matcher_.get()));
  }

  const Vocabulary& vocabulary_;
  const Llguidance& library_;
  LlgMatcherHandle matcher_;
  std::vector<Token> forbidden_;
  std::vector<std::uint32_t> mask_;  ///< one bit a token.
  std::size_t n_since_mark_ = 0;     ///< tokens.
};

}  // namespace

std::unique_ptr<TokenConstraint> make_lark_constraint(const Vocabulary& vocabulary,
                                                      const std::string& grammar) {
  const TokenTrie& trie = vocabulary.trie();
  std::vector<Token> forbidden;
  for (const auto& [token, name] : trie.controls()) {
    if (grammar.find(name) == std::string::npos) forbidden.push_back(token);
  }
  return std::make_unique<LarkConstraint>(vocabulary, trie.matcher(grammar), std::move(forbidden));
}

}  // namespace specbranch::llama
