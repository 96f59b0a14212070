"""Every tensor of the new file, and whether its scores will be the same bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from .axes import Axis
from .placement import place_blocks, place_heads
from .rules import BLOCK_RULES, GLOBAL_RULES, Dim, Rule
from .shape import ScaleError
from .tensor import PlannedTensor

if TYPE_CHECKING:
    from gguf import ReaderTensor

    from .shape import Shape
    from .source import Source

# Plain numbers, not weights, or formats that only ever hold activations.
NOT_WEIGHTS = frozenset(
    GGMLQuantizationType[name] for name in ("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K")
)


def make_plan(source: Source, new: Shape) -> list[PlannedTensor]:
    """Every tensor of the new file, in the order of writing."""
    old = source.shape
    query, key_value = place_heads(old, new)
    axes = {
        Dim.ONE: Axis.padded(1, 1),
        Dim.EMBD: Axis.padded(old.n_embd, new.n_embd),
        Dim.QUERY: Axis.of_heads(query, source.key_size),
        Dim.KEY: Axis.of_heads(key_value, source.key_size),
        Dim.VALUE: Axis.of_heads(key_value, source.value_size),
        Dim.MIX: Axis.of_heads(query, source.value_size),
        Dim.FF: Axis.padded(old.n_ff, new.n_ff),
    }
    old_sizes = {
        Dim.ONE: 1,
        Dim.EMBD: old.n_embd,
        Dim.QUERY: old.n_head * source.key_size,
        Dim.KEY: old.n_head_kv * source.key_size,
        Dim.VALUE: old.n_head_kv * source.value_size,
        Dim.MIX: old.n_head * source.value_size,
        Dim.FF: old.n_ff,
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
        block = GGML_QUANT_SIZES[tensor.tensor_type][0]
        if cols.in_bytes(block, 1) is None:
            raise ScaleError(
                f"{name}: rows of {cols.new_size} values (parts {list(cols.copies)}) do not divide "
                f"into {tensor.tensor_type.name} blocks of {block}"
            )
        if is_extra and not rule.is_norm:
            rows = rows.without_copies()
        return PlannedTensor(
            name, tensor, rows, cols, rule.fill, norm_factor if rule.is_norm else 1.0
        )

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

    places = {new_index: i for i, new_index in enumerate(place_blocks(old.n_layer, new.n_layer))}
    model = 0
    for index in range(new.n_layer):
        model = places.get(index, model)  # an extra block is modelled on the last real one
        for suffix, tensor, rule in blocks[model]:
            name = f"blk.{index}.{suffix}"
            plan.append(planned(name, tensor, rule, is_extra=index not in places))
    return plan


def is_bit_exact(source: Source, new: Shape) -> bool:
    """See the module's documentation; a dimension that stays needs nothing."""
    old = source.shape
    width_ratio = new.n_embd / old.n_embd
    heads_stay = (old.n_head, old.n_head_kv) == (new.n_head, new.n_head_kv)
    growing = [
        (old.n_embd, new.n_embd, 64),
        (old.n_ff, new.n_ff, 64),
        (old.n_head * source.key_size, new.n_head * source.key_size, 64),
        (old.n_head * source.value_size, new.n_head * source.value_size, 64),
        (old.n_head_kv * source.key_size, new.n_head_kv * source.key_size, 16),
        (old.n_head_kv * source.value_size, new.n_head_kv * source.value_size, 16),
    ]
    return (
        math.frexp(width_ratio)[0] == 0.5
        and math.frexp(width_ratio)[1] % 2 == 1
        and (heads_stay or (old.n_head // old.n_head_kv) % (new.n_head // new.n_head_kv) == 0)
        and all(
            before == after or before % unit == after % unit == 0 for before, after, unit in growing
        )
    )
