#!/usr/bin/env python3
"""Breaks the core on purpose, one defect at a time: some test must notice each of them.

A mutation is an exact text of a source and what it is replaced with. The tree is copied to a
temporary folder, built once, then built and tested again after each mutation. Fails if a mutation
survives, does not compile, or if its text is no longer in the source.

    tools/mutations.py              # all of them
    tools/mutations.py --list
    tools/mutations.py --only stale-lane target-one-short
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("CMakeLists.txt", "benchmarks", "cpp", "tests/cpp")
MEMORY_BYTES = 4 << 30


@dataclass(frozen=True)
class Mutation:
    """One defect: `old`, which stands exactly once in cpp/`file`, becomes `new`."""

    name: str
    breaks: str
    file: str
    old: str
    new: str


MUTATIONS = (
    # What a verdict does to the tree.
    Mutation(
        "stale-lane",
        "the answer of a lane whose node was dropped is given to the root",
        "specbranch/decoder/decoder.cpp",
        "    if (!tree_.contains(sent[i])) continue;\n    Node& node = tree_.at(sent[i]);\n",
        "    Node& node = tree_.at(tree_.contains(sent[i]) ? sent[i] : tree_.root());\n",
    ),
    Mutation(
        "reroot-parent",
        "the tree is rooted one node too early",
        "specbranch/decoder/decoder.cpp",
        "for (const Node& node : tree_.reroot(last)) roll_back(node);",
        "for (const Node& node : tree_.reroot(tree_.at(last).parent)) roll_back(node);",
    ),
    Mutation(
        "reroot-first-child",
        "a branch hit keeps the main branch instead of the one that was hit",
        "specbranch/decoder/decoder.cpp",
        "      last = next;\n",
        "      last = tree_.at(last).children.front();\n",
    ),
    Mutation(
        "miss-keeps-tree",
        "a rejected path lives on under the old root",
        "specbranch/decoder/decoder.cpp",
        "  tree_.reset(miss->token, tree_.at(tree_.root()).pos + 1);\n",
        "  if (tree_.size() == 1) tree_.reset(miss->token, tree_.at(tree_.root()).pos + 1);\n",
    ),
    Mutation(
        "ids-reused",
        "node ids begin anew with every root",
        "specbranch/tree/tree.cpp",
        "  nodes_.clear();\n",
        "  nodes_.clear();\n  next_id_ = 0;\n",
    ),
    Mutation(
        "child-twice",
        "a candidate becomes a second child",
        "specbranch/tree/tree.cpp",
        "known != kNoNode) return known;",
        "known == kNoNode + 1000000) return known;",
    ),
    Mutation(
        "dropped-siblings-forgotten",
        "re-rooting tells the committed nodes as dropped",
        "specbranch/tree/tree.cpp",
        "if (!committed.contains(it->first)) dropped",
        "if (true || !committed.contains(it->first)) dropped",
    ),
    # The target's KV.
    Mutation(
        "target-one-short",
        "the decoder believes that the target holds one cell less",
        "specbranch/decoder/decoder.cpp",
        "  target_length_ = verify.pos + static_cast<Pos>(verify.path.size());",
        "  target_length_ = verify.pos + static_cast<Pos>(verify.path.size()) - 1;",
    ),
    Mutation(
        "truncate-skipped",
        "rejected cells stay in the target's sequence",
        "specbranch/decoder/decoder.cpp",
        "  if (target_length_ > verify.pos) verify.truncate",
        "  if (false) verify.truncate",
    ),
    Mutation(
        "truncate-too-much",
        "the target's sequence is cut one cell too short",
        "specbranch/decoder/decoder.cpp",
        "verify.truncate = Truncate{0, target_length_, verify.pos};",
        "verify.truncate = Truncate{0, target_length_, verify.pos - 1};",
    ),
    Mutation(
        "path-beyond-end",
        "more is drafted and verified than can be committed",
        "specbranch/decoder/decoder.cpp",
        "  view.max_depth = limit_ - root - 2;",
        "  view.max_depth = limit_ - root - 1;",
    ),
    Mutation(
        "path-beyond-batch",
        "a verification takes one token more than a batch",
        "specbranch/decoder/decoder.cpp",
        "limits_.target.max_batch - 1);",
        "limits_.target.max_batch);",
    ),
    # The draft's KV.
    Mutation(
        "draft-one-short",
        "a branch is forked one cell short, and the ledger believes it is not",
        "specbranch/tree/draft_lanes.cpp",
        "Fork{best, seq, shared, ledger_.length(seq), held}",
        "Fork{best, seq, std::min(shared, held - 1), ledger_.length(seq), held - 1}",
    ),
    Mutation(
        "ledger-copies-one-short",
        "the ledger notes a fork one cell short",
        "specbranch/tree/kv_ledger.cpp",
        "  truncate(to, length);",
        "  truncate(to, length - 1);",
    ),
    Mutation(
        "fork-wrong-prefix",
        "cells that differ are kept as if they were common",
        "specbranch/tree/draft_lanes.cpp",
        "const Pos shared = std::min(ledger_.common_of(best, seq), held);",
        "const Pos shared = std::min(ledger_.length(seq), held);",
    ),
    Mutation(
        "ledger-not-normalized",
        "what was drafted and then committed is taken for different",
        "specbranch/tree/kv_ledger.cpp",
        "  normalize(entry);\n",
        "",
    ),
    Mutation(
        "ledger-tail-ignored",
        "the common prefix ends where the committed text does",
        "specbranch/tree/kv_ledger.cpp",
        "  return entry.base + static_cast<Pos>(end.first - entry.tail.begin());",
        "  return entry.base + 0 * static_cast<Pos>(end.first - entry.tail.begin());",
    ),
    Mutation(
        "cuts-live-branch",
        "a sequence is cut although a live branch needs its cells",
        "specbranch/tree/draft_lanes.cpp",
        "if (!taken(best) && !holds_live_node(tree, best, held)) {",
        "if (!taken(best)) {",
    ),
    Mutation(
        "sequence-taken-twice",
        "a branch is put on a sequence that another one uses",
        "specbranch/tree/draft_lanes.cpp",
        "    if (!used && !holds_live_node(tree, seq, 0)) return seq;",
        "    if (!used) return seq;",
    ),
    Mutation(
        "more-branches-than-sequences",
        "the planner ignores how many sequences are free",
        "specbranch/planner/planner_rounds.cpp",
        "1 + view.free_seqs,",
        "2 + view.free_seqs,",
    ),
    Mutation(
        "beyond-draft-context",
        "the draft is asked to go one position beyond its context",
        "specbranch/decoder/decoder.cpp",
        "limits_.draft->n_ctx - root);",
        "limits_.draft->n_ctx - root + 1);",
    ),
    Mutation(
        "beyond-draft-vocabulary",
        "the draft gets a token that its vocabulary lacks",
        "specbranch/decoder/decoder.cpp",
        "  if (token < limits_.draft->n_vocab) return;",
        "  if (token <= limits_.draft->n_vocab) return;",
    ),
    # The noise and the choice.
    Mutation(
        "draft-noise-position",
        "the draft's noise is that of the position before",
        "specbranch/simulation/fake_model.cpp",
        "const PositionNoise noise(sampling_.seed, static_cast<Pos>(cells.size()));",
        "const PositionNoise noise(sampling_.seed, static_cast<Pos>(cells.size()) - 1);",
    ),
    Mutation(
        "target-noise-position",
        "the target's noise is that of the position after",
        "specbranch/simulation/fake_model.cpp",
        "const PositionNoise noise(sampling_.seed, static_cast<Pos>(context.size()));",
        "const PositionNoise noise(sampling_.seed, static_cast<Pos>(context.size()) + 1);",
    ),
    Mutation(
        "noise-without-position",
        "every position has the same noise",
        "specbranch/sampling/noise.cpp",
        "kGolden * (static_cast<std::uint64_t>(position) + 1)",
        "kGolden * (static_cast<std::uint64_t>(position) * 0 + 1)",
    ),
    Mutation(
        "noise-by-index",
        "the noise belongs to the place in the list, not to the token",
        "specbranch/sampling/choice.cpp",
        "        noise != nullptr ? static_cast<double>(score) + noise->gumbel(token) : score;\n"
        "    if (best.offer",
        "        noise != nullptr ? static_cast<double>(score) +\n"
        "                               noise->gumbel(static_cast<Token>(i)) : score;\n"
        "    if (best.offer",
    ),
    Mutation(
        "bound-too-tight",
        "tokens that could still win are skipped",
        "specbranch/sampling/noise.cpp",
        "const double lowest = (u - margin)",
        "const double lowest = (u + 1e-3)",
    ),
    Mutation(
        "bound-too-far-below",
        "tokens a little less probable than the best are skipped",
        "specbranch/sampling/choice.cpp",
        "return bits < needed_[step];",
        "return bits < needed_[std::min<std::size_t>(step + 1, 24)];",
    ),
    Mutation(
        "noise-unbounded",
        "all ones are u = 1",
        "specbranch/sampling/noise.cpp",
        "1.0 - 1.0 / static_cast<double>(kBits53));",
        "1.0);",
    ),
    Mutation(
        "tie-to-highest",
        "the highest id wins a tie",
        "specbranch/sampling/choice.cpp",
        "(candidate == value && (token >= 0 && id > token))",
        "(candidate == value && (token >= 0 && id < token))",
    ),
    Mutation(
        "confidence-inverted",
        "the draft proposes its worst candidates first",
        "specbranch/sampling/choice.cpp",
        "    return a.confidence > b.confidence ||",
        "    return a.confidence < b.confidence ||",
    ),
    # Planners.
    Mutation(
        "verdict-before-round",
        "a lock-step verdict is applied while the draft is at work",
        "specbranch/planner/planner_rounds.cpp",
        "{ return drafted_ && view.draft_idle; }",
        "{ return drafted_ || !view.draft_idle; }",
    ),
    Mutation(
        "stops-at-certain",
        "chains stop at the tokens that are certain",
        "specbranch/planner/policy_rules.cpp",
        "entropy_->doubts(candidates) : confidence < epsilon_;",
        "entropy_->doubts(candidates) : confidence > epsilon_;",
    ),
    Mutation(
        "branches-where-certain",
        "many branches where the draft is certain, few where it is not",
        "specbranch/planner/planner_rounds.cpp",
        "const double doubt = 1.0 - point.candidates[0].confidence;",
        "const double doubt = point.candidates[0].confidence;",
    ),
    Mutation(
        "width-one",
        "the draft is asked for one candidate only",
        "specbranch/decoder/decoder.cpp",
        "lanes_.plan(tree_, nodes, planner_->width());",
        "lanes_.plan(tree_, nodes, 1);",
    ),
    Mutation(
        "head-start-lost",
        "a branch that is kept from the last round is drafted from its first token again",
        "specbranch/planner/planner_rounds.cpp",
        "leaves_.push_back(view.tree.main_leaf(grow.child(point_, rank)));",
        "leaves_.push_back(grow.child(point_, rank));",
    ),
    Mutation(
        "window-past-doubts",
        "windows are drafted past the token where the next round branches",
        "specbranch/planner/planner_rounds.cpp",
        "  return !unbounded && policy().doubts(",
        "  return unbounded && policy().doubts(",
    ),
    # Counters.
    Mutation(
        "drafted-counts-branches",
        "every branch counts as drafted, not only the main path",
        "specbranch/decoder/decoder.cpp",
        "    if (node.main) ++counters_.n_drafted;",
        "    ++counters_.n_drafted;",
    ),
    Mutation(
        "hit-counts-as-path",
        "a branch hit counts in the acceptance histogram",
        "specbranch/decoder/decoder.cpp",
        "      if (on_path) ++n_matched;",
        "      ++n_matched;",
    ),
    Mutation(
        "rollback-counts-branches",
        "branches that did not survive count as rolled back",
        "specbranch/decoder/decoder.cpp",
        "  if (!node.main) return;\n",
        "",
    ),
    Mutation(
        "branch-not-promoted",
        "of a branch that survives only the first token counts as drafted",
        "specbranch/decoder/decoder.cpp",
        "    if (first == node.children.end()) return;",
        "    return;",
    ),
    Mutation(
        "unresolved-forgotten",
        "what is beyond the end is not counted",
        "specbranch/decoder/decoder.cpp",
        "    if (node.main) ++counters_.n_unresolved;",
        "    if (!node.main) ++counters_.n_unresolved;",
    ),
    Mutation(
        "busy-before-start",
        "what is drafted during the prefill counts as decoding",
        "specbranch/report/stats.cpp",
        "  const std::int64_t counted_us = std::max(begin_us, start_us_);\n",
        "  const std::int64_t counted_us = begin_us;\n",
    ),
    Mutation(
        "overlap-forgotten",
        "an interval is forgotten before the last one that overlaps it",
        "specbranch/report/stats.cpp",
        "  if (other.sent_us && *other.sent_us < end_us) own",
        "  if (other.sent_us && *other.sent_us > end_us) own",
    ),
    Mutation(
        "intervals-kept",
        "the intervals of a model that is alone are kept for ever",
        "specbranch/report/stats.cpp",
        "  if (other.sent_us && *other.sent_us < end_us) own",
        "  own",
    ),
    Mutation(
        "start-moves-nothing",
        "what was drafted before the start moved still counts",
        "specbranch/report/stats.cpp",
        "    side.busy_us = 0;\n",
        "",
    ),
    Mutation(
        "queued-not-counted",
        "the totals leave out what ends in the queue",
        "specbranch/engine/coordinator.cpp",
        "  publish(outcome.stats);\n  submit.output",
        "  submit.output",
    ),
    Mutation(
        "late-verdict-lost",
        "a verdict that is applied after another event has no span",
        "specbranch/report/trace.cpp",
        "    if (!unanswered_) continue;\n",
        "    if (!unanswered_ || *unanswered_ + 1 < trace_.spans.size()) continue;\n",
    ),
    # Ends.
    Mutation(
        "stop-one-byte-early",
        "one byte too few is held back",
        "specbranch/decoder/stop_matcher.cpp",
        "std::min(stop.size() - 1, held_.size())",
        "std::min(stop.size() - (stop.size() > 1 ? 2 : 1), held_.size())",
    ),
    Mutation(
        "stop-first-listed",
        "the stop string that is listed last wins, not the one that begins first",
        "specbranch/decoder/stop_matcher.cpp",
        "cut = std::min(cut, held_.find(stop));",
        "cut = held_.find(stop) != std::string::npos ? held_.find(stop) : cut;",
    ),
    Mutation(
        "text-after-stop",
        "the text goes on after a stop string",
        "specbranch/decoder/decoder.cpp",
        "    if (commit({choice, next != kNoNode}, commands)) break;",
        "    static_cast<void>(commit({choice, next != kNoNode}, commands));",
    ),
    Mutation(
        "commits-after-cancel",
        "a verdict that comes after a cancel is still applied",
        "specbranch/decoder/decoder.cpp",
        "  if (finish_ == Finish::kNone) advance(commands);",
        "  if (finish_ == Finish::kNone || finish_ == Finish::kCancelled) advance(commands);",
    ),
    Mutation(
        "other-generation",
        "events of another generation are taken for one's own",
        "specbranch/decoder/decoder.cpp",
        "  if (event.epoch != epoch_) return commands;",
        "  if (event.epoch > epoch_) return commands;",
    ),
    # Threads and failures.
    Mutation(
        "abort-not-cleared",
        "an abort outlives the generation that it was meant for",
        "specbranch/engine/coordinator.cpp",
        "    target_->clear_abort();\n",
        "",
    ),
    Mutation(
        "draft-abort-not-cleared",
        "as above, on the draft's side",
        "specbranch/engine/coordinator.cpp",
        "    draft_->clear_abort();\n",
        "",
    ),
    Mutation(
        "abort-not-sent",
        "a cancel waits for the running step",
        "specbranch/engine/coordinator.cpp",
        "  if (commands.abort_draft && draft_) draft_->request_abort();",
        "",
    ),
    Mutation(
        "strand-two-at-once",
        "two threads decide at the same time what follows",
        "specbranch/base/strand.h",
        "    if (!running_ && handler_) run(lock);",
        "    if (handler_) run(lock);",
    ),
    Mutation(
        "strand-attach-early",
        "the handler is replaced while it runs",
        "specbranch/base/strand.h",
        "    rests_.wait(lock, [&] { return !running_; });\n    handler_",
        "    handler_",
    ),
    Mutation(
        "strand-never-closes",
        "a closed engine still takes submissions",
        "specbranch/base/strand.h",
        "      if (!more) closed_ = true;\n",
        "      if (!more && queue_.empty()) closed_ = true;\n",
    ),
    Mutation(
        "not-poisoned",
        "a lost model is used again",
        "specbranch/engine/coordinator.cpp",
        "    poison_ = outcome.error;",
        "    poison_ = nullptr;",
    ),
    Mutation(
        "fatal-hidden",
        "a recoverable failure hides a fatal one",
        "specbranch/decoder/decoder.cpp",
        "(!is_fatal(error_) && is_fatal(fail->error))",
        "false",
    ),
    Mutation(
        "escape-recoverable",
        "an escaped exception counts as recoverable",
        "specbranch/engine/worker.cpp",
        '        FatalError(std::string("the ") + name + " failed unexpectedly: "',
        '        DecodeError(std::string("the ") + name + " failed unexpectedly: "',
    ),
    Mutation(
        "queued-cancel-lost",
        "a queued generation cannot be cancelled",
        "specbranch/engine/coordinator.cpp",
        "  if (queued == queue_.end()) return;",
        "  if (queued != queue_.end()) return;",
    ),
    Mutation(
        "deep-recursion",
        "the next generation is started from the end of the last one",
        "specbranch/engine/coordinator.cpp",
        "  output->send(std::move(outcome));\n}\n\nvoid Coordinator::end_at_once",
        "  output->send(std::move(outcome));\n  start_next();\n}\n\nvoid Coordinator::end_at_once",
    ),
    # The auto mode.
    Mutation(
        "auto-places-forgotten",
        "more branches are planned than there are sequences",
        "specbranch/planner/auto/best_first.cpp",
        "    if (n_free_ == 0) return false;\n",
        "",
    ),
    Mutation(
        "auto-tip-shared",
        "two nodes are planned to go on in one sequence",
        "specbranch/planner/auto/best_first.cpp",
        "        ++tip;\n",
        "",
    ),
    Mutation(
        "auto-waits-for-ever",
        "the target waits for a draft that has nothing to do",
        "specbranch/planner/auto/planner_auto.cpp",
        "  if (waits && decision.evaluate.empty() && !passing_) {",
        "  if (waits && decision.evaluate.empty() && passing_) {",
    ),
    Mutation(
        "auto-locked-in",
        "a draft that was given up is never looked at again",
        "specbranch/planner/auto/mode_choice.cpp",
        "  return costs_.known() && worth_a_look(unseen, unseen);",
        "  return false;",
    ),
    Mutation(
        "prospects-blind",
        "expected rates take no account of chains that end at a doubt",
        "specbranch/planner/auto/prospects.cpp",
        "        if (taken.value(rate) < stop.value(rate)) taken = stop;\n",
        "",
    ),
    Mutation(
        "prospects-free-draft",
        "expected rates take drafting beside the target for free",
        "specbranch/planner/auto/prospects.cpp",
        "(1.0 - alpha + alpha * beside)",
        "(1.0 - alpha)",
    ),
    Mutation(
        "meter-no-scatter",
        "speculation is given up for one short slump",
        "specbranch/planner/auto/rate_meter.cpp",
        "mean + std::sqrt(variance / n_)",
        "mean",
    ),
    Mutation(
        "outcomes-no-optimism",
        "what is known of a draft is taken for certain from the first token on",
        "specbranch/planner/auto/calibration.cpp",
        "a + optimism * deviation",
        "a",
    ),
    Mutation(
        "auto-never-relaxed",
        "a look at the draft weighs nothing against what was known",
        "specbranch/planner/auto/calibration.cpp",
        "    if (whole <= limit) return;\n",
        "    if (whole >= 0.0) return;\n",
    ),
    Mutation(
        "auto-shares-the-machine",
        "both models run at once where they only share the time",
        "specbranch/planner/auto/planner_auto.cpp",
        "  if (serial && target_busy) return;\n",
        "",
    ),
    Mutation(
        "auto-pads-nothing",
        "a shorter verification is taken where a longer one is quicker",
        "specbranch/planner/auto/costs.cpp",
        "    if (target(m) < target(best)) best = m;\n",
        "    if (target(m) > target(best)) best = n;\n",
    ),
    Mutation(
        "auto-overlap-is-alone",
        "the slow-down is taken for the cost of the step",
        "specbranch/planner/auto/costs.cpp",
        "  if (o <= kAlone) {",
        "  if (o <= 1.0) {",
    ),
    Mutation(
        "lanes-not-undone",
        "a pass that was cut short is taken for done",
        "specbranch/decoder/decoder.cpp",
        "      lanes_.undo(tree_);\n",
        "      lanes_.done();\n",
    ),
    Mutation(
        "chase-without-end",
        "a pass that catches up with the text is cut short by every verdict",
        "specbranch/tree/draft_lanes.cpp",
        "    return end - lane.tokens.begin() >= kCatchUp;\n",
        "    return end < lane.tokens.begin();\n",
    ),
    # Last: everything is compiled again after a change of a header.
    Mutation(
        "send-after-close",
        "a closed channel accepts more",
        "specbranch/base/channel.h",
        "      if (closed_) return false;\n",
        "",
    ),
    # Policies.
    Mutation(
        "skip-uncounted",
        "rounds that the caller's policy missed are not counted",
        "specbranch/decoder/decoder.cpp",
        "    ++counters_.policy_skipped;\n",
        "",
    ),
    Mutation(
        "plan-unchecked",
        "a plan out of range is carried out",
        "specbranch/decoder/decoder.cpp",
        "    if (done.plan) validate(*done.plan, *asked_);\n",
        "",
    ),
    Mutation(
        "question-late",
        "a reader gets the chunks first, which send it away from the question",
        "specbranch/engine/coordinator.cpp",
        "    const bool skipped = ask && !pose_question();\n    hand_out();\n",
        "    hand_out();\n    const bool skipped = ask && !pose_question();\n",
    ),
    Mutation(
        "question-stranded",
        "a question is posed although nobody waits",
        "specbranch/base/channel.h",
        "closed_ || queue_.size() >= n_waiting_) return false;",
        "closed_) return false;",
    ),
    Mutation(
        "threshold-backwards",
        "AdaEDL drafts more the less is accepted",
        "specbranch/planner/policy_rules.cpp",
        "acceptance_ <= wanted_ ? kStep : -kStep",
        "acceptance_ <= wanted_ ? -kStep : kStep",
    ),
    Mutation(
        "unsure-heeded",
        "H-RAD's network decides however unsure it is",
        "specbranch/planner/policy_rules.cpp",
        "  if (*likeliest < sure_) return;",
        "",
    ),
    Mutation(
        "fate-remembered",
        "what H-RAD foretold for one round holds for all that follow",
        "specbranch/planner/policy_rules.cpp",
        "fate_ = std::exchange(next_fate_, WindowFate::kSome);",
        "fate_ = next_fate_;",
    ),
    Mutation(
        "distrusted-drafted-on",
        "a window that H-RAD has given up is drafted on",
        "specbranch/planner/planner_rounds.cpp",
        "if (distrusted_ && drafted_before && leaves_",
        "if (false && drafted_before && leaves_",
    ),
    Mutation(
        "auto-forgets-its-rest",
        "every generation tries again what the one before gave up",
        "specbranch/planner/auto/mode_choice.cpp",
        "  table.resting = failed;\n",
        "",
    ),
    # What can be seen while it runs.
    Mutation(
        "origin-branch-as-draft",
        "a branch hit is told as a token of the verified path",
        "specbranch/decoder/decoder.cpp",
        "? Origin::kBranch",
        "? Origin::kDraft",
    ),
    Mutation(
        "progress-rounds-twice",
        "the record of a running generation repeats its rounds",
        "specbranch/report/trace.cpp",
        "live_->record(trace_.spans.back(), fresh)",
        "live_->record(trace_.spans.back(), rounds)",
    ),
    Mutation(
        "progress-never-prefilled",
        "nobody is told that the prompt is in place",
        "specbranch/engine/coordinator.cpp",
        "request.progress->set_prefilled(static_cast<Pos>(request.prompt.size()))",
        "request.progress->set_prefilled(0)",
    ),
)


@dataclass(frozen=True)
class Result:
    """What became of a mutation; `caught_by` is the first test that failed."""

    caught: bool
    caught_by: str
    seconds: float


def read(tree: Path, mutation: Mutation) -> str:
    text = (tree / "cpp" / mutation.file).read_text()
    n_found = text.count(mutation.old)
    if n_found != 1:
        raise SystemExit(
            f"{mutation.name}: its text stands {n_found} times in cpp/{mutation.file}, not once; "
            f"bring tools/mutations.py up to date:\n{mutation.old}"
        )
    return text


def build(build_dir: Path, jobs: int) -> subprocess.CompletedProcess[str]:
    command = ["cmake", "--build", str(build_dir), f"-j{jobs}", "--target", "specbranch_core_tests"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def first_failure(output: str) -> str:
    """Name of the test case that doctest was in when the first error was printed."""
    before = re.split(r"(?:FATAL )?ERROR: ", output, maxsplit=1)[0]
    names = re.findall(r"^TEST CASE: +(.+)$", before, flags=re.MULTILINE)
    return str(names[-1]) if names else "?"


def test(build_dir: Path, scale: float, timeout_s: float) -> Result:
    """Runs the tests until the first failure. A crash or a hang is a failure, too."""
    command = [str(build_dir / "tests/cpp/specbranch_core_tests"), "--abort-after=1"]
    env = {**os.environ, "SPECBRANCH_TEST_SCALE": str(scale)}
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            env=env,
            timeout=timeout_s,
            check=False,
            preexec_fn=limit_memory,
        )
    except subprocess.TimeoutExpired:
        return Result(True, "(hangs)", time.monotonic() - begin)
    seconds = time.monotonic() - begin
    if done.returncode == 0:
        return Result(False, "", seconds)
    output = done.stdout.decode(errors="replace")
    crash = "(crash) " if done.returncode < 0 or "test case CRASHED" in output else ""
    return Result(True, crash + first_failure(output), seconds)


def run(mutations: list[Mutation], args: argparse.Namespace, tree: Path) -> int:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name)
        else:
            shutil.copy2(source, tree / name)
    for mutation in mutations:
        read(tree, mutation)
    build_dir = tree / "build"
    options = ["BUILD_PYTHON=OFF", "BUILD_LLAMA=OFF", "BUILD_TESTS=ON"]
    configure = ["cmake", "-S", str(tree), "-B", str(build_dir), "-G", "Ninja"]
    configure += ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1"]
    configure += [f"-DSPECBRANCH_{option}" for option in options]
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    built = build(build_dir, args.jobs)
    if built.returncode != 0:
        raise SystemExit(f"the unchanged tree does not build:\n{built.stdout}{built.stderr}")
    unchanged = test(build_dir, args.scale, args.timeout)
    if unchanged.caught:
        raise SystemExit(f"the unchanged tree fails its tests: {unchanged.caught_by}")
    print(f"{'unchanged':30} {'passes':10} {unchanged.seconds:5.1f} s", flush=True)

    n_bad = 0
    for mutation in mutations:
        begin = time.monotonic()
        path = tree / "cpp" / mutation.file
        original = read(tree, mutation)
        path.write_text(original.replace(mutation.old, mutation.new))
        built = build(build_dir, args.jobs)
        if built.returncode == 0:
            result = test(build_dir, args.scale, args.timeout)
            verdict = "caught" if result.caught else "SURVIVED"
            note = result.caught_by if result.caught else mutation.breaks
        else:
            result = Result(False, "", 0.0)
            verdict = "NO BUILD"
            note = next((s for s in built.stdout.splitlines() if "error:" in s), mutation.breaks)
        path.write_text(original)
        n_bad += not result.caught
        seconds = time.monotonic() - begin
        print(f"{mutation.name:30} {verdict:10} {seconds:5.1f} s  {note}", flush=True)
    print(f"{len(mutations) - n_bad} of {len(mutations)} mutations caught")
    return 1 if n_bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the mutations and stop")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutations only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scale", type=float, default=0.1, help="share of the repetitions run")
    parser.add_argument("--timeout", type=float, default=40.0, help="seconds until a run hangs")
    args = parser.parse_args()

    names = [mutation.name for mutation in MUTATIONS]
    if len(set(names)) != len(names):
        raise SystemExit("two mutations have the same name")
    if args.only and (unknown := set(args.only) - set(names)):
        raise SystemExit(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [m for m in MUTATIONS if not args.only or m.name in args.only]
    if args.list:
        for mutation in chosen:
            print(f"{mutation.name:30} {mutation.breaks}")
        return 0
    with tempfile.TemporaryDirectory(prefix="specbranch-mutations-") as folder:
        return run(chosen, args, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
