"""Changes of the tensors of a model file: shapes, types, places, names and weights."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from fuzz.gguf_bytes import TensorInfo
from fuzz.odd_values import odd_bytes, odd_integer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from fuzz.gguf_bytes import Gguf

__all__ = ["add_tensor", "change_place", "change_shape", "change_type", "change_weights",
           "remove_tensors", "rename_tensor"]  # fmt: skip

_TYPES = (*range(42), 64, 1000, 2**31, 2**32 - 1)
_F32 = 0


def change_shape(rng: Random, file: Gguf, sizes: Mapping[int, tuple[int, int]]) -> str:
    place, old = _one(rng, file)
    shape = list(old.shape)
    way = rng.choice(("one", "one", "one", "swap", "more", "fewer", "many", "none", "rows"))
    if way == "one":
        axis = rng.randrange(len(shape))
        shape[axis] = odd_integer(rng, shape[axis])
    elif way == "rows":
        shape[-1] = max(1, shape[-1] + rng.choice((-32, -1, 1, 32, shape[-1])))
    elif way == "swap":
        shape = shape[::-1]
    elif way == "more":
        shape.append(rng.choice((1, 2, 0)))
    elif way == "fewer":
        shape = shape[:-1]
    elif way == "many":
        shape = [2**16] * rng.choice((4, 5, 100))
    else:
        shape = []
    fits = rng.random() < 0.7
    new = replace(old, shape=tuple(shape))
    file.tensors[place] = _with_data(new, sizes) if fits else new
    return f"{old.name!r} {old.shape} has the shape {tuple(shape)[:6]}{_fit(fits)}"


def change_type(rng: Random, file: Gguf, sizes: Mapping[int, tuple[int, int]]) -> str:
    place, old = _one(rng, file)
    kind = rng.choice(_TYPES)
    fits = rng.random() < 0.85
    new = replace(old, kind=kind)
    file.tensors[place] = _with_data(new, sizes) if fits else new
    return f"{old.name!r} has the type {kind}{_fit(fits)}"


def change_place(rng: Random, file: Gguf, _: Mapping[int, tuple[int, int]]) -> str:
    """The data of a tensor is elsewhere: over another, off by one, or beyond the end."""
    place, old = _one(rng, file)
    truth = sum(len(one.data) + -len(one.data) % 32 for one in file.tensors[:place])
    offset = rng.choice((0, truth + 32, truth - 32, truth + 1, 2**31, 2**63, 2**64 - 32, truth * 2))
    file.tensors[place] = replace(old, offset=offset)
    return f"{old.name!r} at {offset} instead of {truth}"


def rename_tensor(rng: Random, file: Gguf, _: Mapping[int, tuple[int, int]]) -> str:
    place, old = _one(rng, file)
    way = rng.choice(("odd", "other", "block", "end"))
    if way == "other":
        name = rng.choice(file.tensors).name
    elif way == "block":
        number = odd_integer(rng, rng.randrange(3))
        name = re.sub(rb"\d+", b"%d" % number, old.name, count=1)
    elif way == "end":
        name = re.sub(rb"\.\w+$", rng.choice((b".bias", b".weight", b".scale", b"")), old.name)
    else:
        name = odd_bytes(rng, old.name)
    file.tensors[place] = replace(old, name=name)
    return f"{old.name!r} is called {name[:80]!r}"


def remove_tensors(rng: Random, file: Gguf, _: Mapping[int, tuple[int, int]]) -> str:
    """Removes a tensor, the tensors of this name in all blocks, or a block."""
    chosen = _one(rng, file)[1]
    end = re.sub(rb"^blk\.\d+\.", b"", chosen.name)
    begin = re.match(rb"blk\.\d+\.|", chosen.name)
    head = begin[0] if begin else b""
    way = rng.choice(("one", "one", "kind", "kind", "block"))
    if way == "one" or (way == "block" and not head):
        kept = [one for one in file.tensors if one is not chosen]
    elif way == "kind":
        kept = [one for one in file.tensors if re.sub(rb"^blk\.\d+\.", b"", one.name) != end]
    else:
        kept = [one for one in file.tensors if not one.name.startswith(head)]
    file.tensors = kept
    return f"without {way} of {chosen.name!r}"


def add_tensor(
    rng: Random, file: Gguf, sizes: Mapping[int, tuple[int, int]], pool: Sequence[TensorInfo]
) -> str:
    """A tensor that another architecture has, or a bias, in all blocks or in one."""
    n_blocks = 1 + max((int(m[1]) for t in file.tensors if (m := _BLOCK.match(t.name))), default=0)
    if rng.random() < 0.3:
        weight = _one(rng, file)[1]
        new = TensorInfo(
            re.sub(rb"\.weight$", rng.choice((b".bias", b".scale")), weight.name),
            weight.shape[-1:], _F32, b"",
        )  # fmt: skip
    else:
        new = rng.choice(pool)
    if rng.random() < 0.3:
        new = replace(new, shape=tuple(odd_integer(rng, n) for n in new.shape))
    new = _with_data(new, sizes)
    blocks = range(n_blocks) if rng.random() < 0.6 else [rng.randrange(n_blocks)]
    for block in blocks:
        name = re.sub(rb"^blk\.\d+\.", b"blk.%d." % block, new.name)
        file.tensors = [one for one in file.tensors if one.name != name]
        file.tensors.append(replace(new, name=name))
    return f"add {new.name!r} {new.shape} of type {new.kind} in {len(blocks)} blocks"


def change_weights(rng: Random, file: Gguf, _: Mapping[int, tuple[int, int]]) -> str:
    """Weights that are zero, large, random, or no numbers."""
    place, old = _one(rng, file)
    size = len(old.data)
    way = rng.choice(("zero", "random", "nan", "inf", "huge", "one", "minus", "ones"))
    value = {"nan": math.nan, "inf": math.inf, "huge": 3e38, "one": math.nan, "minus": -1e30}
    if way == "zero":
        data = bytes(size)
    elif way == "ones":
        data = b"\xff" * size
    elif way == "random":
        data = rng.randbytes(size)
    else:
        number = struct.pack("<f", value[way])
        at = rng.randrange(max(1, size // 4)) * 4
        one = way == "one" and size >= 4
        data = old.data[:at] + number + old.data[at + 4 :] if one else number * (size // 4)
    file.tensors[place] = replace(old, data=data[:size].ljust(size, b"\0"))
    return f"{old.name!r} has weights: {way}"


_BLOCK = re.compile(rb"blk\.(\d{1,3})\.")
_LARGEST = 1 << 23  # bytes of a tensor that is written


def _one(rng: Random, file: Gguf) -> tuple[int, TensorInfo]:
    if not file.tensors:
        file.tensors.append(TensorInfo(b"output_norm.weight", (1,), _F32, bytes(4)))
    place = rng.randrange(len(file.tensors))
    return place, file.tensors[place]


def _with_data(tensor: TensorInfo, sizes: Mapping[int, tuple[int, int]]) -> TensorInfo:
    """The tensor with as much data as its shape and its type need, unless that is too much."""
    per_block, n_bytes = sizes.get(tensor.kind, (1, 4))
    if any(size < 0 or size > _LARGEST for size in tensor.shape):
        return tensor
    needed = math.prod(tensor.shape) // per_block * n_bytes
    if needed > _LARGEST:
        return tensor
    source = tensor.data or bytes(4)
    return replace(tensor, data=(source * (needed // len(source) + 1))[:needed])


def _fit(fits: bool) -> str:
    return "" if fits else ", not its data"
