// Rows on their way to functions of the caller: order, masks ahead, late answers, failures.
#include "specbranch/base/processor_channel.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <future>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "specbranch/base/errors.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
using Text = std::vector<Token>;

bool never() { return false; }

/// All of eight tokens but `forbidden`.
TokenBits all_but(Token forbidden) { return {0xFFU & ~(1U << static_cast<unsigned>(forbidden))}; }

std::vector<float> row(float first) { return {first, 1, 2, 3, 4, 5, 6, 7}; }

/// The next task, which must be about `text`. Fails the test instead of waiting for ever.
ProcessorTask expect(ProcessorChannel& channel, const Text& text, bool of_row) {
  auto next = std::async(std::launch::async, [&] { return channel.next(); });
  if (next.wait_for(std::chrono::seconds(30)) != std::future_status::ready) channel.close();
  const std::optional<ProcessorTask> task = next.get();
  REQUIRE(task);
  CHECK(task->text == text);
  CHECK((task->row != nullptr) == of_row);
  return *task;
}

/// Answers all tasks on a thread of its own until the channel closes.
class Server {
 public:
  using Answer = std::function<void(ProcessorChannel&, const ProcessorTask&)>;

  Server(ProcessorChannel& channel, Answer answer)
      : channel_(channel), answer_(std::move(answer)), thread_([this] { serve(); }) {}
  ~Server() { stop(); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::vector<Text> stop() {
    channel_.close();
    if (thread_.joinable()) thread_.join();
    return texts_;
  }

 private:
  void serve() {
    while (const std::optional<ProcessorTask> task = channel_.next()) {
      texts_.push_back(task->text);
      answer_(channel_, *task);
    }
  }

  ProcessorChannel& channel_;
  Answer answer_;
  std::vector<Text> texts_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("processors: masks are asked along the drafted path before the logits are there") {
  ProcessorChannel channel(/*masks=*/true, /*rows=*/false);
  channel.begin(Text{1, 2}, Text{3, 4});
  channel.answer_mask(expect(channel, {1, 2}, false).id, all_but(7));
  channel.answer_mask(expect(channel, {1, 2, 3}, false).id, all_but(6));
  channel.answer_mask(expect(channel, {1, 2, 3, 4}, false).id, all_but(5));
  std::vector<float> processed;
  CHECK(channel.process(0, row(0), processed, never));
  CHECK(processed == std::vector<float>{0, 1, 2, 3, 4, 5, 6, kForbidden});
  CHECK(channel.process(2, row(9), processed, never));
  CHECK(processed == std::vector<float>{9, 1, 2, 3, 4, kForbidden, 6, 7});
  CHECK(channel.counts().n_calls == 3);
}

TEST_CASE("processors: no mask is asked after a drafted token that its mask forbids") {
  ProcessorChannel channel(true, false);
  Server server(channel, [](ProcessorChannel& asked, const ProcessorTask& task) {
    asked.answer_mask(task.id, all_but(4));
  });
  std::vector<float> processed;
  channel.begin(Text{1, 2}, Text{3, 4, 5});
  CHECK(channel.process(0, row(0), processed, never));
  CHECK(channel.process(1, row(0), processed, never));
  channel.end();
  // Whatever it still did would come before this.
  channel.begin(Text{1, 2, 3, 6}, Text{});
  CHECK(channel.process(0, row(0), processed, never));
  CHECK(server.stop() == std::vector<Text>{{1, 2}, {1, 2, 3}, {1, 2, 3, 6}});
}

TEST_CASE("processors: an answer for a path that is gone is dropped, and counted") {
  ProcessorChannel channel(true, false);
  channel.begin(Text{1}, Text{2, 3});
  const ProcessorTask late = expect(channel, {1}, false);
  channel.begin(Text{1, 5}, Text{});
  channel.answer_mask(late.id, all_but(0));
  channel.answer_mask(expect(channel, {1, 5}, false).id, all_but(1));
  std::vector<float> processed;
  CHECK(channel.process(0, row(0), processed, never));
  CHECK(processed[0] == 0.0F);
  CHECK(processed[1] == kForbidden);
  CHECK(channel.counts().n_calls == 2);
}

TEST_CASE("processors: a token beyond the words of a mask is forbidden") {
  CHECK_FALSE(is_allowed({}, 0));
  CHECK(is_allowed({0, 2}, 33));
  CHECK_FALSE(is_allowed({0, 2}, 32));
  CHECK_FALSE(is_allowed({0, 2}, 64));
}

TEST_CASE("processors: rows are asked in order, edited and may end the text") {
  ProcessorChannel channel(false, true);
  Server server(channel, [](ProcessorChannel& asked, const ProcessorTask& task) {
    REQUIRE(task.row);
    task.row->front() += 10.0F;
    asked.answer_row(task.id, task.text.size() == 4);
  });
  std::vector<float> processed;
  channel.begin(Text{1, 2}, Text{3, 4, 5});
  CHECK(channel.process(0, row(1), processed, never));
  CHECK(processed == row(11));
  CHECK(channel.process(1, row(2), processed, never));
  CHECK(processed == row(12));
  CHECK_FALSE(channel.process(2, row(3), processed, never));
  channel.end();
  CHECK(server.stop() == std::vector<Text>{{1, 2}, {1, 2, 3}, {1, 2, 3, 4}});
}

TEST_CASE("processors: a row is asked after the mask of its position") {
  ProcessorChannel channel(true, true);
  std::vector<bool> of_rows;
  Server server(channel, [&](ProcessorChannel& asked, const ProcessorTask& task) {
    of_rows.push_back(task.row != nullptr);
    if (task.row) {
      asked.answer_row(task.id, false);
    } else {
      asked.answer_mask(task.id, all_but(0));
    }
  });
  std::vector<float> processed;
  channel.begin(Text{1}, Text{0});  // forbidden: the mask after it is asked only if it is chosen
  CHECK(channel.process(0, row(5), processed, never));
  CHECK(processed == row(5));  // the functions apply the masks themselves, in their order
  CHECK(channel.process(1, row(6), processed, never));
  CHECK(server.stop() == std::vector<Text>{{1}, {1}, {1, 0}, {1, 0}});
  CHECK(of_rows == std::vector<bool>{false, true, false, true});
}

TEST_CASE("processors: a model that waits can be aborted, and a later path is served") {
  ProcessorChannel channel(false, true);
  std::atomic<bool> abort{false};
  std::vector<float> processed;
  channel.begin(Text{1}, Text{});
  std::thread model([&] {
    CHECK_THROWS_AS(channel.process(0, row(0), processed, [&] { return abort.load(); }), Aborted);
  });
  const ProcessorTask slow = expect(channel, {1}, true);
  abort.store(true);
  model.join();
  slow.row->front() = std::nanf("");  // nobody looks at it any more
  channel.answer_row(slow.id, false);
  channel.begin(Text{1, 2}, Text{});
  std::thread again([&] { CHECK(channel.process(0, row(3), processed, never)); });
  channel.answer_row(expect(channel, {1, 2}, true).id, false);
  again.join();
  CHECK(processed == row(3));
}

TEST_CASE("processors: a failed mask matters only where the text gets there") {
  ProcessorChannel channel(true, false);
  std::vector<float> processed;
  channel.begin(Text{1}, Text{2, 3});
  channel.answer_mask(expect(channel, {1}, false).id, all_but(0));
  channel.fail(expect(channel, {1, 2}, false).id);
  CHECK(channel.process(0, row(0), processed, never));
  CHECK_FALSE(channel.failed_task());
  channel.end();
  channel.begin(Text{1, 4}, Text{});
  const ProcessorTask bad = expect(channel, {1, 4}, false);
  channel.fail(bad.id);
  CHECK_THROWS_AS(channel.process(0, row(0), processed, never), Error);
  CHECK(channel.failed_task() == bad.id);
}

TEST_CASE("processors: a mask that fails ahead does not hinder the rows before it") {
  ProcessorChannel channel(true, true);
  channel.begin(Text{1}, Text{2});
  channel.answer_mask(expect(channel, {1}, false).id, all_but(0));
  channel.fail(expect(channel, {1, 2}, false).id);
  std::vector<float> processed;
  std::thread model([&] {
    CHECK(channel.process(0, row(3), processed, never));
    CHECK_THROWS_AS(channel.process(1, row(4), processed, never), Error);
  });
  channel.answer_row(expect(channel, {1}, true).id, false);
  model.join();
  CHECK(processed == row(3));
  CHECK(channel.failed_task() == 2);
}

TEST_CASE("processors: a failed row is final") {
  ProcessorChannel channel(false, true);
  Server server(channel,
                [](ProcessorChannel& asked, const ProcessorTask& task) { asked.fail(task.id); });
  std::vector<float> processed;
  for (int i = 0; i < 2; ++i) {
    channel.begin(Text{1}, Text{});
    CHECK_THROWS_AS(channel.process(0, row(0), processed, never), Error);
    CHECK(channel.failed_task() == 1);
  }
  CHECK(server.stop().size() == 1);
}

TEST_CASE("processors: numbers that no distribution has are refused, -inf is not") {
  for (const float bad : {std::nanf(""), -kForbidden}) {
    ProcessorChannel channel(false, true);
    Server server(channel, [&](ProcessorChannel& asked, const ProcessorTask& task) {
      (*task.row)[1] = kForbidden;
      (*task.row)[3] = bad;
      CHECK_THROWS_WITH_AS(asked.answer_row(task.id, false),
                           doctest::Contains("the score of token 3"), InvalidArgument);
      (*task.row)[3] = 0.0F;
      asked.answer_row(task.id, false);  // still open
    });
    std::vector<float> processed;
    channel.begin(Text{1}, Text{});
    CHECK(channel.process(0, row(0), processed, never));
    CHECK(processed == std::vector<float>{0, kForbidden, 2, 0, 4, 5, 6, 7});
  }
}

TEST_CASE("processors: nobody waits for a closed channel") {
  ProcessorChannel channel(false, true);
  std::thread caller([&] { CHECK_FALSE(channel.next()); });
  channel.close();
  caller.join();
  std::vector<float> processed;
  channel.begin(Text{1}, Text{});
  CHECK_THROWS_AS(channel.process(0, row(0), processed, never), Error);
  CHECK_FALSE(channel.next());
}
