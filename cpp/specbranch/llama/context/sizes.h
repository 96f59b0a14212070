/// What the contexts of a pair need room for.
#pragma once

#include "specbranch/llama/file/model_options.h"

namespace specbranch::llama {

/// From 64 tokens on, the CPU's matrix products round differently than for fewer.
inline constexpr int kMaxVerify = 63;

/// Sequence ids that one context may have. llama.cpp has 256 (`LLAMA_MAX_SEQ`).
int max_sequences();

struct PairSizes {
  int max_verify = kMaxVerify;  ///< tokens of one verification at most: rows of logits.
  int n_seq = 1;                ///< sequence ids of the draft, each with a row of logits.
  int reserve = 0;              ///< cells of the draft beyond the texts.
  int n_parallel = 1;           ///< texts at once, each with the whole context.
};

/// For chains of `max_draft` tokens and `max_branches` branches in each of `n_parallel` texts. Mode
/// `auto` keeps up to 16 branches, whatever `max_branches` is, if the draft's n_batch admits so
/// many. Throws InvalidArgument for an `n_parallel` below 1.
PairSizes pair_sizes(int max_draft, int max_branches, const ModelOptions& draft,
                     int n_parallel = 1);

/// Every sequence of the draft may have an output in one batch. Throws InvalidArgument.
void check_draft_batch(const ModelOptions& draft, const PairSizes& sizes, int max_branches);

}  // namespace specbranch::llama
