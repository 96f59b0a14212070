/// Rows of logits on their way to functions of the caller, and back.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// Which tokens are allowed: token t is bit t % 32 of word t / 32. Tokens beyond the words are
/// forbidden.
using TokenBits = std::vector<std::uint32_t>;

inline bool is_allowed(const TokenBits& bits, Token token) {
  const auto t = static_cast<std::size_t>(token);
  return t / 32 < bits.size() && ((bits[t / 32] >> (t % 32)) & 1U) != 0;
}

/// A question to the caller's functions, about the position after `text`.
struct ProcessorTask {
  std::uint64_t id = 0;
  std::vector<Token> text;
  /// The logits, which the functions may edit. Null: the masks are asked, which need no logits.
  std::shared_ptr<std::vector<float>> row;
};

/// The calls of the caller's functions so far.
struct ProcessorCounts {
  std::int64_t n_calls = 0;  ///< tasks that were answered.
  std::int64_t busy_us = 0;  ///< from `next` to the answer.
  std::int64_t wait_us = 0;  ///< that the model waited for them in `process`.
};

/// Brings positions of one text to functions of the caller: to masks, which depend on the tokens
/// alone, and to functions that edit logits or end the text.
///
/// Masks are evaluated along the drafted path while the model computes, up to the first drafted
/// token that its mask forbids. Those beyond a rejected token are dropped. A row goes to the
/// functions only when all tokens before it are chosen, so its calls come strictly in order, each
/// after one more token, and none is ever taken back.
///
/// *Thread safety:* `begin`, `process` and `end` on the model's thread; `next` and the answers on
/// one thread of the caller; `close` and the rest from any.
/// *Lifecycle:* for each verification `begin`, then `process` for the rows that are wanted, in
/// order, then `end`. A failure is final: every later `process` throws it again.
class ProcessorChannel {
 public:
  using Aborting = std::function<bool()>;

  /// `masks`, `rows`: there are masks; there are functions that need logits.
  ProcessorChannel(bool masks, bool rows) : has_masks_(masks), has_rows_(rows) {}

  /// The model is about to decode `drafted` after `text`. The masks may begin.
  void begin(std::span<const Token> text, std::span<const Token> drafted);

  /// Lets the functions edit the logits after `text` and the first `index` drafted tokens, which
  /// are chosen now; `processed` gets the result. False: a function ends the text here. Throws
  /// Aborted soon after `aborting` is true, and Error if a function failed.
  bool process(std::size_t index, std::span<const float> logits, std::vector<float>& processed,
               const Aborting& aborting);

  /// No further row of the path is wanted.
  void end();

  /// Waits for the next task; nothing once the channel is closed.
  std::optional<ProcessorTask> next();

  /// The masks of a task forbid what is not in `allowed`. An answer that comes too late is dropped.
  void answer_mask(std::uint64_t id, TokenBits allowed);

  /// The functions have edited the task's row, or end the text before this position. Throws
  /// InvalidArgument for a number that is NaN or +inf: then the task is still open.
  void answer_row(std::uint64_t id, bool ends);

  /// A function raised an exception. Of a mask it matters only if its position is reached.
  void fail(std::uint64_t id);

  /// No answer comes any more. Final.
  void close();

  /// The task whose failure `process` has thrown.
  std::optional<std::uint64_t> failed_task() const;

  ProcessorCounts counts() const;

 private:
  struct Row {
    std::size_t index = 0;
    std::shared_ptr<std::vector<float>> values;
    bool sent = false;
    bool answered = false;
    bool ends = false;
  };
  struct Open {
    std::uint64_t id = 0;
    bool of_row = false;
    bool is_late = false;  ///< its answer is not wanted any more.
    std::int64_t begin_us = 0;
  };

  bool wants_row() const;
  bool wants_mask() const;
  bool done(std::size_t index) const;
  std::optional<std::uint64_t> failure(std::size_t index) const;
  void drop_open();
  std::optional<Open> take_open(std::uint64_t id);
  void wait_for(std::unique_lock<std::mutex>& lock, std::size_t index, const Aborting& aborting);

  const bool has_masks_;
  const bool has_rows_;
  mutable std::mutex mutex_;          ///< of everything below.
  std::condition_variable work_;      ///< there may be a task.
  std::condition_variable answered_;  ///< there may be an answer.
  bool closed_ = false;
  bool active_ = false;       ///< between `begin` and `end`.
  std::vector<Token> text_;   ///< with the drafted tokens.
  std::size_t n_before_ = 0;  ///< tokens of it before the drafted ones.
  std::vector<TokenBits> masks_;
  std::size_t n_ahead_ = 0;                ///< masks that are wanted without being asked.
  std::optional<std::size_t> asked_;       ///< the row that `process` waits for.
  std::optional<std::uint64_t> bad_mask_;  ///< the task of the mask after `masks_` failed.
  std::optional<std::uint64_t> bad_row_;   ///< the task of `row_` failed.
  std::optional<std::uint64_t> failed_;    ///< see `failed_task`.
  std::optional<Row> row_;
  std::optional<Open> open_;  ///< the task that the caller works on.
  std::uint64_t n_tasks_ = 0;
  ProcessorCounts counts_;
};

}  // namespace specbranch
