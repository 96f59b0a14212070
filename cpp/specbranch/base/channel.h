/// The engine's one primitive between threads: a closable queue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace specbranch {

/// An unbounded first-in first-out queue that can be closed.
///
/// *Thread safety:* every method may be called from any thread.
/// *Lifecycle:* open; `close()` is final: later sends are refused, what was sent before can still
/// be received, then receivers get nothing.
template <class T>
class Channel {
 public:
  /// False, and `value` is dropped, when the channel is closed.
  bool send(T value) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return false;
      queue_.push_back(std::move(value));
    }
    ready_.notify_one();
    return true;
  }

  /// As `send`, but before all others, and only if more receivers are waiting now than there are
  /// values: one of those will get it. Else false, and `value` is dropped.
  bool send_first_if_awaited(T value) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_ || queue_.size() >= n_waiting_) return false;
      queue_.push_front(std::move(value));
    }
    ready_.notify_one();
    return true;
  }

  /// A receiver is waiting now.
  bool awaited() const {
    const std::lock_guard lock(mutex_);
    return n_waiting_ > 0;
  }

  /// Waits for a value; nothing once the channel is closed and empty.
  std::optional<T> receive() {
    std::unique_lock lock(mutex_);
    ++n_waiting_;
    ready_.wait(lock, [&] { return closed_ || !queue_.empty(); });
    --n_waiting_;
    return pop();
  }

  /// As `receive`, but gives up after `timeout`; `closed_and_empty()` tells the two apart.
  template <class Rep, class Period>
  std::optional<T> receive_for(std::chrono::duration<Rep, Period> timeout) {
    std::unique_lock lock(mutex_);
    ++n_waiting_;
    // What came while the time ran out is seen: the queue is looked at with the lock held.
    ready_.wait_for(lock, timeout, [&] { return closed_ || !queue_.empty(); });
    --n_waiting_;
    return pop();
  }

  /// A value if one is there.
  std::optional<T> try_receive() {
    const std::lock_guard lock(mutex_);
    return pop();
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  bool closed_and_empty() const {
    const std::lock_guard lock(mutex_);
    return closed_ && queue_.empty();
  }

 private:
  std::optional<T> pop() {
    if (queue_.empty()) return std::nullopt;
    std::optional<T> value(std::move(queue_.front()));
    queue_.pop_front();
    return value;
  }

  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> queue_;
  std::size_t n_waiting_ = 0;
  bool closed_ = false;
};

}  // namespace specbranch
