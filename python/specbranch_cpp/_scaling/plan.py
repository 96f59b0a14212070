"""Plans every tensor of the new file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from specbranch_cpp._scaling.axes import Axis
from specbranch_cpp._scaling.converted import ConvertedTensor
from specbranch_cpp._scaling.placement import models_of_blocks, place_heads
from specbranch_cpp._scaling.rules import BLOCK_RULES, GLOBAL_RULES, Dim, Fill, Rule
from specbranch_cpp._scaling.shape import ScaleError
from specbranch_cpp._scaling.tensor import PlannedTensor
from specbranch_cpp._scaling.weight_types import NOT_WEIGHTS

if TYPE_CHECKING:
    from gguf import ReaderTensor

    from specbranch_cpp._scaling.shape import Shape
    from specbranch_cpp._scaling.source import Source


def make_plan(
    source: Source, new: Shape, weight_type: GGMLQuantizationType | None = None
) -> list[PlannedTensor]:
    """Plans every tensor of the new file, in the order of writing.

    `weight_type` is the type of all matrices. ``None`` (default): the types of the source.
    """
    old = source.shape
    query, key_value = place_heads(old, new)
    axes = {
        Dim.ONE: Axis.padded(1, 1),
        Dim.EMBD: Axis.padded(old.n_embd, new.n_embd),
        Dim.QUERY: Axis.of_heads(query, old.head_size, new.head_size),
        Dim.KEY: Axis.of_heads(key_value, old.head_size, new.head_size),
        Dim.VALUE: Axis.of_heads(key_value, old.head_size, new.head_size),
        Dim.MIX: Axis.of_heads(query, old.head_size, new.head_size),
        Dim.PAIR: Axis.padded(old.head_size // 2, new.head_size // 2),
        Dim.FF: Axis.padded(old.n_ff, new.n_ff),
        Dim.HEAD: Axis.padded(old.head_size, new.head_size),
        Dim.CHANNEL: Axis.padded(old.n_embd, new.n_embd),
        Dim.GATES: Axis.of_heads((0, 1, 2), old.n_embd, new.n_embd),
    }
    old_sizes = {
        Dim.ONE: 1,
        Dim.EMBD: old.n_embd,
        Dim.QUERY: old.n_head * old.head_size,
        Dim.KEY: old.n_head_kv * old.head_size,
        Dim.VALUE: old.n_head_kv * old.head_size,
        Dim.MIX: old.n_head * old.head_size,
        Dim.PAIR: old.head_size // 2,
        Dim.FF: old.n_ff,
        Dim.HEAD: old.head_size,
        Dim.CHANNEL: old.n_embd,
        Dim.GATES: 3 * old.n_embd,
    }
    norm_factor = math.sqrt(old.n_embd / new.n_embd)

    def planned(name: str, tensor: ReaderTensor, rule: Rule, *, is_extra: bool) -> PlannedTensor:
        if tensor.tensor_type in NOT_WEIGHTS or (
            rule.is_norm and tensor.tensor_type is not GGMLQuantizationType.F32
        ):
            raise ScaleError(f"{tensor.name}: unsupported weight type {tensor.tensor_type.name}")
        dims = [int(n) for n in tensor.shape] + [1] * (2 - len(tensor.shape))
        if len(dims) != 2 or any(
            dim in old_sizes and size != old_sizes[dim]
            for dim, size in zip((rule.cols, rule.rows), dims, strict=True)
        ):
            raise ScaleError(f"{tensor.name}: shape {dims} does not fit the metadata ({old})")
        cols = axes.get(rule.cols) or Axis.padded(dims[0], dims[0])
        rows = axes.get(rule.rows) or Axis.padded(dims[1], dims[1])
        kind = tensor.tensor_type
        if weight_type is not None and len(tensor.shape) > 1 and not rule.keeps_type:
            kind = weight_type
        _check_blocks(name, kind, cols, is_converted=kind != tensor.tensor_type)
        if is_extra and not rule.is_norm:
            rows = rows.without_copies()
        fill = rule.fill
        if Dim.KEY in (rule.rows, rule.cols) and new.head_size > old.head_size:
            fill = Fill.ZERO  # added values of keys must not meet those of queries
        factor = norm_factor if rule.is_norm else 1.0
        if kind != tensor.tensor_type:
            return ConvertedTensor(name, tensor, rows, cols, fill, factor, kind)
        return PlannedTensor(name, tensor, rows, cols, fill, factor)

    blocks: list[list[tuple[str, ReaderTensor, Rule]]] = [[] for _ in range(old.n_layer)]
    plan: list[PlannedTensor] = []
    for tensor in source.reader.tensors:
        if tensor.name in GLOBAL_RULES:
            rule = GLOBAL_RULES[tensor.name]
            plan.append(planned(tensor.name, tensor, rule, is_extra=False))
            continue
        prefix, _, rest = tensor.name.partition(".")
        number, _, suffix = rest.partition(".")
        is_known = prefix == "blk" and number.isdigit() and suffix in BLOCK_RULES
        if not is_known or int(number) >= old.n_layer:
            raise ScaleError(f"{tensor.name}: no rule for scaling this tensor")
        blocks[int(number)].append((suffix, tensor, BLOCK_RULES[suffix]))

    for index, (model, is_extra) in enumerate(models_of_blocks(old.n_layer, new.n_layer)):
        for suffix, tensor, rule in blocks[model]:
            plan.append(planned(f"blk.{index}.{suffix}", tensor, rule, is_extra=is_extra))
    return plan


def _check_blocks(name: str, kind: GGMLQuantizationType, cols: Axis, *, is_converted: bool) -> None:
    """Raises ScaleError if a row is not a number of whole blocks, or a copy cuts a block."""
    block = GGML_QUANT_SIZES[kind][0]
    if (cols.without_copies() if is_converted else cols).in_bytes(block, 1) is None:
        parts = "" if is_converted else f" (parts {[tuple(copy) for copy in cols.copies]})"
        raise ScaleError(
            f"{name}: rows of {cols.new_size} values{parts} do not divide into {kind.name} blocks "
            f"of {block}"
        )
