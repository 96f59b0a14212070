#include "bindings/engine/text_sources.h"

#include <cstddef>
#include <string_view>

#include "specbranch/base/errors.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

/// Bytes of a piece of a text, or more up to the end of the line. A tokenizer takes up to a second
/// for a million.
constexpr std::size_t kPiece = std::size_t{1} << 17;

/// The tokens of a text. Where two pieces meet, they may be others than those of the whole text;
/// such tokens are only proposed.
std::vector<Token> tokenized(std::string_view text, const Tokenizer& tokenizer,
                             const std::function<bool()>& go_on) {
  std::vector<Token> tokens;
  while (!text.empty()) {
    if (!go_on()) throw Error("the load was stopped");
    const std::size_t line = text.size() <= kPiece ? text.npos : text.find('\n', kPiece);
    const std::string piece(text.substr(0, line));
    const std::vector<Token> more = tokenizer.tokenize(piece, false, false);
    tokens.insert(tokens.end(), more.begin(), more.end());
    text.remove_prefix(piece.size());
  }
  return tokens;
}

}  // namespace

TextSources::TextSources(bool lookup, bool lookup_answers, const std::vector<CorpusText>& corpus)
    : lookup_(lookup), lookup_answers_(lookup_answers) {
  corpus_.reserve(corpus.size());
  for (const CorpusText& text : corpus) {
    if (const auto* bytes = std::get_if<py::bytes>(&text)) {
      corpus_.emplace_back(static_cast<std::string>(*bytes));
    } else {
      corpus_.emplace_back(std::get<std::vector<Token>>(text));
    }
  }
}

void TextSources::give_to(EngineParts& parts, const Tokenizer& tokenizer,
                          const std::function<bool()>& go_on) const {
  parts.lookup = lookup_;
  parts.lookup_answers = lookup_answers_;
  if (!lookup_) return;
  for (const auto& text : corpus_) {
    if (const auto* bytes = std::get_if<std::string>(&text)) {
      parts.corpus.push_back(tokenized(*bytes, tokenizer, go_on));
    } else {
      parts.corpus.push_back(std::get<std::vector<Token>>(text));
    }
  }
}

}  // namespace specbranch::bindings
