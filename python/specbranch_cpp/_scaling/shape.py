"""The dimensions of a model, and their check."""

from __future__ import annotations

from dataclasses import asdict, dataclass


class ScaleError(ValueError):
    """The model cannot be scaled as requested. The message gives the reason."""


@dataclass(frozen=True)
class Shape:
    """The dimensions that scaling may enlarge."""

    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_ff: int
    head_size: int = 0
    """Number of values in a head; 0 in a preset: the number in the source."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items() if value)

    def n_parameters(self, n_vocab: int) -> int:
        """The number of parameters with a separate output matrix and without biases."""
        width = self.head_size * (self.n_head + self.n_head_kv)
        block = self.n_embd * (2 * width + 3 * self.n_ff + 2)
        return self.n_layer * block + self.n_embd * (2 * n_vocab + 1)


def check_shape(old: Shape, new: Shape) -> None:
    """Raises ScaleError if the old shape does not fit into the new shape."""
    for name, value in asdict(new).items():
        before = asdict(old)[name]
        if value < before:
            raise ScaleError(f"{name} cannot shrink from {before} to {value}")
    if new.n_head % new.n_head_kv:
        raise ScaleError(f"n_head {new.n_head} is not a multiple of n_head_kv {new.n_head_kv}")
    if new.head_size % 2:
        raise ScaleError(f"head_size {new.head_size} is odd; heads are rotated in pairs of values")


def check_head_norms(old: Shape, new: Shape) -> None:
    """Raises ScaleError if a model that normalizes queries and keys cannot have the new shape."""
    if new.head_size != old.head_size:
        raise ScaleError(
            f"head_size {old.head_size} cannot become {new.head_size}: queries and keys are "
            "normalized over the values of a head"
        )
    if new.n_head * new.head_size != new.n_embd:
        raise ScaleError(
            f"n_head {new.n_head} must be {new.n_embd // new.head_size}: llama.cpp loads this "
            f"architecture only with n_head * head_size = n_embd, here n_head * {new.head_size} = "
            f"{new.n_embd}"
        )
