// The closable queue: order, close, waiting, many threads.
#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "specbranch/core/channel.h"
#include "support.h"

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
