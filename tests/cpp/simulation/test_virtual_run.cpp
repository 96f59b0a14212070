// The virtual clock: what two models at work at once do to each other's times.
#include <algorithm>
#include <cstdint>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Verifies once while the draft makes `n_passes` passes, one sequence each, then waits for the
/// target.
class OverlapPlanner final : public Planner {
 public:
  OverlapPlanner(int n_passes, std::vector<StepTime>* steps) : n_passes_(n_passes), steps_(steps) {}

  Decision next(const View& view) override {
    Decision decision;
    if (!begun_ && !(view.target_idle && view.draft_idle)) return decision;
    begun_ = true;
    if (view.target_idle && view.submitted == kNoNode) decision.submit = {view.tree.root()};
    if (view.draft_idle && n_passes_ > 0) {
      --n_passes_;
      const NodeId leaf = view.tree.main_leaf(view.tree.root());
      decision.evaluate = {view.tree.at(leaf).evaluated ? NodeRef{leaf, 0} : NodeRef{leaf}};
    }
    return decision;
  }
  void on_verification(const View& /*view*/, bool /*hit*/) override {}
  void on_step(const StepTime& step) override { steps_->push_back(step); }
  int width() const override { return 1; }

 private:
  int n_passes_;
  std::vector<StepTime>* steps_;
  bool begun_ = false;
};

VirtualResult overlap(int n_passes, VirtualOptions options, std::vector<StepTime>& steps) {
  Request request;
  request.prompt = {1, 2};
  request.max_tokens = 1;
  const auto target = make_fake_target({});
  const auto draft = make_fake_draft({});
  options.target_us = [](const Command&) { return 1000; };
  options.draft_us = [](const Command&) { return 300; };
  steps.clear();
  return run_virtually(request, *target, draft.get(), options,
                       std::make_unique<OverlapPlanner>(n_passes, &steps));
}

}  // namespace

TEST_CASE("a step takes longer for as long as the other model is at work") {
  std::vector<StepTime> steps;
  VirtualOptions options;
  CHECK(overlap(1, options, steps).time_us == 1000);

  // The draft's 300 take 600; the target has done 400 by then and needs another 600.
  options.target_slowdown = 1.5;
  options.draft_slowdown = 2.0;
  const VirtualResult one = overlap(1, options, steps);
  CHECK(one.time_us == 600 + 600);
  CHECK(one.overlap_us == 600);
  REQUIRE(steps.size() == 2);
  CHECK(steps[0].end_us - steps[0].begin_us == 600);
  CHECK(steps[0].overlap == doctest::Approx(1.0));
  CHECK(steps[1].overlap == doctest::Approx(0.5));

  // Three passes would take 1800: the target ends within them, after 1500.
  const VirtualResult three = overlap(3, options, steps);
  CHECK(three.target_us == 1500);
  CHECK(three.overlap_us == 1500);
  REQUIRE(steps.size() == 4);
  // The passes that have ended count as the one under way does.
  CHECK(steps[2].role == ModelRole::kTarget);
  CHECK(steps[2].overlap == doctest::Approx(1.0));
}

TEST_CASE("the time of KV operations is time, but not a part of a step") {
  std::vector<StepTime> steps;
  VirtualOptions options;
  options.ops_us = [](const Command& command) {
    return std::holds_alternative<DraftCommand>(command.body) ? 200 : 0;
  };
  const VirtualResult result = overlap(2, options, steps);
  CHECK(result.draft_us == 1000);
  REQUIRE(steps.size() == 3);
  for (const StepTime& step : steps) {
    CHECK(step.end_us - step.begin_us == (step.role == ModelRole::kDraft ? 300 : 1000));
  }
}

TEST_CASE("copies of the KV cache do not enter the cost curve of the draft") {
  const Request request = auto_request(200);
  const SyntheticOptions pair = synthetic_pair(0.6);
  const auto target = make_synthetic_target(pair);
  const auto draft = make_synthetic_draft(pair);
  PairProfile profile = flat_profile();
  int n_forks = 0;
  VirtualOptions options;
  options.profile = &profile;
  options.ops_us = [&](const Command& command) -> std::int64_t {
    const auto* pass = std::get_if<DraftCommand>(&command.body);
    if (pass == nullptr) return 0;
    const auto is_fork = [](const KvOp& op) { return std::holds_alternative<Fork>(op); };
    const auto n = std::ranges::count_if(pass->ops, is_fork);
    n_forks += static_cast<int>(n);
    return 100 * n;
  };
  const VirtualResult result =
      run_virtually(request, *target, draft.get(), options, make_eager_auto(request, &profile));
  CHECK(message_of(result.error) == "");
  CHECK(n_forks > 20);
  for (const double us : profile.costs.draft_us) {
    if (us > 0.0) CHECK(us == doctest::Approx(100.0).epsilon(0.005));
  }
}
