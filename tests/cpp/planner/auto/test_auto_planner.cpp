// The `auto` mode: the oracles without a barrier, its limits, and when it stops to speculate.
#include <map>
#include <string>

#include "specbranch/planner/auto/auto_planner.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

VirtualResult run_eager(const Scenario& scenario, const VirtualOptions& options) {
  PairProfile profile = flat_profile();
  return run(scenario, Mode::kAuto, options, make_eager_auto(scenario.request, &profile));
}

std::int64_t n_target(const Command& command) {
  const auto* verify = std::get_if<VerifyCommand>(&command.body);
  return verify == nullptr ? 1 : verify->n_tokens();
}

/// One target step takes 1,000; `curve`: factors for 1, 2, 3 .. tokens, the last one holds on.
struct Machine {
  std::vector<double> curve = {1.0};
  double draft_us = 125.0;
  double slowdown = 1.0;

  double target_us(std::int64_t n) const {
    const auto i = std::min(static_cast<std::size_t>(n), curve.size()) - 1;
    return 1000.0 * curve[i];
  }

  VirtualOptions options(PairProfile* profile) const {
    VirtualOptions options;
    options.target_us = [this](const Command& c) {
      return static_cast<std::int64_t>(target_us(n_target(c)));
    };
    options.draft_us = [this](const Command&) { return static_cast<std::int64_t>(draft_us); };
    options.target_slowdown = options.draft_slowdown = slowdown;
    options.profile = profile;
    return options;
  }

  PairProfile profile() const {
    PairProfile known;
    for (int n = 1; n <= 33; ++n) known.costs.target_us.push_back(target_us(n));
    known.costs.draft_us.assign(32, draft_us);
    known.costs.target_slowdown = known.costs.draft_slowdown = slowdown;
    return known;
  }
};

/// The Q8_0 curve of two CPU cores: 1, 3.1, 3.6, 5.2 for 1, 2, 4 and 8 tokens.
const std::vector<double> kSteep = {1.0, 3.1, 3.35, 3.6, 4.0, 4.4, 4.8, 5.2, 5.6, 6.0};
/// The Q4_0 curve, with its trough at 4.
const std::vector<double> kTrough = {1.0, 1.41, 1.71, 1.18, 1.68, 1.99, 2.06, 2.13, 2.5};

Request long_request(int max_tokens) { return auto_request(max_tokens, 24, 8); }

VirtualResult run_pair(const SyntheticOptions& pair, const Request& request,
                       const VirtualOptions& options) {
  const auto target = make_synthetic_target(pair);
  const auto draft = make_synthetic_draft(pair);
  return run_virtually(request, *target, draft.get(), options);
}

}  // namespace

TEST_CASE("auto, speculating whatever it costs: the text and the counts in every order") {
  const int n = scaled(1'500);
  Counters sum;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 90'000);
    if (i % 2 == 0) scenario.draft.n_seq = 1 + i / 2 % 3;
    const Expected expected = reference(scenario);
    for (std::uint64_t shuffle = 0; shuffle < 6; ++shuffle) {
      INFO(describe(scenario));
      CAPTURE(shuffle);
      // Aborted passes come in time and too late: a coin of the shuffle decides.
      const VirtualResult got = run_eager(scenario, shuffled(shuffle));
      CHECK(message_of(got.error) == "");
      CHECK(got.tokens == expected.tokens);
      CHECK(got.finish == expected.finish);
      check_result(got, Mode::kAuto);
      sum.branch_hits += got.counters.branch_hits;
      sum.branch_misses += got.counters.branch_misses;
      sum.n_rolled_back += got.counters.n_rolled_back;
      sum.n_all_drafted += got.counters.n_all_drafted - got.counters.n_drafted;
    }
  }
  CHECK(sum.branch_hits > n);
  CHECK(sum.branch_misses > n);
  CHECK(sum.n_rolled_back > n);
  CHECK(sum.n_all_drafted > n);
}

TEST_CASE("auto: a perfect draft is never rolled back") {
  const int n = scaled(1'500);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_perfect_scenario(static_cast<std::uint64_t>(i) + 91'000);
    INFO(describe(scenario));
    const VirtualResult got = run_eager(scenario, shuffled(scenario.seed));
    CHECK(message_of(got.error) == "");
    CHECK(got.counters.n_rolled_back == 0);
    CHECK(got.counters.branch_misses == 0);  // also where `auto` decodes single tokens
    check_result(got, Mode::kAuto);
  }
}

TEST_CASE("auto: events of equal time come in one order, so that two runs are the same") {
  const int n = scaled(300);
  for (int i = 0; i < n; ++i) {
    const Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 92'000);
    INFO(describe(scenario));
    VirtualOptions options;
    options.target_us = options.draft_us = [](const Command&) { return 100; };
    const VirtualResult first = run_eager(scenario, options);
    const VirtualResult second = run_eager(scenario, options);
    CHECK(first.counters == second.counters);
    CHECK(first.time_us == second.time_us);
    CHECK(first.from_draft == second.from_draft);
  }
}

TEST_CASE("auto: a cancel anywhere leaves the models fit for the next") {
  const int n = scaled(500);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 93'000);
    scenario.request.mode = Mode::kAuto;
    PairProfile profile = flat_profile();
    check_cancels(scenario, Mode::kAuto, [&](std::uint64_t /*run*/) {
      return make_eager_auto(scenario.request, &profile);
    });
  }
}

TEST_CASE("auto: a pass that can no longer matter is cut short, and its sequences are undone") {
  // A target that is quicker than its draft: verifications overtake passes all the time.
  int n_cut = 0;
  for (int i = 0; i < scaled(200); ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 94'000);
    scenario.draft.alignment = 0.3;
    INFO(describe(scenario));
    const Expected expected = reference(scenario);
    VirtualOptions options;
    options.shuffle_seed = scenario.seed;
    options.target_us = [](const Command&) { return 130; };
    options.draft_us = [](const Command&) { return 200; };
    options.tamper_event = [&](Event& event) {
      n_cut += std::holds_alternative<AbortDone>(event.body) ? 1 : 0;
    };
    const VirtualResult got = run_eager(scenario, options);
    CHECK(message_of(got.error) == "");
    CHECK(got.tokens == expected.tokens);
    check_result(got, Mode::kAuto);
  }
  CHECK(n_cut > scaled(200) / 4);
}

TEST_CASE("auto: branches keep to max_branches, the chain to max_draft past what is verified") {
  SyntheticOptions pair = synthetic_pair(0.6);
  for (const int max_branches : {1, 2, 5}) {
    for (const int max_draft : {1, 3, 8}) {
      CAPTURE(max_branches);
      CAPTURE(max_draft);
      Request request = long_request(200);
      request.max_branches = max_branches;
      request.max_draft = max_draft;
      const Machine machine;
      PairProfile profile = machine.profile();
      VirtualOptions options = machine.options(&profile);
      Pos root = 2;
      std::map<std::pair<Pos, Token>, int> seen;
      int widest = 0;
      options.tamper_command = [&](Command& command) {
        if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
          const auto n = static_cast<int>(path_of(*verify).size());
          CHECK(n <= max_draft + 1);
          root = segment_of(*verify).pos + n - 1;
        } else if (const auto* draft = std::get_if<DraftCommand>(&command.body)) {
          widest = std::max(widest, static_cast<int>(draft->inputs.size()));
          for (const SequenceInput& input : draft->inputs) {
            const Pos end = input.pos + static_cast<Pos>(input.tokens.size()) - 1;
            CHECK(end < root + max_draft + 1);
          }
        }
      };
      const VirtualResult got = run_pair(pair, request, options);
      CHECK(got.tokens.size() == 200);
      CHECK((widest > 1) == (max_branches > 1));
      CHECK((got.counters.n_all_drafted > got.counters.n_drafted) == (max_branches > 1));
    }
  }
}

TEST_CASE("auto: a verification is padded where a longer one is quicker") {
  Machine machine{kTrough, 200.0};
  PairProfile profile = machine.profile();
  VirtualOptions options = machine.options(&profile);
  int n_padded = 0;
  options.tamper_command = [&](Command& command) {
    const auto* verify = std::get_if<VerifyCommand>(&command.body);
    if (verify != nullptr && segment_of(*verify).pos < 290) {  // there is room for more
      const auto n = static_cast<int>(path_of(*verify).size());
      CHECK(verify->n_pad == (n == 2 || n == 3 ? 4 - n : 0));
      n_padded += verify->n_pad > 0 ? 1 : 0;
    }
  };
  CHECK(run_pair(synthetic_pair(0.6), long_request(300), options).tokens.size() == 300);
  CHECK(n_padded > 10);
}

TEST_CASE("auto decodes plainly, without a draft, where no draft could pay") {
  const Machine machine{kSteep, 1100.0};
  PairProfile profile = machine.profile();
  const VirtualResult got =
      run_pair(synthetic_pair(0.8), long_request(300), machine.options(&profile));
  CHECK(got.counters.n_draft_steps == 0);
  CHECK(got.time_us == 300 * 1000);
  CHECK(got.mode_reason.find("autoregressive: the best rate expected is 1.00") == 0);
}

TEST_CASE("auto verifies single tokens where longer verifications cost too much") {
  // Not even allowed to switch: the rule for the length alone keeps the rate of plain decoding.
  const Machine machine{kSteep, 125.0};
  PairProfile profile = machine.profile();
  Request request = long_request(300);
  const SyntheticOptions pair = synthetic_pair(0.5);
  const auto target = make_synthetic_target(pair);
  const auto draft = make_synthetic_draft(pair);
  const VirtualResult got = run_virtually(request, *target, draft.get(), machine.options(&profile),
                                          make_eager_auto(request, &profile));
  CHECK(got.time_us < 300 * 1000 * 1.03);
}

TEST_CASE("auto says what it chose and why") {
  const Machine flat;
  PairProfile profile = flat.profile();
  VirtualResult got = run_pair(synthetic_pair(0.8), long_request(300), flat.options(&profile));
  CHECK(got.mode_reason.find("overlapped: up to ") == 0);
  CHECK(got.time_us < 300 * 1000 / 2);
  const Machine shared{{1.0}, 125.0, 2.0};
  profile = shared.profile();
  got = run_pair(synthetic_pair(0.8), long_request(300), shared.options(&profile));
  CHECK(got.mode_reason.find("serial: both models at once would only share the machine") == 0);
  CHECK(got.overlap_us < got.time_us / 20);
  CHECK(got.time_us < 300 * 1000 / 1.8);
  const Machine uneven{kTrough, 125.0};
  profile = uneven.profile();
  got = run_pair(synthetic_pair(0.0), long_request(300), uneven.options(&profile));
  CHECK(got.mode_reason.find("autoregressive: ") == 0);
}

TEST_CASE("auto: where both models only share the time, never both at once") {
  // A sure draft: without the rule the gain of a step would outweigh the delay of the target.
  for (const double slowdown : {1.4, 1.85}) {
    CAPTURE(slowdown);
    const Machine shared{{1.0}, 125.0, slowdown};
    PairProfile profile = shared.profile();
    Request request = long_request(300);
    request.max_draft = 2;
    const VirtualResult got = run_pair(synthetic_pair(0.97), request, shared.options(&profile));
    CHECK((got.overlap_us < got.time_us / 20) == (slowdown > 1.8));
  }
}

TEST_CASE("auto: a draft that was hopeless for long is found out when it gets better") {
  for (const double slowdown : {1.0, 1.4, 2.0}) {
    CAPTURE(slowdown);
    const Machine machine{kTrough, 125.0, slowdown};
    PairProfile profile = machine.profile();
    SyntheticOptions pair = synthetic_pair(0.0);
    pair.segments = {{300, 0.0}, {100'000, 1.0}};
    const int n = 3000;
    const VirtualResult got = run_pair(pair, long_request(n), machine.options(&profile));
    std::size_t first = 300;
    while (first < got.from_draft.size() && !got.from_draft[first]) ++first;
    CAPTURE(got.mode_reason);
    CHECK(first < 300 + 1200);
    CHECK(std::count(got.from_draft.end() - 500, got.from_draft.end(), true) > 300);
  }
}

TEST_CASE("auto: probes for a better draft cost next to nothing") {
  for (const double slowdown : {1.0, 1.4, 2.0}) {
    for (const double draft_us : {80.0, 300.0, 1000.0, 3000.0}) {
      CAPTURE(slowdown);
      CAPTURE(draft_us);
      const Machine machine{kTrough, draft_us, slowdown};
      PairProfile profile = machine.profile();
      const VirtualResult cold =
          run_pair(synthetic_pair(0.0), long_request(500), machine.options(&profile));
      CHECK(cold.time_us <= 500 * 1000 / 0.98);
      // What is known by now saves the next generation the trouble.
      const VirtualResult warm =
          run_pair(synthetic_pair(0.0, 2), long_request(100), machine.options(&profile));
      CHECK(warm.time_us <= 100 * 1000 / 0.98);
    }
  }
}

TEST_CASE("auto: a draft that catches up with the text is not overtaken for ever") {
  // A probe comes after so many tokens that reading them takes longer than a target step.
  const Machine machine{kTrough, 125.0};
  PairProfile profile = machine.profile();
  VirtualOptions options = machine.options(&profile);
  options.draft_us = [](const Command& command) {
    const auto* draft = std::get_if<DraftCommand>(&command.body);
    return 125 * (draft == nullptr ? 1 : draft->n_tokens());
  };
  options.abort_us = 10;
  const VirtualResult got = run_pair(synthetic_pair(0.0), long_request(1500), options);
  CHECK(got.tokens.size() == 1500);
  CHECK(got.counters.n_draft_lanes > 300);  // it was probed
  CHECK(got.counters.n_draft_lanes < 1500 + 300);
}

TEST_CASE("auto: what was given up is not begun again by every generation") {
  // Step times promise a gain that the time between steps eats.
  const Machine machine{kTrough, 300.0};
  PairProfile profile = machine.profile();
  VirtualOptions options = machine.options(&profile);
  options.hop_us = 500;
  const SyntheticOptions pair = synthetic_pair(0.75);
  const VirtualResult first = run_pair(pair, long_request(300), options);
  CAPTURE(first.mode_reason);
  REQUIRE(first.mode_reason.find("autoregressive: speculation reached ") == 0);
  const auto drafted = [&](int n_generations) {
    std::int64_t n = 0;
    for (int i = 0; i < n_generations; ++i) {
      n += run_pair(pair, long_request(100), options).counters.n_all_drafted;
    }
    return n;
  };
  CHECK(drafted(1) == 0);
  CHECK(drafted(29) < 3500);  // a trial drafts some 600; without a pause it would be 19,000
  CHECK(drafted(20) < 1500);  // rarer and rarer
  // Once it pays, it is found out, and stays.
  options.hop_us = 0;
  drafted(25);
  const VirtualResult last = run_pair(pair, long_request(100), options);
  CAPTURE(last.mode_reason);
  CHECK(last.mode_reason.find("overlapped: ") == 0);
}

TEST_CASE("auto learns what steps cost where nothing is known, and then speculates") {
  const Machine machine{kTrough, 125.0};
  const VirtualResult got =
      run_pair(synthetic_pair(0.85), long_request(600), machine.options(nullptr));
  CHECK(got.tokens.size() == 600);
  CHECK(got.mode_reason.find("overlapped: ") == 0);
  CHECK(got.time_us < 600 * 1000 / 1.6);
}

TEST_CASE("auto: the draft is given the text late, in the middle, and only if it is wanted") {
  // Hopeless by all that is known: no draft until the next probe.
  const Machine machine{kTrough, 125.0};
  PairProfile profile = machine.profile();
  AcceptanceModel known(&profile.acceptance[0]);
  const std::vector<Candidate> wrong{{1, 0.5}};
  for (int i = 0; i < 500; ++i) known.observe(wrong, 2);
  VirtualOptions options = machine.options(&profile);
  std::vector<std::size_t> begun;
  std::size_t n_verified = 0;
  options.tamper_command = [&](Command& command) {
    n_verified += std::holds_alternative<VerifyCommand>(command.body) ? 1U : 0U;
    if (const auto* open = std::get_if<OpenCommand>(&command.body)) {
      begun.push_back(open->request->prompt.size());
      // The models reserve cells by what is left of the text.
      CHECK(begun.back() + static_cast<std::size_t>(open->request->max_tokens) == 3 + 600);
    }
  };
  const VirtualResult got = run_pair(synthetic_pair(0.9), long_request(600), options);
  CHECK(got.tokens.size() == 600);
  REQUIRE(begun.size() == 2);
  CHECK(begun[0] == 3);
  CHECK(begun[1] >= 3 + 64);
  CHECK(n_verified < 400);
}
