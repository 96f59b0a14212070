"""A scaled model that is planned but not yet computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gguf import GGMLQuantizationType

from specbranch_cpp._scaling.equality import Equality, judge
from specbranch_cpp._scaling.metadata import write_metadata
from specbranch_cpp._scaling.plan import make_plan
from specbranch_cpp._scaling.shape import Shape, check_head_norms, check_shape
from specbranch_cpp._scaling.source import Source
from specbranch_cpp._scaling.weight_types import parse_weight_type

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from specbranch_cpp._scaling.tensor import PlannedTensor


@dataclass(frozen=True)
class ScaledModel:
    """The parts of a scaled model. The tensors are computed on demand."""

    source: Source
    shape: Shape
    weight_type: GGMLQuantizationType | None
    plan: Sequence[PlannedTensor]

    @property
    def n_parameters(self) -> int:
        return sum(tensor.n_elements for tensor in self.plan)

    @property
    def n_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(tensor.n_bytes for tensor in self.plan)

    def write_metadata(self, path: Path) -> None:
        """Writes a file that lacks only the weights."""
        write_metadata(self.source, self.shape, self.weight_type, self.plan, path)

    def judge(self) -> tuple[Equality, float]:
        """How equal the logits are, after every tensor was computed; see `equality.judge`."""
        return judge(self.source, self.shape, self.plan)


def plan_model(
    source: str | os.PathLike[str] | Source,
    *,
    n_embd: int | None = None,
    n_layer: int | None = None,
    n_head: int | None = None,
    n_head_kv: int | None = None,
    n_ff: int | None = None,
    head_size: int | None = None,
    weight_type: str = "same",
) -> ScaledModel:
    """Plans a larger model that computes the same function as `source`.

    A dimension of ``None`` (default), or a head_size of 0: the dimension does not change.

    Args:
        source: path of a GGUF file, or a file that is read already.
        n_embd: width of the residual stream.
        n_layer: number of blocks.
        n_head: number of query heads.
        n_head_kv: number of key-value heads.
        n_ff: width of the feed-forward layer.
        head_size: number of values in a head.
        weight_type: GGUF's name of the type of all matrices; ``"same"``: the types of the source.

    Raises:
        ScaleError: the shape, the model or the type cannot be scaled.
    """
    kind = parse_weight_type(weight_type)
    model = source if isinstance(source, Source) else Source(Path(source))
    asked = {
        "n_embd": n_embd,
        "n_layer": n_layer,
        "n_head": n_head,
        "n_head_kv": n_head_kv,
        "n_ff": n_ff,
        "head_size": head_size or None,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    shape = Shape(**(asdict(model.shape) | given))
    check_shape(model.shape, shape)
    if model.has_head_norms:
        check_head_norms(model.shape, shape)
    return ScaledModel(model, shape, kind, make_plan(model, shape, kind))
