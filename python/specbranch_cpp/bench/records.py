"""The record file of a run, ``run.jsonl``: a header, then a line for everything that happened.

A line is written as soon as its generation ends. A run that was stopped goes on with the same file:
its header must be equal to the new one, but for when and by which command it was made.

| ``kind`` | content |
| --- | --- |
| ``header`` | package, hardware, libraries, plan, what was skipped |
| ``begin`` | a run begins or goes on: ``part`` counts these; the machine's load |
| ``engine`` | step times and slow-downs after loading and warming up |
| ``generation`` | one measured generation: its place in the plan, tokens, statistics |
| ``difference`` | two texts that should be equal and are not: where, and how near a tie it was |
| ``trace`` | what both models did in one generation that was not measured |
| ``skip`` | what could not be measured, and why |
"""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

FORMAT = "specbranch-bench-2"
NAME = "run.jsonl"
# Of the header: these do not decide whether a run goes on.
_FREE = ("made", "command")

Record = dict[str, Any]


def timestamp() -> str:
    """This second, as records tell it: in UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read(folder: Path) -> list[Record]:
    """The records of a run, the header first; a line that was cut off at the end is left out.

    Raises:
        InvalidArgument: there is no such file, or it is damaged or of another format.
    """
    return _parse(folder / NAME)[0]


def _parse(path: Path) -> tuple[list[Record], int]:
    """The records, and the bytes that they take."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from None
    end = data.rfind(b"\n") + 1
    records = []
    for number, line in enumerate(data[:end].splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InvalidArgument(f"{path}, line {number} is no JSON: {error}") from None
        if not isinstance(record, dict) or "kind" not in record:
            raise InvalidArgument(f"{path}, line {number} is no record: it has no kind")
        records.append(record)
    if not records:
        raise InvalidArgument(f"{path} has no header")
    found = records[0].get("format")
    if found != FORMAT:
        raise InvalidArgument(
            f"{path} has the format {found!r}; this version of specbranch reads {FORMAT!r}"
        )
    return records, end


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """What differs between two headers, one phrase each."""
    if isinstance(old, dict) and isinstance(new, dict):
        for each in sorted(old.keys() | new.keys()):
            if name or each not in _FREE:
                yield from differences(old.get(each), new.get(each), f"{name} {each}".strip())
    elif old != new:
        yield f"{name} was {_shown(old)} and is {_shown(new)}"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


class RecordFile:
    """A run's file, open for more lines. A context manager; one process at a time.

    Args:
        folder: made if it is not there.
        header: of this run, without its ``kind`` and ``format``.

    Raises:
        InvalidArgument: the file is of another run, damaged, or in use; or cannot be written.
    """

    def __init__(self, folder: Path, header: Record) -> None:
        self.path = folder / NAME
        header = {"kind": "header", "format": FORMAT, **json.loads(json.dumps(header))}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise InvalidArgument(f"{self.path} cannot be written: {error.strerror}") from None
        try:
            self.records = self._open(header)
        except BaseException:
            self._file.close()
            raise
        self.part = sum(record["kind"] == "begin" for record in self.records)
        self._done = {record["key"]: record for record in self.records if "key" in record}

    def _open(self, header: Record) -> list[Record]:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidArgument(f"{self.path} is being written by another process") from None
        if b"\n" not in self.path.read_bytes():  # new, or stopped before the header was written
            self._file.truncate(0)
            self._write(header)
            return [header]
        records, end = _parse(self.path)
        if changes := list(differences(records[0], header)):
            raise InvalidArgument(
                f"{self.path} is of another run, give another folder with -o: {'; '.join(changes)}"
            )
        self._file.truncate(end)
        return records

    @property
    def n_generations(self) -> int:
        """How many are measured."""
        return sum(record["kind"] == "generation" for record in self._done.values())

    def has(self, key: str) -> bool:
        """Whether there is a record with this key."""
        return key in self._done

    def add(self, kind: str, **content: Any) -> Record:
        """Writes a line at once, and returns it."""
        record = {"kind": kind, **content}
        self._write(record)
        self.records.append(record)
        if "key" in record:
            self._done[record["key"]] = record
        return record

    def get(self, key: str) -> Record | None:
        """The record with this key."""
        return self._done.get(key)

    def _write(self, record: Record) -> None:
        # One write a line: what is cut off is at most the last one.
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
