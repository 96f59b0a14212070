"""Several texts in one batch: the composer, and `auto` beside others."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "crowd-unnoticed",
        "a text goes on as before when others come or go",
        "planner/auto/schedule_choice.cpp",
        "  if (n_texts_ != costs_.n_texts()) {",
        "  if (n_texts_ < 0) {",
    ),
    Mutation(
        "crowd-waits-for-the-draft",
        "texts in one batch use a serial schedule",
        "planner/auto/schedule_choice.cpp",
        "  return !costs_.crowded() && costs_.target_slowdown() >= kTimeSharing;",
        "  return costs_.target_slowdown() >= kTimeSharing;",
    ),
    Mutation(
        "crowd-blamed-for-prompts",
        "the time of other texts' prompts counts as that of speculation",
        "planner/auto/schedule_choice.cpp",
        "  const double us = costs_.crowded() ? step_us : static_cast<double>(now_us - last_us_);",
        "  const auto us = static_cast<double>(now_us - last_us_) + 0.0 * step_us;",
    ),
    Mutation(
        "crowd-record-shared-with-single-texts",
        "what did not pay beside others is not tried alone either",
        "planner/auto/schedule_choice.cpp",
        "costs_.crowded() ? table.crowded : table.alone;",
        "table.alone;",
    ),
    Mutation(
        "crowd-judged-one-by-one",
        "a text that does not draft pays for the drafts of others, and nobody counts it",
        "planner/auto/schedule_choice.cpp",
        "  if (costs_.crowded()) return costs_.steps_since_plain() > 0;\n",
        "",
    ),
    Mutation(
        "crowd-probes-one-by-one",
        "each text of a crowd probes a new draft for itself",
        "planner/auto/schedule_choice.cpp",
        "probing_ = probing_ || !taken;",
        "probing_ = true;",
    ),
    Mutation(
        "crowd-probe-never-given-back",
        "the text that probes for all goes, and nobody probes any more",
        "planner/auto/schedule_choice.cpp",
        "  acceptance_.table().probed = false;\n",
        "",
    ),
    Mutation(
        "crowd-without-room",
        "a text begins before the cells suffice for it",
        "model/kept_texts.cpp",
        "return n_cells <= model.n_ctx_total;",
        "return n_cells <= 2 * static_cast<std::int64_t>(model.n_ctx_total);",
    ),
    Mutation(
        "crowd-keeps-closed-texts",
        "the cells of closed texts never give way",
        "model/kept_texts.cpp",
        "  while (n_taken > n_cells_ &&",
        "  while (n_taken < 0 && n_taken > n_cells_ &&",
    ),
    Mutation(
        "crowd-leaves-one-by-one",
        "a text speculates on where the others have stopped",
        "planner/auto/schedule_choice.cpp",
        "too_slow() || (costs_.crowded() && history().paused)",
        "too_slow()",
    ),
    Mutation(
        "crowd-tells-its-batches-often",
        "every text counts the same batch",
        "planner/cost_model.cpp",
        "batches + 1.0 / n_texts();",
        "batches + 1.0;",
    ),
    Mutation(
        "crowd-plain-beside-the-draft",
        "a step beside a draft pass is taken for one alone",
        "planner/cost_model.cpp",
        "alone && crowded() && n == step.n_texts",
        "crowded() && n == step.n_texts",
    ),
    Mutation(
        "crowd-costs-of-one",
        "what all texts verify is taken for as short as one text's part",
        "planner/cost_model.h",
        "target_.at(n * n_texts())",
        "target_.at(n)",
    ),
    Mutation(
        "crowd-drafts-at-any-price",
        "the draft delays all texts for tokens that are not worth it",
        "planner/auto/auto_planner.cpp",
        "  return gain > rate * delay;",
        "  return gain >= 0.0 * rate * delay;",
    ),
    Mutation(
        "covariance-in-parts",
        "the doubts of step times stop being a covariance",
        "planner/step_curve.cpp",
        "    for (int i = 1; i < kLearned; ++i) {\n      for (int j = 1; j < kLearned; ++j) "
        "covariance(i, j) +=",
        "    for (int i = 1; i < kLearned; ++i) {\n"
        "      if (covariance(i, i) > squared(kMostDoubt)) continue;\n"
        "      for (int j = 1; j < kLearned; ++j) covariance(i, j) +=",
    ),
    Mutation(
        "composer-worst-first",
        "the least probable tokens are verified first",
        "engine/batch_composer.cpp",
        "queue.emplace(offers[i].chances[n],",
        "queue.emplace(-offers[i].chances[n],",
    ),
    Mutation(
        "composer-forgets-fixed-rows",
        "a batch gets more rows than it may have",
        "engine/batch_composer.cpp",
        "  int n_rows = n_fixed;",
        "  int n_rows = 0 * n_fixed;",
    ),
    Mutation(
        "composer-forgets-replayed-rows",
        "rows that decode the text again are not counted",
        "engine/batch_composer.cpp",
        "n_rows += 1 + offer.n_replayed;",
        "n_rows += 1;",
    ),
    Mutation(
        "composer-keeps-old-rates",
        "a batch is judged by what other texts reached",
        "engine/batch_composer.cpp",
        "  if (n_texts != n_texts_) meter_.reset();",
        "  if (n_texts < 0) meter_.reset();",
    ),
    Mutation(
        "composer-learns-from-one",
        "a text that was alone says what several are worth",
        "engine/batch_composer.cpp",
        "  if (n_texts < 2) return;",
        "  if (n_texts < 1) return;",
    ),
    Mutation(
        "offer-taken-too-long",
        "one token more than was bought is verified",
        "decoder/decoder.cpp",
        "  while (tree_.depth(end) > n_drafted)",
        "  while (tree_.depth(end) > n_drafted + 1)",
    ),
    Mutation(
        "offer-outlives-its-text",
        "a text that has ended still asks for a verification",
        "decoder/decoder.cpp",
        "  if (finish_ == Finish::kNone) finish_ = finish;\n  offer_.reset();\n",
        "  if (finish_ == Finish::kNone) finish_ = finish;\n",
    ),
    Mutation(
        "overlap-of-one-text",
        "a text takes the slow-down by the drafts of others for its own step time",
        "decoder/decoder.cpp",
        "  if (event.overlap) step.overlap = *event.overlap;\n",
        "",
    ),
)
