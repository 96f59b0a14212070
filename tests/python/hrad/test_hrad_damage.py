"""Traces of H-RAD that are damaged, and recipes out of their ranges: a clear error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specbranch_cpp import InvalidArgument
from specbranch_cpp.hrad import TraceSettings, collect, load_traces
from specbranch_cpp.hrad.train import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.python.conftest import MakeFake


@pytest.fixture
def traces(make_fake: MakeFake, tmp_path: Path) -> Path:
    target, draft = tmp_path / "target", tmp_path / "draft"
    for path in (target, draft):
        path.write_bytes(b"model")
    folder = tmp_path / "traces"
    settings = TraceSettings(n_layers=2, max_tokens=30)
    collect(make_fake(), target, draft, ["abc", "hello"], folder, settings=settings)
    return folder


Change = dict[str, "Callable[[Any], Any]"]
DAMAGES: list[tuple[Change, str]] = [
    ({"about": lambda _: np.array("{}")}, "does not name its prompt"),
    ({"about": lambda _: np.array("5")}, "does not name its prompt"),
    ({"about": lambda _: np.array('{"prompt": [1]}')}, "does not name its prompt"),
    ({"label": lambda a: a[:1]}, "rounds, label has 1"),
    ({"label": lambda _: np.array(5)}, r"label has the type int64 and the shape \(\)"),
    ({"label": lambda a: a.astype(float)}, "label has the type float64"),
    ({"label": lambda a: a + np.int8(50)}, r"label has .*; it must be in -1 \.\. 2"),
    ({"label": lambda a: a - np.int8(100)}, r"label has .*; it must be in -1 \.\. 2"),
    ({"features": lambda a: a[:, :3]}, "has 3 features in a round; they must be 12"),
    ({"features": np.ravel}, "features has the type float16 and the shape"),
    ({"features": lambda a: a * np.float16(np.nan)}, "features has values that are not finite"),
    ({"features": lambda a: a.astype("U4")}, "features has the type <U4"),
    ({"window": lambda a: a[:, 0]}, "window has the type int32 and the shape"),
    ({"window": lambda a: a[:1]}, "window has 1 rounds"),
    ({"confidence": lambda a: a[:, :1]}, r"confidence \(\d+, 1\)"),
    ({"confidence": lambda a: a * np.float32(np.nan)}, "confidence has values that are not"),
    ({"window": lambda a: a[:, :0], "confidence": lambda a: a[:, :0]}, r"window has the shape"),
]


@pytest.mark.parametrize(("changes", "message"), DAMAGES)
def test_damaged_records_are_refused(traces: Path, changes: Change, message: str) -> None:
    path = next(traces.glob("*.npz"))
    with np.load(path) as file:
        arrays = dict(file)
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    np.savez(path, **arrays)
    with pytest.raises(InvalidArgument, match=message):
        load_traces([traces])


FIELDS = {
    "version": (6, 255),
    "flags": (8, 1),
    "patched": (8, 32),
    "method": (10, 99),
    "deflated": (10, 8),
}


@pytest.mark.parametrize("field", FIELDS)
def test_damaged_archives_are_refused(traces: Path, field: str) -> None:
    path = next(traces.glob("*.npz"))
    data = bytearray(path.read_bytes())
    offset, value = FIELDS[field]
    for begin in (b"PK\x01\x02", b"PK\x03\x04"):  # of an entry of the directory, and of a file
        at = data.index(begin) + offset - 2 * (begin == b"PK\x03\x04")
        data[at] = value
    path.write_bytes(data)
    with pytest.raises(InvalidArgument, match="contains no records of H-RAD"):
        load_traces([traces])


@pytest.mark.parametrize("name", ["n_layers", "n_embd", "max_draft", "epsilon", "mode"])
@pytest.mark.parametrize("value", [None, [], True])
def test_damaged_settings_are_refused(traces: Path, name: str, value: Any) -> None:
    path = traces / "settings.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, name: value}), encoding="utf-8")
    with pytest.raises(InvalidArgument, match=rf"settings\.json is damaged: {name} is"):
        load_traces([traces])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be in 1 "),
        ({"batch": 1.5}, "batch is 1.5 .*integer"),
        ({"hidden": (4,)}, "hidden has 1 widths; it must have 2"),
        ({"hidden": (0, 4)}, r"hidden\[0\] is 0; it must be in 1 "),
        ({"dropout": 2}, r"dropout is 2; it must be in 0 \.\. 1"),
        ({"balance": float("nan")}, r"balance is nan; it must be in 0 \.\. 1"),
        ({"held_out": 15}, r"held_out is 15; it must be in 0 \.\. 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a number that is at"),
        ({"weight_decay": -1}, "weight_decay is -1.0; it must be a number that is at least 0"),
        ({"seed": "x"}, "seed is 'x' .*integer"),
    ],
)
def test_recipes_are_checked_when_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Recipe(**options)
