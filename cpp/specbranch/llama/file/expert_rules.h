/// Rules about feed-forward layers and experts.
#pragma once

#include "specbranch/llama/file/file_facts.h"

namespace specbranch::llama {

/// Refuses numbers and functions of experts that llama.cpp asserts on, and feed-forward layers,
/// experts or shared experts without the matrix that leads back.
void check_feed_forward(const FileFacts& facts);

}  // namespace specbranch::llama
