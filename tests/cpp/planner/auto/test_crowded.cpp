// `auto` beside other texts: it speculates where that pays for all of them.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/planner/auto/auto_planner.h"
#include "specbranch/planner/auto/schedule_choice.h"
#include "specbranch/planner/cost_model.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A pair whose draft is right 90 times of 100, and costs a tenth of a step.
struct Pair {
  PairProfile profile = flat_profile();
  CostModel costs{&profile};
  AcceptanceModel acceptance{&profile.acceptance[0]};
  std::int64_t now_us = 0;

  Pair() {
    for (int i = 0; i < 1'000; ++i) {
      const Candidate first{i % 10 == 0 ? 2 : 1, 0.9F};
      acceptance.observe(std::span(&first, 1), 1);
    }
  }

  /// Each row costs as much as a batch: no batch of several texts has room for drafted tokens.
  void make_rows_dear() {
    auto& us = profile.costs.target_us;
    us.resize(32);
    for (std::size_t i = 0; i < us.size(); ++i) us[i] = 1'000.0 * static_cast<double>(i + 1);
  }

  /// A batch of `us` in which this text chose `n_tokens`, beside as many as run.
  void verified(ScheduleChoice& choice, int n_tokens, int us, double overlap = 0.0) {
    now_us += us;
    StepTime time{ModelRole::kTarget, n_tokens, 0, now_us - us, now_us, overlap};
    time.n_others = profile.others.n_running * n_tokens;
    time.n_texts = profile.others.n_running + 1;
    costs.on_step(time);
    choice.on_verification(now_us, us, n_tokens);
  }
};

}  // namespace

TEST_CASE("beside other texts the draft works where batches have room for its tokens") {
  Pair pair;
  pair.profile.others.n_running = 3;
  const ScheduleChoice choice(pair.costs, pair.acceptance, 9, /*switching=*/true);
  CHECK(choice.schedule() == Schedule::kParallel);
  CHECK(choice.mode_reason().find("beside 3 other texts") != std::string::npos);
}

TEST_CASE("it rests where other texts fill the batches, and goes on when they have gone") {
  Pair pair;
  pair.make_rows_dear();
  pair.profile.costs.target_us.assign(4, 1'000.0);  // alone, four rows are free
  pair.profile.costs.target_us.resize(32, 9'000.0);
  CostModel costs(&pair.profile);
  ScheduleChoice choice(costs, pair.acceptance, 5, /*switching=*/true);
  REQUIRE(choice.schedule() == Schedule::kParallel);
  pair.profile.others.n_running = 3;
  choice.on_verification(1'000, 1'000, 1);
  CHECK(choice.schedule() == Schedule::kAutoregressive);
  CHECK_FALSE(choice.drafts());
  pair.profile.others.n_running = 0;
  choice.on_verification(2'000, 1'000, 1);
  CHECK(choice.schedule() == Schedule::kParallel);
}

TEST_CASE("no text waits for the draft in a serial schedule beside others") {
  Pair pair;
  pair.profile.costs.target_slowdown = 2.0;
  CostModel costs(&pair.profile);
  for (std::int64_t i = 0; i < 40; ++i) {
    const std::int64_t us = i % 2 == 0 ? 1'000 : 2'000;  // alone, and beside the draft
    costs.on_step({ModelRole::kTarget, 1, 0, 0, us, i % 2 == 0 ? 0.0 : 1.0});
  }
  CHECK(ScheduleChoice(costs, pair.acceptance, 9, true).schedule() == Schedule::kSequential);
  pair.profile.others.n_running = 1;
  CHECK(ScheduleChoice(costs, pair.acceptance, 9, true).schedule() != Schedule::kSequential);
}

TEST_CASE("texts that share batches withdraw speculation together, and only beside others") {
  Pair pair;
  pair.profile.others.n_running = 1;
  pair.profile.others.batches_since_plain = 5;
  ScheduleChoice one(pair.costs, pair.acceptance, 9, /*switching=*/true);
  ScheduleChoice other(pair.costs, pair.acceptance, 9, /*switching=*/true);
  REQUIRE(one.schedule() == Schedule::kParallel);
  // Each batch takes twice as long as one of single tokens, and brings as much.
  for (int i = 0; i < 40 && one.schedule() == Schedule::kParallel; ++i) {
    pair.now_us += 2'000;
    one.on_verification(pair.now_us, 2'000, 1);
    other.on_verification(pair.now_us, 2'000, 1);
  }
  CHECK(one.schedule() == Schedule::kAutoregressive);
  other.on_verification(pair.now_us + 2'000, 2'000, 1);
  CHECK(other.schedule() == Schedule::kAutoregressive);
  CHECK(pair.profile.acceptance[0].crowded.paused);
  CHECK_FALSE(pair.profile.acceptance[0].alone.paused);
  pair.profile.others.n_running = 0;
  CHECK(ScheduleChoice(pair.costs, pair.acceptance, 9, true).schedule() == Schedule::kParallel);
}

TEST_CASE("a small loss in every batch of several texts is noticed, and once for all of them") {
  Pair pair;
  pair.profile.others.n_running = 3;
  pair.profile.others.batches_since_plain = 5;
  std::vector<std::unique_ptr<ScheduleChoice>> texts;
  for (int i = 0; i < 4; ++i) {
    texts.push_back(std::make_unique<ScheduleChoice>(pair.costs, pair.acceptance, 9, true));
    REQUIRE(texts.back()->schedule() == Schedule::kParallel);
  }
  int n_batches = 0;
  const auto all_rest = [&texts] {
    return std::ranges::all_of(
        texts, [](const auto& one) { return one->schedule() == Schedule::kAutoregressive; });
  };
  while (!all_rest() && n_batches < 1'000) {
    ++n_batches;
    pair.now_us += 1'060;
    for (const auto& one : texts) one->on_verification(pair.now_us, 1'060, 1);
  }
  CHECK(n_batches < 100);
  CHECK(pair.profile.acceptance[0].crowded.paused);
  CHECK(pair.profile.acceptance[0].crowded.probe_interval == 128.0);  // doubled once
}

TEST_CASE("beside others the prompts between two batches are not the fault of speculation") {
  Pair pair;
  pair.profile.others.n_running = 1;
  pair.profile.others.batches_since_plain = 5;
  ScheduleChoice choice(pair.costs, pair.acceptance, 9, /*switching=*/true);
  for (int i = 0; i < 200; ++i) {
    pair.now_us += 5'000;  // of which the batch takes one
    choice.on_observation();
    choice.on_verification(pair.now_us, 1'000, 2);
    REQUIRE(choice.schedule() == Schedule::kParallel);
  }
}

TEST_CASE("a planner that may not switch speculates beside others, too") {
  Pair pair;
  pair.make_rows_dear();
  CostModel costs(&pair.profile);
  pair.profile.others.n_running = 3;
  ScheduleChoice choice(costs, pair.acceptance, 9, /*switching=*/false);
  choice.on_verification(1'000, 1'000, 1);
  CHECK(choice.drafts());
}

TEST_CASE("single tokens of all texts, beside no draft pass, are the plain step of a crowd") {
  Pair pair;
  pair.profile.others.n_running = 3;
  const auto step = [&](int n_tokens, int n_others, double overlap) {
    pair.now_us += 1'000;
    StepTime time{ModelRole::kTarget, n_tokens, 0, pair.now_us - 1'000, pair.now_us, overlap};
    time.n_others = n_others;
    time.n_texts = 4;
    pair.costs.on_step(time);
    return pair.costs.steps_since_plain();
  };
  CHECK(step(1, 3, 0.0) == 0);
  for (int i = 0; i < 4; ++i) step(2, 6, 0.0);  // each of the four tells of the same batch
  CHECK(pair.costs.steps_since_plain() == 1);
  for (int i = 0; i < 4; ++i) step(1, 3, 0.5);
  CHECK(pair.costs.steps_since_plain() == 2);
  CHECK(step(1, 3, 0.0) == 0);
}

TEST_CASE("what speculation costs a text that does not draft counts, too") {
  Pair pair;
  pair.make_rows_dear();
  CostModel costs(&pair.profile);
  pair.profile.others.n_running = 3;
  ScheduleChoice choice(costs, pair.acceptance, 9, /*switching=*/true);
  REQUIRE(choice.schedule() == Schedule::kAutoregressive);
  const RateRecord& all = pair.profile.acceptance[0].crowded.speculation;
  const auto verified = [&](double batches_since_plain) {
    pair.profile.others.batches_since_plain = batches_since_plain;
    pair.now_us += 8'000;
    choice.on_verification(pair.now_us, 8'000, 1);
  };
  verified(0);
  verified(0);  // all texts had one token: nobody speculates
  CHECK(all.tokens == 0.0);
  verified(3);
  CHECK(all.tokens == 1.0);
  CHECK(all.gain < 0.0);
}

TEST_CASE("beside others the draft works where its tokens are worth the delay of all texts") {
  for (const bool dear : {false, true}) {
    CAPTURE(dear);
    Pair pair;
    pair.profile.others.n_running = 3;
    pair.profile.costs.target_slowdown = pair.profile.costs.draft_slowdown = 2.0;
    pair.profile.costs.draft_us.assign(16, dear ? 5'000.0 : 100.0);
    AutoBounds bounds;
    bounds.switching = false;
    AutoPlanner planner(bounds, 0.0F, &pair.profile);
    SpeculationTree tree;
    tree.reset(1, 10);
    View view{.tree = tree};
    view.target_idle = false;
    view.submitted = tree.root();
    view.max_depth = view.max_path = 8;
    view.n_seqs = view.free_seqs = 8;
    CHECK(planner.next(view).evaluate.empty() == dear);
  }
}

TEST_CASE("a crowd in which no plain step comes speculates on, and tries later again") {
  Pair pair;
  pair.profile.others.n_running = 3;
  const ScheduleChoice choice(pair.costs, pair.acceptance, 9, /*switching=*/true);
  int n_waiting = 0;
  for (int batch = 0; batch < 1'000; ++batch) {
    pair.profile.others.batches_since_plain = batch;
    if (choice.wants_plain_step()) ++n_waiting;
  }
  CHECK(n_waiting > 0);
  CHECK(n_waiting <= 1'000 / 20 * 3);
  pair.profile.others.n_running = 0;
  CHECK(choice.wants_plain_step());  // alone, it comes at once
}

TEST_CASE("a draft that is right too seldom drafts on where texts pay, and the reason says so") {
  Pair pair;
  ScheduleChoice choice(pair.costs, pair.acceptance, 9, /*switching=*/true);
  const auto verify = [&] {
    for (int i = 0; i < 4; ++i) choice.on_text_token();
    pair.verified(choice, 4, 1'500);
  };
  for (int i = 0; i < 20; ++i) verify();
  CHECK(choice.mode_reason().find("overlapped: up to ") == 0);
  for (int i = 0; i < 1'000; ++i) {
    const Candidate wrong{1, 0.9F};
    pair.acceptance.observe(std::span(&wrong, 1), 2);
    choice.on_observation();
  }
  for (int i = 0; i < 20; ++i) verify();
  CHECK(choice.schedule() == Schedule::kParallel);
  const std::string reason = choice.mode_reason();
  CAPTURE(reason);
  CHECK(reason.find("overlapped: with what texts propose, ") == 0);
  CHECK(reason.find(" of plain decoding measured; first choices are right 0.") !=
        std::string::npos);
}

TEST_CASE("of texts that begin with an unknown draft one probes it, and the others learn from it") {
  Pair pair;
  pair.profile.acceptance[0] = {};
  pair.profile.others.n_running = 2;
  auto first = std::make_unique<ScheduleChoice>(pair.costs, pair.acceptance, 9, true);
  ScheduleChoice second(pair.costs, pair.acceptance, 9, true);
  ScheduleChoice third(pair.costs, pair.acceptance, 9, true);
  CHECK(first->probing());
  CHECK_FALSE(second.probing());
  CHECK_FALSE(second.drafts());
  CHECK_FALSE(third.drafts());

  const auto step = [&](ScheduleChoice& choice) { pair.verified(choice, 1, 1'000); };
  SUBCASE("the draft is good: all speculate") {
    for (int i = 0; i < 12; ++i) {
      const Candidate right{1, 0.9F};
      pair.acceptance.observe(std::span(&right, 1), 1);
      first->on_observation();
      step(*first);
      CHECK_FALSE(second.probing());
    }
    CHECK(first->schedule() == Schedule::kParallel);
    pair.profile.others.batches_since_plain = 1;  // the first one verifies drafted tokens
    second.on_verification(pair.now_us, 1'000, 1);
    CHECK(second.schedule() == Schedule::kParallel);
  }
  SUBCASE("it goes before it knows: another one probes after some tokens") {
    first.reset();
    int n_steps = 0;
    while (!second.probing() && !third.probing() && n_steps < 200) {
      step(second);
      ++n_steps;
      step(third);
    }
    CHECK(n_steps < 100);
    CHECK(second.probing() != third.probing());
  }
}
