#include "bindings/engine/text_sources.h"

namespace py = pybind11;

namespace specbranch::bindings {

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

void TextSources::give_to(EngineParts& parts, const Tokenizer& tokenizer) const {
  parts.lookup = lookup_;
  parts.lookup_answers = lookup_answers_;
  if (!lookup_) return;
  for (const auto& text : corpus_) {
    if (const auto* bytes = std::get_if<std::string>(&text)) {
      parts.corpus.push_back(tokenizer.tokenize(*bytes, false, false));
    } else {
      parts.corpus.push_back(std::get<std::vector<Token>>(text));
    }
  }
}

}  // namespace specbranch::bindings
