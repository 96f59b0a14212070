#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/engine/generation.h"
#include "specbranch/base/types.h"
#include "specbranch/engine/engine.h"
#include "specbranch/llama/file/adapter_file.h"
#include "specbranch/llama/models/exact_target.h"
#include "specbranch/model/options.h"

namespace specbranch::bindings {

/// What an engine's texts are made of: a model's vocabulary, or that of a fake.
///
/// *Thread safety:* immutable; any thread.
class Tokenizer {
 public:
  Tokenizer() = default;
  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  virtual std::vector<Token> tokenize(std::string_view text, bool add_special,
                                      bool parse_special) const = 0;
  virtual std::string detokenize(const std::vector<Token>& tokens, bool special) const = 0;
  /// Bytes of a text that one token stands for at most.
  virtual std::size_t longest() const { return 1; }
  virtual bool is_end(Token /*token*/) const { return false; }
  virtual std::map<std::string, std::string> metadata() const { return {}; }
  virtual std::optional<Token> bos() const { return std::nullopt; }
  virtual std::optional<Token> eos() const { return std::nullopt; }
  /// The tokens before prefix, suffix and middle; none: the model has no such tokens.
  virtual std::optional<std::array<Token, 3>> fim() const { return std::nullopt; }
  virtual void check_constraint(const SamplingOptions& /*options*/) const {}
  /// Called before each generation, on the caller's thread.
  virtual void prepare() const {}
};

/// The engine as Python holds it: what needs no model's thread is answered here.
///
/// *Thread safety:* called with the GIL, which guards the tokenizer's pointer; waiting happens
/// without it.
/// *Lifecycle:* as Engine. `close` also lets go of the target's weights.
class PyEngine {
 public:
  PyEngine(std::unique_ptr<Engine> engine, std::shared_ptr<const Tokenizer> tokenizer);

  std::unique_ptr<PyGeneration> generate(Request request);
  std::vector<Token> tokenize(const std::string& text, bool add_special, bool parse_special) const;
  std::string detokenize(const std::vector<Token>& tokens, bool special) const;
  bool is_end(Token token) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::size_t longest_token() const { return longest_token_; }
  std::optional<Token> bos() const { return bos_; }
  std::optional<Token> eos() const { return eos_; }
  std::optional<std::array<Token, 3>> fim() const { return fim_; }
  void close();

  const Engine& engine() const { return *engine_; }

  /// How the target's batches are padded for `bit_exact`; none without it.
  std::optional<llama::ExactRows> exact_rows;
  /// The LoRA adapters of the target, in their order.
  std::vector<llama::AdapterFile> adapters;
  /// Texts propose tokens, with or without a draft.
  bool lookup = true;
  /// What of the pair differs and does not matter, a sentence each.
  std::vector<std::string> notes;
  /// What of the options is not as the caller may expect, a sentence each.
  std::vector<std::string> warnings;

 private:
  /// Throws EngineClosed.
  std::shared_ptr<const Tokenizer> tokenizer(const char* method) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::size_t longest_token_;
  std::optional<Token> bos_;
  std::optional<Token> eos_;
  std::optional<std::array<Token, 3>> fim_;
  std::map<std::string, std::string> metadata_;
  std::unique_ptr<Engine> engine_;
};

/// `Engine`.
void register_engine(pybind11::module_& m);

}  // namespace specbranch::bindings
