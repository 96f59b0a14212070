// `auto` where the draft has a long prompt to read that the target holds already.
#include <algorithm>
#include <memory>
#include <variant>

#include "specbranch/lookup/lookup_proposer.h"
#include "specbranch/planner/auto/acceptance_model.h"
#include "specbranch/simulation/simulate.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr double kTargetUs = 10'000.0;
constexpr double kDraftUs = 2'000.0;

/// A text that repeats itself after a long prompt that does not.
struct LateDraft {
  double slowdown = 1.9;
  std::int64_t read_us = 0;  ///< what the draft needs for a chunk of a prompt.
  int n_begun = 0;           ///< texts that the draft was given.
  std::unique_ptr<TargetModel> target;
  std::unique_ptr<DraftModel> draft;
  Request request;

  explicit LateDraft(int max_tokens, int n_prompt = 500) {
    request.max_tokens = max_tokens;
    request.mode = Mode::kAuto;
    for (Token token = 1; token <= n_prompt; ++token) request.prompt.push_back(token);
    SyntheticOptions pair;
    pair.copy_rate = 0.9;
    pair.max_batch = 18;
    pair.text_begin = static_cast<Pos>(request.prompt.size());
    target = make_synthetic_target(pair);
    draft = make_synthetic_draft(pair);
  }

  static double verification_us(int n) { return kTargetUs * (1.0 + 0.05 * (n - 1)); }

  static double pass_us(int n) { return kDraftUs * (1.0 + 0.15 * (n - 1)); }

  PairProfile profile() const {
    PairProfile known;
    for (int n = 1; n <= 32; ++n) {
      known.costs.target_us.push_back(verification_us(n));
      known.costs.draft_us.push_back(pass_us(n));
    }
    known.costs.target_slowdown = known.costs.draft_slowdown = slowdown;
    return known;
  }

  VirtualResult run(PairProfile* profile, bool with_draft = true) {
    VirtualOptions options;
    options.profile = profile;
    options.abort_us = 0;
    options.target_slowdown = options.draft_slowdown = slowdown;
    options.target_us = [](const Command& command) -> std::int64_t {
      const auto* verify = std::get_if<VerifyCommand>(&command.body);
      return verify == nullptr ? 0 : static_cast<std::int64_t>(verification_us(verify->n_tokens()));
    };
    options.draft_us = [this](const Command& command) {
      const auto* pass = std::get_if<DraftCommand>(&command.body);
      if (pass != nullptr) return static_cast<std::int64_t>(pass_us(pass->n_tokens()));
      return std::holds_alternative<PrefillCommand>(command.body) ? read_us : 0;
    };
    options.proposer = [&] { return text_proposer(request, texts_of(request), profile); };
    int n_opened = 0;
    options.tamper_command = [&](Command& command) {
      n_opened += std::holds_alternative<OpenCommand>(command.body) ? 1 : 0;
    };
    VirtualResult got =
        run_virtually(request, *target, with_draft ? draft.get() : nullptr, options);
    REQUIRE_FALSE(got.error);
    n_begun = n_opened - 1;  // one is the target's
    return got;
  }
};

SpeculationRecord paused_record(double tokens_since_probe, double probe_interval) {
  SpeculationRecord record;
  record.tokens_since_probe = tokens_since_probe;
  record.probe_interval = probe_interval;
  record.paused = true;
  return record;
}

}  // namespace

TEST_CASE("auto: texts draft while the draft reads a prompt that the target holds already") {
  for (const double alpha : {-1.0, 0.2, 0.9}) {
    for (const double slowdown : {1.1, 1.9}) {
      CAPTURE(alpha);
      CAPTURE(slowdown);
      LateDraft pair(300);
      pair.slowdown = slowdown;
      pair.read_us = 100'000'000;  // longer than the text takes
      PairProfile alone = pair.profile();
      const VirtualResult best = pair.run(&alone, /*with_draft=*/false);
      REQUIRE(best.counters.n_target_steps < 100);
      PairProfile profile = pair.profile();
      if (alpha >= 0.0) {  // else the draft is unknown, and is probed
        AcceptanceModel known(&profile.acceptance[0]);
        const std::vector<Candidate> first{{1, alpha}};
        for (int i = 0; i < 500; ++i) known.observe(first, i < 500 * alpha ? 1 : 2);
      }
      const VirtualResult got = pair.run(&profile);
      CHECK(got.counters.n_draft_steps == 0);
      CHECK(static_cast<double>(got.counters.n_target_steps) <
            1.2 * static_cast<double>(best.counters.n_target_steps));
      CHECK(static_cast<double>(got.time_us) < 1.2 * slowdown * static_cast<double>(best.time_us));
    }
  }
}

TEST_CASE("auto: a paused draft reads a long prompt for a probe only beside the target") {
  LateDraft pair(40);
  pair.read_us = 500'000;
  const auto paused = [&](double tokens_since_probe) {
    PairProfile profile = pair.profile();
    profile.acceptance[0].alone = paused_record(tokens_since_probe, 64.0);
    return profile;
  };
  // The target reads the prompt, too: nothing is lost.
  PairProfile profile = paused(2000.0);
  pair.run(&profile);
  CHECK(pair.n_begun == 1);
  // It holds the prompt: the draft would read alone, beside its steps.
  profile = paused(2000.0);
  pair.run(&profile);
  CHECK(pair.n_begun == 0);
  CHECK(profile.acceptance[0].alone.tokens_since_probe > 2000.0);
  // Over very many tokens this does not count.
  profile = paused(2e6);
  pair.run(&profile);
  CHECK(pair.n_begun == 1);
}

TEST_CASE("auto: within a text, a probe counts the prompt that the draft has not read") {
  for (const int n_prompt : {3, 500}) {
    CAPTURE(n_prompt);
    LateDraft pair(200, n_prompt);
    pair.read_us = 500'000;
    PairProfile profile = pair.profile();
    // It is due in the middle of the text.
    profile.acceptance[0].alone = paused_record(1500.0, 1600.0);
    pair.run(&profile);
    CHECK(pair.n_begun == (n_prompt == 3 ? 1 : 0));
  }
}
