// Curves of step times: between what was measured, kept up to date, never absurd.
#include "specbranch/planner/cost_model.h"

#include <cmath>
#include <vector>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

StepTime step(ModelRole role, int n, double us, double overlap = 0.0) {
  return {role, n, 0, 1'000'000, 1'000'000 + static_cast<std::int64_t>(us), overlap};
}

/// A batch of the target with one token of each text.
StepTime plain_batch(int n_texts, double us) {
  StepTime batch = step(ModelRole::kTarget, 1, us);
  batch.n_others = n_texts - 1;
  batch.n_texts = n_texts;
  return batch;
}

/// The same batch after it.
StepTime next_of(StepTime batch) {
  const std::int64_t us = batch.end_us - batch.begin_us;
  batch.begin_us += us;
  batch.end_us += us;
  return batch;
}

/// A target of 1,000 and 100 more per token; a draft of 100.
PairProfile sloped_profile(double slowdown = 1.0) {
  PairProfile profile;
  for (int n = 1; n <= 16; ++n) {
    profile.costs.target_us.push_back(900.0 + 100.0 * n);
    profile.costs.draft_us.push_back(100.0);
  }
  profile.costs.target_slowdown = profile.costs.draft_slowdown = slowdown;
  return profile;
}

}  // namespace

TEST_CASE("lengths between and beyond the measured ones lie on lines") {
  PairProfile profile;
  profile.costs.target_us = {100, 0, 0, 124, 0, 140};
  profile.costs.draft_us = {10};
  const CostModel model(&profile);
  CHECK(model.target(1) == doctest::Approx(100));
  CHECK(model.target(2) == doctest::Approx(108));
  CHECK(model.target(5) == doctest::Approx(132));
  CHECK(model.target(11) == doctest::Approx(180));
  CHECK(model.draft(1) == doctest::Approx(10));
  CHECK(model.draft(3) > 10);
  CHECK(model.draft(3) < 20);
  CHECK(model.known());
}

TEST_CASE("across a cliff every length costs what the slower side costs") {
  PairProfile profile;
  profile.costs.target_us = {100, 0, 0, 110, 0, 0, 0, 120, 0, 240, 0, 170};
  const CostModel model(&profile);
  CHECK(model.target(2) == doctest::Approx(100 + 10.0 / 3));
  CHECK(model.target(8) == doctest::Approx(120));
  CHECK(model.target(9) == doctest::Approx(240));
  CHECK(model.target(11) == doctest::Approx(240));  // and padding finds the cheaper side
  CHECK(model.padded_target(11, 12) == doctest::Approx(170));
}

TEST_CASE("a falling curve is never continued below what was measured") {
  PairProfile profile;
  profile.costs.draft_us = {200, 100};
  const CostModel model(&profile);
  CHECK(model.draft(40) == doctest::Approx(100));
}

TEST_CASE("a verification is padded to the quickest length that is allowed") {
  PairProfile profile;
  profile.costs.target_us = {100, 141, 171, 118, 168};
  const CostModel model(&profile);
  CHECK(model.pad(1, 10) == 0);
  CHECK(model.pad(2, 10) == 2);
  CHECK(model.pad(2, 3) == 0);
  CHECK(model.pad(3, 4) == 1);
  CHECK(model.pad(4, 10) == 0);
  CHECK(model.padded_target(3, 10) == doctest::Approx(118));
}

TEST_CASE("a verification is not padded for differences that measurements have without a reason") {
  PairProfile profile;
  profile.costs.target_us = {100, 110.4, 110.1, 109.9, 109.6};
  CHECK(CostModel(&profile).pad(2, 10) == 0);
  profile.costs.target_us[4] = 108;
  CHECK(CostModel(&profile).pad(2, 10) == 3);
}

TEST_CASE("beside other texts a step costs what it makes of their batch") {
  PairProfile profile = sloped_profile();
  CostModel model(&profile);
  CHECK(model.target(1) == doctest::Approx(1000));
  StepTime shared = step(ModelRole::kTarget, 2, 1'600);
  shared.n_others = 5;
  for (int i = 0; i < 8; ++i) model.on_step(shared);
  CHECK(model.target(1) == doctest::Approx(1500).epsilon(0.02));
  CHECK(model.target(4) == doctest::Approx(1800).epsilon(0.02));
  CHECK(model.draft(2) == doctest::Approx(100));  // the draft drafts for one text
  StepTime pass = step(ModelRole::kDraft, 1, 100);
  pass.n_others = 3;
  model.on_step(pass);
  CHECK(model.draft(1) > 0);
  // Alone again, after a few steps.
  for (int i = 0; i < 8; ++i) model.on_step(step(ModelRole::kTarget, 1, 1'000));
  CHECK(model.target(1) == doctest::Approx(1000).epsilon(0.03));
  // A batch of several texts is not padded.
  PairProfile other = sloped_profile();
  other.costs.target_us[5] = 900;
  const CostModel padding(&other);
  CHECK(padding.pad(5, 10) == 1);
  other.others.n_running = 1;
  CHECK(padding.pad(5, 10) == 0);
  // What a length of the batch takes is known to all texts.
  CHECK(CostModel(&profile).target(7) == doctest::Approx(1600).epsilon(0.05));
}

TEST_CASE("a padded batch of several texts teaches the time of its length, and costs that") {
  PairProfile profile = sloped_profile();
  profile.costs.target_us[8] = 2'400;
  profile.others.n_running = 8;
  CostModel model(&profile);
  CHECK(model.batch(9) == doctest::Approx(2'400));
  profile.others.longest_padded = 16;
  CHECK(model.batch(9) == doctest::Approx(1'900));  // that of 10
  CHECK(model.target_of_all(1, 8) == model.batch(9));
  StepTime batch = plain_batch(9, 1'500);
  batch.n_pad = 1;
  for (int i = 0; i < 20; ++i) {
    batch = next_of(batch);
    model.on_step(batch);
  }
  CHECK(model.batch(9) == doctest::Approx(1'500).epsilon(0.02));
  CHECK(profile.costs.target_us[9] == doctest::Approx(1'500).epsilon(0.02));
  CHECK(profile.costs.target_us[8] > 1'600);  // still dearer than with padding
  CHECK(model.baseline_known(0.1));
}

TEST_CASE("a batch that was computed in parts teaches no length its time") {
  PairProfile profile = sloped_profile();
  CostModel model(&profile);
  const StepCosts before = profile.costs;
  StepTime batch = step(ModelRole::kTarget, 5, 3'000);  // one pass of 12 tokens and one of 1
  batch.n_others = 8;
  batch.n_texts = 3;
  batch.n_parts = 2;
  for (int i = 0; i < 20; ++i) {
    batch = next_of(batch);
    model.on_step(batch);
  }
  CHECK(profile.costs == before);
  batch.n_parts = 1;
  model.on_step(next_of(batch));
  CHECK(profile.costs.target_us[12] > before.target_us[12]);
}

TEST_CASE("plain decoding is never padded, and no batch counts as quicker than one token") {
  PairProfile profile;  // other programs ran while single tokens were measured
  profile.costs.target_us = {160, 110, 115, 120, 200};
  const CostModel model(&profile);
  CHECK(model.pad(1, 10) == 0);
  CHECK(model.target(2) == doctest::Approx(160));
  CHECK(model.target(4) == doctest::Approx(160));
  CHECK(model.target(5) == doctest::Approx(200));
}

TEST_CASE("with nothing known every time is positive, and steps are learnt from") {
  PairProfile profile;
  CostModel model(&profile);
  CHECK_FALSE(model.known());
  CHECK(model.target(1) > 0);
  CHECK(model.draft(16) > 0);
  model.on_step(step(ModelRole::kTarget, 1, 800));
  CHECK(model.target(1) == doctest::Approx(800));
  CHECK(model.draft(1) == doctest::Approx(100));
  CHECK_FALSE(model.known());
  model.on_step(step(ModelRole::kDraft, 1, 50));
  CHECK(model.known());
  CHECK(model.draft(1) == doctest::Approx(50));
  CHECK(profile.costs.target_us.at(0) == doctest::Approx(800));
  model.on_step(step(ModelRole::kTarget, 0, 10));
  model.on_step(step(ModelRole::kTarget, 5000, 10));
  model.on_step(step(ModelRole::kTarget, 1, 0));
  CHECK(model.target(1) == doctest::Approx(800));
}

TEST_CASE("a pass that also reads committed text is no step of its length") {
  PairProfile profile = sloped_profile();
  CostModel model(&profile);
  for (int i = 0; i < 20; ++i) {
    StepTime pass = step(ModelRole::kDraft, 4, 900);
    pass.n_extra = 3;
    model.on_step(pass);
  }
  CHECK(profile.costs == sloped_profile().costs);
}

TEST_CASE("a change of the level moves all lengths at once") {
  // Single tokens alone: the other lengths were never seen at this level.
  for (const double factor : {0.25, 0.68, 1.5, 4.0}) {
    CAPTURE(factor);
    PairProfile profile = sloped_profile();
    CostModel model(&profile);
    for (int i = 0; i < 8; ++i) model.on_step(step(ModelRole::kTarget, 1, 1000 * factor));
    CHECK(model.target(1) == doctest::Approx(1000 * factor).epsilon(0.05));
    CHECK(model.target(4) == doctest::Approx(1300 * factor).epsilon(0.05));
    CHECK(model.target(40) == doctest::Approx(4900 * factor).epsilon(0.05));
    CHECK(model.draft(4) == doctest::Approx(100));
  }
}

TEST_CASE("an outlier is ignored until it is the rule") {
  PairProfile profile = sloped_profile();
  CostModel model(&profile);
  for (int i = 0; i < 60; ++i) model.on_step(step(ModelRole::kTarget, 1, 1500));
  model.on_step(step(ModelRole::kTarget, 1, 90'000));
  CHECK(model.target(1) < 1500 * 1.2);
  for (int i = 0; i < 10; ++i) model.on_step(step(ModelRole::kTarget, 1, 1500));
  CHECK(model.target(1) == doctest::Approx(1500).epsilon(0.03));
  for (int i = 0; i < 3; ++i) model.on_step(step(ModelRole::kTarget, 1, 90'000));
  CHECK(model.target(1) == doctest::Approx(90'000).epsilon(0.05));
}

TEST_CASE("a wrong shape is learnt from long steps, and leaves the time of one token alone") {
  PairProfile profile = sloped_profile();
  CostModel model(&profile);
  for (int i = 0; i < 4; ++i) model.on_step(step(ModelRole::kTarget, 1, 1000));
  // Long verifications take 1.6 times as long as measured. A few of one length tell of all.
  for (int i = 0; i < 4; ++i) model.on_step(step(ModelRole::kTarget, 4, 1.6 * 1300));
  CHECK(model.target(4) == doctest::Approx(1.6 * 1300).epsilon(0.05));
  CHECK(model.target(8) > 1.3 * 1700);
  CHECK(model.target(1) == doctest::Approx(1000).epsilon(0.05));
}

TEST_CASE("a change of the level is told from a wrong shape by the lengths that follow") {
  PairProfile profile = sloped_profile();
  CostModel model(&profile);
  // The shape is known by now.
  for (int i = 0; i < 40; ++i) {
    for (const int n : {1, 2, 4, 6}) model.on_step(step(ModelRole::kTarget, n, 900 + 100 * n));
  }
  // No single token is seen at the new level.
  for (int i = 0; i < 40; ++i) {
    for (const int n : {2, 4, 6}) model.on_step(step(ModelRole::kTarget, n, 1.5 * (900 + 100 * n)));
  }
  CHECK(model.target(1) == doctest::Approx(1500).epsilon(0.05));
  CHECK(model.target(12) == doctest::Approx(1.5 * 2100).epsilon(0.05));
}

TEST_CASE("steps beside the other model tell the slow-down, where the time alone is known") {
  PairProfile profile = sloped_profile();
  CostModel model(&profile);
  CHECK(model.interference() == doctest::Approx(0));
  for (int i = 0; i < 100; ++i) {
    model.on_step(step(ModelRole::kTarget, 1, 1000));
    model.on_step(step(ModelRole::kDraft, 1, 100));
    // Half of 1,500 at full speed, the other half at a third of it.
    model.on_step(step(ModelRole::kTarget, 1, 1500, 0.5));
    model.on_step(step(ModelRole::kDraft, 1, 130, 1.0));
  }
  CHECK(model.target(1) == doctest::Approx(1000).epsilon(0.02));
  CHECK(model.target_slowdown() == doctest::Approx(3.0).epsilon(0.05));
  CHECK(model.draft_slowdown() == doctest::Approx(1.3).epsilon(0.02));
  CHECK(model.interference() == doctest::Approx(1.3 * 2 / 3).epsilon(0.03));
  for (int i = 0; i < 100; ++i) {
    model.on_step(step(ModelRole::kTarget, 1, 1000));
    model.on_step(step(ModelRole::kTarget, 1, 900, 1.0));
  }
  CHECK(model.target_slowdown() == doctest::Approx(1.0).epsilon(0.01));
}

TEST_CASE("a slow-down is not taken from a stale baseline") {
  // The measurement saw 1,480 for one token, because other programs ran. The truth is 1,000, and
  // 1,400 beside the draft: against the stale time, nothing would slow down.
  PairProfile profile = sloped_profile(1.2);
  for (double& us : profile.costs.target_us) us *= 1.48;
  CostModel model(&profile);
  CHECK_FALSE(model.baseline_known(0.2));
  for (int i = 0; i < 20; ++i) model.on_step(step(ModelRole::kTarget, 1, 1400, 1.0));
  CHECK(model.target_slowdown() > 1.05);
  CHECK_FALSE(model.baseline_known(0.2));
  for (int i = 0; i < 3; ++i) model.on_step(step(ModelRole::kTarget, 1, 1000));
  CHECK(model.baseline_known(0.1));
  CHECK(model.target(1) == doctest::Approx(1000).epsilon(0.05));
  for (int i = 0; i < 3; ++i) model.on_step(step(ModelRole::kTarget, 1, 1400, 1.0));
  CHECK(model.target_slowdown() == doctest::Approx(1.4).epsilon(0.05));
  // A baseline ages.
  for (int i = 0; i < 100; ++i) model.on_step(step(ModelRole::kTarget, 3, 1680, 1.0));
  CHECK_FALSE(model.baseline_known(0.1));
}

TEST_CASE("a length seen only beside the other model counts for what it took alone") {
  PairProfile profile;
  profile.costs.target_us = {1000};
  profile.costs.target_slowdown = 2.0;
  CostModel model(&profile);
  for (int i = 0; i < 10; ++i) {
    model.on_step(step(ModelRole::kTarget, 1, 1000));
    model.on_step(step(ModelRole::kTarget, 1, 2000, 1.0));
    model.on_step(step(ModelRole::kTarget, 4, 2400, 1.0));
  }
  CHECK(model.target(4) == doctest::Approx(1200).epsilon(0.03));
  CHECK(model.target_slowdown() == doctest::Approx(2.0).epsilon(0.03));
}

TEST_CASE("scattering times beside the other model do not look like a slow-down") {
  PairProfile profile = sloped_profile();
  CostModel model(&profile);
  Random random(7);
  double sum = 0.0;
  for (int i = 0; i < 2000; ++i) {
    const double us = 1000.0 * (0.9 + 0.2 * random.uniform());
    model.on_step(step(ModelRole::kTarget, 1, us, i % 2 == 0 ? 0.4 : 0.0));
    sum += model.target_slowdown();
  }
  CHECK(sum / 2000 < 1.03);
}

TEST_CASE("what one text has learnt of the costs holds for the next, the doubts too") {
  PairProfile profile = sloped_profile();
  {
    CostModel model(&profile);
    for (int i = 0; i < 30; ++i) {
      for (const int n : {1, 2, 4, 8}) model.on_step(step(ModelRole::kTarget, n, 900 + 100 * n));
    }
  }
  CostModel next(&profile);
  CHECK(next.baseline_known(0.2));
  // One long step does not make a known shape doubtful.
  next.on_step(step(ModelRole::kTarget, 8, 1.3 * 1700));
  CHECK(next.target(8) / next.target(1) == doctest::Approx(1.7).epsilon(0.06));
}

TEST_CASE("a batch of several texts teaches once, and what it teaches holds for all of them") {
  PairProfile profile = sloped_profile();
  profile.others.n_running = 1;
  PairProfile told_once = profile;
  CostModel one(&profile);
  CostModel other(&profile);
  CostModel single(&told_once);
  const CostModel idle(&told_once);
  StepTime batch = plain_batch(2, 2'000.0);
  for (int i = 0; i < 10; ++i) {
    batch = next_of(batch);
    one.on_step(batch);
    other.on_step(batch);
    single.on_step(batch);
  }
  CHECK(profile.doubts == told_once.doubts);
  CHECK(profile.costs == told_once.costs);
  CHECK(other.target_of_all(1, 16) == one.target_of_all(1, 16));
  CHECK(one.target_of_all(1, 16) == doctest::Approx(2'000.0).epsilon(0.05));
}

TEST_CASE("what one text has learnt of the slow-down, the next one does not undo") {
  PairProfile profile = sloped_profile();
  CostModel one(&profile);
  CostModel other(&profile);
  for (int i = 0; i < 20; ++i) {
    one.on_step(step(ModelRole::kTarget, 1, 1'000.0));
    one.on_step(step(ModelRole::kTarget, 1, 1'600.0, 1.0));
  }
  REQUIRE(one.target_slowdown() > 1.5);
  other.on_step(step(ModelRole::kTarget, 1, 1'600.0, 1.0));
  CHECK(other.target_slowdown() > 1.5);
}

TEST_CASE("beside others the plain step is one token of each text") {
  PairProfile profile = sloped_profile();
  profile.others.n_running = 3;
  CostModel model(&profile);
  CHECK_FALSE(model.baseline_known(0.1));
  StepTime batch = plain_batch(4, 1'300.0);
  for (int i = 0; i < 3; ++i) {
    batch = next_of(batch);
    model.on_step(batch);
  }
  CHECK(model.baseline_known(0.1));
  profile.others.n_running = 0;
  CHECK_FALSE(model.baseline_known(0.1));
}

TEST_CASE("a model that is never seen alone keeps its times, however long") {
  // Then a step cannot tell its time from the slow-down, so that the doubt of both stays large.
  std::vector<double> times{1'000.0};
  std::vector<double> doubt;
  double slowdown = 1.0;
  StepCurve curve(&times, &slowdown, &doubt);
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    const int n = random.between(1, 24);
    curve.observe(n, 1'000.0 + 10.0 * n, 1.0);
    REQUIRE(curve.known());
    REQUIRE(curve.doubt() > 0.0);
    REQUIRE(std::isfinite(curve.doubt()));
  }
  CHECK(curve.at(24) * slowdown == doctest::Approx(1'240.0).epsilon(0.05));
  CHECK(curve.at(1) * slowdown == doctest::Approx(1'010.0).epsilon(0.05));
}
