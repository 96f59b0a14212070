#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/engine/engine.h"
#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/sampling/token_constraint.h"

namespace specbranch::bindings {

/// The vocabulary of a loaded model, which it keeps alive.
class ModelTokenizer final : public Tokenizer {
 public:
  explicit ModelTokenizer(std::shared_ptr<const llama::Weights> weights)
      : weights_(std::move(weights)) {}

  std::vector<Token> tokenize(std::string_view text, bool add_special,
                              bool parse_special) const override {
    return vocabulary().tokenize(text, add_special, parse_special);
  }
  std::string detokenize(const std::vector<Token>& tokens, bool special) const override {
    return vocabulary().detokenize(tokens, special);
  }
  std::size_t longest() const override { return vocabulary().longest(); }
  bool is_end(Token token) const override { return vocabulary().is_end(token); }
  std::map<std::string, std::string> metadata() const override { return weights_->metadata(); }
  std::optional<Token> bos() const override { return known(vocabulary().bos()); }
  std::optional<Token> eos() const override { return known(vocabulary().eos()); }
  std::optional<std::array<Token, 3>> fim() const override {
    const auto found = vocabulary().fim();
    if (!found) return std::nullopt;
    return std::array<Token, 3>{found->prefix, found->suffix, found->middle};
  }
  void check_constraint(const SamplingOptions& options) const override {
    llama::check_constraint(vocabulary(), options);
  }
  /// `import llama_cpp` may have replaced the log sink by one that needs the GIL.
  void prepare() const override { llama::install_log_sink(); }

 private:
  static std::optional<Token> known(Token token) {
    return token < 0 ? std::nullopt : std::optional(token);
  }
  const llama::Vocabulary& vocabulary() const { return weights_->vocabulary(); }

  std::shared_ptr<const llama::Weights> weights_;
};

}  // namespace specbranch::bindings
