/// The C interface of llguidance, out of the installed Python package.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace specbranch::llama {

/// Objects of llguidance.
struct LlgTokenizer;
struct LlgMatcher;

/// llguidance's functions, which its extension module for Python exports but does not promise. So
/// one version is expected, and `load` tries the functions before anything depends on them. They
/// need no GIL.
///
/// *Thread safety:* immutable; any thread. A matcher belongs to one thread at a time.
/// *Lifecycle:* loaded once, and never unloaded.
class Llguidance {
 public:
  /// The version whose interface these declarations have.
  static constexpr const char* kVersion = "1.9.1";
  static constexpr std::uint32_t kNoToken = 0xFFFFFFFF;

  /// How a tokenizer is made (`LlgTokenizerInitV2`).
  struct TokenizerOptions {
    std::size_t struct_size = sizeof(TokenizerOptions);
    std::uint32_t n_tokens = 0;
    std::uint32_t end_token = kNoToken;
    const std::uint32_t* lengths = nullptr;
    const std::uint8_t* bytes = nullptr;  ///< of all tokens, one after the other.
    const char* tokenizer_json = nullptr;
    bool assumes_string = false;
    std::size_t (*tokenize)(const void*, const std::uint8_t*, std::size_t, std::uint32_t*,
                            std::size_t) = nullptr;
    bool tokenizes_greedily = true;
    const void* tokenize_data = nullptr;
    const char* const* slices = nullptr;
    const std::uint32_t* other_end_tokens = nullptr;
    std::uint32_t n_other_end_tokens = 0;
  };

  /// How a matcher is made (`LlgConstraintInit`).
  struct MatcherOptions {
    const LlgTokenizer* tokenizer = nullptr;
    std::uint32_t log_buffer_level = 0;
    std::uint32_t log_stderr_level = 0;
    bool fast_forwards = false;
    bool backtracks = false;
    std::uint64_t limits[16] = {};  ///< more than the limits of any known version.
  };

  /// Loads the library and tries it. Does nothing if it is loaded. Throws InvalidArgument: the file
  /// is not a library, lacks a function, is another version, or does not do what is expected.
  static void load(const std::string& path);

  /// Throws InvalidArgument if no library is loaded.
  static const Llguidance& get();

  // NOLINTBEGIN(misc-non-private-member-variables-in-classes): a table of functions
  const char* (*version)() = nullptr;
  LlgTokenizer* (*new_tokenizer)(const TokenizerOptions*, char* error, std::size_t) = nullptr;
  void (*free_tokenizer)(LlgTokenizer*) = nullptr;
  void (*set_defaults)(MatcherOptions*, const LlgTokenizer*) = nullptr;
  LlgMatcher* (*new_matcher)(const MatcherOptions*, const char* kind, const char* data) = nullptr;
  void (*free_matcher)(LlgMatcher*) = nullptr;
  LlgMatcher* (*clone_matcher)(const LlgMatcher*) = nullptr;  ///< nothing of it is shared.
  const char* (*error)(LlgMatcher*) = nullptr;
  std::size_t (*mask_bytes)(const LlgMatcher*) = nullptr;
  std::int32_t (*compute_mask)(LlgMatcher*, std::uint32_t* mask, std::size_t n_bytes) = nullptr;
  std::int32_t (*consume)(LlgMatcher*, std::uint32_t token) = nullptr;
  std::int32_t (*rollback)(LlgMatcher*, std::size_t n) = nullptr;  ///< takes back n tokens.
  /// How many of these tokens may follow. It refuses end tokens where nothing else may follow.
  std::int32_t (*validate)(LlgMatcher*, const std::uint32_t* tokens, std::size_t n) = nullptr;
  bool (*accepts)(LlgMatcher*) = nullptr;  ///< whether the text may end here.
  // NOLINTEND(misc-non-private-member-variables-in-classes)

  /// Why a matcher failed, in one line. Empty: it did not.
  std::string reason(LlgMatcher* matcher) const;

 private:
  Llguidance() = default;
  static Llguidance opened(const std::string& path);
  void try_out() const;
};

/// Deleters for owning pointers.
struct FreeLlg {
  void operator()(LlgTokenizer* tokenizer) const noexcept;
  void operator()(LlgMatcher* matcher) const noexcept;
};

}  // namespace specbranch::llama
