"""H-RAD's files: what is read, what is refused and why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specbranch_cpp import Engine, InvalidArgument, policies
from specbranch_cpp._pair import hrad_weights
from specbranch_cpp._support import safetensors
from specbranch_cpp._support.files import file_sha256

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

K, WIDTH = 2, 4
METADATA = {
    "format": "specbranch-hrad-1",
    "n_layers": str(K),
    "n_embd": str(WIDTH),
    "target_sha256": "a" * 64,
    "draft_sha256": "b" * 64,
}


def tensors(n_layers: int = K, width: int = WIDTH) -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(1)
    n_inputs = (n_layers + 1) * width
    shapes = {
        "mean": (n_inputs,),
        "scale": (n_inputs,),
        "w1": (16, n_inputs),
        "b1": (16,),
        "w2": (8, 16),
        "b2": (8,),
        "w3": (3, 8),
        "b3": (3,),
    }
    return {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }


def encode(
    arrays: dict[str, np.ndarray[Any, Any]], metadata: dict[str, Any], **changes: Any
) -> bytes:
    """A file; `changes` replace entries of its header."""
    header: dict[str, Any] = {"__metadata__": metadata}
    body = b""
    for name, array in arrays.items():
        data = array.tobytes()
        place = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": place}
        body += data
    header.update(changes)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def write(folder: Path, data: bytes) -> Path:
    path = folder / "hrad.safetensors"
    path.write_bytes(data)
    return path


def test_a_file_is_read_as_written(tmp_path: Path) -> None:
    arrays = tensors()
    read = safetensors.read(str(write(tmp_path, encode(arrays, METADATA))))
    assert read.metadata == METADATA
    assert read.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)
    policy = policies.HRAD(tmp_path / "hrad.safetensors")
    assert (policy._file.weights.n_layers, policy._file.weights.n_embd) == (K, WIDTH)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "header too small"),
        (b"\xff" * 40, "header too large"),
        ((9).to_bytes(8, "little") + b"12345678", "invalid header length"),
        ((2).to_bytes(8, "little") + b"{]", "invalid JSON in header"),
        ((2).to_bytes(8, "little") + b"[]", "invalid type: sequence"),
        ((10**5).to_bytes(8, "little") + b"[" * 10**5, "invalid type: sequence"),
        (encode({}, {"a": 1}), "invalid type: integer `1`, expected a string"),
        (encode({}, {}, x=1), "expected struct TensorInfo"),
        (encode({}, {}, x={**ENTRY, "dtype": "F7"}) + bytes(8), "unknown variant `F7`"),
        (encode({}, {}, x={**ENTRY, "dtype": "I64", "shape": []}) + bytes(8), "has type 'I64'"),
        (encode({}, {}, x=ENTRY), "file not fully covered"),
        (encode({}, {}, x=ENTRY) + bytes(9), "file not fully covered"),
        (encode({}, {}, x={**ENTRY, "shape": [-2]}), "invalid value: integer `-2`"),
        (encode({}, {}, x={**ENTRY, "shape": 2}), "invalid type: integer `2`"),
        (encode({}, {}, x={**ENTRY, "shape": [2**62, 8]}) + bytes(8), "verflow"),
        (encode({}, {}, x={**ENTRY, "data_offsets": [8, 0]}), "invalid offset for tensor `x`"),
        (encode({}, {}, x={**ENTRY, "data_offsets": [0.0, 8]}), "floating point `0.0`"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(InvalidArgument, match=re.escape(reason)) as error:
        policies.HRAD(path)
    assert str(path) in str(error.value)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, encode(tensors(), METADATA))
    with path.open("r+b") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(
        InvalidArgument, match="it has 1073741825 bytes; it must have at most 1073741824"
    ):
        policies.HRAD(path)


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    data = encode(tensors(), METADATA)
    for n in range(0, len(data), 97):
        with pytest.raises(InvalidArgument):
            policies.HRAD(write(tmp_path, data[:n]))


def test_other_files_are_refused_by_what_they_lack(tmp_path: Path) -> None:
    arrays = tensors()

    def refused(message: str, *, without: str = "", **metadata: str) -> None:
        some = {name: array for name, array in arrays.items() if name != without}
        values = {k: v for k, v in {**METADATA, **metadata}.items() if k != without}
        with pytest.raises(InvalidArgument, match=re.escape(message)):
            policies.HRAD(write(tmp_path, encode(some, values)))

    refused("has the format 'other'; it must be 'specbranch-hrad-1'", format="other")
    refused("has the format None", without="format")
    refused("lacks w2", without="w2")
    refused("lacks draft_sha256", without="draft_sha256")
    refused("has n_layers '-1'; it must be a positive integer", n_layers="-1")
    refused("has n_embd '0'; it must be a positive integer", n_embd="0")
    refused("has tensors that do not fit together", n_embd="5")
    arrays["b1"] = np.full_like(arrays["b1"], np.nan)
    refused("has a tensor 'b1' with values that are not finite")
    with pytest.raises(InvalidArgument, match="cannot be read: No such file"):
        policies.HRAD(tmp_path / "none")
    with pytest.raises(InvalidArgument, match="path is 7"):
        policies.HRAD(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="epsilon is 2"):
        policies.HRAD(tmp_path / "none", epsilon=2)
    with pytest.raises(InvalidArgument, match=r"min_probability is -0\.1"):
        policies.HRAD(tmp_path / "none", min_probability=-0.1)


def test_hashes_and_sizes_must_be_the_pairs(tmp_path: Path) -> None:
    class Core:
        n_feature_layers = 4
        n_embd = WIDTH

    files = []
    for name in ("target", "draft"):
        files.append(tmp_path / name)
        files[-1].write_bytes(name.encode() * 1000)
    pair = hrad_weights.PairFiles(*map(str, files))
    hashes = {f"{path.name}_sha256": file_sha256(str(path)) for path in files}

    def check(**metadata: str) -> None:
        path = write(tmp_path, encode(tensors(), {**METADATA, **hashes, **metadata}))
        core: Any = Core()
        hrad_weights.check_pair(policies.HRAD(path)._file, core, pair)

    check()
    files[0].unlink()  # hashed once
    check()
    with pytest.raises(
        InvalidArgument, match="was trained for another target, with the SHA-256 aaa"
    ):
        check(target_sha256="a" * 64)
    with pytest.raises(InvalidArgument, match=f"another draft.*; {str(files[1])!r} has "):
        check(draft_sha256=hashes["target_sha256"])
    Core.n_embd = 5
    with pytest.raises(
        InvalidArgument, match="is for a target of width 4; this target has the width 5"
    ):
        check()
    Core.n_feature_layers = 1
    message = "needs the features of 2 layers, but this target gives the features of 1 layers"
    with pytest.raises(InvalidArgument, match=message):
        check()


def test_a_file_for_another_pair_is_refused_by_the_engine(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    policy = policies.HRAD(write(tmp_path, encode(tensors(), METADATA)))
    with pytest.raises(InvalidArgument, match=r"policies\.HRAD"):
        Engine(*pair, n_ctx=256, policy=policy)
    with Engine(*pair, n_ctx=256) as engine:
        with pytest.raises(InvalidArgument, match=r"policies\.HRAD"):
            engine.generate([1, 2, 3], policy=policy)
        assert len(engine.generate([1, 2, 3], max_tokens=3).result().tokens) <= 3


@pytest.mark.parametrize("mode", ["speculative", "pearl", "specbranch", "autoregressive"])
def test_h_rad_and_features_never_change_the_text(
    make_fake: MakeFake, tmp_path: Path, mode: str
) -> None:
    engine = make_fake(target_step_us=600, draft_step_us=60)
    whole = engine.generate("abc", max_tokens=60).result()
    policy = policies.HRAD(write(tmp_path, encode(tensors(), METADATA)))
    assert engine.generate("abc", max_tokens=60, mode=mode, policy=policy).result().tokens == (
        whole.tokens
    )
    seen: list[Any] = []

    class Watching:
        n_feature_layers = 3

        def plan(self, state: policies.RoundState, /) -> policies.Plan:
            seen.append(state.features)
            return policies.Plan(2)

        def observe(self, outcome: policies.RoundOutcome, /) -> None:
            pass

    done = engine.generate("abc", max_tokens=60, mode=mode, policy=Watching()).result()
    assert done.tokens == whole.tokens
    if mode == "autoregressive":
        assert not seen
        return
    arrays = [features for features in seen if features is not None]
    assert arrays
    for features in arrays:
        assert features.shape == (4, WIDTH)
        assert features.dtype == np.float32
        assert not features.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            features[0, 0] = 1
    # The embedding of the newest token ends with a 1; arrays outlive their rounds.
    assert all(features[-1, -1] == 1.0 for features in arrays)
