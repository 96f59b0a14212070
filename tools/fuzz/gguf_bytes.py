"""A GGUF file as a value that can be changed in every way, and its bytes.

gguf-py writes only correct files. This writes whatever it is told.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["ARRAY", "BOOL", "FLOATS", "INTEGERS", "STRING", "Entry", "Gguf", "TensorInfo"]

INTEGERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
FLOATS = {6: "f", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9
_NUMBERS = INTEGERS | FLOATS | {BOOL: "B"}
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True)
class Entry:
    """A key and its value: a number, bytes, or for an array a tuple of them.

    Attributes:
        inner: the kind of the values of an array.
        length: the number of values that the file states. ``None`` (default): the true number.
    """

    key: bytes
    kind: int
    value: Any
    inner: int = 0
    length: int | None = None


@dataclass(frozen=True)
class TensorInfo:
    """A tensor. `offset`: where the file says that its data is. ``None`` (default): the truth."""

    name: bytes
    shape: tuple[int, ...]
    kind: int
    data: bytes
    offset: int | None = None


@dataclass
class Gguf:
    """A file. ``n_tensors`` and ``n_entries``: what it states. ``None`` (default): the truth."""

    entries: list[Entry]
    tensors: list[TensorInfo]
    version: int = 3
    magic: bytes = b"GGUF"
    n_tensors: int | None = None
    n_entries: int | None = None
    alignment: int = _DEFAULT_ALIGNMENT
    changes: list[str] = field(default_factory=list)

    def copy(self) -> Gguf:
        return replace(self, entries=[*self.entries], tensors=[*self.tensors], changes=[])

    @property
    def architecture(self) -> str:
        found = [one.value for one in self.entries if one.key == b"general.architecture"]
        return found[0].decode(errors="replace") if found and isinstance(found[0], bytes) else ""

    @classmethod
    def read(cls, data: bytes) -> Gguf:
        """Reads a correct file."""
        return _Reader(data).file()

    def packed(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_entries = len(self.entries) if self.n_entries is None else self.n_entries
        head = [self.magic, _number(4, self.version), _number(10, n_tensors)]
        head.append(_number(10, n_entries))
        head += [_packed_entry(entry) for entry in self.entries]
        place, body = 0, []
        for tensor in self.tensors:
            padding = -len(tensor.data) % self.alignment
            offset = place if tensor.offset is None else tensor.offset
            head += [_text(tensor.name), _number(4, len(tensor.shape))]
            head += [_number(10, size) for size in tensor.shape]
            head += [_number(4, tensor.kind), _number(10, offset)]
            body += [tensor.data, bytes(padding)]
            place += len(tensor.data) + padding
        start = b"".join(head)
        return b"".join([start, bytes(-len(start) % self.alignment), *body])


def _number(kind: int, value: Any) -> bytes:
    form = _NUMBERS[kind]
    if kind in FLOATS:
        try:
            return struct.pack("<" + form, float(value))
        except OverflowError:
            return struct.pack("<" + form, float("inf"))
    size = struct.calcsize(form)
    return int(value % (1 << 8 * size)).to_bytes(size, "little")


def _text(value: bytes) -> bytes:
    return _number(10, len(value)) + value


def _value(kind: int, value: Any) -> bytes:
    return _text(value) if kind == STRING else _number(kind, value)


def _packed_entry(entry: Entry) -> bytes:
    head = _text(entry.key) + _number(4, entry.kind)
    if entry.kind == ARRAY:
        length = len(entry.value) if entry.length is None else entry.length
        values = b"".join(_value(entry.inner, value) for value in entry.value)
        return head + _number(4, entry.inner) + _number(10, length) + values
    if entry.kind == STRING and entry.length is not None:
        return head + _number(10, entry.length) + bytes(entry.value)
    if entry.kind not in _NUMBERS and entry.kind != STRING:
        return head + bytes(entry.value)
    return head + _value(entry.kind, entry.value)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 4

    def file(self) -> Gguf:
        version = self._take(4)
        n_tensors, n_entries = self._take(10), self._take(10)
        entries = [self._entry() for _ in range(n_entries)]
        infos = []
        for _ in range(n_tensors):
            name = self._take(STRING)
            shape = tuple(self._take(10) for _ in range(self._take(4)))
            infos.append((name, shape, self._take(4), self._take(10)))
        start = self._place + -self._place % _DEFAULT_ALIGNMENT
        ends = [*sorted(info[3] for info in infos), len(self._data) - start]
        tensors = []
        for name, shape, kind, offset in infos:
            end = next(place for place in ends if place > offset)
            tensors.append(TensorInfo(name, shape, kind, self._data[start + offset : start + end]))
        return Gguf(entries, tensors, version)

    def _entry(self) -> Entry:
        key, kind = self._take(STRING), self._take(4)
        if kind != ARRAY:
            return Entry(key, kind, self._take(kind))
        inner, length = self._take(4), self._take(10)
        return Entry(key, kind, tuple(self._take(inner) for _ in range(length)), inner)

    def _take(self, kind: int) -> Any:
        if kind == STRING:
            size = self._take(10)
            self._place += size
            return self._data[self._place - size : self._place]
        form = "<" + _NUMBERS[kind]
        (value,) = struct.unpack_from(form, self._data, self._place)
        self._place += struct.calcsize(form)
        return value
