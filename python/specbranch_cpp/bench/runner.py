"""Measures the items of a plan, writes them to a record file, and continues a stopped run."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Protocol

from specbranch_cpp.bench import machine, peer_access, traces
from specbranch_cpp.bench.group_engines import GroupEngines
from specbranch_cpp.bench.near_ties import first_difference
from specbranch_cpp.bench.records import timestamp
from specbranch_cpp.bench.variants import BASE
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from specbranch_cpp.bench.group_engines import MeasuredText
    from specbranch_cpp.bench.near_ties import Difference
    from specbranch_cpp.bench.plan import BenchGroup, BenchPlan, BenchRound, Item
    from specbranch_cpp.bench.records import RecordFile
    from specbranch_cpp.bench.variants import Variant


class ProgressListener(Protocol):
    """Called before and after each generation."""

    def __call__(self, n_done: int, n_items: int, what: str) -> object: ...


def run(plan: BenchPlan, file: RecordFile, progress: ProgressListener | None = None) -> None:
    """Measures every item of the plan that is not in the file.

    After an exception or Ctrl-C, the next call continues.

    Args:
        plan: the plan.
        file: the record file, with the header of the plan.
        progress: called before and after each generation.

    Raises:
        InvalidArgument: a prompt does not fit into the context.
        DecodeError: a forward pass failed.
    """
    file.add("begin", part=file.part, at=timestamp(), load=machine.load_average())
    for group in plan.groups:
        _GroupRun(plan, group, file, progress).run()
    if progress is not None:
        progress(file.n_generations, len(plan.items), "done")


def _difference_key(item: Item) -> str:
    return f"difference {item.key}"


class _GroupRun:
    """The remaining work of one group."""

    def __init__(
        self,
        plan: BenchPlan,
        group: BenchGroup,
        file: RecordFile,
        progress: ProgressListener | None,
    ) -> None:
        self._plan = plan
        self._group = group
        self._file = file
        self._progress = progress
        self._skipped: set[str] = set()  # other engines that failed in this group

    def run(self) -> None:
        left = [one for one in self._group.rounds if self._open_items(one)]
        measured = [one for one in self._group.rounds if not self._open_items(one)]
        unexplained = [one for one in measured if self._differing(one)]
        if not (left or unexplained or self._traced()):
            return
        try:
            engines = GroupEngines(self._plan, self._group)
        except (ModelLoadError, MemoryError) as error:
            self._skip(str(error) or "not enough memory")
            return
        with engines:
            for one in left:  # check that all prompts fit before decoding the first
                engines.tokenize(one.text)
            for one in unexplained:
                self._compare(engines, one)
            for temperature in dict.fromkeys(one.temperature for one in left):
                alike = [one for one in left if one.temperature == temperature]
                self._warm_up(engines, alike)
                for one in alike:
                    self._measure(engines, one)
            self._trace(engines)

    def _traced(self) -> tuple[str, Variant] | None:
        """The key and the variant of the trace to make. ``None``: no trace is missing."""
        variant = traces.variant(self._plan.variants)
        key = f"trace {self._group.pair} {self._group.placement.name}"
        return None if variant is None or self._file.has(key) else (key, variant)

    def _trace(self, engines: GroupEngines) -> None:
        if (wanted := self._traced()) is None:
            return
        key, variant = wanted
        trace = engines.trace(variant, self._group.rounds[0])
        self._file.add(
            "trace",
            key=key,
            **self._group.about(),
            variant=variant.name,
            **traces.to_json(trace),
        )

    def _open_items(self, one: BenchRound) -> list[Item]:
        return [item for item in one.items if not self._file.has(item.key)]

    def _warm_up(self, engines: GroupEngines, left: list[BenchRound]) -> None:
        """Warms up each variant with remaining items: runs a generation on the last prompt."""
        last = left[-1]
        prompt = engines.tokenize(last.text)
        wanted = {item.variant: None for one in left for item in self._open_items(one)}
        for variant in wanted:
            self._tell(f"warming up {variant.name}")
            self._try(engines, variant, prompt, last)
        costs = engines.engine.costs
        self._file.add(
            "engine",
            **self._group.about(),
            temperature=last.temperature,
            part=self._file.part,
            costs=None if costs is None else asdict(costs),
        )

    def _measure(self, engines: GroupEngines, one: BenchRound) -> None:
        prompt = engines.tokenize(one.text)
        for place, item in enumerate(one.items):
            if self._file.has(item.key) or item.variant.mode in self._skipped:
                continue
            self._tell(item.variant.name)
            done = self._try(engines, item.variant, prompt, one)
            if done is None:
                continue
            self._file.add(
                "generation",
                key=item.key,
                part=self._file.part,
                at=timestamp(),
                **one.about(),
                variant=item.variant.name,
                place=place,
                seed=one.seed,
                tokens=list(done.tokens),
                stats=done.stats,
            )
        self._compare(engines, one)

    def _differing(self, one: BenchRound) -> list[tuple[Item, tuple[int, ...], Difference]]:
        """Texts of the round that differ from that of `autoregressive` and have no record yet."""
        texts = {
            item: tuple(record["tokens"])
            for item in one.items
            if (record := self._file.get(item.key)) is not None
        }
        base = next((text for item, text in texts.items() if item.variant.mode == BASE), None)
        if base is None:
            return []
        return [
            (item, base, difference)
            for item, text in texts.items()
            if (difference := first_difference(base, text)) is not None
            and not self._file.has(_difference_key(item))
        ]

    def _compare(self, engines: GroupEngines, one: BenchRound) -> None:
        """Writes records of the differences with the gaps of their scores."""
        for item, base, difference in self._differing(one):
            gap = engines.gap(one, base, difference)
            self._file.add(
                "difference",
                key=_difference_key(item),
                **one.about(),
                variant=item.variant.name,
                **asdict(replace(difference, gap=gap)),
            )

    def _try(
        self, engines: GroupEngines, variant: Variant, prompt: list[int], one: BenchRound
    ) -> MeasuredText | None:
        """A measurement. ``None``: another engine failed; the group leaves this engine out then."""
        if variant.mode in self._skipped:
            return None
        try:
            return engines.measure(variant, prompt, one.temperature, one.seed)
        except peer_access.FAILURES as error:
            if not variant.is_peer:
                raise
            self._skipped.add(variant.mode)
            self._skip(str(error), variant.mode)
            return None

    def _skip(self, reason: str, who: str = "") -> None:
        self._file.add(
            "skip", **self._group.about(), variant=who, reason=reason, part=self._file.part
        )

    def _tell(self, what: str) -> None:
        if self._progress is not None:
            pair = self._plan.pairs[self._group.pair]
            name = f"{pair.draft_about['name']}, {self._group.placement.name}: {what}"
            self._progress(self._file.n_generations, len(self._plan.items), name)
