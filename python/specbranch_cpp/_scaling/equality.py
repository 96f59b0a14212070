"""How equal the logits of a scaled model are to those of its source."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

from specbranch_cpp._scaling.converted import ConvertedTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp._scaling.shape import Shape
    from specbranch_cpp._scaling.source import Source
    from specbranch_cpp._scaling.tensor import PlannedTensor


class Equality(enum.Enum):
    """The promise about the logits."""

    BITS = "equal to the last bit"
    ROUNDING = "equal up to rounding"
    QUANTIZED = "changed by quantization"


def judge_text(equality: Equality, weight_change: float) -> str:
    """The result of `judge` as text."""
    if equality is Equality.QUANTIZED:
        return f"{equality.value} (weights by {weight_change:.2g} of their size)"
    text: str = equality.value
    return text


def judge(source: Source, new: Shape, plan: Sequence[PlannedTensor]) -> tuple[Equality, float]:
    """The equality of the written weights, and the change of the weights by the conversion.

    The change is the root mean square of the changes in the worst tensor, divided by that of its
    weights in the source. Converted weights without any change run in kernels that round in another
    way.
    """
    converted = [tensor for tensor in plan if isinstance(tensor, ConvertedTensor)]
    if any(tensor.deviation.n_changed for tensor in converted):
        return Equality.QUANTIZED, max(tensor.deviation.relative for tensor in converted)
    if converted or not is_bit_exact(source, new):
        return Equality.ROUNDING, 0.0
    return Equality.BITS, 0.0


def is_bit_exact(source: Source, new: Shape) -> bool:
    """Whether copied blocks promise equal bits; see the package."""
    old = source.shape
    width_ratio = new.n_embd / old.n_embd
    heads_stay = (old.n_head, old.n_head_kv) == (new.n_head, new.n_head_kv)
    growing = [
        (old.n_embd, new.n_embd, 64),
        (old.n_ff, new.n_ff, 64),
        (old.n_head * old.head_size, new.n_head * new.head_size, 64),
        (old.n_head_kv * old.head_size, new.n_head_kv * new.head_size, 16),
    ]
    return (
        old.head_size == new.head_size
        and not (source.has_head_norms and old.n_embd != new.n_embd)
        and math.frexp(width_ratio)[0] == 0.5
        and math.frexp(width_ratio)[1] % 2 == 1
        and (heads_stay or (old.n_head // old.n_head_kv) % (new.n_head // new.n_head_kv) == 0)
        and all(
            before == after or before % unit == after % unit == 0 for before, after, unit in growing
        )
    )
