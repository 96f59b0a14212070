/// Models in several files: `NAME-00001-of-0000N.gguf` and so on.
#pragma once

#include <string>
#include <vector>

#include "specbranch/llama/file/gguf_reader.h"
#include "specbranch/llama/runtime/handles.h"

struct llama_model_params;

namespace specbranch::llama {

/// The files of the model whose first file is `first`, in order; `first` alone if the model is not
/// split. The names of the other parts follow from the name of the first. If the given name is no
/// such name, the links that it consists of are followed; a blob of the Hugging Face cache is
/// looked up in the snapshots beside it.
///
/// Throws ModelLoadError for another part than the first, for a name from which the others do not
/// follow, for a missing part, and for parts that were joined into one file.
std::vector<std::string> find_parts(const GgufReader& first);

/// Throws ModelLoadError unless `part` is part number `index` (from 0) of `n_parts`.
void check_part(const GgufReader& part, int index, int n_parts);

/// llama.cpp's model of these files; null, or an exception of llama.cpp, if it refuses them.
ModelHandle load_parts(const std::vector<std::string>& parts, const llama_model_params& params);

}  // namespace specbranch::llama
