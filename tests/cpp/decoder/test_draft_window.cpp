// Drafts whose context is shorter than the text: the window that they read slides along.
#include <memory>
#include <vector>

#include "specbranch/decoder/draft_window.h"
#include "support/audited_run.h"
#include "support/chaos_planner.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("a window holds the end of the text, with room beyond it") {
  for (const Pos n_ctx : {1, 2, 3, 4, 7, 16, 64, 257, 1024}) {
    CAPTURE(n_ctx);
    DraftWindow window(n_ctx, 5000);
    window.move_to(1);
    int n_moves = 0;
    std::int64_t n_read = 1;
    for (Pos length = 2; length < 5000; ++length) {
      if (!window.outgrown(length)) {
        ++n_read;
        continue;
      }
      const Pos before = window.begin();
      window.move_to(length);
      CHECK(window.begin() >= before);
      CHECK(window.begin() < length);
      CHECK(window.end() >= length);
      if (n_ctx >= 4) CHECK_FALSE(window.outgrown(length));
      n_read += length - window.begin();
      ++n_moves;
    }
    if (n_ctx >= 16) {
      CHECK(n_moves <= 5000 / (n_ctx / 4));
      CHECK(n_read <= 2.6 * 5000);
    }
  }
}

TEST_CASE("a window that reaches the end of the text does not move") {
  DraftWindow window(64, 64);
  window.move_to(63);
  CHECK(window.begin() == 0);
  CHECK_FALSE(window.outgrown(64));
  DraftWindow late(64, 100);
  late.move_to(70);
  CHECK(late.begin() == 48);
  CHECK_FALSE(late.outgrown(100));
}

TEST_CASE("a window begins where the next turn of the text finds it") {
  // Two texts of nearly the same length have the same window.
  DraftWindow first(1024, 20'000);
  first.move_to(10'000);
  DraftWindow next(1024, 20'000);
  next.move_to(10'100);
  CHECK(first.begin() % 256 == 0);
  CHECK(next.begin() - first.begin() <= 256);
  CHECK(10'000 - first.begin() > 256);
  CHECK(10'000 - first.begin() <= 512);
}

TEST_CASE("every mode drafts beyond the draft's context, with the reference's text") {
  int n_opened = 0;
  std::int64_t n_late = 0;
  for (int i = 0; i < scaled(300); ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 250'000);
    scenario.target.n_ctx = 160;
    scenario.draft.n_ctx = Random(scenario.seed).pick({8, 16, 24, 40});
    scenario.draft.whole_states = i % 2 == 1;
    scenario.draft.n_seq = std::max(3, scenario.draft.n_seq);
    scenario.target.end_every = 0;
    scenario.request.max_tokens = 120;
    scenario.request.min_tokens = 80;
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      std::optional<Counters> counters;
      for (std::uint64_t shuffle = 0; shuffle < 3; ++shuffle) {
        VirtualOptions options = shuffled(shuffle);
        Pos skipped = 0;
        options.tamper_command = [&](Command& command) {
          if (const auto* open = std::get_if<OpenCommand>(&command.body)) {
            skipped = std::max(skipped, open->request->n_skipped);
            CHECK(open->request->may_end_from() == scenario.request.may_end_from());
            if (open->request->n_skipped > 0) ++n_opened;
          } else if (const auto* pass = std::get_if<DraftCommand>(&command.body)) {
            for (const SequenceInput& input : pass->inputs) {
              CHECK(input.pos + static_cast<Pos>(input.tokens.size()) <= scenario.draft.n_ctx);
              if (skipped > 0) ++n_late;
            }
          }
        };
        PairProfile profile = flat_profile();
        const VirtualResult got =
            run(scenario, mode, options,
                mode == Mode::kAuto ? make_eager_auto(scenario.request, &profile) : nullptr);
        CHECK(message_of(got.error) == "");
        CHECK(message_of(got.draft_error) == "");
        CHECK(got.tokens == expected.tokens);
        CHECK(got.finish == expected.finish);
        check_result(got, mode);
        // Lock-step modes do not depend on the order of events.
        if (mode == Mode::kAuto) continue;
        if (!counters) counters = got.counters;
        CHECK(got.counters == *counters);
      }
    }
  }
  CHECK(n_opened > 3 * scaled(300));
  CHECK(n_late > 30 * scaled(300));
}

TEST_CASE("every sequence of such a draft holds just the path of its node") {
  const int n = scaled(300);
  int n_inputs = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 260'000);
    scenario.target.n_ctx = 160;
    scenario.target.end_every = 0;
    scenario.draft.n_ctx = Random(scenario.seed).pick({16, 24, 40});
    scenario.draft.whole_states = i % 2 == 1;
    scenario.draft.n_seq = std::max(4, scenario.draft.n_seq);
    scenario.request.max_tokens = 120;
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      PairProfile profile = flat_profile();
      std::unique_ptr<Planner> planner;
      if (mode == Mode::kAuto) planner = make_eager_auto(scenario.request, &profile);
      if (mode == Mode::kSpeculative) planner = make_chaos(scenario.seed);
      AuditedRun audited(scenario, mode, std::move(planner));
      audited.run();
      n_inputs += audited.n_inputs();
    }
  }
  CHECK(n_inputs > 50 * n);
}
