// The record of a generation, against its statistics and against times of a test's own.
#include <algorithm>
#include <memory>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/report/trace.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

double busy_ms(const Trace& trace, ModelRole role, TraceSpan::Kind kind) {
  std::int64_t us = 0;
  for (const TraceSpan& span : trace.spans) {
    if (span.role == role && span.kind == kind) us += span.end_us - span.begin_us;
  }
  return static_cast<double>(us) / 1000.0;
}

}  // namespace

TEST_CASE("a trace tells what happened") {
  const int n = scaled(20);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_valid_scenario(static_cast<std::uint64_t>(i) + 40);
    scenario.request.trace = true;
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      const Collected got = run_engine(scenario, mode);
      const Trace& trace = got.end.trace;
      const Counters& counters = got.end.stats.counters;
      std::int64_t n_verify = 0;
      std::int64_t n_draft = 0;
      std::int64_t n_lanes = 0;
      std::int64_t last_end[2] = {0, 0};
      int n_read[2] = {0, 0};  // tokens of the prompt, in chunks
      for (const TraceSpan& span : trace.spans) {
        CHECK(span.begin_us <= span.end_us);
        std::int64_t& end = last_end[span.role == ModelRole::kTarget ? 0 : 1];
        CHECK(span.begin_us >= end);  // one command at a time
        end = span.end_us;
        if (span.kind == TraceSpan::Kind::kVerify) ++n_verify;
        if (span.kind == TraceSpan::Kind::kDraft) {
          ++n_draft;
          n_lanes += span.n_tokens;
        }
        if (span.kind == TraceSpan::Kind::kPrefill) {
          n_read[span.role == ModelRole::kTarget ? 0 : 1] += span.n_tokens;
        }
      }
      const int n_prompt = static_cast<int>(scenario.request.prompt.size());
      CHECK(n_read[0] == (n_verify > 0 ? n_prompt - 1 : 0));
      // A draft with a short context reads the end of the text again and again.
      if (scenario.draft.n_ctx >= scenario.target.n_ctx) CHECK(n_read[1] <= n_prompt - 1);
      CHECK(n_verify == counters.n_target_steps);
      CHECK(n_draft == counters.n_draft_steps);
      CHECK(n_lanes == counters.n_draft_lanes);
      CHECK(trace.rounds.size() == static_cast<std::size_t>(counters.n_target_steps));
      std::vector<Token> committed;
      std::int64_t n_rolled_back = 0;
      std::int64_t n_hits = 0;
      std::int64_t n_accepted = 0;
      std::int64_t at_us = 0;
      for (const TraceRound& round : trace.rounds) {
        CHECK(round.at_us >= at_us);
        at_us = round.at_us;
        committed.insert(committed.end(), round.committed.begin(), round.committed.end());
        n_rolled_back += static_cast<std::int64_t>(round.rolled_back.size());
        n_accepted += round.n_accepted;
        if (round.branch_hit) ++n_hits;
      }
      CHECK(committed == got.tokens);
      CHECK(n_rolled_back == counters.n_rolled_back);
      CHECK(n_accepted + n_hits == counters.n_accepted);
      if (mode != Mode::kAutoregressive) CHECK(n_hits == counters.branch_hits);
    }
  }
}

TEST_CASE("without being asked for, there is no trace") {
  const Collected got = run_engine(make_valid_scenario(1), Mode::kSpecBranch);
  CHECK(got.end.trace.begin_us == 0);
  CHECK(got.end.trace.spans.empty());
  CHECK(got.end.trace.rounds.empty());
}

TEST_CASE("a verification says what became of it") {
  const int n = scaled(20);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_valid_scenario(static_cast<std::uint64_t>(i) + 80);
    scenario.request.trace = true;
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      const Trace trace = run_engine(scenario, mode).end.trace;
      std::size_t n_rounds = 0;
      for (const TraceSpan& span : trace.spans) {
        // Passes of the draft that can no longer matter are cut short.
        if (mode != Mode::kAuto || span.kind == TraceSpan::Kind::kVerify) {
          CHECK(span.end == TraceSpan::End::kDone);
        }
        CHECK((span.n_branches > 0) == (span.kind == TraceSpan::Kind::kDraft));
        CHECK(span.n_branches <= span.n_tokens);
        CHECK(span.applied.has_value() == (span.kind == TraceSpan::Kind::kVerify));
        if (!span.applied) continue;
        REQUIRE(n_rounds < trace.rounds.size());
        const TraceRound& round = trace.rounds[n_rounds++];
        CHECK(span.end_us <= round.at_us);
        CHECK(span.applied->n_accepted == round.n_accepted);
        CHECK(span.applied->n_accepted < span.n_tokens);
        CHECK(span.applied->branch_hit == round.branch_hit);
        CHECK(span.applied->branch_miss == round.branch_miss);
        CHECK_FALSE((round.branch_hit && round.branch_miss));
      }
      CHECK(n_rounds == trace.rounds.size());
    }
  }
}

TEST_CASE("idle times are what the spans leave of the decoding time") {
  const int n = scaled(20);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_valid_scenario(static_cast<std::uint64_t>(i) + 120);
    scenario.request.trace = true;
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      const GenerationEnd end = run_engine(scenario, mode).end;
      const Stats& stats = end.stats;
      check_times(stats);
      const double verify_ms = busy_ms(end.trace, ModelRole::kTarget, TraceSpan::Kind::kVerify);
      CHECK(stats.target_idle_ms == doctest::Approx(stats.decode_ms - verify_ms));
      // A draft may begin to draft while the target still reads its prompt.
      const double draft_ms = busy_ms(end.trace, ModelRole::kDraft, TraceSpan::Kind::kDraft);
      // Without rounds the text may end while the draft still reads its prompt.
      const bool reads_once = scenario.draft.n_ctx >= scenario.target.n_ctx;
      if (mode != Mode::kAuto && reads_once) CHECK(stats.draft_busy_ms <= draft_ms + 1e-6);
      if (mode == Mode::kAutoregressive) {
        CHECK(stats.draft_idle_ms == 0.0);
        CHECK(stats.draft_busy_ms == 0.0);
      }
    }
  }
}

TEST_CASE("a span that was cut short or failed says so, and what it was") {
  Scenario scenario = make_long_scenario(3);
  scenario.request.trace = true;
  for (const bool fails : {false, true}) {
    for (int step = 0; step < 3; ++step) {
      CAPTURE(step);
      CAPTURE(fails);
      Barrier barrier(step);
      const Hook hook = [step, fails, held = barrier.hook()](int at, const auto& aborted) {
        held(at, aborted);
        if (fails && at == step) throw DecodeError("no room for this batch");
      };
      Engine engine(make_parts(scenario, hook));
      const auto generation = engine.generate(scenario.request);
      barrier.wait_until_reached();
      if (fails) {
        barrier.release();
      } else {
        generation->cancel();
      }
      const GenerationEnd end = collect(*generation).end;
      const auto& spans = end.trace.spans;
      const auto last = std::find_if(spans.rbegin(), spans.rend(), [](const TraceSpan& span) {
        return span.role == ModelRole::kTarget;
      });
      REQUIRE(last != spans.rend());
      CHECK(last->end == (fails ? TraceSpan::End::kFailed : TraceSpan::End::kAborted));
      CHECK(last->kind == (step == 0 ? TraceSpan::Kind::kPrefill : TraceSpan::Kind::kVerify));
      CHECK_FALSE(last->applied);
    }
  }
}

TEST_CASE("the recorder takes times, padding and reuse as they come") {
  TraceRecorder recorder(1'000);
  recorder.sent(ModelRole::kTarget, Command{1, PrefillCommand{4, 9}});
  recorder.ended(Event{ModelRole::kTarget, 1, PrefillDone{9}, 1'010, 1'050}, {}, 1'060);
  const std::vector<Token> path{1, 2, 3};
  recorder.sent(ModelRole::kTarget,
                Command{1, VerifyCommand{{}, {path_segment(1, 0, 9, path)}, 2}});
  recorder.sent(ModelRole::kDraft,
                Command{1, DraftCommand{{}, {{0, 0, 9, {1, 2}}, {1, 1, 9, {5}}}, 1, {}}});
  recorder.ended(Event{ModelRole::kDraft, 1, DraftDone{}, 1'060, 1'070}, {}, 1'071);
  recorder.ended(Event{ModelRole::kTarget, 1, VerifyDone{}, 1'060, 1'090}, {}, 1'091);
  std::vector<TraceRound> rounds(1);  // applied later, when a round of the draft has ended
  rounds[0].n_accepted = 2;
  rounds[0].branch_miss = true;
  recorder.sent(ModelRole::kDraft, Command{1, DraftCommand{{}, {{2, 0, 11, {3}}}, 1, {}}});
  recorder.ended(Event{ModelRole::kDraft, 1, DraftDone{}, 1'091, 1'099}, rounds, 1'100);
  const Trace trace = recorder.take(std::move(rounds));
  CHECK(trace.begin_us == 1'000);
  REQUIRE(trace.spans.size() == 4);
  CHECK(trace.spans[0].kind == TraceSpan::Kind::kPrefill);
  CHECK(trace.spans[0].n_tokens == 5);
  CHECK(trace.spans[0].begin_us == 10);
  CHECK(trace.spans[0].end_us == 50);
  CHECK(trace.spans[1].n_branches == 2);
  CHECK(trace.spans[1].n_tokens == 3);
  CHECK_FALSE(trace.spans[1].applied);
  CHECK(trace.spans[2].n_tokens == 3);
  CHECK(trace.spans[2].n_padding == 2);
  REQUIRE(trace.spans[2].applied);
  CHECK(trace.spans[2].applied->n_accepted == 2);
  CHECK(trace.spans[2].applied->branch_miss);
  REQUIRE(trace.rounds.size() == 1);
  CHECK(trace.rounds[0].at_us == 100);
}
