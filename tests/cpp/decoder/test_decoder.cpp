// The decoder by hand, event by event: what is counted, what ends a text, what is refused.
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/decoder/decoder.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Does what the test wrote down, step by step; then nothing.
class ScriptPlanner final : public Planner {
 public:
  using Step = std::function<Decision(const View&)>;

  explicit ScriptPlanner(std::deque<Step> steps) : steps_(std::move(steps)) {}

  Decision next(const View& view) override {
    if (steps_.empty()) return {};
    const Step step = std::move(steps_.front());
    steps_.pop_front();
    return step(view);
  }
  bool lock_step() const override { return true; }
  int width() const override { return 2; }
  void on_verification(const View& /*view*/, bool /*hit*/) override {}

 private:
  std::deque<Step> steps_;
};

/// Wants the draft once the target has opened the text, and nothing else.
class LatePlanner final : public Planner {
 public:
  Decision next(const View& /*view*/) override { return {}; }
  bool lock_step() const override { return false; }
  bool wants_draft(const View& view) override { return view.target_open; }
  int width() const override { return 1; }
  void on_verification(const View& /*view*/, bool /*hit*/) override {}
};

Choice choice_of(Token token, bool end = false) {
  Choice choice;
  choice.token = token;
  choice.end = end;
  return choice;
}

/// A decoder whose models are the test.
class Bench {
 public:
  explicit Bench(std::deque<ScriptPlanner::Step> steps, int max_tokens = 20) {
    auto request = std::make_shared<Request>();
    request->prompt = {1, 2, 3};
    request->max_tokens = max_tokens;
    request->mode = Mode::kSpecBranch;
    request->trace = true;
    Capabilities both{10, 64, 4, 16};
    both.prefill_chunk = 1;
    decoder = std::make_unique<Decoder>(request, ModelLimits{both, both}, 1,
                                        std::make_unique<ScriptPlanner>(std::move(steps)),
                                        [this](const Committed& committed) {
                                          tokens.push_back(committed.choice.token);
                                          from_draft.push_back(committed.from_draft());
                                          return committed.choice.token == stop_at;
                                        });
    last = decoder->start();
  }

  template <class Body>
  void answer(ModelRole role, Body body) {
    Event event;
    event.role = role;
    event.generation_id = 1;
    event.body = std::move(body);
    last = decoder->on(event);
  }

  void begin() {
    answer(ModelRole::kDraft, OpenDone{2, {2, 0, 0, 0}});
    answer(ModelRole::kTarget, OpenDone{2, {2}});
  }

  void verified(const std::vector<Choice>& choices, bool exhausted = false) {
    answer(ModelRole::kTarget, VerifyDone{{{1, {choices, exhausted, {}}, nullptr}}});
  }

  const Counters& counters() const { return decoder->counters(); }

  std::unique_ptr<Decoder> decoder;
  Commands last;
  std::vector<Token> tokens;
  std::vector<bool> from_draft;
  Token stop_at = -1;
};

/// Drafts this tree, then submits the root's first child (or the root), and no more:
///
///     3 (root) --+-- 4 ---- 6
///                +-- 5 ---- 7
std::deque<ScriptPlanner::Step> two_branches(bool submit_child) {
  return {
      [](const View&) { return Decision{}; },  // the draft is ready first
      [](const View& view) { return Decision{.evaluate = {{view.tree.root()}}, .submit = {}}; },
      [](const View& view) {
        const NodeId root = view.tree.root();
        return Decision{.evaluate = {{root, 0}, {root, 1}}, .submit = {}};
      },
      [submit_child](const View& view) {
        const NodeId root = view.tree.root();
        const NodeId first = view.tree.find({root, 0});
        const NodeId second = view.tree.find({root, 1});
        Decision decision;
        decision.grow = {{first, 0}, {second, 0}};
        decision.submit = {submit_child ? first : root};
        return decision;
      },
  };
}

void draft_two_branches(Bench& bench) {
  bench.begin();
  bench.answer(ModelRole::kDraft, DraftDone{{{{4, 0.6}, {5, 0.3}}}});
  bench.answer(ModelRole::kDraft, DraftDone{{{{6, 0.9}}, {{7, 0.9}}}});
  REQUIRE(bench.last.target);
}

}  // namespace

TEST_CASE("all accepted: the path, then a hit on what follows it") {
  Bench bench(two_branches(true));
  draft_two_branches(bench);
  const auto& verify = std::get<VerifyCommand>(bench.last.target->body);
  CHECK(segment_of(verify).pos == 2);
  CHECK(path_of(verify) == std::vector<Token>{3, 4});
  CHECK(verify.ops.empty());
  bench.verified({choice_of(4), choice_of(6)});
  CHECK(bench.tokens == std::vector<Token>{4, 6});
  CHECK(bench.from_draft == std::vector<bool>{true, true});
  const Counters& c = bench.counters();
  CHECK(c.n_all_drafted == 4);
  CHECK(c.n_drafted == 2);  // 4 and 6; the other branch did not survive
  CHECK(c.n_accepted == 2);
  CHECK(c.n_rolled_back == 0);
  CHECK(c.branch_hits == 1);
  CHECK(c.branch_misses == 0);
  CHECK(c.acceptance_histogram == std::vector<std::int64_t>{0, 1});
}

TEST_CASE("a branch hit: its token is accepted, the one it replaces is rolled back") {
  for (const bool submit_child : {false, true}) {
    CAPTURE(submit_child);
    Bench bench(two_branches(submit_child));
    draft_two_branches(bench);
    bench.verified({choice_of(5)});
    CHECK(bench.tokens == std::vector<Token>{5});
    CHECK(bench.from_draft == std::vector<bool>{true});
    const Counters& c = bench.counters();
    CHECK(c.n_drafted == 4);  // 4 6 as the main path, 5 7 as the surviving branch
    CHECK(c.n_accepted == 1);
    CHECK(c.n_rolled_back == 2);
    CHECK(c.branch_hits == 1);
    CHECK(c.acceptance_histogram == std::vector<std::int64_t>{1});
    CHECK(bench.decoder->tree().size() == 2);  // 5 and 7 live on
    CHECK(bench.decoder->tree().at(bench.decoder->tree().root()).token == 5);
    static_cast<void>(bench.decoder->cancel());
    CHECK(c.n_unresolved == 1);
    CHECK(c.n_drafted == c.n_accepted + c.n_rolled_back + c.n_unresolved);
    REQUIRE(bench.decoder->rounds().size() == 1);
    const TraceRound& round = bench.decoder->rounds()[0];
    CHECK(round.branch_hit);
    CHECK(round.n_accepted == 0);
    CHECK(round.committed == std::vector<Token>{5});
    CHECK(round.rolled_back == std::vector<Token>{4, 6});
  }
}

TEST_CASE("a miss empties the tree; the next verification cuts the target's sequence") {
  auto steps = two_branches(true);
  steps.push_back([](const View&) { return Decision{}; });
  steps.push_back(
      [](const View& view) { return Decision{.evaluate = {}, .submit = {view.tree.root()}}; });
  Bench bench(std::move(steps));
  draft_two_branches(bench);
  bench.verified({choice_of(8)});
  CHECK(bench.tokens == std::vector<Token>{8});
  CHECK(bench.from_draft == std::vector<bool>{false});
  const Counters& c = bench.counters();
  CHECK(c.n_rolled_back == 2);
  CHECK(c.n_drafted == 2);
  CHECK(c.branch_misses == 1);
  CHECK(bench.decoder->tree().size() == 1);
  REQUIRE(bench.last.target);
  const auto& verify = std::get<VerifyCommand>(bench.last.target->body);
  REQUIRE(verify.ops.size() == 1);
  const auto& cut = std::get<Truncate>(verify.ops[0]);
  CHECK(cut.expected == 4);  // 1 2 3 4 were decoded
  CHECK(cut.length == 3);
  CHECK(segment_of(verify).pos == 3);
  CHECK(path_of(verify) == std::vector<Token>{8});
}

TEST_CASE("a step after which nothing was drafted is neither a hit nor a miss") {
  const auto plain = [](const View& view) {
    return Decision{.evaluate = {}, .submit = {view.tree.root()}};
  };
  Bench bench({[](const View&) { return Decision{}; }, plain});
  bench.begin();
  REQUIRE(bench.last.target);
  bench.verified({choice_of(8)});
  CHECK(bench.tokens == std::vector<Token>{8});
  const Counters& c = bench.counters();
  CHECK(c.branch_hits == 0);
  CHECK(c.branch_misses == 0);
  CHECK(c.acceptance_histogram == std::vector<std::int64_t>{1});
  REQUIRE(bench.decoder->rounds().size() == 1);
  CHECK_FALSE(bench.decoder->rounds()[0].branch_miss);
}

TEST_CASE("branches that nobody verified are missed, too") {
  Bench bench(two_branches(false));
  draft_two_branches(bench);
  bench.verified({choice_of(8)});
  CHECK(bench.counters().branch_misses == 1);
  REQUIRE(bench.decoder->rounds().size() == 1);
  CHECK(bench.decoder->rounds()[0].branch_miss);
}

TEST_CASE("an end token ends the text and is not in it") {
  Bench bench(two_branches(true));
  draft_two_branches(bench);
  bench.verified({choice_of(4), choice_of(9, true)});
  CHECK(bench.tokens == std::vector<Token>{4});
  CHECK(bench.decoder->idle());
  CHECK(bench.decoder->finish() == Finish::kStop);
  CHECK(bench.counters().n_unresolved == 1);  // 6 was never judged
  CHECK(bench.counters().n_rolled_back == 0);
  CHECK(bench.counters().branch_misses == 0);
}

TEST_CASE("a stop string ends the text with its token; the rest of the verification is dropped") {
  Bench bench(two_branches(true));
  bench.stop_at = 4;
  draft_two_branches(bench);
  bench.verified({choice_of(4), choice_of(6)});
  CHECK(bench.tokens == std::vector<Token>{4});
  CHECK(bench.decoder->finish() == Finish::kStop);
  CHECK(bench.counters().n_generated == 1);
  CHECK(bench.counters().n_unresolved == 1);
}

TEST_CASE("max_tokens ends the text in the middle of a verification") {
  Bench bench(two_branches(true), 1);
  draft_two_branches(bench);
  bench.verified({choice_of(4), choice_of(6)});
  CHECK(bench.tokens == std::vector<Token>{4});
  CHECK(bench.decoder->finish() == Finish::kLength);
}

TEST_CASE("an exhausted grammar ends the text after its choices") {
  Bench bench(two_branches(true));
  draft_two_branches(bench);
  bench.verified({choice_of(4)}, true);
  CHECK(bench.tokens == std::vector<Token>{4});
  CHECK(bench.decoder->finish() == Finish::kStop);
}

TEST_CASE("nothing to generate: no command at all") {
  const Bench bench({}, 0);
  CHECK_FALSE(bench.last.target);
  CHECK_FALSE(bench.last.draft);
  CHECK(bench.decoder->idle());
  CHECK(bench.decoder->finish() == Finish::kLength);
}

TEST_CASE("answers that do not fit the commands are refused") {
  SUBCASE("nothing is under way") {
    Bench bench({});
    bench.begin();
    CHECK_THROWS_AS(bench.verified({choice_of(4)}), PreconditionError);
    CHECK_THROWS_AS(bench.answer(ModelRole::kDraft, DraftDone{}), PreconditionError);
  }
  SUBCASE("sequences that a session cannot have when it opens") {
    for (const std::vector<Pos>& lengths :
         {std::vector<Pos>{}, {2, 0, 0}, {1, 0, 0, 0}, {2, 3, 0, 0}, {2, -1, 0, 0}}) {
      Bench bench(two_branches(true));
      CHECK_THROWS_AS(bench.answer(ModelRole::kDraft, OpenDone{2, lengths}), PreconditionError);
    }
  }
  SUBCASE("a chunk that was not asked for") {
    for (const Pos length : {0, 1, 3}) {
      Bench bench(two_branches(true));
      bench.answer(ModelRole::kDraft, OpenDone{1, {1, 0, 0, 0}});
      REQUIRE(bench.last.draft);
      CHECK_THROWS_AS(bench.answer(ModelRole::kDraft, PrefillDone{length}), PreconditionError);
    }
  }
  SUBCASE("results of another batch") {
    for (const std::vector<SegmentResult>& results :
         {std::vector<SegmentResult>{}, {{2, {}, nullptr}}, {{1, {}, nullptr}, {2, {}, nullptr}}}) {
      Bench bench(two_branches(true));
      draft_two_branches(bench);
      CHECK_THROWS_AS(bench.answer(ModelRole::kTarget, VerifyDone{results}), PreconditionError);
    }
  }
  SUBCASE("too few sequences") {
    Bench bench(two_branches(true));
    bench.begin();
    CHECK_THROWS_AS(bench.answer(ModelRole::kDraft, DraftDone{}), PreconditionError);
  }
  SUBCASE("a choice past the first difference") {
    Bench bench(two_branches(true));
    draft_two_branches(bench);
    CHECK_THROWS_AS(bench.verified({choice_of(8), choice_of(6)}), PreconditionError);
  }
  SUBCASE("a choice past a branch hit") {
    Bench bench(two_branches(true));
    draft_two_branches(bench);
    CHECK_THROWS_AS(bench.verified({choice_of(5), choice_of(7)}), PreconditionError);
  }
}

TEST_CASE("a planner that gives a busy model work is refused") {
  const auto twice = [](const View& view) {
    const NodeId root = view.tree.root();
    return Decision{.evaluate = {{root}}, .submit = {root}};
  };
  Bench bench({[](const View&) { return Decision{}; }, twice, twice});
  bench.begin();
  CHECK_THROWS_AS(bench.answer(ModelRole::kDraft, DraftDone{{{{4, 0.6}}}}), PreconditionError);
}

TEST_CASE("a cancel aborts what runs and waits for it") {
  Bench bench(two_branches(true));
  draft_two_branches(bench);
  const Commands commands = bench.decoder->cancel();
  CHECK(commands.abort_target);
  CHECK_FALSE(commands.abort_draft);  // it is idle
  CHECK_FALSE(commands.target);
  CHECK_FALSE(bench.decoder->idle());
  bench.answer(ModelRole::kTarget, AbortDone{});
  CHECK(bench.decoder->idle());
  CHECK(bench.decoder->finish() == Finish::kCancelled);
  CHECK(bench.tokens.empty());
  CHECK(bench.counters().n_target_steps == 0);
  CHECK(bench.counters().n_unresolved == bench.counters().n_drafted);
  const Commands again = bench.decoder->cancel();
  CHECK_FALSE(again.abort_target);
}

TEST_CASE("an abort that came too late: the verification is ignored") {
  Bench bench(two_branches(true));
  draft_two_branches(bench);
  static_cast<void>(bench.decoder->cancel());
  bench.verified({choice_of(4), choice_of(6)});
  CHECK(bench.tokens.empty());
  CHECK(bench.decoder->finish() == Finish::kCancelled);
  CHECK(bench.counters().n_generated == 0);
  CHECK(bench.counters().n_target_steps == 1);  // the pass has run to its end
}

TEST_CASE("a cancel while the target opens the text: the draft does not get it") {
  for (const bool cancelled : {false, true}) {
    auto request = std::make_shared<Request>();
    request->prompt = {1, 2, 3};
    request->mode = Mode::kAuto;
    const Capabilities both{10, 64, 4, 16};
    Decoder decoder(request, ModelLimits{both, both}, 1, std::make_unique<LatePlanner>(), {});
    CHECK_FALSE(decoder.start().draft);
    if (cancelled) static_cast<void>(decoder.cancel());
    Event event;
    event.generation_id = 1;
    event.body = OpenDone{2, {2}};
    CHECK(decoder.on(event).draft.has_value() == !cancelled);
    CHECK(decoder.idle() == cancelled);
  }
}

TEST_CASE("prompts are read in chunks, and no chunk is a reason to plan") {
  Bench bench({[](const View& view) {
                 CHECK(view.draft_idle);  // the draft is ready first
                 CHECK_FALSE(view.target_idle);
                 return Decision{};
               },
               [](const View& view) {
                 CHECK(view.target_idle);
                 return Decision{.evaluate = {}, .submit = {view.tree.root()}};
               }});
  const auto chunk = [](const std::optional<Command>& command) {
    REQUIRE(command);
    return std::get<PrefillCommand>(command->body);
  };
  // The prompt is 1 2 3: the models read 1 2.
  bench.answer(ModelRole::kTarget, OpenDone{0, {0}});
  CHECK(chunk(bench.last.target).begin == 0);
  CHECK(chunk(bench.last.target).end == 1);
  CHECK_FALSE(bench.last.draft);
  CHECK(bench.decoder->reading(ModelRole::kTarget));
  bench.answer(ModelRole::kDraft, OpenDone{1, {1, 0, 2, 0}});
  CHECK(chunk(bench.last.draft).begin == 1);
  CHECK(chunk(bench.last.draft).end == 2);
  bench.answer(ModelRole::kTarget, PrefillDone{1});
  CHECK(chunk(bench.last.target).begin == 1);
  bench.answer(ModelRole::kDraft, PrefillDone{2});
  CHECK_FALSE(bench.decoder->reading(ModelRole::kDraft));
  CHECK_FALSE(bench.last.target);  // the target still reads
  CHECK_FALSE(bench.last.draft);
  bench.answer(ModelRole::kTarget, PrefillDone{2});
  CHECK_FALSE(bench.decoder->reading(ModelRole::kTarget));
  REQUIRE(bench.last.target);
  CHECK(std::holds_alternative<VerifyCommand>(bench.last.target->body));
}

TEST_CASE("what a prompt takes over while it is read counts as reused") {
  Bench bench({});
  bench.answer(ModelRole::kTarget, OpenDone{1, {1}});
  CHECK(bench.decoder->n_reused() == 1);
  bench.answer(ModelRole::kTarget, PrefillDone{2, {}, 1});
  CHECK(bench.decoder->n_reused() == 2);
}

TEST_CASE("a cancel between two chunks: no other chunk is read") {
  for (const bool aborted : {false, true}) {
    Bench bench({});
    bench.answer(ModelRole::kDraft, OpenDone{2, {2, 0, 0, 0}});
    bench.answer(ModelRole::kTarget, OpenDone{0, {0}});
    REQUIRE(bench.last.target);
    const Commands commands = bench.decoder->cancel();
    CHECK(commands.abort_target);
    if (aborted) {
      bench.answer(ModelRole::kTarget, AbortDone{});
    } else {
      bench.answer(ModelRole::kTarget, PrefillDone{1});
    }
    CHECK_FALSE(bench.last.target);
    CHECK(bench.decoder->idle());
    CHECK(bench.decoder->finish() == Finish::kCancelled);
  }
}

TEST_CASE("a segment that fails ends its text with the error") {
  Bench bench(two_branches(true));
  draft_two_branches(bench);
  const auto error = std::make_exception_ptr(DecodeError("not a number"));
  bench.answer(ModelRole::kTarget, VerifyDone{{{1, {}, error}}});
  CHECK(bench.decoder->idle());
  CHECK(bench.decoder->finish() == Finish::kFailed);
  CHECK(holds<DecodeError>(bench.decoder->error()));
  CHECK(bench.tokens.empty());
  CHECK(bench.counters().n_unresolved == bench.counters().n_drafted);
}
