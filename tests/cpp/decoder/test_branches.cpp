// Verifications with branches: no token changes, in any order of events.
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "specbranch/base/processor_channel.h"
#include "specbranch/model/row_tree.h"
#include "support/chaos_planner.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A scenario whose target verifies branches.
Scenario branching(std::uint64_t seed) {
  Scenario scenario = make_scenario(seed);
  Random random(seed + 77);
  scenario.target.n_branches = random.between(1, 5);
  // A small vocabulary lets the target take the second choice often.
  if (random.chance(0.5)) scenario.target.max_batch = 64;
  return scenario;
}

/// What verifications were sent, and what of them becomes text.
struct Sent {
  std::int64_t n_with_branches = 0;
  std::int64_t n_on_branches = 0;  ///< rows.
  std::int64_t n_taken = 0;        ///< verifications whose text leaves the path for a branch.
  std::int64_t n_accepted = 0;     ///< rows on branches that become text.
  std::int64_t n_again = 0;        ///< rows that were decoded again.

  /// `text`: what follows the `n_prompt` tokens of the prompt.
  void watch(VirtualOptions& options, std::size_t n_prompt, const std::vector<Token>& text) {
    options.tamper_command = [this, n_prompt, text](const Command& command) {
      if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
        add(segment_of(*verify), n_prompt, text);
      }
    };
  }

  Sent& operator+=(const Sent& other) {
    n_with_branches += other.n_with_branches;
    n_on_branches += other.n_on_branches;
    n_taken += other.n_taken;
    n_accepted += other.n_accepted;
    n_again += other.n_again;
    return *this;
  }

 private:
  void add(const Segment& segment, std::size_t n_prompt, const std::vector<Token>& text) {
    const std::vector<Row>& rows = segment.rows;
    const std::size_t n_path = path_length(rows);
    n_with_branches += has_branches(rows) ? 1 : 0;
    n_on_branches += static_cast<std::int64_t>(rows.size() - n_path);
    std::size_t row = 0;
    while (!rows[row].wanted) ++row;
    n_again += static_cast<std::int64_t>(row);
    std::int64_t n_here = 0;
    std::size_t next = static_cast<std::size_t>(segment.pos) + row + 1 - n_prompt;
    for (; next < text.size(); ++next) {
      const std::optional<std::size_t> after = row_after(rows, row, text[next]);
      if (!after) break;
      row = *after;
      n_here += row >= n_path ? 1 : 0;
    }
    n_taken += n_here > 0 ? 1 : 0;
    n_accepted += n_here;
  }
};

void check_counts(const Counters& counters, const Sent& sent) {
  CHECK(counters.n_tree_steps == sent.n_with_branches);
  CHECK(counters.n_branch_verified == sent.n_on_branches);
  CHECK(counters.n_branches_taken == sent.n_taken);
  CHECK(counters.n_branch_accepted == sent.n_accepted);
}

}  // namespace

TEST_CASE("branches without any barrier: the text, the preconditions and the counts hold") {
  const int n = scaled(1'500);
  Sent sent;
  std::int64_t n_accepted = 0;
  for (int i = 0; i < n; ++i) {
    const Scenario scenario = branching(static_cast<std::uint64_t>(i) + 120'000);
    INFO(describe(scenario));
    const Expected expected = reference(scenario);
    for (std::uint64_t shuffle = 0; shuffle < 3; ++shuffle) {
      CAPTURE(shuffle);
      VirtualOptions options = shuffled(shuffle);
      Sent here;
      here.watch(options, scenario.request.prompt.size(), expected.tokens);
      const VirtualResult got =
          run(scenario, Mode::kSpecBranch, options, make_chaos(scenario.seed * 10 + shuffle));
      CHECK(message_of(got.error) == "");
      CHECK(got.tokens == expected.tokens);
      CHECK(got.finish == expected.finish);
      check_result(got, Mode::kSpecBranch);
      check_counts(got.counters, here);
      sent += here;
      n_accepted += got.counters.n_accepted;
    }
  }
  CHECK(n_accepted > n);
  CHECK(sent.n_with_branches > n);
  CHECK(sent.n_taken > n / 4);
  CHECK(sent.n_again > n / 4);
}

TEST_CASE("branches: auto, speculating whatever it costs") {
  const int n = scaled(1'000);
  Sent sent;
  for (int i = 0; i < n; ++i) {
    const Scenario scenario = branching(static_cast<std::uint64_t>(i) + 140'000);
    INFO(describe(scenario));
    const Expected expected = reference(scenario);
    for (std::uint64_t shuffle = 0; shuffle < 2; ++shuffle) {
      CAPTURE(shuffle);
      VirtualOptions options = shuffled(shuffle);
      Sent here;
      here.watch(options, scenario.request.prompt.size(), expected.tokens);
      PairProfile profile = flat_profile();
      const VirtualResult got =
          run(scenario, Mode::kAuto, options, make_eager_auto(scenario.request, &profile));
      CHECK(message_of(got.error) == "");
      CHECK(got.tokens == expected.tokens);
      CHECK(got.finish == expected.finish);
      check_result(got, Mode::kAuto);
      check_counts(got.counters, here);
      sent += here;
    }
  }
  CHECK(sent.n_with_branches > n / 2);
  CHECK(sent.n_taken > n / 20);
  CHECK(sent.n_again > n / 20);
}

TEST_CASE("branches: a cancel anywhere leaves the models fit for the next") {
  const int n = scaled(500);
  for (int i = 0; i < n; ++i) {
    const Scenario scenario = branching(static_cast<std::uint64_t>(i) + 160'000);
    check_cancels(scenario, Mode::kSpecBranch,
                  [&](std::uint64_t run) { return make_chaos(scenario.seed * 10 + run); });
  }
}

TEST_CASE("branches: modes in lock-step verify paths, with the same counters as without") {
  const int n = scaled(200);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = branching(static_cast<std::uint64_t>(i) + 180'000);
    INFO(describe(scenario));
    for (const Mode mode : kLockStepModes) {
      VirtualOptions options = shuffled(scenario.seed);
      Sent sent;
      sent.watch(options, scenario.request.prompt.size(), {});
      const VirtualResult with = run(scenario, mode, options);
      CHECK(sent.n_with_branches == 0);
      Scenario paths = scenario;
      paths.target.n_branches = 0;
      const VirtualResult without = run(paths, mode, shuffled(scenario.seed));
      CHECK(with.tokens == without.tokens);
      CHECK(with.counters == without.counters);
    }
  }
}

TEST_CASE("branches: the trace tells the branch that was accepted") {
  const int n = scaled(400);
  int n_branches = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = branching(static_cast<std::uint64_t>(i) + 190'000);
    scenario.request.trace = true;
    INFO(describe(scenario));
    VirtualOptions options = shuffled(scenario.seed);
    Sent sent;
    sent.watch(options, scenario.request.prompt.size(), {});
    const VirtualResult got =
        run(scenario, Mode::kSpecBranch, options, make_chaos(scenario.seed * 10));
    for (const TraceRound& round : got.rounds) {
      CHECK(round.n_accepted <= round.n_submitted);
      CHECK(round.n_submitted <= static_cast<int>(round.window.size()));
      CHECK(round.window.size() == round.confidence.size());
      for (std::size_t k = 0; k < static_cast<std::size_t>(round.n_accepted); ++k) {
        CHECK(round.committed[k] == round.window[k]);
      }
    }
    n_branches += sent.n_again > 0 ? 1 : 0;
  }
  CHECK(n_branches > n / 20);
}

namespace {

class ViewSpy final : public Planner {
 public:
  explicit ViewSpy(int* n_branches) : n_branches_(n_branches) {}

  Decision next(const View& view) override {
    *n_branches_ = view.n_branches;
    return {};
  }
  bool wants_draft(const View& view) override {
    *n_branches_ = view.n_branches;
    return false;
  }
  int width() const override { return 1; }
  void on_verification(const View& /*view*/, bool /*hit*/) override {}

 private:
  int* n_branches_;
};

}  // namespace

TEST_CASE("branches: functions of the caller are asked about paths only") {
  const Scenario scenario = branching(1);
  for (const bool processors : {false, true}) {
    CAPTURE(processors);
    auto request = std::make_shared<Request>();
    request->prompt = {1};
    request->max_tokens = 4;
    request->mode = Mode::kAuto;
    if (processors) request->processors = std::make_shared<ProcessorChannel>(true, false);
    int n_branches = -1;
    ModelLimits limits;
    limits.target.n_vocab = 4;
    limits.target.n_ctx = 64;
    limits.target.n_branches = 3;
    limits.draft = limits.target;
    Decoder decoder(request, limits, 1, std::make_unique<ViewSpy>(&n_branches),
                    [](const Committed&) { return false; });
    static_cast<void>(decoder.start());
    CHECK(n_branches == (processors ? 0 : 3));
  }
}
