#include "specbranch/llama/sampling/forced_tokens.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "specbranch/base/errors.h"
#include "specbranch/llama/vocabulary/byte_tokens.h"
#include "specbranch/llama/vocabulary/utf8_state.h"

namespace specbranch::llama {
namespace {

constexpr std::size_t kMostBytes = 128;
constexpr std::size_t kMostTokens = 32;
/// From a longer run that a limit has ended, more is found when so few tokens are left.
constexpr std::size_t kFewTokens = 8;
constexpr std::size_t kFewBytes = 32;
/// Tokens of the text before a run that may decide how it is spelled.
constexpr std::size_t kContext = 3;

/// The only byte that may come next, or a space that may be left out and what comes otherwise.
struct Next {
  unsigned char byte = 0;
  bool optional_space = false;
};

std::optional<Next> only_one(const NextBytes& next) {
  constexpr unsigned char kSpace = ' ';
  const std::size_t n = next.bytes.count();
  if (next.ends || n == 0 || n > 2 || (n == 2 && !next.bytes.test(kSpace))) return std::nullopt;
  for (unsigned byte = 0; byte < next.bytes.size(); ++byte) {
    if (!next.bytes.test(byte) || (n == 2 && byte == kSpace)) continue;
    return Next{static_cast<unsigned char>(byte), n == 2};
  }
  return std::nullopt;
}

/// The longest beginning that cuts no character.
std::size_t whole_characters(std::string_view bytes) {
  std::size_t n = bytes.size();
  while (n > 0) {
    const auto byte = static_cast<unsigned char>(bytes[n - 1]);
    if (byte < 0x80) return n;
    --n;
    if (byte >= 0xC0) {
      const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
      return n + length <= bytes.size() ? n + length : n;
    }
  }
  return 0;
}

}  // namespace

ForcedTokens::ForcedTokens(const Vocabulary& vocabulary, const TokenConstraint& rule)
    : vocabulary_(vocabulary), rule_(rule.copy()) {}

void ForcedTokens::accept(Token token) {
  if (!rule_) return;
  try {
    rule_->accept(token);
  } catch (const Error&) {
    rule_.reset();
    return;
  }
  for (const char byte : bytes_of(token)) learn(static_cast<unsigned char>(byte));
  run_.take(token);
}

/// The byte joins the text: was there a space where one may be?
void ForcedTokens::learn(unsigned char byte) {
  if (follows_) {
    if (std::ranges::count(expected_.spaces, n_seen_) > 0) {
      space_after(n_seen_) = byte == ' ' ? Space::kPresent : Space::kAbsent;
    }
    const bool right = n_seen_ < expected_.text.size() &&
                       static_cast<unsigned char>(expected_.text[n_seen_]) == byte;
    follows_ = right;
    ++n_seen_;
  }
  last_ = byte;
}

ForcedTokens::Space& ForcedTokens::space_after(std::size_t n_bytes) {
  return spaces_[n_bytes == 0 ? before_ : static_cast<unsigned char>(expected_.text[n_bytes - 1])];
}

ForcedRun ForcedTokens::after(std::span<const Token> text) {
  if (!rule_) return {};
  const bool enough = expected_.whole || run_.tokens.size() >= kFewTokens;
  if (!run_.tokens.empty() && enough) return run_;
  try {
    if (!drop_seen()) follow_bytes();
    run_ = spelled(text);
  } catch (const Error&) {
    rule_.reset();
    run_ = {};
  }
  return run_;
}

/// Where the bytes came in other tokens than expected, the rest of them is still known.
bool ForcedTokens::drop_seen() {
  if (!follows_ || n_seen_ >= expected_.text.size()) return false;
  if (!expected_.whole && expected_.text.size() - n_seen_ < kFewBytes) return false;
  before_ = last_;
  expected_.text.erase(0, n_seen_);
  expected_.n_sure -= std::min(expected_.n_sure, n_seen_);
  std::erase_if(expected_.spaces, [this](std::size_t n) { return n < n_seen_; });
  for (std::size_t& n : expected_.spaces) n -= n_seen_;
  n_seen_ = 0;
  return true;
}

void ForcedTokens::follow_bytes() {
  expected_ = {};
  n_seen_ = 0;
  follows_ = true;
  before_ = last_;
  bool guessed = false;
  while (const std::optional<Next> next = only_one(rule_->next_bytes())) {
    const std::size_t n = expected_.text.size();
    if (n == kMostBytes) {
      expected_.whole = false;
      break;
    }
    unsigned char byte = next->byte;
    if (next->optional_space) {
      expected_.spaces.push_back(n);
      const Space usual = space_after(n);
      if (usual == Space::kUnknown) break;
      if (usual == Space::kPresent) byte = ' ';
      guessed = true;
    }
    const Token token = vocabulary_.byte_tokens().of(byte);
    if (token < 0 || !rule_->allows(token)) break;
    if (n == 0) rule_->set_mark();  // mostly nothing is forced, and a mark may be a copy
    rule_->accept(token);
    expected_.text.push_back(static_cast<char>(byte));
    if (!guessed) expected_.n_sure = expected_.text.size();
  }
  if (!expected_.text.empty()) rule_->go_back();
}

/// The bytes of a token; a control token stands for its name.
std::string ForcedTokens::bytes_of(Token token) const {
  return vocabulary_.detokenize({token}, /*special=*/true);
}

/// The tokens of the expected bytes.
ForcedRun ForcedTokens::spelled(std::span<const Token> text) {
  ForcedRun run;
  if (expected_.text.empty()) return run;
  std::vector<Token> tokens = tokens_after(text);
  if (tokens.size() > kMostTokens) {
    tokens.resize(kMostTokens);
    expected_.whole = false;
  }
  std::size_t n_bytes = 0;
  for (const Token token : tokens) {
    if (vocabulary_.is_end(token)) break;
    n_bytes += bytes_of(token).size();
    run.tokens.push_back(token);
    // What comes after the bytes may be part of their last token.
    if (n_bytes < expected_.n_sure) run.n_sure = run.tokens.size();
  }
  return run;
}

/// The usual tokens of the expected bytes after `text`. They are spelled together with the end of
/// the text, which decides about spaces at the begin; where a token would reach over that end, they
/// are spelled alone.
std::vector<Token> ForcedTokens::tokens_after(std::span<const Token> text) const {
  const std::string forced = expected_.text.substr(0, whole_characters(expected_.text));
  if (forced.empty()) return {};
  for (std::size_t n = std::min(kContext, text.size());; --n) {
    const std::span<const Token> before = text.last(n);
    const std::string context = vocabulary_.detokenize({before.begin(), before.end()});
    const std::vector<Token> all =
        vocabulary_.tokenize(context + forced, /*add_special=*/false, rule_->names_controls());
    std::size_t n_bytes = 0;
    auto first = all.begin();
    while (first != all.end() && n_bytes < context.size()) {
      n_bytes += vocabulary_.piece(*first++).size();
    }
    std::vector<Token> tokens(first, all.end());
    if (n_bytes == context.size() && vocabulary_.detokenize(tokens, true) == forced) return tokens;
    if (n == 0) return {};
  }
}

}  // namespace specbranch::llama
