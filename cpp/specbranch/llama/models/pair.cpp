#include "specbranch/llama/models/pair.h"

#include <exception>
#include <utility>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/file/model_file.h"
#include "specbranch/llama/file/split_model.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/handles.h"
#include "specbranch/llama/vocabulary/compatible.h"
#include "specbranch/llama/vocabulary/vocabulary.h"

namespace specbranch::llama {
namespace {

ModelHandle load_vocabulary(const std::string& path, bool drafts) {
  const ModelFile file = inspect_model_file(path);
  if (drafts) check_can_draft(file);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  const ErrorCapture errors;
  ModelHandle model;
  try {
    model = load_parts(file.parts, params);
  } catch (const std::exception& error) {
    throw ModelLoadError(std::string("[check_pair] ") + error.what() + "; " + path);
  }
  if (!model) {
    throw ModelLoadError("[check_pair] " + errors.reason("llama.cpp refused the vocabulary") +
                         "; " + path);
  }
  return model;
}

}  // namespace

PairCheck check_pair(const std::string& target, const std::string& draft) {
  init_backend();
  const ModelHandle target_model = load_vocabulary(target, /*drafts=*/false);
  const ModelHandle draft_model = load_vocabulary(draft, /*drafts=*/true);
  PairCheck check;
  SharedVocabulary shared = check_compatible(Vocabulary(llama_model_get_vocab(target_model.get())),
                                             Vocabulary(llama_model_get_vocab(draft_model.get())));
  check.n_common = shared.n_common;
  check.n_different = static_cast<int>(shared.different.size());
  check.notes = std::move(shared.notes);
  return check;
}

}  // namespace specbranch::llama
