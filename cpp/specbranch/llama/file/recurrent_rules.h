/// Rules about layers that keep a state instead of keys and values.
#pragma once

#include "specbranch/llama/file/file_facts.h"

namespace specbranch::llama {

/// Refuses a file whose sizes of states (SSM, delta nets, RWKV) do not fit its tensors.
void check_recurrent(const FileFacts& facts);

}  // namespace specbranch::llama
