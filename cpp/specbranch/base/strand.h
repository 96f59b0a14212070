/// A serial executor, as `asio::strand`: runs messages of several threads one at a time, without a
/// thread of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace specbranch {

/// Handles values one after another, in the order in which they came, on the thread of whoever
/// posts one while nobody else is at it; the others leave theirs and go on.
///
/// A thread that has just answered a command so decides itself what follows from it: there is no
/// other thread that must be woken first.
///
/// *Thread safety:* every method from any thread. The handler is never run by two threads at once,
/// and what one run did is visible to the next.
/// *Lifecycle:* what is posted before `attach` waits for it. A handler that returns false closes
/// the strand, which is final: later posts are refused, earlier ones are still handled.
template <class T>
class Strand {
 public:
  /// False: the last value that may still be posted has come. Must not throw, nor call the strand.
  using Handler = std::function<bool(T&)>;

  /// False, and `value` is dropped, when the strand is closed. May run the handler, also for
  /// values of others.
  bool post(T value) {
    std::unique_lock lock(mutex_);
    if (closed_) return false;
    queue_.push_back(std::move(value));
    if (!running_ && handler_) run(lock);
    return true;
  }

  /// Sets or replaces the handler, and hands it what has been waiting. Waits for a run of the one
  /// before.
  void attach(Handler handler) {
    std::unique_lock lock(mutex_);
    rests_.wait(lock, [&] { return !running_; });
    handler_ = std::move(handler);
    run(lock);
  }

  /// Returns once the strand is closed and everything has been handled.
  void join() {
    std::unique_lock lock(mutex_);
    rests_.wait(lock, [&] { return closed_ && !running_ && queue_.empty(); });
  }

 private:
  void run(std::unique_lock<std::mutex>& lock) {
    running_ = true;
    while (!queue_.empty()) {
      T value = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      const bool more = handler_(value);  // nobody replaces it while it runs
      lock.lock();
      if (!more) closed_ = true;
    }
    running_ = false;
    rests_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable rests_;  ///< a run has ended.
  std::deque<T> queue_;
  Handler handler_;
  bool running_ = false;
  bool closed_ = false;
};

}  // namespace specbranch
