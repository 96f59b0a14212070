// Models with a recurrent state. Some targets take back tokens of their last verification only,
// once, and anything else corrupts their state without a word: a wrong bound shows as a wrong text.
// Other targets, and drafts, copy and drop whole sequences only, and throw where anything else is
// asked.
#include <memory>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "support/chaos_planner.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr int kShuffles = 7;

Scenario make_recurrent_scenario(std::uint64_t seed) {
  Scenario scenario = make_scenario(seed);
  scenario.target.max_rollback = Random(seed + 5).pick({0, 1, 2, 3, 7});
  return scenario;
}

Mode mode_for(const Scenario& scenario, Mode mode) {
  // Nothing can be taken back: the engine has no other mode.
  return scenario.target.max_rollback > 0 ? mode : Mode::kAutoregressive;
}

/// Four turns of a text under a planner without any order, some of them cut short.
void check_turns_without_order(Scenario scenario) {
  const auto target = make_fake_target(scenario.target);
  const auto draft = make_fake_draft(scenario.draft);
  Random random(scenario.seed + 1);
  for (int turn = 0; turn < 4; ++turn) {
    INFO(describe(scenario));
    CAPTURE(turn);
    VirtualOptions options = shuffled(random.next());
    if (random.chance(0.3)) options.cancel_after_events = random.between(1, 12);
    scenario.request.mode = Mode::kSpecBranch;
    const VirtualResult got =
        run_virtually(scenario.request, *target, draft.get(), options, make_chaos(random.next()));
    CHECK(message_of(got.error) == "");
    CHECK(is_prefix(got.tokens, reference(scenario).tokens));
    if (got.finish != Finish::kCancelled) CHECK(got.tokens == reference(scenario).tokens);
    // The same text again, or the next turn of it.
    if (random.chance(0.5) && scenario.request.prompt.size() < 20) {
      for (const Token token : got.tokens) scenario.request.prompt.push_back(token);
      scenario.request.prompt.resize(
          std::min(scenario.request.prompt.size(),
                   static_cast<std::size_t>(std::max(1, scenario.target.n_ctx - 4))));
    }
  }
}

}  // namespace

TEST_CASE("every interleaving over a recurrent state gives the reference's text") {
  const int n = scaled(750);
  std::int64_t n_interleavings = 0;
  std::int64_t n_taken_back = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_recurrent_scenario(static_cast<std::uint64_t>(i) + 30'000);
    const Expected expected = reference(scenario);
    for (const Mode wanted : kDraftingModes) {
      const Mode mode = mode_for(scenario, wanted);
      scenario.request.mode = mode;
      INFO(describe(scenario));
      CAPTURE(scenario.target.max_rollback);
      for (std::uint64_t shuffle = 0; shuffle < kShuffles; ++shuffle) {
        CAPTURE(shuffle);
        VirtualOptions options = shuffled(shuffle);
        Pos longest = 0;
        options.tamper_command = [&](Command& command) {
          const auto* verify = std::get_if<VerifyCommand>(&command.body);
          if (verify == nullptr) return;
          CHECK(verify->n_pad == 0);
          longest = std::max(longest, static_cast<Pos>(verify->n_tokens()));
          for (const KvOp& op : verify->ops) {
            const auto& cut = std::get<Truncate>(op);
            n_taken_back += cut.expected - cut.length;
          }
        };
        PairProfile profile = flat_profile();
        const VirtualResult got = run(scenario, mode, options,
                                      wanted == Mode::kAuto && mode == wanted
                                          ? make_eager_auto(scenario.request, &profile)
                                          : nullptr);
        ++n_interleavings;
        CHECK(message_of(got.error) == "");
        CHECK(got.tokens == expected.tokens);
        CHECK(got.finish == expected.finish);
        CHECK(longest <= scenario.target.max_rollback + 1);
        check_result(got, mode);
      }
    }
  }
  MESSAGE(n_interleavings << " interleavings, " << n_taken_back << " tokens taken back");
  CHECK(n_taken_back > 10 * n);
}

TEST_CASE("so does a planner without any order, one generation after another") {
  for (int i = 0; i < scaled(300); ++i) {
    Scenario scenario = make_recurrent_scenario(static_cast<std::uint64_t>(i) + 40'000);
    scenario.target.max_rollback = 1 + i % 4;
    check_turns_without_order(std::move(scenario));
  }
}

TEST_CASE("every interleaving over copied states gives the reference's text") {
  const int n = scaled(750);
  std::int64_t n_interleavings = 0;
  std::int64_t n_replayed = 0;
  std::int64_t n_restored = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 50'000);
    scenario.target.whole_states = i % 3 != 0;
    scenario.draft.whole_states = i % 3 != 1;
    scenario.draft.n_seq = std::max(3, scenario.draft.n_seq);
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      for (std::uint64_t shuffle = 0; shuffle < kShuffles; ++shuffle) {
        CAPTURE(shuffle);
        VirtualOptions options = shuffled(shuffle);
        options.tamper_command = [&](Command& command) {
          const auto* verify = std::get_if<VerifyCommand>(&command.body);
          if (verify == nullptr) return;
          for (const Row& row : segment_of(*verify).rows) n_replayed += row.wanted ? 0 : 1;
          for (const KvOp& op : verify->ops) {
            const auto* fork = std::get_if<Fork>(&op);
            if (fork != nullptr && fork->to == 0) ++n_restored;
          }
        };
        PairProfile profile = flat_profile();
        const VirtualResult got =
            run(scenario, mode, options,
                mode == Mode::kAuto ? make_eager_auto(scenario.request, &profile) : nullptr);
        ++n_interleavings;
        CHECK(message_of(got.error) == "");
        CHECK(message_of(got.draft_error) == "");
        CHECK(got.tokens == expected.tokens);
        CHECK(got.finish == expected.finish);
        check_result(got, mode);
      }
    }
  }
  MESSAGE(n_interleavings << " interleavings, " << n_restored << " copies taken back, "
                          << n_replayed << " tokens decoded again");
  CHECK(n_restored > 5 * n);
  CHECK(n_replayed > 5 * n);
}

TEST_CASE("so does a planner without any order over copied states, turn after turn") {
  for (int i = 0; i < scaled(300); ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 55'000);
    scenario.target.whole_states = scenario.draft.whole_states = true;
    scenario.draft.n_seq = 3 + i % 6;
    check_turns_without_order(std::move(scenario));
  }
}

TEST_CASE("a fake with a recurrent state is corrupted by what llama.cpp gets wrong") {
  FakeOptions options;
  options.max_rollback = 2;
  options.max_batch = 64;
  Request request;
  request.prompt = {1, 2, 3};
  const std::vector<Token> path{3, 4, 5};
  const auto fresh = [&] {
    auto target = make_fake_target(options);
    CHECK(target->capabilities().max_batch == 3);
    CHECK(target->capabilities().rollback == Rollback::kLastBatch);
    CHECK(begin(*target, request) == 0);
    static_cast<void>(verify(*target, 2, path));
    return target;
  };
  const auto choice = [](TargetModel& target, Pos pos, Token token) {
    return verify(target, pos, std::span(&token, 1)).choices.at(0).token;
  };
  const auto score_at = [&](std::vector<Token> text) {
    return ScoreRow(fake_scores(options, text, 1.0)).largest(1)[0].token;
  };
  auto target = fresh();
  target->truncate({0, 5, 3});  // two of the last verification
  CHECK(choice(*target, 3, 7) == score_at({1, 2, 3, 7}));
  target->truncate({0, 4, 3});  // the only row of the last verification
  CHECK(target->length(0) == 3);

  int n_wrong = 0;
  for (Token token = 0; token < 16; ++token) {
    target = fresh();
    target->truncate({0, 5, 4});
    target->truncate({0, 4, 3});  // twice
    n_wrong += choice(*target, 3, token) != score_at({1, 2, 3, token}) ? 1 : 0;
    target = fresh();
    target->truncate({0, 5, 2});  // beyond the verification's first row
    n_wrong += choice(*target, 2, token) != score_at({1, 2, token}) ? 1 : 0;
  }
  CHECK(n_wrong > 24);
  CHECK_THROWS_AS(static_cast<void>(verify(*target, 3, path, 1)), PreconditionError);  // no padding
  // A new prompt starts anew, and all is well again.
  CHECK(begin(*target, request) == 0);
  CHECK(choice(*target, 2, 3) == score_at({1, 2, 3}));
}
