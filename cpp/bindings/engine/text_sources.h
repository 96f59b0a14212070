/// The texts that propose tokens, as Python gives them.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "bindings/engine/engine.h"
#include "specbranch/base/types.h"
#include "specbranch/engine/engine.h"

namespace specbranch::bindings {

/// A text of the corpus: its UTF-8, or its tokens.
using CorpusText = std::variant<pybind11::bytes, std::vector<Token>>;

/// The options of an engine for drafts from texts. Holds no Python object.
class TextSources {
 public:
  TextSources() = default;
  TextSources(bool lookup, bool lookup_answers, const std::vector<CorpusText>& corpus);

  /// Sets the options of `parts`. Tokenizes the corpus, which can take long, in pieces: between
  /// them `go_on` is asked. Any thread, without the GIL. With `lookup` off the corpus is not even
  /// tokenized.
  /// Throws: Error: `go_on` returned false.
  void give_to(EngineParts& parts, const Tokenizer& tokenizer,
               const std::function<bool()>& go_on) const;

 private:
  bool lookup_ = true;
  bool lookup_answers_ = true;
  std::vector<std::variant<std::string, std::vector<Token>>> corpus_;
};

}  // namespace specbranch::bindings
