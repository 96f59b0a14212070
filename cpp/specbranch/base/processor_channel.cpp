#include "specbranch/base/processor_channel.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "specbranch/base/clock.h"
#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

/// How long a model waits at most before it looks again whether it is to stop.
constexpr std::chrono::milliseconds kAbortCheck{5};

/// The index of the first value that no distribution can have; -1: there is none.
std::ptrdiff_t first_bad(std::span<const float> values) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  // Branch-free, so that the compiler vectorises it.
  bool bad = false;
  for (const float value : values) bad |= !(value <= kLargest);
  if (!bad) return -1;
  const auto is_bad = [](float value) { return !(value <= kLargest); };
  return std::ranges::find_if(values, is_bad) - values.begin();
}

void forbid(std::vector<float>& values, const TokenBits& allowed) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!is_allowed(allowed, static_cast<Token>(i))) {
      values[i] = -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace

void ProcessorChannel::begin(std::span<const Token> text, std::span<const Token> drafted) {
  {
    const std::lock_guard lock(mutex_);
    // What is there already is not copied again.
    const std::size_t n_same = std::min(n_before_, text.size());
    text_.resize(n_same);
    text_.insert(text_.end(), text.begin() + static_cast<std::ptrdiff_t>(n_same), text.end());
    n_before_ = text.size();
    text_.insert(text_.end(), drafted.begin(), drafted.end());
    masks_.clear();
    n_ahead_ = drafted.size() + 1;
    asked_.reset();
    bad_mask_.reset();
    row_.reset();
    drop_open();
    active_ = true;
  }
  work_.notify_one();
}

bool ProcessorChannel::process(std::size_t index, std::span<const float> logits,
                               std::vector<float>& processed, const Aborting& aborting) {
  const std::int64_t begin_us = now_us();
  std::optional<Row> row;
  if (has_rows_) {
    row.emplace();
    row->index = index;
    row->values = std::make_shared<std::vector<float>>(logits.begin(), logits.end());
  }
  std::unique_lock lock(mutex_);
  asked_ = index;
  row_ = std::move(row);
  work_.notify_one();
  wait_for(lock, index, aborting);
  counts_.wait_us += now_us() - begin_us;
  if (has_rows_) {
    processed = *row_->values;
    return !row_->ends;
  }
  processed.assign(logits.begin(), logits.end());
  forbid(processed, masks_[index]);
  return true;
}

/// Returns when the answer for row `index` is there.
void ProcessorChannel::wait_for(std::unique_lock<std::mutex>& lock, std::size_t index,
                                const Aborting& aborting) {
  while (!done(index)) {
    if (const auto failed = failure(index)) {
      failed_ = failed;
      throw Error("a function of the caller failed while it processed logits");
    }
    if (closed_) throw Error("[ProcessorChannel::process] the channel is closed");
    if (aborting()) {
      active_ = false;
      row_.reset();
      drop_open();
      throw Aborted("[ProcessorChannel::process] aborted on request");
    }
    answered_.wait_for(lock, kAbortCheck);
  }
}

bool ProcessorChannel::done(std::size_t index) const {
  return has_rows_ ? row_->answered : masks_.size() > index;
}

/// The task because of which there will be no answer for row `index`.
std::optional<std::uint64_t> ProcessorChannel::failure(std::size_t index) const {
  if (failed_ || bad_row_) return failed_ ? failed_ : bad_row_;
  return index >= masks_.size() ? bad_mask_ : std::nullopt;
}

void ProcessorChannel::drop_open() {
  if (open_) open_->is_late = true;
}

void ProcessorChannel::end() {
  const std::lock_guard lock(mutex_);
  active_ = false;
}

bool ProcessorChannel::wants_row() const {
  return row_ && !row_->sent && (!has_masks_ || masks_.size() > row_->index);
}

bool ProcessorChannel::wants_mask() const {
  if (!has_masks_ || bad_mask_) return false;
  return masks_.size() < n_ahead_ || (asked_ && masks_.size() <= *asked_);
}

std::optional<ProcessorTask> ProcessorChannel::next() {
  std::unique_lock lock(mutex_);
  const auto wanted = [&] { return active_ && !bad_row_ && (wants_row() || wants_mask()); };
  work_.wait(lock, [&] { return closed_ || wanted(); });
  if (closed_) return std::nullopt;
  ProcessorTask task;
  task.id = ++n_tasks_;
  const bool of_row = wants_row();
  const std::size_t index = of_row ? row_->index : masks_.size();
  const auto end = text_.begin() + static_cast<std::ptrdiff_t>(n_before_ + index);
  task.text.assign(text_.begin(), end);
  if (of_row) {
    row_->sent = true;
    task.row = row_->values;
  }
  open_ = Open{task.id, of_row, false, now_us()};
  return task;
}

/// The open task of this id, which is closed then; nothing: it is not wanted any more.
std::optional<ProcessorChannel::Open> ProcessorChannel::take_open(std::uint64_t id) {
  if (!open_ || open_->id != id) return std::nullopt;
  ++counts_.n_calls;
  counts_.busy_us += now_us() - open_->begin_us;
  const std::optional<Open> open = std::exchange(open_, std::nullopt);
  return open->is_late ? std::nullopt : open;
}

void ProcessorChannel::answer_mask(std::uint64_t id, TokenBits allowed) {
  {
    const std::lock_guard lock(mutex_);
    const std::optional<Open> open = take_open(id);
    if (!open || open->of_row) return;
    const std::size_t index = masks_.size();
    const std::size_t drafted = n_before_ + index;
    if (drafted < text_.size() && !is_allowed(allowed, text_[drafted])) {
      n_ahead_ = std::min(n_ahead_, index + 1);
    }
    masks_.push_back(std::move(allowed));
  }
  answered_.notify_one();
}

void ProcessorChannel::answer_row(std::uint64_t id, bool ends) {
  std::shared_ptr<std::vector<float>> values;
  {
    const std::lock_guard lock(mutex_);
    if (open_ && open_->id == id && !open_->is_late && row_) values = row_->values;
  }
  // The model waits, and nobody else writes to the row.
  if (const std::ptrdiff_t bad = values ? first_bad(*values) : -1; bad >= 0) {
    throw InvalidArgument("the score of token " + std::to_string(bad) + " is " +
                          std::to_string((*values)[static_cast<std::size_t>(bad)]) +
                          "; it must be a number or -inf");
  }
  {
    const std::lock_guard lock(mutex_);
    const std::optional<Open> open = take_open(id);
    if (!open || !open->of_row || !row_) return;
    row_->answered = true;
    row_->ends = ends;
  }
  answered_.notify_one();
}

void ProcessorChannel::fail(std::uint64_t id) {
  {
    const std::lock_guard lock(mutex_);
    const std::optional<Open> open = take_open(id);
    if (!open) return;
    (open->of_row ? bad_row_ : bad_mask_) = id;
  }
  answered_.notify_one();
}

void ProcessorChannel::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  work_.notify_all();
  answered_.notify_all();
}

std::optional<std::uint64_t> ProcessorChannel::failed_task() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

ProcessorCounts ProcessorChannel::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace specbranch
