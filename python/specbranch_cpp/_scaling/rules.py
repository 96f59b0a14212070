"""The rules by which each tensor of llama and LFM2 grows with its model."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Dim(enum.Enum):
    """The meaning of an axis of a tensor."""

    ONE = enum.auto()  # the rows of a vector
    VOCAB = enum.auto()
    EMBD = enum.auto()  # the residual stream
    QUERY = enum.auto()
    KEY = enum.auto()
    VALUE = enum.auto()
    MIX = enum.auto()  # the values that the query heads gathered: n_head values
    FF = enum.auto()
    PAIR = enum.auto()  # the rotated pairs of a head
    HEAD = enum.auto()  # the values of a head
    CHANNEL = enum.auto()  # of a convolution
    GATES = enum.auto()  # both gates of each channel, and its value
    TAP = enum.auto()  # of a convolution


class Fill(enum.Enum):
    """The values of added weights: random if no other weight uses them, otherwise zero."""

    RANDOM = enum.auto()
    ZERO = enum.auto()


@dataclass(frozen=True)
class Rule:
    """How a tensor grows. Rows are outputs and columns are inputs, as in GGUF."""

    rows: Dim
    cols: Dim
    fill: Fill
    is_norm: bool = False  # of the residual stream
    keeps_type: bool = False


GLOBAL_RULES: Mapping[str, Rule] = {
    "token_embd.weight": Rule(Dim.VOCAB, Dim.EMBD, Fill.ZERO),
    "output_norm.weight": Rule(Dim.ONE, Dim.EMBD, Fill.RANDOM, is_norm=True),
    "token_embd_norm.weight": Rule(Dim.ONE, Dim.EMBD, Fill.RANDOM, is_norm=True),
    "output.weight": Rule(Dim.VOCAB, Dim.EMBD, Fill.RANDOM),
    "rope_freqs.weight": Rule(Dim.ONE, Dim.PAIR, Fill.RANDOM),
}

BLOCK_RULES: Mapping[str, Rule] = {
    "attn_norm.weight": Rule(Dim.ONE, Dim.EMBD, Fill.RANDOM, is_norm=True),
    "attn_q.weight": Rule(Dim.QUERY, Dim.EMBD, Fill.RANDOM),
    "attn_k.weight": Rule(Dim.KEY, Dim.EMBD, Fill.RANDOM),
    "attn_v.weight": Rule(Dim.VALUE, Dim.EMBD, Fill.RANDOM),
    "attn_q.bias": Rule(Dim.ONE, Dim.QUERY, Fill.RANDOM),
    "attn_k.bias": Rule(Dim.ONE, Dim.KEY, Fill.RANDOM),
    "attn_v.bias": Rule(Dim.ONE, Dim.VALUE, Fill.RANDOM),
    "attn_output.weight": Rule(Dim.EMBD, Dim.MIX, Fill.ZERO),
    "attn_output.bias": Rule(Dim.ONE, Dim.EMBD, Fill.ZERO),
    "ffn_norm.weight": Rule(Dim.ONE, Dim.EMBD, Fill.RANDOM, is_norm=True),
    "ffn_gate.weight": Rule(Dim.FF, Dim.EMBD, Fill.RANDOM),
    "ffn_up.weight": Rule(Dim.FF, Dim.EMBD, Fill.RANDOM),
    "ffn_down.weight": Rule(Dim.EMBD, Dim.FF, Fill.ZERO),
    "ffn_gate.bias": Rule(Dim.ONE, Dim.FF, Fill.RANDOM),
    "ffn_up.bias": Rule(Dim.ONE, Dim.FF, Fill.RANDOM),
    "ffn_down.bias": Rule(Dim.ONE, Dim.EMBD, Fill.ZERO),
    "attn_q_norm.weight": Rule(Dim.ONE, Dim.HEAD, Fill.RANDOM),
    "attn_k_norm.weight": Rule(Dim.ONE, Dim.HEAD, Fill.RANDOM),
    "shortconv.in_proj.weight": Rule(Dim.GATES, Dim.EMBD, Fill.RANDOM),
    "shortconv.conv.weight": Rule(Dim.CHANNEL, Dim.TAP, Fill.RANDOM, keeps_type=True),
    "shortconv.out_proj.weight": Rule(Dim.EMBD, Dim.CHANNEL, Fill.ZERO),
}
