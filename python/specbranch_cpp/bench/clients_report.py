"""The records and the table of a run with several clients."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.files import create_file
from specbranch_cpp._support.percentiles import percentile
from specbranch_cpp.bench import variants
from specbranch_cpp.bench.records import in_lines, write_line
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from specbranch_cpp.bench.clients import ClientsPlan, ClientsRun, Load
    from specbranch_cpp.bench.records import Record

__all__ = ["ClientsFile", "ClientsRow", "Percentiles", "cells", "markdown", "percentile", "rows"]

FORMAT = "specbranch-clients-1"
NAME = "clients.jsonl"
REPORT = "clients.md"
COLUMNS = (
    "clients", "at once", "mode", "tokens/s", "ratio", "first token, ms", "next token, ms",
    "longest wait, ms", "accepted",
)  # fmt: skip


class ClientsFile:
    """The records of a run: a header, then one JSON line for each load. A context manager.

    A file in which nothing was measured is removed at the end.

    Args:
        folder: folder of the run; it is created if needed.
        header: header of the run, without ``kind`` and ``format``.

    Raises:
        InvalidArgument: the folder has a run already, or cannot be written.
    """

    def __init__(self, folder: Path, header: Record) -> None:
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = create_file(self.path)
        except FileExistsError:
            raise InvalidArgument(
                f"{self.path} exists; runs with --clients do not continue, so give another folder "
                "with -o"
            ) from None
        except OSError as error:
            raise InvalidArgument(f"{self.path} cannot be written: {error.strerror}") from None
        self._n_runs = 0
        self._write({"kind": "header", "format": FORMAT, **header})

    def add(self, run: ClientsRun) -> None:
        """Writes a line at once."""
        self._write({"kind": "run", **asdict(run)})
        self._n_runs += 1

    def _write(self, record: Record) -> None:
        write_line(self._file, record)

    def __enter__(self) -> ClientsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if not self._n_runs:
            self.path.unlink()


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of waits, in seconds."""

    p50: float
    p95: float

    @classmethod
    def of(cls, waits: Sequence[float]) -> Percentiles | None:
        """``None``: there are no waits."""
        return cls(percentile(waits, 0.5), percentile(waits, 0.95)) if waits else None

    def __str__(self) -> str:
        """Both, in milliseconds."""
        return " / ".join(map(_milliseconds, (self.p50, self.p95)))


@dataclass(frozen=True)
class ClientsRow:
    """The figures of one load over all rounds.

    Attributes:
        n_clients: number of clients.
        n_parallel: the largest number of generations that ran at once.
        mode: the mode of all texts.
        n_texts: number of texts.
        n_tokens: tokens of all texts.
        tokens_per_s: these tokens by the time of all rounds.
        ratio: of this rate to that of `autoregressive` with the same number of clients and the
            first ``n_parallel``.
        rounds: tokens per second of each round.
        first_s: from a request to its first token.
        between_s: between two tokens of a text. ``None``: all texts have one token.
        longest_s: the longest of these waits of each text. ``None``: as above.
        acceptance: share of the drafted tokens that became text. ``None``: nothing was drafted.
    """

    n_clients: int
    n_parallel: int
    mode: str
    n_texts: int
    n_tokens: int
    tokens_per_s: float
    ratio: float
    rounds: tuple[float, ...]
    first_s: Percentiles
    between_s: Percentiles | None
    longest_s: Percentiles | None
    acceptance: float | None


def rows(plan: ClientsPlan, runs: Sequence[ClientsRun]) -> list[ClientsRow]:
    """A row for each load that all rounds have measured, in the order of the plan."""
    found: list[ClientsRow] = []
    base: dict[int, float] = {}
    for load in plan.loads:
        mine = [run for run in runs if _is_of(run, load)]
        if len(mine) < plan.repeat:
            continue
        rate = sum(run.n_tokens for run in mine) / sum(run.seconds for run in mine)
        if load.mode == variants.BASE:
            base.setdefault(load.n_clients, rate)
        n_drafted = sum(run.n_drafted for run in mine)
        first = Percentiles.of([wait for run in mine for wait in run.first_s])
        assert first is not None
        found.append(
            ClientsRow(
                **asdict(load),
                n_texts=sum(len(run.first_s) for run in mine),
                n_tokens=sum(run.n_tokens for run in mine),
                tokens_per_s=rate,
                ratio=rate / base[load.n_clients],
                rounds=tuple(run.n_tokens / run.seconds for run in mine),
                first_s=first,
                between_s=Percentiles.of([wait for run in mine for wait in run.between_s]),
                longest_s=Percentiles.of([wait for run in mine for wait in run.longest_s]),
                acceptance=sum(run.n_accepted for run in mine) / n_drafted if n_drafted else None,
            )
        )
    return found


def cells(row: ClientsRow) -> list[str]:
    """The cells of `COLUMNS`. Waits are ``p50 / p95`` in milliseconds."""
    return [
        str(row.n_clients),
        str(row.n_parallel),
        row.mode,
        f"{row.tokens_per_s:.1f}",
        f"{row.ratio:.2f}",
        str(row.first_s),
        str(row.between_s or ""),
        str(row.longest_s or ""),
        "" if row.acceptance is None else f"{100 * row.acceptance:.0f} %",
    ]


def markdown(header: Record, found: Sequence[ClientsRow]) -> str:
    """The report of a run."""
    header = in_lines(header)
    plan: dict[str, Any] = header["plan"]
    models = " + ".join(side["name"] for side in plan["pair"].values() if side is not None)
    setting = (
        f"{plan['n_prompts']} prompts, {plan['tokens']} tokens each, temperature "
        f"{plan['temperature']:g}, {plan['repeat']} rounds, placement {plan['placement']['name']}; "
        f"{header['machine']['cpu']}, {len(header['machine']['cpus'])} CPUs, load at the start "
        f"{header['load_average']}; {header['made']}."
    )
    lines = [
        f"# Several clients: {models}",
        "",
        setting,
        "",
        "Waits are p50 / p95. The ratio is to `autoregressive` with the same number of clients.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "| --- " * len(COLUMNS) + "|",
        *(f"| {' | '.join(cells(row))} |" for row in found),
    ]
    return "\n".join(lines) + "\n"


def _is_of(run: ClientsRun, load: Load) -> bool:
    return (run.n_clients, run.n_parallel, run.mode) == (
        load.n_clients, load.n_parallel, load.mode,
    )  # fmt: skip


def _milliseconds(seconds: float) -> str:
    ms = 1000.0 * seconds
    return f"{ms:.0f}" if ms >= 9.95 else f"{ms:.1f}"
