"""Changes of the bytes of a model file, and of its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.odd_values import odd_integer

if TYPE_CHECKING:
    from random import Random

    from fuzz.gguf_bytes import Gguf

__all__ = ["change_bytes", "change_head"]


def change_head(rng: Random, file: Gguf) -> str:
    """Another magic number, version, or number of tensors or keys."""
    way = rng.choice(("magic", "version", "tensors", "keys", "tensors", "keys"))
    if way == "magic":
        file.magic = rng.choice((b"GGML", b"FUGG", bytes(4), b"ggjt"))
    elif way == "version":
        file.version = rng.choice((0, 1, 2, 4, 0x03000000, 2**32 - 1))
    elif way == "tensors":
        file.n_tensors = odd_integer(rng, len(file.tensors))
    else:
        file.n_entries = odd_integer(rng, len(file.entries))
    return f"head: {way}"


def change_bytes(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Flipped, cut, added or removed bytes; most of them in the metadata."""
    way = rng.choice(("flip", "flip", "flip", "cut", "insert", "remove", "zero", "append"))
    end = len(data) if rng.random() < 0.2 else min(len(data), rng.choice((64, 1000, 12_000)))
    place = rng.randrange(max(1, end))
    size = rng.choice((1, 2, 4, 8, 64))
    if way == "flip":
        changed = bytearray(data)
        for at in [place, *(rng.randrange(max(1, end)) for _ in range(rng.choice((0, 0, 3, 20))))]:
            changed[at] ^= rng.choice((1, 2, 4, 8, 16, 32, 64, 128, 255))
        return bytes(changed), f"flipped bits from {place}"
    if way == "cut":
        place = rng.choice((place, len(data) - size, len(data) - 1, len(data) // 2))
        return data[:place], f"cut at {place} of {len(data)}"
    if way == "insert":
        return data[:place] + rng.randbytes(size) + data[place:], f"{size} bytes more at {place}"
    if way == "remove":
        return data[:place] + data[place + size :], f"{size} bytes less at {place}"
    if way == "zero":
        return data[:place] + bytes(size) + data[place + size :], f"{size} zeros at {place}"
    return data + rng.randbytes(size * 100), f"{size * 100} bytes at the end"
