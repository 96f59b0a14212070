/// A serial executor, as `asio::strand`: runs messages of several threads one at a time, without a
/// thread of its own.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace specbranch {

/// Handles values one after another, in the order in which they came, on the threads that post
/// them.
///
/// A thread that serves (`post_and_serve`) handles its value and all that come meanwhile; others
/// leave theirs with it and go on. So a thread that has just answered a command decides itself what
/// follows from it: there is no other thread that must be woken first. A thread that has other
/// things to do (`post`) handles one value at most, so that it never works for all the others.
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

  /// False, and `value` is dropped, when the strand is closed. May run the handler, once at most.
  /// Returns when the value was handled, or when a thread that serves has it.
  bool post(T value) { return post(std::move(value), /*serves=*/false); }

  /// As `post`, but runs the handler until there is no value left.
  bool post_and_serve(T value) { return post(std::move(value), /*serves=*/true); }

  /// Sets or replaces the handler, and hands it what has been waiting. Waits for a run of the one
  /// before.
  void attach(Handler handler) {
    std::unique_lock lock(mutex_);
    rests_.wait(lock, [&] { return !running_; });
    handler_ = std::move(handler);
    run(lock, /*serves=*/true);
  }

  /// Values that no run of the handler has taken yet.
  std::size_t n_waiting() const {
    const std::lock_guard lock(mutex_);
    return queue_.size();
  }

  /// Returns once the strand is closed and everything has been handled.
  void join() {
    std::unique_lock lock(mutex_);
    rests_.wait(lock, [&] { return closed_ && !running_ && queue_.empty(); });
  }

 private:
  bool post(T value, bool serves) {
    std::unique_lock lock(mutex_);
    if (closed_) return false;
    queue_.push_back(std::move(value));
    // Whoever handles one value only leaves the others to the threads that posted them, which wait
    // here: there are as many of them as values. It is one run of the handler that they wait for.
    rests_.wait(lock, [&] { return !running_ || serving_; });
    if (!running_ && handler_) run(lock, serves);
    return true;
  }

  void run(std::unique_lock<std::mutex>& lock, bool serves) {
    running_ = true;
    serving_ = serves;
    while (!queue_.empty()) {
      T value = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      const bool more = handler_(value);  // nobody replaces it while it runs
      lock.lock();
      if (!more) closed_ = true;
      if (!serves) break;
    }
    running_ = serving_ = false;
    rests_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable rests_;  ///< a run has ended.
  std::deque<T> queue_;
  Handler handler_;
  bool running_ = false;
  bool serving_ = false;  ///< the run goes on until the queue is empty.
  bool closed_ = false;
};

}  // namespace specbranch
