#include "specbranch/llama/models/row_padding.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <limits>
#include <string>
#include <thread>

#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

constexpr SeqId kText = 0;
constexpr SeqId kDummy = 1;
constexpr Pos kShortText = 8;
/// llama.cpp passes over cells by multiples of 256: a longer path passes over more than its first
/// token alone.
constexpr Pos kBorderText = 504;
constexpr Pos kLongText = 520;  ///< beyond 512 cells attention splits a single token over threads.
constexpr int kEveryLength = 17;  ///< up to here every length of a path is tried, then every eighth
                                  ///< and the one after it.
constexpr int kTimings = 4;

using RowHash = std::uint64_t;

/// FNV-1a over 32-bit words: equal bits give equal hashes.
RowHash hash_of(std::span<const float> row) {
  RowHash hash = 0xcbf29ce484222325ULL;
  for (const float value : row) {
    hash = (hash ^ std::bit_cast<std::uint32_t>(value)) * 0x100000001b3ULL;
  }
  return hash;
}

bool is_tried(int n_path, int longest) {
  return n_path <= kEveryLength || n_path == longest || n_path % 8 <= 1;
}

/// Decodes the same text in batches of many shapes.
class RowTester {
 public:
  RowTester(const std::shared_ptr<const Weights>& weights, const ModelOptions& options,
            const RowTest& test)
      : test_(test),
        n_vocab_(weights->vocabulary().size()),
        n_text_(std::min(kLongText, context_length(*weights, options))),
        context_(weights, options, shape_of(options, test, n_text_), &abort_) {
    AdapterSet all;
    for (const Adapter& adapter : weights->adapters()) {
      all.push_back({static_cast<int>(all.size()), std::max(1.0F, std::abs(adapter.scale))});
      has_floats_ |= adapter.file.has_floats;
    }
    // Without adapters, other operations are fused. With all of them, every matrix product of any
    // set of them is tested.
    if (!all.empty()) adapters_.push_back(std::move(all));
  }

  std::vector<RowTrial> run() {
    std::vector<RowTrial> trials;
    read_until(n_text_);
    for (const int multiple : test_.multiples) {
      const int most = context_.n_outputs() / multiple * multiple;
      if (most == 0) continue;
      RowTrial trial{{multiple, std::min(test_.max_path, most)}, 0.0, 0.0};
      trial.padding.max_path = agreeing_with_all(trial.padding);
      trial.single_us = time_path(1, multiple);
      trial.path_us = time_path(std::clamp(trial.padding.max_path, 1, kUsefulPath), multiple);
      trials.push_back(trial);
      if (!test_.all && trial.padding.max_path >= test_.max_path) break;
    }
    for (const Pos length : {kBorderText, kShortText}) {
      if (length > n_text_) continue;
      take_back(length);
      for (RowTrial& trial : trials) trial.padding.max_path = agreeing_with_all(trial.padding);
    }
    return trials;
  }

 private:
  static ContextShape shape_of(const ModelOptions& options, const RowTest& test, Pos n_text) {
    const int largest = std::ranges::max(test.multiples);
    ContextShape shape;
    shape.n_seq = 2;
    shape.n_outputs = std::min(padded_rows(test.max_path, largest), options.n_batch);
    shape.n_cells = n_text + shape.n_outputs;
    return shape;
  }

  /// Any tokens do; these look random and never change.
  Token token_at(Pos pos) const {
    const std::uint64_t mixed = (static_cast<std::uint64_t>(pos) + 1) * 0x9e3779b97f4a7c15ULL;
    return static_cast<Token>((mixed >> 32U) % static_cast<std::uint64_t>(n_vocab_));
  }

  void decode(std::span<const BatchToken> batch) {
    if (test_.stop && test_.stop()) throw Aborted("[test_rows] stopped on request");
    context_.decode(batch);
  }

  void read_until(Pos length) {
    while (context_.length(kText) < length) {
      batch_.clear();
      const Pos begin = context_.length(kText);
      const Pos end = std::min(length, begin + context_.n_batch());
      for (Pos pos = begin; pos < end; ++pos) {
        batch_.push_back({token_at(pos), kText, pos, /*wants_logits=*/false});
      }
      decode(batch_);
    }
  }

  /// Decodes `n_path` tokens from `begin` on in one padded batch.
  void step(Pos begin, int n_path, int multiple) {
    batch_.clear();
    for (Pos pos = begin; pos < begin + n_path; ++pos) {
      batch_.push_back({token_at(pos), kText, pos, /*wants_logits=*/true});
    }
    append_dummies(batch_, padded_rows(n_path, multiple), kDummy);
    decode(batch_);
    context_.truncate({kDummy, context_.length(kDummy), 0});
  }

  void take_back(Pos length) { context_.truncate({kText, context_.length(kText), length}); }

  /// As `agreeing_path`, with every set of adapters.
  int agreeing_with_all(RowPadding padding) {
    // The kernels of floats differ for a single row. Behind an adapter, the next product hides that
    // for most rows: it rounds its input to integers.
    if (has_floats_ && padding.multiple == 1) padding.max_path = std::min(1, padding.max_path);
    for (const AdapterSet& adapters : adapters_) {
      context_.use_adapters(adapters);
      padding.max_path = agreeing_path(padding);
    }
    return padding.max_path;
  }

  /// The longest path, up to the padding's own, whose rows are those of single tokens, as are those
  /// of every shorter path.
  int agreeing_path(const RowPadding& padding) {
    const Pos begin = context_.length(kText);
    const auto single = [&](Pos pos) {
      step(pos, 1, padding.multiple);
      return hash_of(context_.logits(0));
    };
    const RowHash first = single(begin);
    take_back(begin);
    std::vector<RowHash> expected;
    expected.reserve(static_cast<std::size_t>(padding.max_path));
    for (int i = 0; i < padding.max_path; ++i) expected.push_back(single(begin + i));
    take_back(begin);
    int agreeing = 0;
    for (int n = 1; n <= padding.max_path; ++n) {
      if (!is_tried(n, padding.max_path)) continue;
      step(begin, n, padding.multiple);
      bool equal = first == expected.front();  // a device may not even repeat itself
      for (int i = 0; i < n; ++i) {
        equal = equal && hash_of(context_.logits(i)) == expected[static_cast<std::size_t>(i)];
      }
      take_back(begin);
      if (!equal) break;
      agreeing = n;
    }
    return agreeing;
  }

  double time_path(int n_path, int multiple) {
    const Pos begin = context_.length(kText);
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kTimings; ++i) {
      const auto start = std::chrono::steady_clock::now();
      step(begin, n_path, multiple);
      const auto end = std::chrono::steady_clock::now();
      best = std::min(best, std::chrono::duration<double, std::micro>(end - start).count());
      take_back(begin);
    }
    return best;
  }

  RowTest test_;
  int n_vocab_;
  Pos n_text_;
  std::atomic<bool> abort_{false};
  LlamaContext context_;
  std::vector<AdapterSet> adapters_{{}};  ///< the sets to test with; the first one is empty.
  bool has_floats_ = false;               ///< some adapter is not quantized.
  std::vector<BatchToken> batch_;
};

}  // namespace

void append_dummies(std::vector<BatchToken>& batch, int n_rows, SeqId dummy) {
  const BatchToken first = batch.front();
  for (Pos pos = 0; static_cast<int>(batch.size()) < n_rows; ++pos) {
    batch.push_back({first.token, dummy, pos, /*wants_logits=*/true});
  }
}

std::vector<RowTrial> test_rows(const std::shared_ptr<const Weights>& weights,
                                const ModelOptions& options, const RowTest& test) {
  std::vector<RowTrial> trials;
  std::exception_ptr error;
  // The context pins its thread to the model's CPUs.
  std::thread tester([&] {
    try {
      trials = RowTester(weights, options, test).run();
    } catch (...) {
      error = std::current_exception();
    }
  });
  tester.join();
  if (error) std::rethrow_exception(error);
  return trials;
}

std::optional<std::size_t> best_trial(std::span<const RowTrial> trials) {
  std::optional<std::size_t> best;
  const auto length = [&](std::size_t i) {
    return std::min(trials[i].padding.max_path, kUsefulPath);
  };
  const auto cost = [&](std::size_t i) { return trials[i].single_us + trials[i].path_us; };
  for (std::size_t i = 0; i < trials.size(); ++i) {
    if (length(i) < 2) continue;
    if (!best || length(i) > length(*best) ||
        (length(i) == length(*best) && cost(i) < cost(*best))) {
      best = i;
    }
  }
  return best;
}

}  // namespace specbranch::llama
