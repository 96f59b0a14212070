#include "specbranch/llama/sampling/gbnf_constraint.h"

#include <cstddef>
#include <exception>
#include <limits>
#include <utility>
#include <vector>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/handles.h"
#include "specbranch/llama/vocabulary/byte_tokens.h"
#include "specbranch/llama/vocabulary/utf8_state.h"

namespace specbranch::llama {
namespace {

constexpr float kRefused = -std::numeric_limits<float>::infinity();
// The parser recurses: deeper nesting would overflow the stack of the thread.
constexpr int kMaxNesting = 1000;

void check_nesting(const std::string& grammar) {
  // Parentheses in literals, character classes and comments are not nesting.
  int depth = 0;
  char closer = '\0';
  for (std::size_t i = 0; i < grammar.size(); ++i) {
    const char c = grammar[i];
    if (closer != '\0') {
      if (c == '\\' && closer != '\n') {
        ++i;
      } else if (c == closer) {
        closer = '\0';
      }
      continue;
    }
    if (c == '"' || c == '[' || c == '#') closer = c == '"' ? '"' : c == '[' ? ']' : '\n';
    if (c == '(' && ++depth > kMaxNesting) {
      throw InvalidArgument("[check_constraint] the grammar's parentheses nest too deep; " +
                            std::to_string(kMaxNesting));
    }
    if (c == ')' && depth > 0) --depth;
  }
}

SamplerHandle gbnf_sampler(const Vocabulary& vocabulary, const std::string& grammar) {
  if (grammar.find('\0') != std::string::npos) {
    throw InvalidArgument("[check_constraint] the grammar holds a zero byte");
  }
  check_nesting(grammar);
  SamplerHandle sampler;
  try {
    sampler.reset(llama_sampler_init_grammar(vocabulary.get(), grammar.c_str(), "root"));
  } catch (const std::exception& error) {
    throw InvalidArgument(std::string("[check_constraint] the grammar is wrong; ") + error.what());
  }
  if (!sampler) {
    throw InvalidArgument(
        "[check_constraint] the grammar is not GBNF, or has no rule `root`, or "
        "recurses to the left");
  }
  return sampler;
}

class GbnfConstraint final : public TokenConstraint {
 public:
  GbnfConstraint(const Vocabulary& vocabulary, SamplerHandle grammar, std::size_t n_bytes)
      : vocabulary_(vocabulary), grammar_(std::move(grammar)), n_bytes_(n_bytes) {}

  bool allows(Token token) override {
    if (!is_spelled(token)) return false;
    llama_token_data single{token, 1.0F, 0.0F};
    llama_token_data_array array{&single, 1, -1, /*sorted=*/false};
    llama_sampler_apply(grammar_.get(), &array);
    return single.logit != kRefused;
  }

  void mask(std::span<float> logits) override {
    std::vector<llama_token_data> data(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      data[i] = {static_cast<Token>(i), logits[i], 0.0F};
    }
    llama_token_data_array array{data.data(), data.size(), -1, /*sorted=*/false};
    llama_sampler_apply(grammar_.get(), &array);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const bool allowed = data[i].logit != kRefused && is_spelled(static_cast<Token>(i));
      if (!allowed) logits[i] = kRefused;
    }
  }

  std::unique_ptr<TokenConstraint> copy() const override {
    auto made = std::make_unique<GbnfConstraint>(vocabulary_, cloned(), n_bytes_);
    made->spelled_ = spelled_;
    return made;
  }

  /// llama.cpp compares every place where the text may go on with every element of the rules.
  bool copies_fast() const override { return n_bytes_ <= kMostCopied; }

  void set_mark() override {
    marked_ = cloned();
    marked_spelled_ = spelled_;
  }

  void go_back() override {
    grammar_ = std::move(marked_);
    spelled_ = marked_spelled_;
  }

  NextBytes next_bytes() override {
    NextBytes next;
    // Letters and digits: inside of strings this is enough, and much quicker.
    for (const unsigned byte : {0x61U, 0x62U, 0x30U}) add_if_allowed(byte, byte, next);
    if (next.many()) return next;
    add_if_allowed(0, 255, next);
    next.ends = vocabulary_.eos() >= 0 && allows(vocabulary_.eos());
    return next;
  }

  void accept(Token token) override {
    spelled_.append(vocabulary_.piece(token));
    try {
      llama_sampler_accept(grammar_.get(), token);
    } catch (const std::exception& error) {
      throw DecodeError(
          std::string("[GbnfConstraint::accept] the grammar refused the token it had allowed; ") +
          error.what());
    }
  }

 private:
  SamplerHandle cloned() const {
    SamplerHandle made(llama_sampler_clone(grammar_.get()));
    if (!made) throw DecodeError("[GbnfConstraint] the grammar cannot be copied");
    return made;
  }

  /// Adds the bytes from `first` to `last` that may follow.
  void add_if_allowed(unsigned first, unsigned last, NextBytes& next) {
    const ByteTokens& tokens = vocabulary_.byte_tokens();
    std::vector<llama_token_data> data;
    for (unsigned byte = first; byte <= last; ++byte) {
      const Token token = tokens.of(static_cast<unsigned char>(byte));
      if (token >= 0 && is_spelled(token)) data.push_back({token, 1.0F, 0.0F});
    }
    if (data.empty()) return;
    llama_token_data_array array{data.data(), data.size(), -1, /*sorted=*/false};
    llama_sampler_apply(grammar_.get(), &array);
    for (const llama_token_data& one : data) {
      if (one.logit == kRefused) continue;
      next.bytes.set(static_cast<unsigned char>(vocabulary_.piece(one.id).front()));
    }
  }

  bool is_spelled(Token token) const {
    return Utf8State(spelled_).append(vocabulary_.piece(token));
  }

  static constexpr std::size_t kMostCopied = 8192;

  const Vocabulary& vocabulary_;
  SamplerHandle grammar_;
  std::size_t n_bytes_;  ///< of the grammar.
  Utf8State spelled_;    ///< of the text: llama.cpp takes too long spellings.
  SamplerHandle marked_;
  Utf8State marked_spelled_;
};

}  // namespace

std::unique_ptr<TokenConstraint> make_gbnf_constraint(const Vocabulary& vocabulary,
                                                      const std::string& grammar) {
  return std::make_unique<GbnfConstraint>(vocabulary, gbnf_sampler(vocabulary, grammar),
                                          grammar.size());
}

}  // namespace specbranch::llama
