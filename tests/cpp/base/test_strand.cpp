// The strand: order, one at a time, on the poster's thread, close and join.
#include "specbranch/base/strand.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "specbranch/base/channel.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("what is posted is handled by the poster before post returns") {
  Strand<std::unique_ptr<int>> strand;
  std::vector<int> seen;
  std::thread::id handled_by;
  strand.attach([&](std::unique_ptr<int>& value) {
    seen.push_back(*value);
    handled_by = std::this_thread::get_id();
    return true;
  });
  std::jthread([&] {
    CHECK(strand.post(std::make_unique<int>(1)));
    CHECK(seen == std::vector<int>{1});
    CHECK(handled_by == std::this_thread::get_id());
  }).join();
  CHECK(strand.post(std::make_unique<int>(2)));
  CHECK(seen == std::vector<int>{1, 2});
  CHECK(handled_by == std::this_thread::get_id());
}

TEST_CASE("what comes before a handler waits for it, in order") {
  Strand<int> strand;
  for (int i = 0; i < 3; ++i) CHECK(strand.post(i));
  std::vector<int> seen;
  strand.attach([&](const int& value) {
    seen.push_back(value);
    return true;
  });
  CHECK(seen == std::vector<int>{0, 1, 2});
}

TEST_CASE("a second poster leaves its value with the first, which serves, and goes on") {
  Strand<int> strand;
  Channel<int> begun;
  Channel<int> go_on;
  std::vector<int> seen;
  std::thread::id last;
  strand.attach([&](const int& value) {
    seen.push_back(value);
    last = std::this_thread::get_id();
    if (value == 1) {
      begun.send(value);
      static_cast<void>(go_on.receive());
    }
    return true;
  });
  std::jthread first([&] { strand.post_and_serve(1); });
  const std::thread::id first_id = first.get_id();
  static_cast<void>(begun.receive());
  CHECK(strand.post(2));  // would hang if it waited for the first
  CHECK(seen == std::vector<int>{1});
  go_on.send(0);
  first.join();
  CHECK(seen == std::vector<int>{1, 2});
  CHECK(last == first_id);
}

TEST_CASE("a thread that does not serve handles one value and leaves the rest to their posters") {
  Strand<int> strand;
  Channel<int> begun;
  Channel<int> go_on;
  std::vector<int> seen;
  std::vector<std::thread::id> handled_by;
  strand.attach([&](const int& value) {
    seen.push_back(value);
    handled_by.push_back(std::this_thread::get_id());
    if (value == 1) {
      begun.send(value);
      static_cast<void>(go_on.receive());
    }
    return true;
  });
  std::jthread caller([&] { strand.post(1); });
  const std::thread::id caller_id = caller.get_id();
  static_cast<void>(begun.receive());
  std::jthread other([&] { strand.post(2); });
  while (strand.n_waiting() < 1) std::this_thread::yield();
  std::jthread worker([&] { strand.post_and_serve(3); });
  while (strand.n_waiting() < 2) std::this_thread::yield();
  go_on.send(0);
  caller.join();
  other.join();
  worker.join();
  CHECK(seen == std::vector<int>{1, 2, 3});
  CHECK(std::ranges::count(handled_by, caller_id) == 1);
  CHECK(strand.n_waiting() == 0);
}

TEST_CASE("whoever posts: nobody who does not serve handles more values than it posted") {
  constexpr int kPosters = 4;
  constexpr int kEach = 500;
  Strand<int> strand;
  thread_local int n_own = 0;
  int n_handled = 0;  // plain on purpose
  strand.attach([&](const int& /*value*/) {
    ++n_own;
    ++n_handled;
    return true;
  });
  std::atomic<int> n_greedy{0};
  {
    std::vector<std::jthread> posters;
    for (int p = 0; p < kPosters; ++p) {
      posters.emplace_back([&, serves = p % 2 == 0] {
        for (int i = 1; i <= kEach; ++i) {
          CHECK((serves ? strand.post_and_serve(i) : strand.post(i)));
          if (!serves && n_own > i) ++n_greedy;
        }
      });
    }
  }
  CHECK(n_greedy.load() == 0);
  CHECK(n_handled == kPosters * kEach);
}

TEST_CASE("a replaced handler has ended its run") {
  Strand<int> strand;
  Channel<int> begun;
  std::atomic<bool> in_first{false};
  strand.attach([&](const int& value) {
    in_first.store(true);
    begun.send(value);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    in_first.store(false);
    return true;
  });
  std::jthread poster([&] { strand.post(1); });
  static_cast<void>(begun.receive());
  strand.attach([&](const int& /*value*/) {
    CHECK_FALSE(in_first.load());
    return true;
  });
  CHECK_FALSE(in_first.load());
  CHECK(strand.post(2));
}

TEST_CASE("a handler that says so closes the strand; what came before is still handled") {
  Strand<int> strand;
  for (int i = 0; i < 4; ++i) CHECK(strand.post(i));
  std::vector<int> seen;
  strand.attach([&](const int& value) {
    seen.push_back(value);
    return value != 1;
  });
  CHECK(seen == std::vector<int>{0, 1, 2, 3});
  CHECK_FALSE(strand.post(4));
  CHECK(seen.size() == 4);
  strand.join();
}

TEST_CASE("join waits for the close and for all that was posted") {
  constexpr int kPosters = 6;
  constexpr int kEach = 500;
  Strand<int> strand;
  int n_handled = 0;  // plain on purpose: the strand is what orders the threads
  int inside = 0;
  strand.attach([&](const int& value) {
    CHECK(++inside == 1);
    ++n_handled;
    --inside;
    return value >= 0;
  });
  std::atomic<int> n_posted{0};
  {
    std::vector<std::jthread> posters;
    for (int p = 0; p < kPosters; ++p) {
      posters.emplace_back([&, serves = p % 2 == 0] {
        for (int i = 0; i < kEach; ++i) {
          n_posted += (serves ? strand.post_and_serve(i) : strand.post(i)) ? 1 : 0;
        }
      });
    }
    posters.emplace_back([&] { n_posted += strand.post(-1) ? 1 : 0; });
    strand.join();
    CHECK_FALSE(strand.post(1));
  }
  CHECK(n_handled == n_posted.load());
}
