"""The record file of a run, ``run.jsonl``: a header, then one line for each event.

The run writes a line as soon as its turn ends. A stopped run continues with the same file.
The headers must then be equal, except for the date and the command.

| ``kind`` | content |
| --- | --- |
| ``header`` | package, hardware, libraries, plan, things that are not measured |
| ``begin`` | the run begins or continues (``part`` counts); the load of the machine |
| ``engine`` | step times and slow-downs after loading |
| ``turn`` | one measured turn: its place in the plan, tokens, statistics |
| ``difference`` | two texts that should be equal but differ: the place and the gap of the scores |
| ``enough`` | the wanted precision was reached, so the run skips the other prompts |
| ``trace`` | the trace of one generation that does not count |
| ``skip`` | the things that the run could not measure, and the reasons |
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.files import from_json, open_log, read_file
from specbranch_cpp._support.system import lock_file
from specbranch_cpp._support.words import one_line
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path
    from types import TracebackType

FORMAT = "specbranch-bench-3"
_OLD = ("specbranch-bench-1", "specbranch-bench-2")
NAME = "run.jsonl"
_LARGEST = 1 << 30  # bytes of the file; a long run takes some MiB
# Fields of the header that may change when a run continues.
_FREE = ("made", "command")

Record = dict[str, Any]


def timestamp() -> str:
    """The current time in UTC, in seconds, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read(folder: Path) -> list[Record]:
    """The records of a run, the header first. An incomplete last line is left out.

    Raises:
        InvalidArgument: the file does not exist, is damaged, or has another format.
    """
    return _parse(folder / NAME, FORMAT)[0]


def in_lines(value: Any) -> Any:
    """A record with every text as one line that can be written in UTF-8.

    Names of files may have bytes that are no text.
    """
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {one_line(name): in_lines(each) for name, each in value.items()}
    return [in_lines(each) for each in value] if isinstance(value, list) else value


def _parse(path: Path, wanted: str) -> tuple[list[Record], int]:
    """The records, and the bytes that they take."""
    try:
        data = read_file(path, _LARGEST)
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from None
    end = data.rfind(b"\n") + 1
    records = []
    for number, line in enumerate(data[:end].splitlines(), 1):
        try:
            record = from_json(line)
        except ValueError as error:
            raise InvalidArgument(f"{path}, line {number} is not JSON: {error}") from None
        if not isinstance(record, dict) or "kind" not in record:
            raise InvalidArgument(f"{path}, line {number} is not a record, because it has no kind")
        records.append(record)
    if not records:
        raise InvalidArgument(f"{path} has no header")
    found = records[0].get("format")
    if found in _OLD:
        raise InvalidArgument(
            f"{path} has the format {found!r} of an earlier version of specbranch, in which "
            f"variants did not take turns within a text; this version reads {FORMAT!r}. Measure "
            "again in another folder; the report.md of the old run stays valid"
        )
    if found != wanted:
        raise InvalidArgument(
            f"{path} has the format {found!r}; this version of specbranch reads {wanted!r}"
        )
    return records, end


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """The differences of two headers, one phrase each."""
    if isinstance(old, dict) and isinstance(new, dict):
        for each in sorted(old.keys() | new.keys()):
            if name or each not in _FREE:
                yield from differences(old.get(each), new.get(each), f"{name} {each}".strip())
    elif old != new:
        yield f"{name} was {_shown(old)} and is {_shown(new)}"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def write_line(file: FileIO, record: Record) -> None:
    """Appends a record. One write for each line. A line that cannot be written leaves nothing
    behind.

    Raises:
        OSError: it cannot be written.
    """
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    end = os.fstat(file.fileno()).st_size
    try:
        while line:  # a disk that becomes full takes a part
            line = line[file.write(line) :]
    except BaseException:
        file.truncate(end)
        raise


class RecordFile:
    """The file of a run, open for more lines. A context manager, for one process at a time.

    Args:
        folder: folder of the run; it is created if needed.
        header: header of this run, without ``kind`` and ``format``.
        name: name of the file in the folder.
        format_name: the format that the header names.

    Attributes:
        path: the file.
        records: all records.
        part: number of earlier runs with this file.
        n_turns: number of measured turns.

    Raises:
        InvalidArgument: the file belongs to another run, is damaged, is in use, or cannot be
            written.
    """

    def __init__(
        self, folder: Path, header: Record, *, name: str = NAME, format_name: str = FORMAT
    ) -> None:
        self.path = folder / name
        self._format = format_name
        header = {"kind": "header", "format": format_name, **json.loads(json.dumps(header))}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Not buffered: a line that does not fit on the disk must not come again later.
            self._file = os.fdopen(open_log(self.path), "ab", buffering=0)
        except OSError as error:
            raise InvalidArgument(f"{self.path} cannot be written: {error.strerror}") from None
        try:
            self.records = self._open(header)
        except BaseException:
            self._file.close()
            raise
        self.part = sum(record["kind"] == "begin" for record in self.records)
        self._done = {record["key"]: record for record in self.records if "key" in record}
        self.n_turns = sum(record["kind"] == "turn" for record in self._done.values())

    def _open(self, header: Record) -> list[Record]:
        if not lock_file(self._file):
            raise InvalidArgument(f"another process writes {self.path} at this time")
        if b"\n" not in read_file(self.path, _LARGEST):  # new, or stopped before the header
            self._file.truncate(0)
            self._write(header)
            return [header]
        records, end = _parse(self.path, self._format)
        if changes := list(differences(records[0], header)):
            raise InvalidArgument(
                f"{self.path} belongs to another run; give another folder with -o. The "
                f"differences: {'; '.join(changes)}"
            )
        self._file.truncate(end)
        return records

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
        self.n_turns += kind == "turn"
        return record

    def get(self, key: str) -> Record | None:
        """The record with this key."""
        return self._done.get(key)

    def _write(self, record: Record) -> None:
        write_line(self._file, record)

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
