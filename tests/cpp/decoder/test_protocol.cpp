// The first three oracles: every mode and every order of delivery gives the text of autoregressive
// decoding; a perfect draft is never rolled back; lock-step counters do not depend on the order.
// The fourth, preconditions, is checked by the fakes in every run: a broken one fails it.
#include <string>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr int kShuffles = 7;

/// Steps of random length, so that by-time runs differ from scenario to scenario too.
VirtualOptions by_time(std::uint64_t seed) {
  VirtualOptions options;
  auto random = std::make_shared<Random>(seed);
  options.target_us = [random](const Command&) { return random->between(1, 2000); };
  options.draft_us = [random](const Command&) { return random->between(1, 600); };
  return options;
}

}  // namespace

TEST_CASE("autoregressive decoding is the token by token reference") {
  const int n = scaled(1500);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(1'000'000 + static_cast<std::uint64_t>(i));
    scenario.target.end_every = 0;
    INFO(describe(scenario));
    const Expected expected = reference(scenario);
    const VirtualResult got = run(scenario, Mode::kAutoregressive);
    CHECK(got.tokens == expected.tokens);
    CHECK(got.finish == expected.finish);
    check_result(got, Mode::kAutoregressive);
  }
}

TEST_CASE("every interleaving gives the reference's text and the same counters") {
  const int n = scaled(1100);
  std::int64_t n_interleavings = 0;
  Counters sum;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i));
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      const VirtualResult first = run(scenario, mode, by_time(scenario.seed));
      CHECK(message_of(first.error) == "");
      CHECK(first.tokens == expected.tokens);
      CHECK(first.finish == expected.finish);
      check_result(first, mode);
      sum.branch_hits += first.counters.branch_hits;
      sum.branch_misses += first.counters.branch_misses;
      sum.n_rolled_back += first.counters.n_rolled_back;
      sum.n_unresolved += first.counters.n_unresolved;
      for (std::uint64_t shuffle = 0; shuffle < kShuffles; ++shuffle) {
        CAPTURE(shuffle);
        const VirtualResult got = run(scenario, mode, shuffled(shuffle));
        ++n_interleavings;
        CHECK(message_of(got.error) == "");
        CHECK(got.tokens == expected.tokens);
        CHECK(got.finish == expected.finish);
        if (mode == Mode::kAuto) continue;  // no barrier: what is drafted depends on the order
        CHECK(got.counters == first.counters);
        CHECK(got.from_draft == first.from_draft);
      }
    }
  }
  MESSAGE(n_interleavings << " interleavings");
  // The scenarios reach what they are for.
  CHECK(sum.branch_hits > n);
  CHECK(sum.branch_misses > n);
  CHECK(sum.n_rolled_back > n);
  CHECK(sum.n_unresolved > n / 10);
}

TEST_CASE("a perfect draft is never rolled back") {
  const int n = scaled(1000);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_perfect_scenario(static_cast<std::uint64_t>(i));
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      const VirtualResult got = run(scenario, mode, shuffled(scenario.seed));
      CHECK(message_of(got.error) == "");
      CHECK(got.tokens == expected.tokens);
      CHECK(got.counters.n_rolled_back == 0);
      // What was drafted is accepted, and where nothing was drafted there is no miss.
      CHECK(got.counters.branch_misses == 0);
      check_result(got, mode);
    }
  }
}

TEST_CASE("a generation does not depend on those before it on the same models") {
  const int n = scaled(150);
  for (int i = 0; i < n; ++i) {
    Random random(static_cast<std::uint64_t>(i) + 77);
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 5000);
    // Prompts of the models' common vocabulary, so that the draft takes part most of the time.
    const auto target = make_fake_target(scenario.target);
    const auto draft = make_fake_draft(scenario.draft);
    std::vector<Token> last_text = scenario.request.prompt;
    for (int call = 0; call < 8; ++call) {
      Scenario fresh = make_scenario(random.next());
      fresh.target = scenario.target;
      fresh.draft = scenario.draft;
      // Some prompts go on from the text before, some go back, some have nothing in common.
      std::vector<Token> prompt = last_text;
      if (random.chance(0.7)) {
        prompt.resize(static_cast<std::size_t>(random.between(1, static_cast<int>(prompt.size()))));
      }
      if (random.chance(0.5)) prompt[0] = random.between(0, scenario.target.n_vocab - 1);
      prompt.resize(std::min(prompt.size(), static_cast<std::size_t>(scenario.target.n_ctx) - 1));
      if (prompt.empty()) prompt.push_back(0);
      fresh.request.prompt = prompt;
      fresh.request.sampling.logit_bias.clear();
      fresh.request.mode = random.pick({Mode::kAutoregressive, Mode::kSpeculative, Mode::kPearl,
                                        Mode::kSpecBranch, Mode::kAuto});
      INFO(describe(scenario));
      INFO("call ", call, " ", describe(fresh));
      VirtualOptions options = shuffled(random.next());
      // One in four is cut short and leaves whatever it was doing behind.
      if (random.chance(0.25)) options.cancel_after_events = random.between(1, 12);
      const VirtualResult got = run_virtually(fresh.request, *target, draft.get(), options);
      const Expected expected = reference(fresh);
      CHECK(message_of(got.error) == "");
      if (got.finish == Finish::kCancelled) {
        CHECK(is_prefix(got.tokens, expected.tokens));
      } else {
        CHECK(got.tokens == expected.tokens);
      }
      check_result(got, fresh.request.mode);
      last_text = prompt;
      last_text.insert(last_text.end(), got.tokens.begin(), got.tokens.end());
    }
  }
}

TEST_CASE("under the virtual clock, rounds hide the draft's time and a chain does not") {
  Scenario scenario = make_perfect_scenario(1);
  scenario.target.end_every = 0;
  scenario.target.max_batch = 64;
  scenario.target.n_ctx = 512;
  scenario.draft = scenario.target;
  scenario.draft.alignment = 1.0;
  scenario.request.max_tokens = 100;
  scenario.request.max_draft = 4;
  scenario.request.policy = {};
  scenario.request.policy.epsilon = 0.0;
  scenario.request.sampling.logit_bias.clear();
  VirtualOptions options;
  options.target_us = [](const Command&) { return 1000; };
  options.draft_us = [](const Command&) { return 200; };
  const VirtualResult serial = run(scenario, Mode::kSpeculative, options);
  CHECK(serial.overlap_us == 0);
  CHECK(serial.target_us + serial.draft_us == serial.time_us);
  // Five tokens a round of four draft steps and one verification.
  CHECK(serial.time_us == doctest::Approx(100.0 / 5 * 1800).epsilon(0.05));
  for (const Mode mode : {Mode::kPearl, Mode::kSpecBranch}) {
    CAPTURE(std::string(to_string(mode)));
    const VirtualResult overlapped = run(scenario, mode, options);
    CHECK(overlapped.overlap_us >= overlapped.draft_us * 9 / 10);
    CHECK(overlapped.time_us < serial.time_us);
    CHECK(overlapped.tokens == serial.tokens);
  }
}
