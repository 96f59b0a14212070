"""What the program ``specbranch`` does around its commands: Ctrl-C, and streams that are closed."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType
    from typing import TextIO

    from typing_extensions import Buffer

__all__ = [
    "INTERRUPTED", "default_interrupts", "discard_output", "end_with_one_line",
    "leave_on_interrupts", "standard_streams", "use_readable_width",
]  # fmt: skip

INTERRUPTED = 130
"""The exit code after Ctrl-C."""
_PACKAGE = "specbranch_cpp"
_NARROWEST = 20
"""The least ``COLUMNS`` that is believed."""
_USUAL_WIDTH = "80"
_STDERR = 2
"""The number of standard error."""


def end_with_one_line(error: ImportError) -> None:
    """Python ends the program ``specbranch`` with one line for this error, not with a traceback.

    The package cannot be imported, so that no function of the program has run yet. In other
    programs nothing changes.
    """
    if not _is_the_command():
        return
    usual = sys.excepthook

    def told(kind: type[BaseException], raised: BaseException, trace: TracebackType | None) -> None:
        if raised is not error:
            usual(kind, raised, trace)
        elif sys.stderr is not None:
            with contextlib.suppress(OSError):
                print("specbranch:", " ".join(str(error).split()), file=sys.stderr, flush=True)

    sys.excepthook = told


def _is_the_command() -> bool:
    """Whether this program is ``specbranch``, or ``python -m specbranch_cpp`` that looks for its
    module."""
    called = sys.argv[0] if getattr(sys, "argv", None) else ""
    if called == "-m":
        return _PACKAGE in sys.orig_argv
    return Path(called).stem in ("specbranch", "specbranch-script")


def leave_on_interrupts() -> None:
    """Ctrl-C ends the program at once, for the time of the imports.

    They take some tenths of a second, and Python would raise KeyboardInterrupt in the middle of
    them.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not in the background
        signal.signal(signal.SIGINT, _leave)


def default_interrupts() -> None:
    """Ctrl-C raises KeyboardInterrupt again: after the imports there is something to end."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Gives the program the streams that its caller has closed, and flushes its output.

    Otherwise, a file that is opened later would get the number of a stream, and what libraries
    write to that stream. Writing to a closed standard output fails; ``sys.stdin`` stays ``None``.
    What cannot be written to standard error is thrown away: notes do not decide whether a command
    succeeds. A character that the encoding of standard output does not have is
    written as an escape, such as ``\\u2192``, as Python does on standard error.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = _notes(sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        discard_output()
        if not isinstance(error, BrokenPipeError):
            name = error.filename or "standard output"
            print(f"specbranch: {name}: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


def use_readable_width() -> None:
    """Replaces a width in ``COLUMNS`` with which rich would print nothing, or few letters a line.

    Some programs set 0 where they know no width.
    """
    width = os.environ.get("COLUMNS", "")
    if width.isdigit() and (not width.isdecimal() or int(width) < _NARROWEST):
        os.environ["COLUMNS"] = _USUAL_WIDTH


class _Notes(io.FileIO):
    """A stream whose file may be full, or have no reader."""

    def write(self, data: Buffer, /) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


def _notes(stream: TextIO | None) -> TextIO:
    """Standard error, which loses what cannot be written. The stream of a test or of a console of
    Windows stays as it is."""
    if stream is not None:
        binary = stream.buffer if isinstance(stream, io.TextIOWrapper) else None
        raw = getattr(binary, "raw", binary)  # without a buffer if Python runs with -u
        if not isinstance(raw, io.FileIO) or raw.fileno() != _STDERR:
            return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Notes(_STDERR, "w", closefd=False)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def discard_output() -> None:
    """Lets Python write nowhere what is left; its own failure at the end would be exit code 120."""
    with contextlib.suppress(OSError, ValueError):  # in a test there is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
