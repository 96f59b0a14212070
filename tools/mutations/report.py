"""Statistics, and what can be seen while a generation runs."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "busy-before-start",
        "what is drafted during the prefill counts as decoding",
        "report/stats.cpp",
        "  const std::int64_t counted_us = std::max(begin_us, start_us_);\n",
        "  const std::int64_t counted_us = begin_us;\n",
    ),
    Mutation(
        "overlap-forgotten",
        "an interval is forgotten before the last one that overlaps it",
        "report/stats.cpp",
        "  if (other.sent_us && *other.sent_us < end_us) own",
        "  if (other.sent_us && *other.sent_us > end_us) own",
    ),
    Mutation(
        "intervals-kept",
        "the intervals of a model that is alone are kept for ever",
        "report/stats.cpp",
        "  if (other.sent_us && *other.sent_us < end_us) own",
        "  own",
    ),
    Mutation(
        "start-moves-nothing",
        "what was drafted before the start moved still counts",
        "report/stats.cpp",
        "    model.busy_us = 0;\n",
        "",
    ),
    Mutation(
        "late-verification-lost",
        "a verification that is applied after another event has no span",
        "report/trace.cpp",
        "    if (!unanswered_) continue;\n",
        "    if (!unanswered_ || *unanswered_ + 1 < trace_.spans.size()) continue;\n",
    ),
    Mutation(
        "progress-rounds-twice",
        "the record of a running generation repeats its rounds",
        "report/trace.cpp",
        "live_->record(trace_.spans.back(), fresh)",
        "live_->record(trace_.spans.back(), rounds)",
    ),
)
