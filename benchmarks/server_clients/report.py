"""The table of a run, and what `auto` is worth beside the best of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.server_clients.contenders import AUTO, AUTOREGRESSIVE, QUEUE

from specbranch_cpp.bench.clients_report import Percentiles
from specbranch_cpp.bench.intervals import PairedTimes, RatioInterval, ratio_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.bench.records import Record

__all__ = ["Ratio", "Row", "Versus", "markdown", "rows", "versus"]

COLUMNS = (
    "clients", "contender", "tokens/s", "over the queue (95 %)", "first token, ms",
    "next token, ms", "longest wait, ms", "accepted",
)  # fmt: skip


@dataclass(frozen=True)
class Ratio:
    """Tokens per second of one contender over those of another, of the same rounds.

    Attributes:
        total: all tokens over all time, of one and of the other.
        interval: 95 % interval over the rounds. ``None``: there is one round.
    """

    total: float
    interval: RatioInterval | None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.total:.2f}"
        return f"{self.total:.2f} ({self.interval.low:.2f} .. {self.interval.high:.2f})"


@dataclass(frozen=True)
class Row:
    """The figures of a contender with so many clients, over the complete rounds.

    Attributes:
        n_clients: number of clients.
        contender: name of the contender.
        rounds: tokens per second of each round.
        tokens_per_s: all tokens by all time.
        over_queue: of this rate to that of the queue.
        first_s: from a request to its first token.
        between_s: between two tokens of a text. ``None``: texts have one token.
        longest_s: the longest of these waits of each text. ``None``: as above.
        acceptance: share of the drafted tokens that became text. ``None``: nothing was drafted.
    """

    n_clients: int
    contender: str
    rounds: tuple[float, ...]
    tokens_per_s: float
    over_queue: Ratio
    first_s: Percentiles
    between_s: Percentiles | None
    longest_s: Percentiles | None
    acceptance: float | None

    def cells(self) -> list[str]:
        """The cells of `COLUMNS`. Waits are ``p50 / p95``."""
        return [
            str(self.n_clients),
            self.contender,
            f"{self.tokens_per_s:.1f}",
            str(self.over_queue),
            str(self.first_s),
            str(self.between_s or ""),
            str(self.longest_s or ""),
            "" if self.acceptance is None else f"{100 * self.acceptance:.0f} %",
        ]


@dataclass(frozen=True)
class Versus:
    """`auto` beside the fastest of some contenders, with so many clients."""

    n_clients: int
    best: str
    ratio: Ratio


class _Table:
    """The turns of the complete rounds, by number of clients and contender."""

    def __init__(self, header: Record, turns: Sequence[Record]) -> None:
        self.names = [contender["name"] for contender in header["contenders"]]
        self._turns: dict[tuple[int, str], dict[int, Record]] = {}
        for turn in turns:
            place = self._turns.setdefault((turn["n_clients"], turn["contender"]), {})
            place[turn["round"]] = turn
        self.clients = [n for n in header["plan"]["clients"] if self._rounds(n)]

    def _rounds(self, n_clients: int) -> list[int]:
        of_each = [set(self._turns.get((n_clients, name), ())) for name in self.names]
        return sorted(set.intersection(*of_each))

    def of(self, n_clients: int, name: str) -> list[Record]:
        """Its turns in the rounds in which all contenders were measured."""
        return [self._turns[n_clients, name][number] for number in self._rounds(n_clients)]

    def rate(self, n_clients: int, name: str) -> float:
        return _rate(self.of(n_clients, name))

    def ratio(self, n_clients: int, name: str, base: str) -> Ratio:
        pairs = [
            PairedTimes(1000.0 * one["seconds"], one["n_tokens"],
                        1000.0 * other["seconds"], other["n_tokens"])
            for one, other in zip(self.of(n_clients, name), self.of(n_clients, base), strict=True)
        ]  # fmt: skip
        total = self.rate(n_clients, name) / self.rate(n_clients, base)
        return Ratio(total, ratio_interval(pairs) if name != base else None)


def _rate(turns: Sequence[Record]) -> float:
    n_tokens: int = sum(turn["n_tokens"] for turn in turns)
    seconds: float = sum(turn["seconds"] for turn in turns)
    return n_tokens / seconds


def _table(records: Sequence[Record]) -> _Table:
    return _Table(records[0], [record for record in records if record["kind"] == "turn"])


def rows(records: Sequence[Record]) -> list[Row]:
    """A row for each contender, at each number of clients that has a complete round.

    Args:
        records: the records of the run, the header first.
    """
    table = _table(records)
    return [_row(table, n, name) for n in table.clients for name in table.names]


def _row(table: _Table, n_clients: int, name: str) -> Row:
    turns = table.of(n_clients, name)
    first, between, longest = (
        Percentiles.of([wait for turn in turns for wait in turn[key]])
        for key in ("first_s", "between_s", "longest_s")
    )
    assert first is not None
    n_drafted = sum(turn["n_drafted"] for turn in turns)
    return Row(
        n_clients=n_clients,
        contender=name,
        rounds=tuple(_rate([turn]) for turn in turns),
        tokens_per_s=_rate(turns),
        over_queue=table.ratio(n_clients, name, QUEUE),
        first_s=first,
        between_s=between,
        longest_s=longest,
        acceptance=sum(turn["n_accepted"] for turn in turns) / n_drafted if n_drafted else None,
    )


def versus(records: Sequence[Record], others: Sequence[str]) -> list[Versus]:
    """`auto` beside the fastest of these contenders, at each number of clients.

    The fastest is that of these rounds, so chance makes it a little faster than it is.

    Args:
        records: the records of the run, the header first.
        others: names of contenders; empty: nothing.
    """
    table = _table(records)
    found = []
    for n_clients in table.clients if others else ():
        best = max(others, key=lambda name: table.rate(n_clients, name))
        found.append(Versus(n_clients, best, table.ratio(n_clients, AUTO, best)))
    return found


def markdown(records: Sequence[Record], n_missing: int) -> str:
    """The report: the table, and as the last lines what `auto` is worth.

    Args:
        records: the records of the run, the header first.
        n_missing: number of turns that are not yet measured.
    """
    header = records[0]
    plan: dict[str, Any] = header["plan"]
    models = " + ".join(side["name"] for side in plan["pair"].values() if side is not None)
    begins = [record for record in records if record["kind"] == "begin"]
    turns = [record for record in records if record["kind"] == "turn"]
    loads = ", ".join(str(begin["load"]) for begin in begins)
    setting = (
        f"{plan['n_prompts']} prompts a measurement, {plan['tokens']} tokens each, temperature 0, "
        f"parallel {plan['parallel'][0]}, placement {plan['placement']['name']}; "
        f"{header['machine']['cpu']}, {len(header['machine']['cpus'])} CPUs, load before "
        f"each part of the run {loads}; {header['made']}."
    )
    lines = [f"# Several clients over HTTP: {models}", "", setting, ""]
    lines += [*_servers(begins), *_idle(turns), ""]
    if n_missing:
        missing = f"Not yet measured: {n_missing} turns. Only complete rounds count."
        lines += [missing, ""]
    lines += [
        "Waits are p50 / p95, as a client notices them. Tokens of one verification come at once.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "| --- " * len(COLUMNS) + "|",
        *(f"| {' | '.join(row.cells())} |" for row in rows(records)),
        "",
    ]
    theirs = [each["name"] for each in header["contenders"] if each["draft_length"] is not None]
    lines += _lines("the better of queue and autoregressive batches", records,
                    [QUEUE, AUTOREGRESSIVE])  # fmt: skip
    lines += _lines("llama-server's better setting", records, theirs)
    return "\n".join(lines) + "\n"


def _servers(begins: Sequence[Record]) -> list[str]:
    """The versions and instruction sets of the last part of the run, each once."""
    if not begins:
        return []
    about = begins[-1]["servers"].values()
    found = dict.fromkeys(f"{each['version']} ({each['system_info']})" for each in about)
    usual = {each["usual_draft_length"] for each in about if "usual_draft_length" in each}
    return [
        *(f"- {each}" for each in found),
        *(f"- llama-server's usual draft length is {length}" for length in usual),
    ]


def _idle(turns: Sequence[Record]) -> list[str]:
    """How much the servers computed that were not measured."""
    if not turns:
        return []
    share = sum(turn["others_cpu_s"] for turn in turns) / sum(turn["seconds"] for turn in turns)
    return [f"- the servers that were not measured used {100 * share:.1f} % of a CPU meanwhile"]


def _lines(what: str, records: Sequence[Record], others: Sequence[str]) -> list[str]:
    return [
        f"- auto to {what}, {each.n_clients} clients: {each.ratio} of {each.best}"
        for each in versus(records, others)
    ]
