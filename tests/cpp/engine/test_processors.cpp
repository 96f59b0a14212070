// Functions of the caller between the target's tokens, on real threads: every mode gives the same
// text, and a function that fails or does not answer harms nothing but its own generation.
#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "specbranch/base/channel.h"
#include "specbranch/base/errors.h"
#include "specbranch/base/processor_channel.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr int kVocab = 12;
using Text = std::vector<Token>;

std::uint64_t hash_of(const Text& text) {
  std::uint64_t hash = 17;
  constexpr std::uint64_t kPrime = 1099511628211;
  for (const Token token : text) hash = hash * kPrime + static_cast<std::uint64_t>(token);
  return hash ^ (hash >> 29U);
}

/// Depends on the whole text.
bool allows(const Text& text, Token token) {
  return token == 0 || (hash_of(text) >> (static_cast<unsigned>(token) % 60U) & 3U) != 0;
}

void edit(const ProcessorTask& task) {
  for (std::size_t i = 0; i < task.row->size(); ++i) {
    float& score = (*task.row)[i];
    score += static_cast<float>(hash_of(task.text) % (i + 2));
    if (!allows(task.text, static_cast<Token>(i))) score = -std::numeric_limits<float>::infinity();
  }
}

TokenBits mask_of(const Text& text) {
  TokenBits bits{0};
  for (Token token = 0; token < kVocab; ++token) {
    if (allows(text, token)) bits[0] |= 1U << static_cast<unsigned>(token);
  }
  return bits;
}

Scenario scenario_of(std::uint64_t seed) {
  Scenario scenario = make_long_scenario(seed);
  scenario.target.n_vocab = scenario.draft.n_vocab = kVocab;
  for (Token& token : scenario.request.prompt) token %= kVocab;
  scenario.draft.alignment = 0.9;
  scenario.request.stop.clear();
  scenario.request.sampling.logit_bias.clear();
  scenario.request.policy = {};
  return scenario;
}

/// The functions of one generation, on a thread of their own.
class Functions {
 public:
  using Answer = std::function<void(ProcessorChannel&, const ProcessorTask&)>;

  Functions(bool masks, bool rows, Answer answer)
      : channel_(std::make_shared<ProcessorChannel>(masks, rows)),
        thread_([this, answer = std::move(answer)] {
          while (const std::optional<ProcessorTask> task = channel_->next()) {
            texts_.push_back(task->text);
            answer(*channel_, *task);
          }
        }) {}
  ~Functions() {
    channel_->close();
    stop();
  }
  Functions(const Functions&) = delete;
  Functions& operator=(const Functions&) = delete;

  const std::shared_ptr<ProcessorChannel>& channel() const { return channel_; }

  /// What was asked, once the generation has ended: the engine closes the channel.
  const std::vector<Text>& stop() {
    if (thread_.joinable()) thread_.join();
    return texts_;
  }

 private:
  std::shared_ptr<ProcessorChannel> channel_;
  std::vector<Text> texts_;
  std::thread thread_;
};

void edit_and_answer(ProcessorChannel& channel, const ProcessorTask& task) {
  edit(task);
  channel.answer_row(task.id, false);
}

void mask_and_answer(ProcessorChannel& channel, const ProcessorTask& task) {
  channel.answer_mask(task.id, mask_of(task.text));
}

Request with(const Scenario& scenario, Mode mode, const Functions& functions) {
  Request request = scenario.request;
  request.mode = mode;
  request.processors = functions.channel();
  return request;
}

/// The text by hand: nothing of the engine but the noise and the argmax.
Text by_hand(const Scenario& scenario, bool masked) {
  const SamplingOptions& sampling = scenario.request.sampling;
  Text text = scenario.request.prompt;
  const std::size_t n_prompt = text.size();
  while (text.size() < n_prompt + static_cast<std::size_t>(scenario.request.max_tokens)) {
    ProcessorTask task;
    task.text = text;
    task.row = std::make_shared<std::vector<float>>(fake_scores(scenario.target, text, 1.0));
    if (masked) {
      for (Token token = 0; token < kVocab; ++token) {
        if (!allows(text, token)) {
          (*task.row)[static_cast<std::size_t>(token)] = -std::numeric_limits<float>::infinity();
        }
      }
    } else {
      edit(task);
    }
    std::vector<Scored> scored;
    for (Token token = 0; token < kVocab; ++token) {
      const float score = (*task.row)[static_cast<std::size_t>(token)];
      scored.push_back({token, sampling.temperature > 0 ? score / sampling.temperature : score});
    }
    const PositionNoise noise(sampling.seed, static_cast<Pos>(text.size()));
    const auto index = choose(scored, sampling.temperature > 0 ? &noise : nullptr);
    REQUIRE(index >= 0);
    text.push_back(scored[static_cast<std::size_t>(index)].token);
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(n_prompt), text.end()};
}

void check_usable(Engine& engine, const Scenario& scenario) {
  const Collected all = collect(*engine.generate(scenario.request));
  CHECK(all.end.finish == Finish::kLength);
  CHECK(all.tokens == reference(scenario).tokens);
}

}  // namespace

TEST_CASE("processors: every mode gives the text by hand, and asks for each position once") {
  for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(scaled(8)); ++seed) {
    for (const float temperature : {0.0F, 0.8F}) {
      Scenario scenario = scenario_of(seed);
      scenario.request.sampling.temperature = temperature;
      Engine engine(make_parts(scenario));
      const Text want = by_hand(scenario, /*masked=*/false);
      for (const Mode mode : kAllModes) {
        CAPTURE(to_string(mode));
        Functions functions(false, true, edit_and_answer);
        const Collected all = collect(*engine.generate(with(scenario, mode, functions)));
        CHECK(all.tokens == want);
        const std::vector<Text>& texts = functions.stop();
        REQUIRE(texts.size() == want.size());
        Text text = scenario.request.prompt;
        for (std::size_t i = 0; i < texts.size(); ++i) {
          CHECK(texts[i] == text);
          text.push_back(want[i]);
        }
        CHECK(all.end.stats.n_processor_calls == static_cast<std::int64_t>(texts.size()));
        check_times(all.end.stats);
      }
    }
  }
}

TEST_CASE("processors: masks give the same text in every mode, and no prefix is skipped") {
  for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(scaled(8)); ++seed) {
    Scenario scenario = scenario_of(seed);
    Engine engine(make_parts(scenario));
    const Text want = by_hand(scenario, /*masked=*/true);
    for (const Mode mode : kAllModes) {
      CAPTURE(to_string(mode));
      Functions functions(true, false, mask_and_answer);
      const Collected all = collect(*engine.generate(with(scenario, mode, functions)));
      CHECK(all.tokens == want);
      std::vector<Text> asked;
      for (const Text& text : functions.stop()) {
        const Text before(text.begin(), text.end() - 1);
        const bool first = text == scenario.request.prompt;
        CHECK((first || std::ranges::count(asked, before) > 0));
        if (!first) CHECK(allows(before, text.back()));
        CHECK(text.size() < scenario.request.prompt.size() + want.size());
        asked.push_back(text);
      }
    }
  }
}

TEST_CASE("processors: the text ends where a function says, after the tokens before") {
  const Scenario scenario = scenario_of(3);
  Engine engine(make_parts(scenario));
  const std::size_t end = scenario.request.prompt.size() + 7;
  for (const Mode mode : kAllModes) {
    Functions functions(false, true, [&](ProcessorChannel& channel, const ProcessorTask& task) {
      edit(task);
      channel.answer_row(task.id, task.text.size() == end);
    });
    const Collected all = collect(*engine.generate(with(scenario, mode, functions)));
    CHECK(all.end.finish == Finish::kStop);
    Text want = by_hand(scenario, /*masked=*/false);
    want.resize(7);
    CHECK(all.tokens == want);
    CHECK(functions.stop().size() == 8);
  }
}

TEST_CASE("processors: if no token is left, the text ends") {
  const Scenario scenario = scenario_of(4);
  Engine engine(make_parts(scenario));
  Functions functions(true, false, [](ProcessorChannel& channel, const ProcessorTask& task) {
    channel.answer_mask(task.id, TokenBits{0});
  });
  const Collected all = collect(*engine.generate(with(scenario, Mode::kSpecBranch, functions)));
  CHECK(all.end.finish == Finish::kStop);
  CHECK(all.tokens.empty());
}

TEST_CASE("processors: a failure comes after the tokens before it, and ends one generation") {
  const Scenario scenario = scenario_of(5);
  Engine engine(make_parts(scenario));
  const std::size_t end = scenario.request.prompt.size() + 9;
  for (const Mode mode : kAllModes) {
    CAPTURE(to_string(mode));
    Functions functions(false, true, [&](ProcessorChannel& channel, const ProcessorTask& task) {
      if (task.text.size() == end) {
        channel.fail(task.id);
      } else {
        edit_and_answer(channel, task);
      }
    });
    const Collected all = collect(*engine.generate(with(scenario, mode, functions)));
    CHECK(all.end.finish == Finish::kFailed);
    CHECK(holds<Error>(all.end.error));
    Text want = by_hand(scenario, /*masked=*/false);
    want.resize(9);
    CHECK(all.tokens == want);
    CHECK(functions.channel()->failed_task());
    check_usable(engine, scenario);
  }
}

TEST_CASE("processors: a function that does not answer hinders neither cancel, drop nor close") {
  const Scenario scenario = scenario_of(6);
  auto engine = std::make_unique<Engine>(make_parts(scenario));
  for (const bool masks : {false, true}) {
    for (const int how : {0, 1, 2}) {
      CAPTURE(how);
      Channel<int> reached;
      Channel<int> released;
      int n_tasks = 0;
      Functions functions(masks, !masks, [&](ProcessorChannel& channel, const ProcessorTask& task) {
        if (++n_tasks == 4) {
          reached.send(1);
          static_cast<void>(released.receive());
        }
        if (masks) {
          mask_and_answer(channel, task);
        } else {
          edit_and_answer(channel, task);
        }
      });
      // A test that fails must not hang.
      const std::shared_ptr<void> release(nullptr, [&](void*) { released.close(); });
      auto generation = engine->generate(with(scenario, Mode::kSpeculative, functions));
      REQUIRE(reached.receive_for(std::chrono::seconds(60)));
      if (how == 0) {
        generation->cancel();
        CHECK(collect(*generation).end.finish == Finish::kCancelled);
      } else if (how == 1) {
        generation.reset();
      } else {
        engine->close();
        CHECK(collect(*generation).end.finish == Finish::kCancelled);
        engine = std::make_unique<Engine>(make_parts(scenario));
      }
      check_usable(*engine, scenario);  // while the function still computes
      released.send(1);
      functions.stop();
    }
  }
}

TEST_CASE("processors: a slow function is no slow model") {
  Scenario scenario = scenario_of(7);
  scenario.request.max_tokens = 6;
  Engine engine(make_parts(scenario));
  Functions functions(false, true, [](ProcessorChannel& channel, const ProcessorTask& task) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    edit_and_answer(channel, task);
  });
  const Collected all = collect(*engine.generate(with(scenario, Mode::kAutoregressive, functions)));
  const Stats& stats = all.end.stats;
  CHECK(stats.processor_ms >= 6 * 20.0);
  CHECK(stats.processor_wait_ms >= 6 * 20.0);
  CHECK(stats.decode_ms >= stats.processor_wait_ms);
  CHECK(stats.target_busy_ms <= stats.decode_ms - stats.processor_wait_ms + 1e-6);
}
