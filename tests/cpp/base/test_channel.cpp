// The closable queue: order, close, waiting, many threads.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "specbranch/base/channel.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;
using namespace std::chrono_literals;

TEST_CASE("first in, first out") {
  Channel<int> channel;
  for (int i = 0; i < 5; ++i) CHECK(channel.send(i));
  CHECK(channel.receive() == 0);
  CHECK(channel.try_receive() == 1);
  CHECK(channel.receive_for(1h) == 2);
  CHECK(channel.receive_for(0ms) == 3);
  CHECK(channel.receive() == 4);
  CHECK_FALSE(channel.try_receive());
  CHECK_FALSE(channel.receive_for(0ms));
  CHECK_FALSE(channel.receive_for(1ms));
}

TEST_CASE("close refuses what comes later and gives out what was there") {
  Channel<std::unique_ptr<int>> channel;
  CHECK(channel.send(std::make_unique<int>(1)));
  CHECK_FALSE(channel.closed_and_empty());
  channel.close();
  channel.close();
  CHECK_FALSE(channel.send(std::make_unique<int>(2)));
  CHECK_FALSE(channel.closed_and_empty());
  CHECK(*channel.receive().value() == 1);
  CHECK(channel.closed_and_empty());
  CHECK_FALSE(channel.receive());
  CHECK_FALSE(channel.try_receive());
  CHECK_FALSE(channel.receive_for(1h));
}

TEST_CASE("close wakes all who wait") {
  Channel<int> channel;
  {
    std::vector<std::jthread> waiting;
    for (int i = 0; i < 4; ++i) {
      waiting.emplace_back([&, i] {
        if (i % 2 == 0) {
          CHECK_FALSE(channel.receive());
        } else {
          CHECK_FALSE(channel.receive_for(1h));
        }
      });
    }
    channel.close();
  }
  CHECK(channel.closed_and_empty());
}

TEST_CASE("many senders, many receivers: everything arrives once, in order per sender") {
  constexpr int kSenders = 4;
  constexpr int kReceivers = 4;
  const int n = scaled(2'000);
  Channel<std::pair<int, int>> channel;
  std::vector<std::vector<std::pair<int, int>>> received(kReceivers);
  {
    std::vector<std::jthread> receivers;
    for (auto& mine : received) {
      receivers.emplace_back([&] {
        while (const auto value = channel.receive()) mine.push_back(*value);
      });
    }
    {
      std::vector<std::jthread> senders;
      for (int sender = 0; sender < kSenders; ++sender) {
        senders.emplace_back([&, sender] {
          for (int i = 0; i < n; ++i) channel.send({sender, i});
        });
      }
    }
    channel.close();
  }
  std::vector<std::pair<int, int>> all;
  for (const auto& mine : received) {
    std::vector<int> last(kSenders, -1);
    for (const auto& [sender, i] : mine) {
      CHECK(i > last[static_cast<std::size_t>(sender)]);
      last[static_cast<std::size_t>(sender)] = i;
    }
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::ranges::sort(all);
  REQUIRE(all.size() == static_cast<std::size_t>(kSenders * n));
  CHECK(std::ranges::adjacent_find(all) == all.end());
}

TEST_CASE("channel: a value for whoever waits comes first, and only if somebody waits") {
  Channel<int> channel;
  CHECK_FALSE(channel.awaited());
  CHECK_FALSE(channel.send_first_if_awaited(1));
  CHECK_FALSE(channel.try_receive());
  std::vector<int> got;
  std::thread reader([&] {
    while (const std::optional<int> value = channel.receive()) got.push_back(*value);
  });
  while (!channel.awaited()) std::this_thread::yield();
  int n_taken = 0;
  for (int i = 1; i <= 1000; ++i) n_taken += channel.send_first_if_awaited(i) ? 1 : 0;
  channel.close();
  reader.join();
  CHECK_FALSE(channel.send_first_if_awaited(1001));
  // What was accepted was received, all of it.
  CHECK(n_taken > 0);
  CHECK(got.size() == static_cast<std::size_t>(n_taken));
}

TEST_CASE("channel: a receiver whose time runs out takes what was sent for it meanwhile") {
  Channel<int> channel;
  int n_got = 0;
  std::atomic<bool> left_behind{false};
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop.load()) {
      if (channel.receive_for(20us)) ++n_got;
      // The only receiver is not waiting any more: nothing may be there for it.
      if (channel.try_receive()) left_behind.store(true);
    }
  });
  int n_sent = 0;
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (n_sent < 500 && std::chrono::steady_clock::now() < give_up) {
    if (channel.send_first_if_awaited(n_sent)) ++n_sent;
  }
  stop.store(true);
  reader.join();
  CHECK(n_sent == 500);
  CHECK(n_got == n_sent);
  CHECK_FALSE(left_behind.load());
}
