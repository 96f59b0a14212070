/// How batches are padded so that every token's logits have the same bits in every mode.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "specbranch/llama/context/context.h"
#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/file/weights.h"

namespace specbranch::llama {

/// llama.cpp computes a batch of one token, of a few and of many by different kernels, which round
/// differently. Under this rule the target decodes only batches whose rows of logits were found to
/// be those of a single token.
struct RowPadding {
  int multiple = 1;  ///< every batch is filled up with dummy tokens to a multiple of this.
  int max_path = 1;  ///< tokens of a verification at most, dummy tokens not counted.

  friend bool operator==(const RowPadding&, const RowPadding&) = default;
};

/// Rows that are decoded for a path of `n_path` tokens.
constexpr int padded_rows(int n_path, int multiple) {
  return (n_path + multiple - 1) / multiple * multiple;
}

/// Appends dummy tokens in sequence `dummy` until `batch` has `n_rows` rows. Their logits are
/// wanted, too, because the output matrix is multiplied with those rows only. Afterwards `dummy`
/// holds cells.
void append_dummies(std::vector<BatchToken>& batch, int n_rows, SeqId dummy);

/// One multiple, tried on a model.
struct RowTrial {
  RowPadding padding;      ///< max_path: 0 if not even equal batches gave equal rows.
  double single_us = 0.0;  ///< of a step over one token, padded; the quickest of a few.
  double path_us = 0.0;    ///< of one over kUsefulPath tokens, or over the longest that agrees.
};

/// Longer paths gain little: with two drafted tokens in three accepted, 6 tokens bring 2.7 and 16
/// bring 3.0.
inline constexpr int kUsefulPath = 6;

struct RowTest {
  int max_path = 1;                      ///< longest path wanted.
  std::span<const int> multiples;        ///< in the order in which they are tried.
  bool all = false;                      ///< goes on when a multiple has reached `max_path`.
  std::function<bool()> stop = nullptr;  ///< polled between steps; true ends the test.
};

/// Multiples worth a trial: kernels work on 1, 2, 4 or 8 rows at a time.
inline constexpr int kRowMultiples[] = {1, 2, 4, 8};

/// Decodes paths of every length up to 17, then of multiples of 8, the one after each, and the
/// longest. It does so at the begin of a text, where longer paths pass over more cells than single
/// tokens do, and beyond the 512 cells from which attention is split over threads, and compares the
/// rows with those of single tokens. Takes about 500 tokens of prefill and 200 rows per multiple,
/// in a context of its own on a thread of its own. Throws what a LlamaContext throws, and Aborted
/// when told to stop.
std::vector<RowTrial> test_rows(const std::shared_ptr<const Weights>& weights,
                                const ModelOptions& options, const RowTest& test);

/// The index of the best trial: paths of kUsefulPath tokens, or the longest there are; of those the
/// one whose steps are quickest. None without a path of two tokens.
std::optional<std::size_t> best_trial(std::span<const RowTrial> trials);

}  // namespace specbranch::llama
