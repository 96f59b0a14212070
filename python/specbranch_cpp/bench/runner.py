"""Measures what a plan lists into a record file, and goes on where it was stopped."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from specbranch_cpp.bench import machine, peer_access, traces
from specbranch_cpp.bench.contenders import BASE
from specbranch_cpp.bench.contest import Contest
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from specbranch_cpp.bench.contenders import Contender
    from specbranch_cpp.bench.contest import Measurement
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
    file.add("begin", part=file.part, at=_now(), load=machine.load_average())
    for group in plan.groups:
        _GroupRun(plan, group, file, progress).run()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


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
        traced = traces.contender(self._plan.contenders)
        trace_key = f"trace {self._group.pair} {self._group.placement.name}"
        if not left and (traced is None or self._file.has(trace_key)):
            return
        try:
            contest = Contest(self._plan, self._group)
        except (ModelLoadError, MemoryError) as error:
            self._skip(str(error) or "not enough memory")
            return
        with contest:
            temperature = None
            for one in left:
                if one.temperature != temperature:
                    temperature = one.temperature
                    self._warm_up(
                        contest, [each for each in left if each.temperature == temperature]
                    )
                self._measure(contest, one)
            if traced is not None and not self._file.has(trace_key):
                first = self._group.rounds[0]
                trace = contest.trace(
                    traced, contest.tokenize(first.text), first.temperature, first.seed
                )
                self._file.add(
                    "trace",
                    key=trace_key,
                    **self._group.about(),
                    contender=traced.name,
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
                at=_now(),
                **one.about(),
                contender=item.contender.name,
                place=place,
                seed=one.seed,
                tokens=list(done.tokens),
                stats=done.stats,
            )
        self._compare(contest, one, prompt)

    def _compare(self, contest: Contest, one: Round, prompt: list[int]) -> None:
        """Notes every text of the round that is not that of `autoregressive`."""
        texts = {
            item: tuple(record["tokens"])
            for item in one.items
            if (record := self._file.get(item.key)) is not None
        }
        base = next((text for item, text in texts.items() if item.contender.mode == BASE), None)
        for item, text in texts.items():
            key = f"difference {item.key}"
            if base is None or self._file.has(key):
                continue
            difference = contest.compare(prompt, base, text, one.temperature, one.seed)
            if difference is not None:
                self._file.add(
                    "difference",
                    key=key,
                    **one.about(),
                    contender=item.contender.name,
                    is_peer=item.contender.is_peer,
                    **asdict(difference),
                )

    def _try(
        self, contest: Contest, contender: Contender, prompt: list[int], one: Round
    ) -> Measurement | None:
        """A measurement; None if another engine failed, which takes no part in the group then."""
        if contender.mode in self._skipped:
            return None
        if not contender.is_peer:
            return contest.measure(contender, prompt, one.temperature, one.seed)
        try:
            return contest.measure(contender, prompt, one.temperature, one.seed)
        except peer_access.FAILURES as error:
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
