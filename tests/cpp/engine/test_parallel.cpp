// Several generations at once: the text of each is what it would be alone.
#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "specbranch/base/clock.h"
#include "specbranch/base/errors.h"
#include "specbranch/engine/batch_scheduler.h"
#include "specbranch/engine/worker.h"
#include "specbranch/model/kept_texts.h"
#include "support/engine_support.h"
#include "support/lying_proposer.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Requests for the models of one scenario.
std::vector<Scenario> make_requests(std::uint64_t seed, int n) {
  std::vector<Scenario> texts;
  Scenario models = make_scenario(seed);
  models.draft.n_ctx = std::max<Pos>(models.draft.n_ctx, 8);
  // Recurrent models, in every second scenario one or both.
  models.target.whole_states = seed % 8 == 1 || seed % 8 == 3;
  models.draft.whole_states = seed % 8 == 1 || seed % 8 == 5;
  if (models.target.whole_states) models.target.n_branches = 0;
  for (int i = 0; i < n; ++i) {
    Scenario own = models;
    const Scenario other = make_scenario(seed * 31 + static_cast<std::uint64_t>(i));
    own.request = other.request;
    for (Token& token : own.request.prompt) token %= own.target.n_vocab;
    while (static_cast<Pos>(own.request.prompt.size()) >= own.target.n_ctx) {
      own.request.prompt.pop_back();
    }
    std::erase_if(own.request.sampling.logit_bias,
                  [&](const auto& bias) { return bias.first >= own.target.n_vocab; });
    if (own.request.max_tokens < 0) own.request.max_tokens = 30;
    own.request.mode = kAllModes[(seed + static_cast<std::uint64_t>(i)) % std::size(kAllModes)];
    texts.push_back(std::move(own));
  }
  return texts;
}

/// A text whose offers are taken at any time, and any part of each.
class Text final : public RunningText {
 public:
  Text(GenerationId id, SeqId seq, Random* random) : id_(id), seq_(seq), random_(random) {}

  GenerationId id() const override { return id_; }
  const Request& request() const override { return *asked; }
  SeqId target_seq() const override { return seq_; }
  bool finished() const override { return decoder->finish() != Finish::kNone; }
  const Offer* offer() const override {
    if (finished()) REQUIRE(decoder->offer() == nullptr);
    return withheld ? nullptr : decoder->offer();
  }
  Command take_offer(int n_drafted) override {
    const int most = static_cast<int>(decoder->offer()->chances.size());
    const int n = random_->between(0, random_->chance(0.5) ? most : n_drafted);
    if (n < most) ++n_shortened;
    const int n_replayed = decoder->offer()->n_replayed;
    Command command = decoder->take_offer(n);
    REQUIRE(std::get<VerifyCommand>(command.body).n_tokens() == n_replayed + 1 + n);
    return command;
  }

  std::shared_ptr<const Request> asked;
  std::unique_ptr<Decoder> decoder;
  std::vector<Token> tokens;
  bool withheld = false;
  int n_shortened = 0;

 private:
  GenerationId id_;
  SeqId seq_;
  Random* random_;
};

/// The engine's scheduler without threads: any order in which models answer, aborts in time and too
/// late.
class Run final : private ModelPair {
 public:
  Run(const std::vector<Scenario>& texts, std::uint64_t seed)
      : random_(seed),
        limits_(make_models(texts.front(), static_cast<int>(texts.size()))),
        scheduler_(this, &limits_, &profile_, static_cast<int>(texts.size())) {
    for (const Scenario& text : texts) add(text);
  }

  /// `p_cancel`: of a cancel after an event.
  void run(double p_cancel) {
    for (const auto& text : texts_) scheduler_.dispatch(*text, text->decoder->start());
    end_idle();
    for (int n_steps = 0; n_steps < 20'000; ++n_steps) {
      send();
      if (!target_sent_ && !draft_sent_) break;
      deliver(target_sent_ && (!draft_sent_ || random_.chance(0.5)));
      if (random_.chance(p_cancel)) {
        const int i = random_.between(0, static_cast<int>(texts_.size()) - 1);
        Text& text = *texts_[static_cast<std::size_t>(i)];
        scheduler_.dispatch(text, text.decoder->cancel());
      }
      while (const std::optional<Event> event = scheduler_.next_dropped()) bring(*event);
      end_idle();
    }
    for (const auto& text : texts_) {
      CAPTURE(text->id());
      REQUIRE(text->decoder->idle());
    }
  }

  const Text& text(int i) const { return *texts_[static_cast<std::size_t>(i)]; }
  int n_shared() const { return n_shared_; }
  int n_shortened() const {
    return std::accumulate(texts_.begin(), texts_.end(), 0,
                           [](int n, const auto& text) { return n + text->n_shortened; });
  }

 private:
  ModelLimits make_models(const Scenario& scenario, int n_texts) {
    FakeOptions target = scenario.target;
    FakeOptions draft = scenario.draft;
    target.n_target_seq = n_texts;
    draft.n_seq = make_fake_draft(draft)->capabilities().n_seq * n_texts;
    target_ = make_fake_target(target);
    draft_ = make_fake_draft(draft);
    ModelLimits limits;
    limits.target = target_->capabilities();
    limits.draft = draft_->capabilities();
    return limits;
  }

  void add(const Scenario& scenario) {
    const BatchScheduler::Place place = scheduler_.take_place(scenario.request);
    texts_.push_back(std::make_unique<Text>(texts_.size() + 1, place.target_seq, &random_));
    Text* const at = texts_.back().get();
    at->asked = std::make_shared<const Request>(scenario.request);
    auto planner = make_planner(*at->asked, &profile_, /*has_draft=*/true);
    std::unique_ptr<Proposer> proposer;
    if (at->asked->mode == Mode::kAuto) {
      planner = make_eager_auto(*at->asked, &profile_);
      proposer = make_liar(scenario, {}, random_.next());
    }
    at->decoder = std::make_unique<Decoder>(
        at->asked, place.limits, at->id(), std::move(planner),
        [at](const Committed& committed) {
          at->tokens.push_back(committed.choice.token);
          return false;
        },
        place.target_seq, std::move(proposer));
    scheduler_.join(*at);
    running_.push_back(at);
  }

  void send() {
    for (Text* text : running_) text->withheld = random_.chance(0.2);
    scheduler_.send_waiting();
    if (target_sent_ || draft_sent_) return;
    for (Text* text : running_) text->withheld = false;
    scheduler_.send_waiting();
  }

  void deliver(bool target) {
    Event event;
    if (target) {
      if (std::exchange(abort_target_, false)) target_->request_abort();
      event = execute(*target_, *std::exchange(target_sent_, std::nullopt));
      target_->clear_abort();
    } else {
      if (std::exchange(abort_draft_, false)) draft_->request_abort();
      event = execute(*draft_, *std::exchange(draft_sent_, std::nullopt));
      draft_->clear_abort();
    }
    REQUIRE(scheduler_.awaits(event));
    const auto events = scheduler_.answer(std::move(event));
    if (events.size() > 1) ++n_shared_;
    for (const Event& own : events) bring(own);
  }

  void bring(const Event& event) {
    Text& text = *texts_[static_cast<std::size_t>(event.generation_id - 1)];
    scheduler_.dispatch(text, text.decoder->on(event));
  }

  void end_idle() {
    std::erase_if(running_, [this](Text* text) {
      if (text->decoder->idle()) scheduler_.leave(*text);
      return text->decoder->idle();
    });
  }

  void send(ModelRole role, Command command) override {
    (role == ModelRole::kTarget ? target_sent_ : draft_sent_) = std::move(command);
  }
  void request_abort(ModelRole role) override {
    (role == ModelRole::kTarget ? abort_target_ : abort_draft_) = random_.chance(0.5);
  }
  std::int64_t now_us() const override { return specbranch::now_us(); }

  Random random_;
  PairProfile profile_ = flat_profile();
  std::unique_ptr<TargetModel> target_;
  std::unique_ptr<DraftModel> draft_;
  ModelLimits limits_;
  BatchScheduler scheduler_;
  std::vector<std::unique_ptr<Text>> texts_;
  std::vector<Text*> running_;
  std::optional<Command> target_sent_;
  std::optional<Command> draft_sent_;
  bool abort_target_ = false;
  bool abort_draft_ = false;
  int n_shared_ = 0;
};

/// Three of its texts at once need more steps than `step`: with drafted tokens few are certain.
Scenario make_failing_scenario(int step) {
  Scenario scenario = make_long_scenario(9);
  scenario.target.max_batch = 64;
  if (step > 4) scenario.request.mode = Mode::kAutoregressive;
  return scenario;
}

}  // namespace

TEST_CASE("several texts at once, in any order: each is what it is alone") {
  int n_shared = 0;
  int n_shortened = 0;
  for (int i = 0; i < scaled(4'000); ++i) {
    const auto seed = static_cast<std::uint64_t>(i) + 1;
    Random random(seed);
    const auto scenarios = make_requests(seed, random.between(2, 5));
    Run run(scenarios, seed);
    const double p_cancel = random.chance(0.3) ? 0.02 : 0.0;
    run.run(p_cancel);
    n_shared += run.n_shared();
    n_shortened += run.n_shortened();
    for (int k = 0; k < static_cast<int>(scenarios.size()); ++k) {
      const Scenario& scenario = scenarios[static_cast<std::size_t>(k)];
      const Text& text = run.text(k);
      CAPTURE(describe(scenario));
      CAPTURE(seed);
      CAPTURE(k);
      REQUIRE(message_of(text.decoder->error()).empty());
      const Expected expected = reference(scenario);
      if (text.decoder->finish() == Finish::kCancelled) {
        REQUIRE(is_prefix(text.tokens, expected.tokens));
      } else {
        REQUIRE(text.tokens == expected.tokens);
        REQUIRE(text.decoder->finish() == expected.finish);
      }
    }
  }
  CHECK(n_shared > scaled(4'000));
  CHECK(n_shortened > scaled(1'000));
}

TEST_CASE("an engine runs as many generations at once as it may, and no more") {
  const Scenario scenario = make_long_scenario(3);
  std::atomic<int> n_steps{0};
  Engine engine(make_parallel_parts(scenario, 2, [&](int, const auto&) { ++n_steps; }));
  std::vector<std::unique_ptr<Generation>> running;
  std::vector<Collected> found(5);
  for (std::size_t i = 0; i < found.size(); ++i)
    running.push_back(engine.generate(scenario.request));
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < found.size(); ++i) {
    readers.emplace_back([&, i] { found[i] = collect(*running[i]); });
  }
  for (std::thread& reader : readers) reader.join();
  const Collected alone = run_engine(scenario, scenario.request.mode);
  for (const Collected& one : found) {
    CHECK(one.tokens == alone.tokens);
    CHECK(one.end.finish == alone.end.finish);
    check_times(one.end.stats);
  }
  CHECK(engine.stats().n_generations == 5);
}

TEST_CASE("engines with many requests from many threads give the texts of single ones") {
  for (int i = 0; i < scaled(60); ++i) {
    const auto seed = static_cast<std::uint64_t>(i) + 100;
    const auto scenarios = make_requests(seed, 8);
    EngineParts parts = make_parallel_parts(scenarios.front(), 4);
    Engine engine(std::move(parts));
    std::vector<std::thread> callers;
    std::vector<Collected> found(scenarios.size());
    for (std::size_t k = 0; k < scenarios.size(); ++k) {
      callers.emplace_back([&, k] {
        const auto generation = engine.generate(scenarios[k].request);
        if (k % 4 == 3) generation->cancel();
        found[k] = collect(*generation);
      });
    }
    for (std::thread& caller : callers) caller.join();
    for (std::size_t k = 0; k < scenarios.size(); ++k) {
      CAPTURE(describe(scenarios[k]));
      CAPTURE(seed);
      const Expected expected = reference(scenarios[k]);
      REQUIRE(message_of(found[k].end.error).empty());
      if (found[k].end.finish == Finish::kCancelled) {
        REQUIRE(k % 4 == 3);
        REQUIRE(is_prefix(found[k].tokens, expected.tokens));
      } else {
        REQUIRE(found[k].tokens == expected.tokens);
        REQUIRE(found[k].end.finish == expected.finish);
      }
    }
  }
}

TEST_CASE("texts that share few cells wait for each other, and each is what it is alone") {
  // The fake target refuses to compute more cells than there are.
  int n_waited = 0;
  for (int i = 0; i < scaled(60); ++i) {
    const auto seed = static_cast<std::uint64_t>(i) + 500;
    auto scenarios = make_requests(seed, 8);
    FakeOptions& target = scenarios.front().target;
    target.n_ctx_total = target.n_ctx + static_cast<Pos>(seed % 3) * target.n_ctx / 4;
    Pos n_wanted = 0;
    for (const Scenario& one : scenarios) n_wanted += room_of(one.request, target.n_ctx);
    if (n_wanted > target.n_ctx_total) ++n_waited;
    Engine engine(make_parallel_parts(scenarios.front(), 4));
    std::vector<std::unique_ptr<Generation>> running;
    for (const Scenario& one : scenarios) running.push_back(engine.generate(one.request));
    for (std::size_t k = 0; k < scenarios.size(); k += 3) running[k]->cancel();
    for (std::size_t k = 0; k < scenarios.size(); ++k) {
      CAPTURE(describe(scenarios[k]));
      CAPTURE(seed);
      const Collected found = collect(*running[k]);
      const Expected expected = reference(scenarios[k]);
      REQUIRE(message_of(found.end.error).empty());
      if (found.end.finish == Finish::kCancelled) {
        REQUIRE(k % 3 == 0);
      } else {
        REQUIRE(found.tokens == expected.tokens);
        REQUIRE(found.end.finish == expected.finish);
      }
    }
  }
  CHECK(n_waited > scaled(20));
}

TEST_CASE("a text that needs all cells waits until it is alone, and none overtakes it") {
  Scenario scenario = make_long_scenario(3);
  scenario.target.n_ctx_total = scenario.target.n_ctx;
  Barrier barrier(3);
  Engine engine(make_parallel_parts(scenario, 3, barrier.hook()));
  Request small = scenario.request;
  small.max_tokens = 8;
  Request large = scenario.request;
  large.max_tokens = -1;
  const auto first = engine.generate(small);
  barrier.wait_until_reached();
  const auto second = engine.generate(large);
  const auto third = engine.generate(small);
  CHECK_FALSE(second->progress().prefilled() > 0);
  barrier.release();
  const Collected one = collect(*first);
  const Collected two = collect(*second);
  const Collected three = collect(*third);
  CHECK(one.tokens.size() == 8);
  CHECK(two.tokens.size() > 8);
  CHECK(three.tokens == one.tokens);
  CHECK(message_of(two.end.error).empty());
  CHECK(message_of(three.end.error).empty());
}

TEST_CASE("a request for no text takes no conversation its cells") {
  const Scenario scenario = make_long_scenario(3);
  Engine engine(make_parallel_parts(scenario, 2, [](int, const auto&) {}));
  Request request = scenario.request;
  request.max_tokens = 4;
  const std::vector<Token> prompts[] = {std::vector<Token>(40, 0), std::vector<Token>(40, 1)};
  for (const std::vector<Token>& prompt : prompts) {
    request.prompt = prompt;
    CHECK(message_of(collect(*engine.generate(request)).end.error).empty());
  }
  Request nothing = request;
  nothing.prompt = {0, 1};
  nothing.max_tokens = 0;
  CHECK(collect(*engine.generate(nothing)).tokens.empty());
  for (const std::vector<Token>& prompt : prompts) {
    request.prompt = prompt;
    CHECK(collect(*engine.generate(request)).end.stats.n_reused == 39);
  }
}

TEST_CASE("a target that fails for good ends all generations, and closing still works") {
  Scenario scenario = make_long_scenario(7);
  scenario.target.fail_at_step = 12;
  scenario.target.fail_fatally = true;
  Engine engine(make_parallel_parts(scenario, 3));
  std::vector<std::unique_ptr<Generation>> running;
  for (int i = 0; i < 4; ++i) running.push_back(engine.generate(scenario.request));
  int n_failed = 0;
  for (const auto& generation : running) {
    const Collected found = collect(*generation);
    n_failed += found.end.finish == Finish::kFailed ? 1 : 0;
  }
  CHECK(n_failed == 4);
  CHECK_THROWS_AS(engine.generate(scenario.request), FatalError);
  engine.close();
}

TEST_CASE("one step that fails harms one generation, and nobody else") {
  for (int step = 2; step < 12; ++step) {
    Scenario scenario = make_failing_scenario(step);
    scenario.target.fail_at_step = step;
    scenario.target.step_us = 300;
    Engine engine(make_parallel_parts(scenario, 3));
    std::vector<std::unique_ptr<Generation>> running;
    for (int i = 0; i < 3; ++i) running.push_back(engine.generate(scenario.request));
    scenario.target.fail_at_step = -1;
    const Collected alone = run_engine(scenario, scenario.request.mode);
    const int n_failed = count_failed(running, {alone.tokens, alone.end.finish});
    CHECK(n_failed <= 1);
    CHECK(collect(*engine.generate(scenario.request)).tokens == alone.tokens);
  }
}

TEST_CASE("one step of a recurrent target that fails harms those in its batch, and nobody later") {
  int n_shared_failures = 0;
  for (int step = 2; step < 12; ++step) {
    Scenario scenario = make_failing_scenario(step);
    scenario.target.whole_states = true;
    const Collected alone = run_engine(scenario, scenario.request.mode);
    scenario.target.fail_at_step = step;
    scenario.target.step_us = 300;  // so that the verifications of several texts wait for one pass
    Engine engine(make_parallel_parts(scenario, 3));
    std::vector<std::unique_ptr<Generation>> running;
    for (int i = 0; i < 3; ++i) running.push_back(engine.generate(scenario.request));
    const int n_failed = count_failed(running, {alone.tokens, alone.end.finish});
    CHECK(n_failed > 0);
    if (n_failed > 1) ++n_shared_failures;
    for (int i = 0; i < 3; ++i) {
      CHECK(collect(*engine.generate(scenario.request)).tokens == alone.tokens);
    }
  }
  CHECK(n_shared_failures > 0);
}

TEST_CASE("a recurrent draft that fails once harms no text") {
  for (int step = 3; step < 60; step += 3) {
    Scenario scenario = make_long_scenario(9);
    scenario.target.max_batch = 64;
    scenario.draft.whole_states = true;
    const Collected alone = run_engine(scenario, scenario.request.mode);
    scenario.draft.fail_at_step = step;
    Engine engine(make_parallel_parts(scenario, 3));
    std::vector<std::unique_ptr<Generation>> running;
    for (int i = 0; i < 3; ++i) running.push_back(engine.generate(scenario.request));
    for (const auto& generation : running) CHECK(collect(*generation).tokens == alone.tokens);
    CHECK(collect(*engine.generate(scenario.request)).tokens == alone.tokens);
  }
}

TEST_CASE("closing an engine ends what runs and what waits") {
  const Scenario scenario = make_long_scenario(4);
  Barrier barrier(10);
  Engine engine(make_parallel_parts(scenario, 2, barrier.hook()));
  std::vector<std::unique_ptr<Generation>> running;
  for (int i = 0; i < 5; ++i) running.push_back(engine.generate(scenario.request));
  barrier.wait_until_reached();
  std::thread closer([&] { engine.close(); });
  barrier.release();
  closer.join();
  for (const auto& generation : running) {
    const Finish finish = collect(*generation).end.finish;
    CHECK((finish == Finish::kCancelled || finish == Finish::kLength));
  }
}
