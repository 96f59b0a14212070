"""Threads, output, aborts and failures."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "queued-not-counted",
        "the totals leave out what ends in the queue",
        "engine/coordinator.cpp",
        "  publish(end.stats);\n  submit.output",
        "  submit.output",
    ),
    Mutation(
        "copies-untimed",
        "the draft tells nothing of the time of its KV copies",
        "engine/worker.cpp",
        "  event.ops_us = now_us() - event.begin_us;\n  return DraftDone",
        "  return DraftDone",
    ),
    Mutation(
        "abort-not-cleared",
        "an abort outlives the generation that it was meant for",
        "engine/coordinator.cpp",
        "    target_->clear_abort();\n",
        "",
    ),
    Mutation(
        "draft-abort-not-cleared",
        "as above, on the draft's side",
        "engine/coordinator.cpp",
        "    draft_->clear_abort();\n",
        "",
    ),
    Mutation(
        "abort-not-sent",
        "a cancel waits for the running step",
        "engine/coordinator.cpp",
        "  if (commands.abort_draft && draft_) draft_->request_abort();",
        "",
    ),
    Mutation(
        "not-poisoned",
        "a lost model is used again",
        "engine/coordinator.cpp",
        "    poison_ = end.error;",
        "    poison_ = nullptr;",
    ),
    Mutation(
        "lost-draft-used",
        "a lost draft is used again by the next generation",
        "engine/coordinator.cpp",
        "  if (is_fatal(end.draft_error)) lose_draft(end.draft_error);\n",
        "",
    ),
    Mutation(
        "lost-draft-poisons",
        "a lost draft makes the engine unusable",
        "engine/coordinator.cpp",
        "lose_draft(end.draft_error);",
        "poison_ = end.draft_error;",
    ),
    Mutation(
        "escape-recoverable",
        "an escaped exception counts as recoverable",
        "engine/worker.cpp",
        '        FatalError(std::string("the ") + name + " failed unexpectedly: "',
        '        DecodeError(std::string("the ") + name + " failed unexpectedly: "',
    ),
    Mutation(
        "queued-cancel-lost",
        "a queued generation cannot be cancelled",
        "engine/coordinator.cpp",
        "  if (queued == queue_.end()) return;",
        "  if (queued != queue_.end()) return;",
    ),
    Mutation(
        "deep-recursion",
        "the next generation is started from the end of the last one",
        "engine/coordinator.cpp",
        "  output->send(std::move(end));\n}\n\nvoid Coordinator::end_at_once",
        "  output->send(std::move(end));\n  start_next();\n}\n\nvoid Coordinator::end_at_once",
    ),
    Mutation(
        "policy-request-late",
        "a reader gets the chunks first, which send it away from the policy request",
        "engine/coordinator.cpp",
        "    const bool skipped = ask_policy && !send_policy_request();\n    hand_out();\n",
        "    hand_out();\n    const bool skipped = ask_policy && !send_policy_request();\n",
    ),
    Mutation(
        "progress-never-prefilled",
        "nobody is told that the prompt is in place",
        "engine/coordinator.cpp",
        "request.progress->set_prefilled(static_cast<Pos>(request.prompt.size()))",
        "request.progress->set_prefilled(0)",
    ),
)
