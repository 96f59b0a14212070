"""What every file includes. Last, as everything is compiled again after each of these."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "strand-two-at-once",
        "two threads decide at the same time what follows",
        "base/strand.h",
        "    if (!running_ && handler_) run(lock, serves);",
        "    if (handler_) run(lock, serves);",
    ),
    Mutation(
        "strand-attach-early",
        "the handler is replaced while it runs",
        "base/strand.h",
        "    rests_.wait(lock, [&] { return !running_; });\n    handler_",
        "    handler_",
    ),
    Mutation(
        "strand-convoy",
        "a caller's thread works for all the others until there is nothing left",
        "base/strand.h",
        "      if (!serves) break;\n",
        "",
    ),
    Mutation(
        "strand-left-behind",
        "a value is left with a thread that does not come back to it",
        "base/strand.h",
        "    rests_.wait(lock, [&] { return !running_ || serving_; });\n",
        "",
    ),
    Mutation(
        "strand-never-closes",
        "a closed engine still takes submissions",
        "base/strand.h",
        "      if (!more) closed_ = true;\n",
        "      if (!more && queue_.empty()) closed_ = true;\n",
    ),
    Mutation(
        "send-after-close",
        "a closed channel accepts more",
        "base/channel.h",
        "      if (closed_) return false;\n",
        "",
    ),
    Mutation(
        "request-stranded",
        "a policy request is sent although nobody waits",
        "base/channel.h",
        "closed_ || queue_.size() >= n_waiting_) return false;",
        "closed_) return false;",
    ),
)
