"""Measures the items of a plan, writes them to a record file, and continues a stopped run."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Protocol

from specbranch_cpp.bench import intervals, machine, peer_access, statistics, traces
from specbranch_cpp.bench.group_engines import GroupEngines
from specbranch_cpp.bench.records import timestamp
from specbranch_cpp.bench.reference import Reference
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from specbranch_cpp.bench.group_engines import MeasuredText
    from specbranch_cpp.bench.near_ties import Difference
    from specbranch_cpp.bench.plan import BenchGroup, BenchPlan, BenchRound
    from specbranch_cpp.bench.records import Record, RecordFile
    from specbranch_cpp.bench.turns import Stretch, Turn
    from specbranch_cpp.bench.variants import Variant


class ProgressListener(Protocol):
    """Called before each turn, and at the end. ``n_turns`` is the largest number of turns."""

    def __call__(self, n_done: int, n_turns: int, what: str) -> object: ...


def run(
    plan: BenchPlan,
    file: RecordFile,
    progress: ProgressListener | None = None,
    *,
    target_precision: float | None = None,
) -> None:
    """Measures every item of the plan that is not in the file.

    After an exception or Ctrl-C, the next call continues.

    Args:
        plan: the plan.
        file: the record file, with the header of the plan.
        progress: called before each turn, and at the end.
        target_precision: the run measures no more prompts of a set at a temperature when every
            interval is as narrow as this: a share of the speed-up. ``None`` (default): the run
            measures all prompts.

    Raises:
        InvalidArgument: a prompt does not fit into the context.
        DecodeError: a forward pass failed.
    """
    file.add(
        "begin",
        part=file.part,
        at=timestamp(),
        load=machine.load_average(),
        precision=target_precision or intervals.PRECISION,
    )
    for group in plan.groups:
        _GroupRun(plan, group, file, progress, target_precision).run()
    if progress is not None:
        progress(plan.n_turns, plan.n_turns, "done")


def _difference_key(turn: Turn) -> str:
    return f"difference {turn.key}"


class _GroupRun:
    """The remaining work of one group."""

    def __init__(
        self,
        plan: BenchPlan,
        group: BenchGroup,
        file: RecordFile,
        progress: ProgressListener | None,
        precision: float | None,
    ) -> None:
        self._plan = plan
        self._group = group
        self._file = file
        self._progress = progress
        self._precision = precision
        self._skipped: set[str] = set()  # other engines that failed in this group

    def run(self) -> None:
        left = [one for one in self._group.rounds if self._wanted(one) and self._open_turns(one)]
        measured = [one for one in self._group.rounds if not self._open_turns(one)]
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
                    if self._wanted(one):
                        self._measure(engines, one)
            self._trace(engines)

    def _wanted(self, one: BenchRound) -> bool:
        """Whether a round is begun, or the figures of its kind are not yet precise enough."""
        if self._precision is None or self._turns_of(one):
            return True
        n_texts = statistics.precise_after(self._file.records, one.about(), self._precision)
        if n_texts is None:
            return True
        about = {**one.about(), "prompt": None, "repeat": None}
        key = f"enough {list(about.values())} {self._precision}"
        if not self._file.has(key):
            self._file.add("enough", key=key, **about, n_texts=n_texts, precision=self._precision)
        return False

    def _traced(self) -> tuple[str, Variant] | None:
        """The key and the variant of the trace to make. ``None``: no trace is missing."""
        has_draft = self._plan.pairs[self._group.pair].draft is not None
        variant = traces.variant(
            [each for each in self._plan.variants if each.suits(has_draft=has_draft)]
        )
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

    def _turns_of(self, one: BenchRound) -> dict[Turn, Record]:
        """The turns of the round that are measured."""
        found = ((turn, self._file.get(turn.key)) for turn in one.turns)
        return {turn: record for turn, record in found if record is not None}

    def _open_turns(self, one: BenchRound) -> list[Turn]:
        """The turns of the round that are not measured, but for those after the end of its text."""
        measured = self._turns_of(one)
        reference = Reference.of(measured.values())
        return [turn for turn in one.turns if turn not in measured and _exists(turn, reference)]

    def _warm_up(self, engines: GroupEngines, left: list[BenchRound]) -> None:
        """Warms up each variant with remaining turns: decodes the text of the last prompt."""
        last = left[-1]
        prompt = engines.tokenize(last.text)
        wanted = {turn.item.variant: None for one in left for turn in self._open_turns(one)}
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
        measured = self._turns_of(one)
        for place, turn in enumerate(one.turns):
            variant, stretch = turn.item.variant, turn.stretch
            reference = Reference.of(measured.values())
            if turn in measured or variant.mode in self._skipped or not _exists(turn, reference):
                continue
            self._tell(variant.name)
            start = 0 if stretch is None else stretch.start
            text = [*prompt, *reference.tokens[:start]]
            done = self._try(engines, variant, text, one, stretch)
            if done is None:
                continue
            measured[turn] = self._file.add(
                "turn",
                key=turn.key,
                part=self._file.part,
                at=timestamp(),
                **one.about(),
                variant=variant.name,
                stretch=turn.index,
                start=start,
                place=place,
                seed=one.seed,
                tokens=list(done.tokens),
                stats=done.stats,
            )
        self._compare(engines, one)

    def _differing(self, one: BenchRound) -> list[tuple[Turn, Reference, Difference]]:
        """Turns whose texts differ from that of `autoregressive` and have no record yet."""
        measured = self._turns_of(one)
        reference = Reference.of(measured.values())
        return [
            (turn, reference, difference)
            for turn, record in measured.items()
            if (difference := reference.difference(record)) is not None
            and not self._file.has(_difference_key(turn))
        ]

    def _compare(self, engines: GroupEngines, one: BenchRound) -> None:
        """Writes records of the differences with the gaps of their scores."""
        for turn, reference, difference in self._differing(one):
            gap = engines.gap(one, reference.tokens, difference)
            self._file.add(
                "difference",
                key=_difference_key(turn),
                **one.about(),
                variant=turn.item.variant.name,
                stretch=turn.index,
                **asdict(replace(difference, gap=gap)),
            )

    def _try(
        self,
        engines: GroupEngines,
        variant: Variant,
        text: list[int],
        one: BenchRound,
        stretch: Stretch | None = None,
    ) -> MeasuredText | None:
        """A measurement. ``None``: another engine failed; the group leaves this engine out then."""
        if variant.mode in self._skipped:
            return None
        try:
            return engines.measure(variant, text, one.temperature, one.seed, stretch)
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
            model = pair.target_about if pair.draft_about is None else pair.draft_about
            name = f"{model['name']}, {self._group.placement.name}: {what}"
            self._progress(self._file.n_turns, self._plan.n_turns, name)


def _exists(turn: Turn, reference: Reference) -> bool:
    """Whether the text may reach the stretch of the turn."""
    return turn.stretch is None or reference.has(turn.stretch.place)
