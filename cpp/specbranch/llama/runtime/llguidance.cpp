#include "specbranch/llama/runtime/llguidance.h"

#include <array>
#include <memory>
#include <mutex>
#include <string_view>

#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

struct LoadedLlguidance {
  std::mutex mutex;                     ///< of the loading.
  const Llguidance* library = nullptr;  ///< null: not loaded.
};

/// Never freed: threads may still use it while the process ends.
LoadedLlguidance& loaded_llguidance() {
  static LoadedLlguidance& one = *new LoadedLlguidance;
  return one;
}

[[noreturn]] void refuse_library(const std::string& what) {
  throw InvalidArgument("[Llguidance::load] " + what);
}

template <class Function>
void find_function(void* library, const char* name, Function& function) {
  void* const symbol = find_symbol(library, name);
  if (symbol == nullptr) refuse_library(std::string("the library has no function ") + name);
  function = reinterpret_cast<Function>(symbol);
}

/// `text` has the word `llguidance@1.9.1`, or the like.
bool names_version(std::string_view text, std::string_view version) {
  for (std::size_t at = text.find(version); at != std::string_view::npos;
       at = text.find(version, at + 1)) {
    const auto is_digit = [&](std::size_t i) {
      return i < text.size() && (text[i] == '.' || (text[i] >= '0' && text[i] <= '9'));
    };
    if ((at == 0 || !is_digit(at - 1)) && !is_digit(at + version.size())) return true;
  }
  return false;
}

}  // namespace

Llguidance Llguidance::opened(const std::string& path) {
  std::string reason;
  void* const library = open_library(path, reason);
  if (library == nullptr) refuse_library("the library cannot be loaded; " + reason);
  Llguidance found;
  find_function(library, "llg_get_version", found.version);
  const std::string version = found.version();
  if (!names_version(version, kVersion)) {
    refuse_library("the library is another version; " + version + "; " + kVersion);
  }
  find_function(library, "llg_new_tokenizer_v2", found.new_tokenizer);
  find_function(library, "llg_free_tokenizer", found.free_tokenizer);
  find_function(library, "llg_constraint_init_set_defaults", found.set_defaults);
  find_function(library, "llg_new_matcher", found.new_matcher);
  find_function(library, "llg_free_matcher", found.free_matcher);
  find_function(library, "llg_clone_matcher", found.clone_matcher);
  find_function(library, "llg_matcher_get_error", found.error);
  find_function(library, "llg_matcher_get_mask_byte_size", found.mask_bytes);
  find_function(library, "llg_matcher_compute_mask_into", found.compute_mask);
  find_function(library, "llg_matcher_consume_token", found.consume);
  find_function(library, "llg_matcher_rollback", found.rollback);
  find_function(library, "llg_matcher_validate_tokens", found.validate);
  find_function(library, "llg_matcher_is_accepting", found.accepts);
  return found;
}

/// One token an ASCII character and an end token: after `a` the text must end.
void Llguidance::try_out() const {
  constexpr std::uint32_t kEnd = 128;
  std::array<std::uint8_t, kEnd> bytes{};
  for (std::uint32_t i = 0; i < kEnd; ++i) bytes[i] = static_cast<std::uint8_t>(i);
  std::array<std::uint32_t, kEnd + 1> lengths{};
  lengths.fill(1);
  lengths[kEnd] = 0;
  TokenizerOptions options;
  options.n_tokens = kEnd + 1;
  options.end_token = kEnd;
  options.lengths = lengths.data();
  options.bytes = bytes.data();
  std::array<char, 256> reason{};
  const auto free_tokenizer_of = [this](LlgTokenizer* one) { free_tokenizer(one); };
  const std::unique_ptr<LlgTokenizer, decltype(free_tokenizer_of)> tokenizer(
      new_tokenizer(&options, reason.data(), reason.size()), free_tokenizer_of);
  if (!tokenizer) refuse_library(std::string("the trial has no tokenizer; ") + reason.data());
  MatcherOptions init;
  set_defaults(&init, tokenizer.get());
  init.log_stderr_level = 0;
  if (init.tokenizer != tokenizer.get()) refuse_library("the trial has other options");
  const auto free_matcher_of = [this](LlgMatcher* one) { free_matcher(one); };
  const std::unique_ptr<LlgMatcher, decltype(free_matcher_of)> matcher(
      new_matcher(&init, "lark", "start: \"a\""), free_matcher_of);
  if (!matcher || error(matcher.get()) != nullptr) refuse_library("the trial has no matcher");
  std::array<std::uint32_t, (kEnd + 32) / 32> mask{};
  const auto allows_only = [&](std::uint32_t token) {
    if (mask_bytes(matcher.get()) != sizeof mask ||
        compute_mask(matcher.get(), mask.data(), sizeof mask) != 0) {
      return false;
    }
    for (std::uint32_t i = 0; i <= kEnd; ++i) {
      if (((mask[i / 32] >> (i % 32)) & 1U) != (i == token ? 1U : 0U)) return false;
    }
    const std::uint32_t other = 'b';
    return accepts(matcher.get()) == (token == kEnd) && validate(matcher.get(), &other, 1) == 0 &&
           (token == kEnd || validate(matcher.get(), &token, 1) == 1);
  };
  const std::unique_ptr<LlgMatcher, decltype(free_matcher_of)> copy(clone_matcher(matcher.get()),
                                                                    free_matcher_of);
  if (!copy || consume(copy.get(), 'a') != 0 || !accepts(copy.get()) ||
      rollback(copy.get(), 1) != 0 || accepts(copy.get())) {
    refuse_library("the trial's copy does not follow the text");
  }
  if (!allows_only('a') || consume(matcher.get(), 'a') != 0 || !allows_only(kEnd)) {
    refuse_library("the trial allows other tokens than expected");
  }
}

void Llguidance::load(const std::string& path) {
  LoadedLlguidance& loaded = loaded_llguidance();
  const std::lock_guard lock(loaded.mutex);
  if (loaded.library != nullptr) return;
  const Llguidance found = opened(path);
  found.try_out();
  loaded.library = new Llguidance(found);
}

std::string Llguidance::reason(LlgMatcher* matcher) const {
  const char* const told = error(matcher);
  if (told == nullptr) return {};
  const std::string_view whole = told;  // more lines hold an excerpt, or the parser's state
  return std::string(whole.substr(0, whole.find('\n')));
}

const Llguidance& Llguidance::get() {
  LoadedLlguidance& loaded = loaded_llguidance();
  const std::lock_guard lock(loaded.mutex);
  if (loaded.library == nullptr) {
    throw InvalidArgument("[Llguidance::get] a Lark grammar needs llguidance, which is not loaded");
  }
  return *loaded.library;
}

void FreeLlg::operator()(LlgTokenizer* tokenizer) const noexcept {
  const Llguidance* const library = loaded_llguidance().library;  // it made the object
  if (library != nullptr) library->free_tokenizer(tokenizer);
}

void FreeLlg::operator()(LlgMatcher* matcher) const noexcept {
  const Llguidance* const library = loaded_llguidance().library;  // it made the object
  if (library != nullptr) library->free_matcher(matcher);
}

}  // namespace specbranch::llama
