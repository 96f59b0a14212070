// Places, groups, batches, aborts and padding, without decoders, threads or clocks.
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/base/processor_channel.h"
#include "specbranch/engine/batch_scheduler.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A text that offers what a test says.
class ScriptedText final : public RunningText {
 public:
  ScriptedText(GenerationId id, const BatchScheduler::Place& place, Request request)
      : id_(id), place_(place), request_(std::move(request)) {}

  GenerationId id() const override { return id_; }
  const Request& request() const override { return request_; }
  SeqId target_seq() const override { return place_.target_seq; }
  bool finished() const override { return ended; }
  const Offer* offer() const override { return offered ? &*offered : nullptr; }
  Command take_offer(int n_drafted) override {
    offered.reset();
    return verify(1 + n_drafted);
  }
  void sent(ModelRole /*role*/, const Command& /*command*/) override { ++n_sent; }

  Command verify(int n_rows) const {
    VerifyCommand body;
    const std::vector<Token> path(static_cast<std::size_t>(n_rows), 3);
    body.segments.push_back(path_segment(id_, place_.target_seq, 5, path));
    return {id_, std::move(body)};
  }
  Command draft() const {
    DraftCommand body;
    SequenceInput input;
    input.seq = place_.limits.first_draft_seq;
    input.tokens = {1};
    input.generation_id = id_;
    body.inputs.push_back(std::move(input));
    return {id_, std::move(body)};
  }

  std::optional<Offer> offered;
  bool ended = false;
  int n_sent = 0;

 private:
  GenerationId id_;
  BatchScheduler::Place place_;
  Request request_;
};

/// Two models that keep what they get.
class KeptCommands final : public ModelPair {
 public:
  void send(ModelRole role, Command command) override {
    (role == ModelRole::kTarget ? target : draft).push_back(std::move(command));
  }
  void request_abort(ModelRole role) override { aborted.push_back(role); }
  std::int64_t now_us() const override { return now; }

  std::vector<Command> target;
  std::vector<Command> draft;
  std::vector<ModelRole> aborted;
  std::int64_t now = 0;
};

ModelLimits make_limits(int n_seq) {
  ModelLimits limits;
  limits.target.n_vocab = 16;
  limits.target.n_ctx = 100;
  limits.target.n_seq = n_seq;
  limits.target.max_batch = 32;
  limits.draft = limits.target;
  limits.draft->n_seq = 4 * n_seq;
  return limits;
}

struct Bench {
  explicit Bench(int n_parallel = 4, ModelLimits own = make_limits(4))
      : limits(std::move(own)), scheduler(&models, &limits, &profile, n_parallel) {}

  ScriptedText& add(Request request = {}) {
    if (request.prompt.empty()) request.prompt = {1, 2};
    const BatchScheduler::Place place = scheduler.take_place(request);
    texts.push_back(std::make_unique<ScriptedText>(texts.size() + 1, place, std::move(request)));
    scheduler.join(*texts.back());
    return *texts.back();
  }

  void verify(ScriptedText& text, int n_rows) {
    Commands commands;
    commands.target = text.verify(n_rows);
    scheduler.dispatch(text, std::move(commands));
  }

  /// Answers the last command of the target; the ids of those who get an event.
  std::vector<GenerationId> answer_target(std::int64_t begin_us = 0, std::int64_t end_us = 10) {
    const Command& command = models.target.back();
    VerifyDone done;
    for (const Segment& one : std::get<VerifyCommand>(command.body).segments) {
      done.results.push_back({one.generation_id, {}, nullptr, 0});
    }
    Event event{ModelRole::kTarget, command.generation_id, std::move(done), begin_us, end_us};
    REQUIRE(scheduler.awaits(event));
    events = scheduler.answer(std::move(event));
    std::vector<GenerationId> ids;
    for (const Event& own : events) ids.push_back(own.generation_id);
    return ids;
  }

  KeptCommands models;
  ModelLimits limits;
  PairProfile profile;
  BatchScheduler scheduler;
  std::vector<std::unique_ptr<ScriptedText>> texts;
  std::vector<Event> events;
};

int n_segments(const Command& command) {
  return static_cast<int>(std::get<VerifyCommand>(command.body).segments.size());
}

}  // namespace

TEST_CASE("texts get places while there are sequences and cells, and planners know their number") {
  ModelLimits limits = make_limits(3);
  limits.target.n_ctx_total = 150;
  Bench bench(8, limits);
  Request small;
  small.prompt = {1, 2};
  small.max_tokens = 20;
  Request large = small;
  large.max_tokens = 90;
  bench.add(small);
  CHECK(bench.profile.others.n_running == 0);
  CHECK(bench.scheduler.admits(large));
  bench.add(large);
  CHECK(bench.profile.others.n_running == 1);
  CHECK_FALSE(bench.scheduler.admits(large));  // no cells
  CHECK(bench.scheduler.admits(small));
  bench.add(small);
  CHECK(bench.scheduler.full());  // no sequences, whatever n_parallel says
  CHECK_FALSE(bench.scheduler.admits(small));
  bench.scheduler.leave(*bench.texts[1]);
  CHECK(bench.profile.others.n_running == 1);
  const BatchScheduler::Place place = bench.scheduler.take_place(small);
  CHECK(place.target_seq == bench.texts[1]->target_seq());
  CHECK(bench.profile.others.n_running == 2);
  bench.scheduler.give_back(place);  // its text could not be made
  CHECK(bench.profile.others.n_running == 1);
  CHECK(bench.scheduler.admits(small));
}

TEST_CASE("the draft's sequences are divided") {
  Bench bench(4);
  Request request;
  request.prompt = {1};
  std::vector<bool> taken(16, false);
  for (int i = 0; i < 4; ++i) {
    const BatchScheduler::Place place = bench.scheduler.take_place(request);
    REQUIRE(place.limits.draft->n_seq == 4);
    for (int k = 0; k < 4; ++k) {
      const auto seq = static_cast<std::size_t>(place.limits.first_draft_seq + k);
      REQUIRE(seq < taken.size());
      CHECK_FALSE(taken[seq]);
      taken[seq] = true;
    }
  }
  bench.limits.draft.reset();  // it has failed
  bench.scheduler.give_back({2, {}});
  CHECK_FALSE(bench.scheduler.take_place(request).limits.draft.has_value());
}

TEST_CASE("a text alone is sent at once, several wait for each other") {
  Bench bench;
  ScriptedText& first = bench.add();
  bench.verify(first, 2);
  REQUIRE(bench.models.target.size() == 1);
  CHECK(first.n_sent == 1);
  ScriptedText& second = bench.add();
  bench.answer_target();
  bench.verify(first, 2);
  bench.verify(second, 3);
  CHECK(bench.models.target.size() == 1);
  bench.scheduler.send_waiting();
  REQUIRE(bench.models.target.size() == 2);
  CHECK(n_segments(bench.models.target.back()) == 2);
  CHECK(bench.answer_target() == std::vector<GenerationId>{1, 2});
}

TEST_CASE("texts go on in one batch after the first of them has ended") {
  Bench bench;
  for (int i = 0; i < 3; ++i) bench.add();
  bench.verify(*bench.texts[1], 1);
  bench.scheduler.leave(*bench.texts[0]);
  bench.verify(*bench.texts[2], 1);
  ScriptedText& late = bench.add();
  bench.verify(late, 1);
  bench.scheduler.send_waiting();
  CHECK(n_segments(bench.models.target.back()) == 3);
}

TEST_CASE("other adapters and functions of the caller have batches of their own") {
  Bench bench(8, make_limits(8));
  Request adapted;
  adapted.adapters = std::vector<AdapterScale>{{0, 1.0F}};
  Request processed;
  processed.processors = std::make_shared<ProcessorChannel>(false, true);
  const Request requests[] = {{}, adapted, {}, processed, adapted, processed};
  for (const Request& request : requests) {
    ScriptedText& text = bench.add(request);
    text.offered = Offer{};
  }
  std::vector<std::vector<GenerationId>> batches;
  bench.scheduler.send_waiting();
  while (bench.models.target.size() > batches.size()) {
    batches.push_back(bench.answer_target());
    bench.scheduler.send_waiting();
  }
  CHECK(batches == std::vector<std::vector<GenerationId>>{{1, 3}, {2, 5}, {4}, {6}});
}

TEST_CASE("offers are taken as far as they pay, beside the rows that wait already") {
  Bench bench;
  for (int n = 0; n < 17; ++n) bench.profile.costs.target_us.push_back(n < 8 ? 100.0 : 10'000.0);
  for (int i = 0; i < 2; ++i) bench.add().offered = Offer{kNoNode, 0, {0.9, 0.9, 0.9, 0.9, 0.9}};
  bench.verify(bench.add(), 2);
  bench.scheduler.send_waiting();
  REQUIRE(bench.models.target.size() == 1);
  CHECK(n_segments(bench.models.target.back()) == 3);
  CHECK(std::get<VerifyCommand>(bench.models.target.back().body).n_tokens() == 8);
  CHECK(bench.texts[0]->offer() == nullptr);
  CHECK(bench.texts[0]->n_sent == 1);
}

TEST_CASE("a batch is padded where that was measured to be faster, if the target takes it") {
  for (const bool pads : {true, false}) {
    ModelLimits limits = make_limits(4);
    limits.target.pads = pads;
    Bench bench(4, limits);
    bench.profile.costs.target_us = {50.0, 100.0, 100.0, 80.0, 90.0};
    bench.add();
    bench.add();
    for (const auto& text : bench.texts) bench.verify(*text, 1);
    bench.scheduler.send_waiting();
    CHECK(std::get<VerifyCommand>(bench.models.target.back().body).n_pad == (pads ? 2 : 0));
  }
}

TEST_CASE("a batch is aborted when nobody needs it, and what waits for an ended text is dropped") {
  Bench bench;
  bench.models.now = 70;
  for (int i = 0; i < 3; ++i) bench.add();
  bench.verify(*bench.texts[0], 1);
  bench.verify(*bench.texts[1], 1);
  bench.scheduler.send_waiting();
  bench.verify(*bench.texts[2], 1);
  Commands cut;
  cut.abort_target = true;
  for (const auto& text : bench.texts) text->ended = true;
  bench.scheduler.dispatch(*bench.texts[0], cut);
  CHECK(bench.models.aborted.empty());
  bench.scheduler.dispatch(*bench.texts[2], cut);
  CHECK(bench.models.aborted.empty());
  bench.scheduler.dispatch(*bench.texts[1], cut);
  CHECK(bench.models.aborted == std::vector<ModelRole>{ModelRole::kTarget});
  const std::optional<Event> dropped = bench.scheduler.next_dropped();
  REQUIRE(dropped.has_value());
  CHECK(dropped->generation_id == 3);
  CHECK(std::holds_alternative<AbortDone>(dropped->body));
  CHECK(dropped->begin_us == 70);
  CHECK(dropped->end_us == 70);
  CHECK_FALSE(bench.scheduler.next_dropped().has_value());
  CHECK(bench.answer_target() == std::vector<GenerationId>{1, 2});
  bench.scheduler.send_waiting();
  CHECK(bench.models.target.size() == 1);
}

TEST_CASE("each text of several is told how long the other model was at work, too") {
  Bench bench;
  for (int i = 0; i < 2; ++i) {
    Commands commands;
    ScriptedText& text = bench.add();
    commands.target = text.verify(1);
    commands.draft = text.draft();
    bench.scheduler.dispatch(text, std::move(commands));
  }
  bench.answer_target(0, 100);  // the first text was alone, and the draft began with it
  CHECK(bench.events.front().overlap == 1.0);
  bench.scheduler.leave(*bench.texts[1]);
  bench.scheduler.send_waiting();
  bench.answer_target(100, 200);
  CHECK_FALSE(bench.events.front().overlap.has_value());
}

TEST_CASE("after scores that are no numbers, texts run to their end before another one begins") {
  const auto damage = std::make_exception_ptr(NonFiniteScores("not a number"));
  Request next;
  next.prompt = {1, 2};
  for (const int place : {0, 1, 2}) {
    CAPTURE(place);
    Bench bench;
    ScriptedText& first = bench.add();
    ScriptedText& second = bench.add();
    CHECK(bench.scheduler.admits(next));
    Event event;
    if (place < 2) {
      bench.verify(first, 1);
      bench.scheduler.send_waiting();
      VerifyDone done;
      done.results.push_back({first.id(), {}, nullptr, 0});
      if (place == 0) done.results.front().error = damage;
      if (place == 1) done.results.front().verification.error = damage;
      event = Event{ModelRole::kTarget, first.id(), std::move(done), 0, 10};
    } else {
      Commands commands;
      commands.draft = first.draft();
      bench.scheduler.dispatch(first, std::move(commands));
      bench.scheduler.send_waiting();
      event = Event{ModelRole::kDraft, first.id(), FailDone{damage}, 0, 10};
    }
    REQUIRE(bench.scheduler.awaits(event));
    CHECK(bench.scheduler.answer(std::move(event)).size() == 1);
    CHECK_FALSE(bench.scheduler.admits(next));
    bench.scheduler.leave(first);
    CHECK_FALSE(bench.scheduler.admits(next));
    bench.scheduler.leave(second);
    CHECK(bench.scheduler.admits(next));
    bench.add();
    CHECK(bench.scheduler.admits(next));
  }
}
