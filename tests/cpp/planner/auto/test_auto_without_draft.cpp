// What `auto` keeps of a text that had to go on without its draft: nothing about the draft.
#include <optional>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

VirtualOptions options_with(PairProfile* profile) {
  VirtualOptions options;
  options.profile = profile;
  return options;
}

/// When to probe the draft again, and whether it is paused.
void check_same_pause(const AcceptanceTable& got, const AcceptanceTable& expected) {
  CHECK(got.alone.paused == expected.alone.paused);
  CHECK(got.alone.paused_at_rate == expected.alone.paused_at_rate);
  CHECK(got.alone.probe_interval == expected.alone.probe_interval);
  CHECK(got.alone.tokens_since_probe == expected.alone.tokens_since_probe);
}

}  // namespace

TEST_CASE("auto: a draft that failed is not paused for the next generation") {
  for (const double slowdown : {1.0, 1.4, 2.0}) {  // from 1.2 on, a probe comes first
    for (int step = 1; step < 40; ++step) {
      CAPTURE(slowdown);
      CAPTURE(step);
      PairProfile profile = flat_profile();
      profile.costs.target_slowdown = profile.costs.draft_slowdown = slowdown;
      VirtualOptions options = options_with(&profile);
      options.target_slowdown = options.draft_slowdown = slowdown;
      std::optional<AcceptanceTable> before;
      int n_events = 0;
      options.tamper_event = [&](Event& event) {
        if (event.role != ModelRole::kDraft || ++n_events != step) return;
        if (std::holds_alternative<AbortDone>(event.body)) return;
        event.body = FailDone{std::make_exception_ptr(DecodeError("no room in the cache"))};
        before = profile.acceptance[0];
      };
      const SyntheticOptions pair = synthetic_pair(0.9);
      const auto target = make_synthetic_target(pair);
      const auto draft = make_synthetic_draft(pair);
      const VirtualResult got = run_virtually(auto_request(400), *target, draft.get(), options);
      CHECK(message_of(got.error) == "");
      CHECK(got.tokens.size() == 400);
      if (!before) continue;
      CHECK(got.mode_reason == "the draft failed: no room in the cache");
      // What decoding without a draft reached is no measurement of the draft.
      check_same_pause(profile.acceptance[0], *before);
    }
  }
}

TEST_CASE("auto: the probe of a draft that fails ends, so that another text may probe") {
  PairProfile profile = flat_profile();
  profile.costs.target_slowdown = profile.costs.draft_slowdown = 1.4;
  VirtualOptions options = options_with(&profile);
  options.target_slowdown = options.draft_slowdown = 1.4;
  bool probed_before = false;
  bool probed_after = false;
  int n_draft = 0;
  int n_later = 0;
  options.tamper_event = [&](Event& event) {
    if (event.role == ModelRole::kDraft && ++n_draft == 2) {
      event.body = FailDone{std::make_exception_ptr(DecodeError("no room in the cache"))};
      probed_before = profile.acceptance[0].probed;
    }
    if (event.role == ModelRole::kTarget && n_draft >= 2 && ++n_later == 6) {
      probed_after = profile.acceptance[0].probed;
    }
  };
  const SyntheticOptions pair = synthetic_pair(0.9);
  const auto target = make_synthetic_target(pair);
  const auto draft = make_synthetic_draft(pair);
  const VirtualResult got = run_virtually(auto_request(100), *target, draft.get(), options);
  CHECK(got.mode_reason == "the draft failed: no room in the cache");
  CHECK(n_later > 6);
  CHECK(probed_before);
  CHECK_FALSE(probed_after);
}

TEST_CASE("auto: a draft with a short context drafts to the end of a long text") {
  SyntheticOptions pair = synthetic_pair(0.9);
  pair.n_ctx = 1024;
  const auto target = make_synthetic_target(pair);
  const auto long_draft = make_synthetic_draft(pair);
  pair.n_ctx = 64;
  const auto draft = make_synthetic_draft(pair);
  PairProfile profile = flat_profile();
  const VirtualResult whole =
      run_virtually(auto_request(800), *target, long_draft.get(), options_with(&profile));
  profile = flat_profile();
  const VirtualResult got =
      run_virtually(auto_request(800), *target, draft.get(), options_with(&profile));
  CHECK(got.tokens == whole.tokens);
  CHECK(got.mode_reason.find("overlapped: ") == 0);
  CHECK(10 * got.counters.n_accepted >= 9 * whole.counters.n_accepted);
  // It reads each token about twice.
  CHECK(10 * got.time_us <= 13 * whole.time_us);
}
