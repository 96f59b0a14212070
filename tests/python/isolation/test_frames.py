"""Messages between the two processes, whole and damaged."""

from __future__ import annotations

import io
import json
import socket
import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from specbranch_cpp import _core
from specbranch_cpp._isolated import errors_across, frames
from specbranch_cpp.errors import InvalidArgument, SpecBranchError
from specbranch_cpp.results import LoraAdapter


def sent(message: list[Any]) -> list[Any] | None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames.write_data(ours, message)
        ours.shutdown(socket.SHUT_WR)
        with theirs.makefile("rb") as stream:
            return frames.read_data(stream)


def read(text: bytes, beside: bytes = b"") -> list[Any] | None:
    sizes = struct.pack("<II", len(text), len(beside))
    return frames.read_data(io.BytesIO(sizes + text + beside))


@pytest.mark.parametrize(
    "value",
    [
        None, True, -5, 2**63, 1.5, float("inf"), "αβ\0", "lone \udc80", b"", b"\xff\0",
        bytes(1000), [1, [2]], (1, (2, b"x")), {"a": (1,), 5: {"b": None}}, [], (), {},
    ],
)  # fmt: skip
def test_values_arrive_as_they_are(value: Any) -> None:
    assert sent(["kind", value, value]) == ["kind", value, value]


def test_arrays_arrive_as_they_are() -> None:
    for array in (np.arange(600, dtype=np.float32).reshape(2, 300), np.arange(3, dtype=np.int32)):
        (found,) = sent([array]) or []
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        found[:] = 0
    array.flags.writeable = False
    (found,) = sent([array]) or []
    assert not found.flags.writeable


def test_objects_arrive_as_attributes() -> None:
    adapter = LoraAdapter("name", "path", 0.5, 8, 16.0, 100)
    stats = _core._fake_engine(_core._FakeOptions(), None, [b"a"] * 32).stats
    found = sent([adapter, stats])
    assert found is not None
    assert LoraAdapter(**vars(found[0])) == adapter
    assert isinstance(found[1], SimpleNamespace)
    assert found[1].n_generations == stats.n_generations == 0
    assert vars(found[1]).keys() >= {"decode_ms", "n_accepted", "n_rolled_back"}


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        (b"\xff", b""),
        (b"5", b""),
        (b"null", b""),
        (b'[{"array": ["|O8", [1], {"bytes": "x"}, true]}]', b""),
        (b'[{"array": ["<f4", [1000000], {"bytes": "abcd"}, true]}]', b""),
        (b'[{"array": ["<f4", [-1, 0], {"bytes": "abcd"}, true]}]', b""),
        (b'[{"bytes": ["a", "b"]}]', b"xx"),
        (b'[{"bytes": "\\u4e00"}]', b""),
        (b'[{"object": 5}]', b""),
        (b'[{"dict": [[[], 1]]}]', b""),
        (b'[{"module": "os"}]', b""),
        (b'[{"a": 1, "b": 2}]', b""),
        (b"[{}]", b""),
        (b"[" * 100_000, b""),
        (b'[{"tuple": ' * 50_000, b""),
    ],
)
def test_what_cannot_be_read_is_an_error(text: bytes, beside: bytes) -> None:
    with pytest.raises(frames.DamagedFrame):
        read(text, beside)


def test_a_message_that_is_cut_is_the_end() -> None:
    whole = json.dumps(["log", "a", 1, "b"]).encode()
    data = struct.pack("<II", len(whole), 0) + whole
    for n_bytes in range(len(data)):
        assert frames.read_data(io.BytesIO(data[:n_bytes])) is None
    assert frames.read_data(io.BytesIO(data)) == ["log", "a", 1, "b"]


def test_a_size_is_checked_before_memory_is_taken() -> None:
    with pytest.raises(frames.DamagedFrame, match="a message of 8589934590 bytes"):
        frames.read_data(io.BytesIO(b"\xff" * 8))


def test_what_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_LARGEST", 1000)
    with pytest.raises(ValueError, match="must be at most 1000"):
        sent([bytes(2000)])


def test_errors_across() -> None:
    for error in (
        InvalidArgument("top_k is -1"), MemoryError("none"), FileNotFoundError(2, "No such file"),
        TypeError("wrong"),
    ):  # fmt: skip
        again = errors_across.raised_again(*errors_across.described(error))
        kind = OSError if isinstance(error, OSError) else type(error)
        assert isinstance(again, kind)
        assert str(again) == str(error)
    unknown = errors_across.raised_again("SystemExit", "0", None)
    assert type(unknown) is SpecBranchError
    assert str(unknown) == "SystemExit: 0"
    assert str(errors_across.raised_again("ValueError", "a \x1b[31m", None)) == "a \\x1b[31m"
