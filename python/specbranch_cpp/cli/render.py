"""Output of the commands: errors, tables, coloured text, timelines."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.segment import Segment
from rich.table import Table

from specbranch_cpp._support.logs import DRAFTS, PROFILES
from specbranch_cpp._support.program import INTERRUPTED, default_interrupts, discard_output
from specbranch_cpp._support.words import message
from specbranch_cpp.errors import ContextOverflow, InvalidArgument, SpecBranchError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from specbranch_cpp.results import GenerationStats


_GAP = 2  # blanks between columns


class PrintableConsole(Console):
    """A console on which text cannot move the cursor, change the title or do other such things.

    Names in files and the text of models come here. Colours and bars are rich's own.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)

    def print(self, *objects: Any, **options: Any) -> None:
        """As in rich. The ends of the lines of a `WholeTable` are not cut off."""
        whole = any(isinstance(each, WholeTable) for each in objects)
        super().print(*objects, **{"crop": not whole, **options})


class WholeTable(Table):
    """A table that loses nothing in a narrow terminal, whose lines are then too short for it.

    rich would make columns narrower than their text, down to nothing.

    Attributes:
        least: width of the narrowest table that has all of its text.
    """

    def __init__(self, least: int, **options: Any) -> None:
        super().__init__(**options)
        self.least = least

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from super().__rich_console__(
            console, options.update_width(max(self.least, options.max_width))
        )


def stdout() -> Console:
    # rich highlights nothing by itself, and a model's text is never read as markup.
    return PrintableConsole(highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    return PrintableConsole(stderr=True, highlight=False, markup=False, emoji=False)


def write_answer(text: str) -> None:
    """Writes a model's text to standard output: as it is, but on a terminal without characters that
    the terminal would obey.
    """
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def fail(reason: str) -> None:
    """Prints one line without wrapping, so that a command in it can be copied."""
    console = stderr()
    console.print("specbranch: ", style="bold red", end="")
    console.print(reason, soft_wrap=True)


def warn(text: str) -> None:
    """Prints one line in the form of `fail`, about what is no failure."""
    stderr().print(f"specbranch: {text}", soft_wrap=True)


@contextlib.contextmanager
def reporting(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turns an error of the engine into one line and an exit code: 2 for bad usage, otherwise 1.

    ``names`` are the options of the engine's arguments.
    """
    default_interrupts()
    warnings = _Warnings()
    for logger in (PROFILES, DRAFTS):
        logger.addHandler(warnings)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a text that cannot be written is an error of the command
    except InvalidArgument as error:
        fail(_with_option(message(error), names or {}))
        raise typer.Exit(2) from None
    except ContextOverflow as error:
        option = (names or {}).get("n_ctx")
        fail(message(error) + (f"; see {option}" if option else ""))
        raise typer.Exit(1) from None
    except (SpecBranchError, MemoryError) as error:
        fail(message(error) or "not enough memory")
        raise typer.Exit(1) from None
    except BrokenPipeError:
        raise  # the reader closed the pipe
    except OSError as error:
        if error.strerror is None:
            fail(message(error))
        else:
            fail(f"{error.filename or 'standard output'}: {error.strerror}")
        discard_output()
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for logger in (PROFILES, DRAFTS):
            logger.removeHandler(warnings)


def _with_option(text: str, names: Mapping[str, str]) -> str:
    """The message with the option in the place of the argument that the message begins with."""
    subject, verb, rest = text.partition(" is ")
    if subject in names:
        return names[subject] + verb + rest
    found = re.match(r"(\w+)(\[\d+\])?", text)
    if found is None or found[1] not in names:
        return text
    return names[found[1]] + text[found.end() :]


class _Warnings(logging.Handler):
    """Prints a line for each warning, in the form of errors. The command does not fail."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


@contextlib.contextmanager
def loading(what: str, *, quiet: bool = False) -> Iterator[Callable[[float], None]]:
    """A progress bar while models load, on a terminal only.

    Yields a callback for the share that is loaded.
    """
    console = stderr()
    columns = (
        TextColumn("loading {task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def stats_cells(stats: GenerationStats) -> list[str]:
    """The columns of `stats_table` for one generation."""
    cells = [stats.mode, str(stats.n_generated), f"{stats.tokens_per_second:.1f}"]
    if not stats.n_drafted:
        return [*cells, f"{stats.mean_accepted_length:.2f}", "", "", ""]
    return [
        *cells,
        f"{stats.mean_accepted_length:.2f}",
        percent(ratio(stats.n_accepted, stats.n_drafted)),
        percent(stats.rollback_rate),
        percent(ratio(stats.overlap_ms, stats.decode_ms)),
    ]


STATS_COLUMNS = (
    "mode",
    "tokens",
    "tokens\nper s",
    "tokens\nper step",
    "accepted",
    "rolled\nback",
    "overlap",
)


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    """A table without lines.

    Names are aligned left and wrap if necessary; numbers are aligned right.
    """
    headings = list(columns)
    cells = [list(row) for row in rows]
    words = [word for row in cells for word in str(row[0]).split()]
    widths = [max(map(cell_len, words), default=0)]
    for i, heading in enumerate(headings[1:], 1):
        lines = [line for row in cells for line in str(row[i]).split("\n")]
        widths.append(max(map(cell_len, [*heading.split("\n"), *lines])))
    made = WholeTable(
        sum(widths) + _GAP * (len(widths) - 1),
        box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim",
    )  # fmt: skip
    for i, column in enumerate(headings):
        if i:
            made.add_column(column, justify="right", no_wrap=True, vertical="bottom")
        else:
            made.add_column(column, min_width=widths[0], vertical="bottom")
    for row in cells:
        made.add_row(*row)
    return made


def stats_table(stats: GenerationStats) -> Table:
    return table(STATS_COLUMNS, [stats_cells(stats)])
