"""Measures what a plan lists into a record file, and goes on where it was stopped."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Protocol

from specbranch_cpp.bench import machine, peer_access, traces
from specbranch_cpp.bench.contenders import BASE
from specbranch_cpp.bench.contest import Contest
from specbranch_cpp.bench.near_ties import first_difference
from specbranch_cpp.bench.records import timestamp
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from specbranch_cpp.bench.contenders import Contender
    from specbranch_cpp.bench.contest import Measurement
    from specbranch_cpp.bench.near_ties import Difference
    from specbranch_cpp.bench.plan import Group, Item, Plan, Round
    from specbranch_cpp.bench.records import RecordFile


class Progress(Protocol):
    """Told before and after each generation."""

    def __call__(self, n_done: int, n_items: int, what: str) -> object: ...


def run(plan: Plan, file: RecordFile, progress: Progress | None = None) -> None:
    """Measures every item of the plan that the file does not hold yet.

    What is stopped by an exception, Ctrl-C among them, goes on with the next call.

    Args:
        plan: what is measured.
        file: where the records go; its header is that of the plan.
        progress: is told how far it is.

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
    """What is left of one group."""

    def __init__(
        self, plan: Plan, group: Group, file: RecordFile, progress: Progress | None
    ) -> None:
        self._plan = plan
        self._group = group
        self._file = file
        self._progress = progress
        self._skipped: set[str] = set()  # other engines that failed here

    def run(self) -> None:
        left = [one for one in self._group.rounds if self._open_items(one)]
        measured = [one for one in self._group.rounds if not self._open_items(one)]
        unexplained = [one for one in measured if self._differing(one)]
        if not (left or unexplained or self._traced()):
            return
        try:
            contest = Contest(self._plan, self._group)
        except (ModelLoadError, MemoryError) as error:
            self._skip(str(error) or "not enough memory")
            return
        with contest:
            for one in left:  # whether all prompts fit, before the first is decoded
                contest.tokenize(one.text)
            for one in unexplained:
                self._compare(contest, one)
            for temperature in dict.fromkeys(one.temperature for one in left):
                alike = [one for one in left if one.temperature == temperature]
                self._warm_up(contest, alike)
                for one in alike:
                    self._measure(contest, one)
            self._trace(contest)

    def _traced(self) -> tuple[str, Contender] | None:
        """The key of the trace that is to be made, and of whom; None: none, or it is there."""
        contender = traces.contender(self._plan.contenders)
        key = f"trace {self._group.pair} {self._group.placement.name}"
        return None if contender is None or self._file.has(key) else (key, contender)

    def _trace(self, contest: Contest) -> None:
        if (wanted := self._traced()) is None:
            return
        key, contender = wanted
        trace = contest.trace(contender, self._group.rounds[0])
        self._file.add(
            "trace",
            key=key,
            **self._group.about(),
            contender=contender.name,
            **traces.to_json(trace),
        )

    def _open_items(self, one: Round) -> list[Item]:
        return [item for item in one.items if not self._file.has(item.key)]

    def _warm_up(self, contest: Contest, left: list[Round]) -> None:
        """One generation of each contender that has something left, on the last of the prompts."""
        last = left[-1]
        prompt = contest.tokenize(last.text)
        wanted = {item.contender: None for one in left for item in self._open_items(one)}
        for contender in wanted:
            self._tell(f"warming up {contender.name}")
            self._try(contest, contender, prompt, last)
        costs = contest.engine.costs
        self._file.add(
            "engine",
            **self._group.about(),
            temperature=last.temperature,
            part=self._file.part,
            costs=None if costs is None else asdict(costs),
        )

    def _measure(self, contest: Contest, one: Round) -> None:
        prompt = contest.tokenize(one.text)
        for place, item in enumerate(one.items):
            if self._file.has(item.key) or item.contender.mode in self._skipped:
                continue
            self._tell(item.contender.name)
            done = self._try(contest, item.contender, prompt, one)
            if done is None:
                continue
            self._file.add(
                "generation",
                key=item.key,
                part=self._file.part,
                at=timestamp(),
                **one.about(),
                contender=item.contender.name,
                place=place,
                seed=one.seed,
                tokens=list(done.tokens),
                stats=done.stats,
            )
        self._compare(contest, one)

    def _differing(self, one: Round) -> list[tuple[Item, tuple[int, ...], Difference]]:
        """Texts of the round that are not that of `autoregressive` and are not noted yet."""
        texts = {
            item: tuple(record["tokens"])
            for item in one.items
            if (record := self._file.get(item.key)) is not None
        }
        base = next((text for item, text in texts.items() if item.contender.mode == BASE), None)
        if base is None:
            return []
        return [
            (item, base, difference)
            for item, text in texts.items()
            if (difference := first_difference(base, text)) is not None
            and not self._file.has(_difference_key(item))
        ]

    def _compare(self, contest: Contest, one: Round) -> None:
        """Notes them, and how near a tie each is."""
        for item, base, difference in self._differing(one):
            gap = contest.gap(one, base, difference)
            self._file.add(
                "difference",
                key=_difference_key(item),
                **one.about(),
                contender=item.contender.name,
                **asdict(replace(difference, gap=gap)),
            )

    def _try(
        self, contest: Contest, contender: Contender, prompt: list[int], one: Round
    ) -> Measurement | None:
        """A measurement; None if another engine failed, which takes no part in the group then."""
        if contender.mode in self._skipped:
            return None
        try:
            return contest.measure(contender, prompt, one.temperature, one.seed)
        except peer_access.FAILURES as error:
            if not contender.is_peer:
                raise
            self._skipped.add(contender.mode)
            self._skip(str(error), contender.mode)
            return None

    def _skip(self, reason: str, who: str = "") -> None:
        self._file.add(
            "skip", **self._group.about(), contender=who, reason=reason, part=self._file.part
        )

    def _tell(self, what: str) -> None:
        if self._progress is not None:
            pair = self._plan.pairs[self._group.pair]
            name = f"{pair.draft_about['name']}, {self._group.placement.name}: {what}"
            self._progress(self._file.n_generations, len(self._plan.items), name)
