"""Metrics for Prometheus, with llama-server's names where they exist."""

from __future__ import annotations

import threading
from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from specbranch_cpp.results import GenerationStats
    from specbranch_cpp.server.request_queue import RequestQueue
    from specbranch_cpp.server.slots import Slot, Slots

__all__ = ["Metrics"]

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

# Sums over the generations, with their descriptions.
COUNTERS = {
    "llamacpp:prompt_tokens": "Prompt tokens computed, without those from the cache.",
    "llamacpp:prompt_tokens_cached": "Prompt tokens reused from the cache.",
    "llamacpp:prompt_seconds": "Time for prompts.",
    "llamacpp:tokens_predicted": "Tokens generated.",
    "llamacpp:tokens_predicted_seconds": "Time for generating.",
    "llamacpp:n_decode": "Forward passes of the target, without those for prompts.",
    "llamacpp:spec_decode_num_drafts": "Verified drafts.",
    "llamacpp:spec_decode_num_draft_tokens": "Drafted tokens.",
    "llamacpp:spec_decode_num_accepted_tokens": "Drafted tokens that became text.",
    "specbranch:lookup_draft_tokens": "Drafted tokens that a text proposed.",
    "specbranch:lookup_accepted_tokens": "Those of them that became text.",
    "specbranch:forced_draft_tokens": "Drafted tokens about which a grammar left no choice.",
    "specbranch:forced_accepted_tokens": "Those of them that became text.",
    "specbranch:tree_steps": "Forward passes of the target that verified branches.",
    "specbranch:branch_verified_tokens": "Tokens on these branches.",
    "specbranch:branches_taken": "Forward passes whose text left the path for a branch.",
    "specbranch:branch_accepted_tokens": "Tokens on these branches that became text.",
    "specbranch:rolled_back_tokens": "Drafted tokens that were rolled back.",
    "specbranch:wasted_draft_tokens": "Tokens drafted on any branch that did not become text.",
    "specbranch:branch_hits": "Verifications whose last token was drafted, but not verified.",
    "specbranch:branch_misses": "Verifications that rejected drafts and met no branch.",
    "specbranch:target_busy_seconds": "Time of the target's work while text was generated.",
    "specbranch:draft_busy_seconds": "Time of the draft's work while text was generated.",
    "specbranch:overlap_seconds": "Time in which both models computed.",
}

# Figures of each slot, with their descriptions.
SLOT_GAUGES: tuple[tuple[str, str, Callable[[Slot], float]], ...] = (
    ("specbranch:slot_busy", "1: a text runs there.", lambda slot: slot.text is not None),
    ("specbranch:slot_prompt_tokens", "Tokens of the prompt.", lambda slot: slot.n_prompt),
    (
        "specbranch:slot_prompt_tokens_read",
        "Tokens of the prompt that the target has read.",
        lambda slot: slot.n_prefilled,
    ),
    ("specbranch:slot_generated_tokens", "Tokens of the text.", lambda slot: slot.n_decoded),
)


class Metrics:
    """The metrics of one server, with their own registry.

    *Thread safety*: any thread may call every method.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._sums = dict.fromkeys(COUNTERS, 0.0)
        self._accepted_at: Tally[int] = Tally()
        self._queue: RequestQueue | None = None
        self._slots: Slots | None = None
        self._requests = Counter(
            "specbranch:requests",
            "Requests by endpoint and status; 499: the client disconnected.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self._wait = Histogram(
            "specbranch:queue_wait_seconds",
            "Time in the queue.",
            registry=self._registry,
            buckets=SECONDS,
        )
        self._first = Histogram(
            "specbranch:time_to_first_token_seconds",
            "From the end of the queue to the first chunk of a stream.",
            ("endpoint",),
            registry=self._registry,
            buckets=SECONDS,
        )
        self._registry.register(self)

    def watch(self, queue: RequestQueue, slots: Slots) -> None:
        """The queue whose length is reported, and the places of the texts."""
        self._queue, self._slots = queue, slots

    def answered(self, endpoint: str, status: int) -> None:
        self._requests.labels(endpoint, str(status)).inc()

    def waited(self, seconds: float) -> None:
        self._wait.observe(seconds)

    def first_token(self, endpoint: str, seconds: float) -> None:
        self._first.labels(endpoint).observe(seconds)

    def ended(self, stats: GenerationStats) -> None:
        """Adds the statistics of a generation."""
        histogram = stats.acceptance_histogram
        added = {
            "llamacpp:prompt_tokens": stats.n_prompt - stats.n_reused,
            "llamacpp:prompt_tokens_cached": stats.n_reused,
            "llamacpp:prompt_seconds": stats.prefill_ms / 1000,
            "llamacpp:tokens_predicted": stats.n_generated,
            "llamacpp:tokens_predicted_seconds": stats.decode_ms / 1000,
            "llamacpp:n_decode": stats.n_target_steps,
            "llamacpp:spec_decode_num_drafts": sum(histogram) if stats.n_drafted else 0,
            "llamacpp:spec_decode_num_draft_tokens": stats.n_drafted,
            "llamacpp:spec_decode_num_accepted_tokens": stats.n_accepted,
            "specbranch:lookup_draft_tokens": stats.n_lookup_drafted,
            "specbranch:lookup_accepted_tokens": stats.n_lookup_accepted,
            "specbranch:forced_draft_tokens": stats.n_forced_drafted,
            "specbranch:forced_accepted_tokens": stats.n_forced_accepted,
            "specbranch:tree_steps": stats.n_tree_steps,
            "specbranch:branch_verified_tokens": stats.n_branch_verified,
            "specbranch:branches_taken": stats.n_branches_taken,
            "specbranch:branch_accepted_tokens": stats.n_branch_accepted,
            "specbranch:rolled_back_tokens": stats.n_rolled_back,
            "specbranch:wasted_draft_tokens": stats.n_all_drafted - stats.n_accepted,
            "specbranch:branch_hits": stats.branch_hits,
            "specbranch:branch_misses": stats.branch_misses,
            "specbranch:target_busy_seconds": stats.target_busy_ms / 1000,
            "specbranch:draft_busy_seconds": stats.draft_busy_ms / 1000,
            "specbranch:overlap_seconds": stats.overlap_ms / 1000,
        }
        with self._lock:
            for name, value in added.items():
                self._sums[name] += value
            for accepted, steps in enumerate(histogram):
                for position in range(accepted):
                    self._accepted_at[position] += steps

    def text(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics for the registry."""
        with self._lock:
            sums = dict(self._sums)
            accepted_at = sorted(self._accepted_at.items())
        for name, what in COUNTERS.items():
            yield CounterMetricFamily(name, what, value=sums[name])
        positions = CounterMetricFamily(
            "llamacpp:spec_decode_num_accepted_tokens_per_pos",
            "Drafted tokens that became text, by their position in the draft.",
            labels=["position"],
        )
        for position, count in accepted_at:
            positions.add_metric([str(position)], count)
        yield positions
        for name, what, tokens, seconds in (
            ("prompt_tokens_seconds", "Prompt tokens per second.", "prompt_tokens", "prompt"),
            (
                "predicted_tokens_seconds",
                "Generated tokens per second.",
                "tokens_predicted",
                "tokens_predicted",
            ),
        ):
            duration = sums[f"llamacpp:{seconds}_seconds"]
            rate = sums[f"llamacpp:{tokens}"] / duration if duration else 0.0
            yield GaugeMetricFamily(f"llamacpp:{name}", what, value=rate)
        queue = self._queue
        running, waiting = (queue.n_running, queue.n_waiting) if queue else (0, 0)
        yield GaugeMetricFamily("llamacpp:requests_processing", "Running requests.", running)
        yield GaugeMetricFamily("llamacpp:requests_deferred", "Waiting requests.", waiting)
        slots = self._slots.now() if self._slots else []
        for name, what, value in SLOT_GAUGES:
            gauge = GaugeMetricFamily(name, what, labels=["slot"])
            for slot in slots:
                gauge.add_metric([str(slot.id)], value(slot))
            yield gauge
