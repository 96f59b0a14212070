"""The dimensions of a model, and what is said of those that do not do."""

from __future__ import annotations

from dataclasses import asdict, dataclass


class ScaleError(ValueError):
    """The model cannot be scaled as asked; the message says why."""


@dataclass(frozen=True)
class Shape:
    """The dimensions that scaling may enlarge; the size of a head stays."""

    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_ff: int

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


def check_shape(old: Shape, new: Shape) -> None:
    for name, value in asdict(new).items():
        before = asdict(old)[name]
        if value < before:
            raise ScaleError(f"{name} cannot shrink from {before} to {value}")
    if new.n_head % new.n_head_kv:
        raise ScaleError(f"n_head {new.n_head} is not a multiple of n_head_kv {new.n_head_kv}")
