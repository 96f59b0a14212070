"""A row of the matrix, and the settings that rows share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW = 24
"""Positions of a sliding window: longer than a small physical batch, shorter than the texts."""

BASE: dict[str, Any] = {
    "context_length": 512,
    "embedding_length": 64,
    "block_count": 2,
    "feed_forward_length": 96,
    "attention.head_count": 2,  # of 32 elements: the block of quantized caches
    "attention.head_count_kv": 1,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.layer_norm_epsilon": 1e-5,
    "rope.freq_base": 10_000.0,
}
"""The settings of an architecture that asks for nothing else."""

EXPERTS: dict[str, Any] = {
    "expert_count": 4,
    "expert_used_count": 2,
    "expert_feed_forward_length": 48,
    "expert_shared_feed_forward_length": 48,
}


@dataclass(frozen=True)
class Architecture:
    """A row of the matrix.

    Attributes:
        name: llama.cpp's name.
        kind: what is special in it, for the table in the documents.
        own: settings beside or instead of `BASE`. ``None``: there is no such key.
        left_out: patterns of tensors that llama.cpp would take and that the file lacks.
        ranges: patterns of tensors, and the mean and the standard deviation of their weights.
        variant: tells rows of one architecture apart.
        default: tested in every run.
        flash_attn: whether llama.cpp has it here; otherwise what needs it is refused.
        drafts: whether it may be a draft; otherwise it has to be refused.
        several: whether a target may have several texts at once; otherwise that has to be refused.
    """

    name: str
    kind: str
    own: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    ranges: tuple[tuple[str, float, float], ...] = ()
    variant: str = ""
    default: bool = False
    flash_attn: bool = True
    drafts: bool = True
    several: bool = True

    @property
    def label(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name

    @property
    def has_windows(self) -> bool:
        """Some layers look back to a sliding window, or to a chunk, only."""
        return "window" in self.kind or "chunks" in self.kind

    def settings(self) -> dict[str, Any]:
        return {key: value for key, value in (BASE | dict(self.own)).items() if value is not None}


ALTERNATE: dict[str, Any] = {"block_count": 2, "attention.sliding_window": WINDOW}
ALTERNATING_WINDOW: dict[str, Any] = {
    "attention.sliding_window": WINDOW,
    "attention.sliding_window_pattern": [True, False],
}
HYPER_CONNECTIONS: dict[str, Any] = {
    "hyper_connection.count": 4,
    "hyper_connection.sinkhorn_iterations": 2,
    "hyper_connection.epsilon": 1e-6,
}
INDEXER: dict[str, Any] = {
    "attention.indexer.head_count": 4,
    "attention.indexer.key_length": 64,
    "attention.indexer.top_k": 512,
}
FOUR: dict[str, Any] = {"block_count": 4}
SECTIONS: dict[str, Any] = {"rope.dimension_sections": [8, 4, 4, 0]}
MLA: dict[str, Any] = {
    "attention.head_count_kv": 1,
    "attention.key_length": 64,  # of the compressed cell: 32 + 32 rotated ones
    "attention.value_length": 32,
    "attention.key_length_mla": 48,
    "attention.value_length_mla": 32,
    "attention.kv_lora_rank": 32,
    "attention.q_lora_rank": 32,
    "rope.dimension_count": 32,
}
LEADING: dict[str, Any] = {"leading_dense_block_count": 1, "expert_shared_count": 1}
STATE: dict[str, Any] = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 128,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 4,
}
GROUPED_STATE: dict[str, Any] = STATE | {"ssm.group_count": 2}
DELTA_NET: dict[str, Any] = {
    "block_count": 4,
    "full_attention_interval": 2,
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 64,
    "ssm.state_size": 32,
    "ssm.time_step_rank": 2,
    "ssm.group_count": 1,
}
RWKV: dict[str, Any] = {
    "embedding_length": 128,
    "wkv.head_size": 64,
    "time_mix_extra_dim": 16,
    "time_decay_extra_dim": 16,
    "attention.decay_lora_rank": 16,
    "attention.iclr_lora_rank": 16,
    "attention.value_residual_mix_lora_rank": 16,
    "attention.gate_lora_rank": 16,
}
MIXED: dict[str, Any] = {"block_count": 4, "attention.head_count_kv": [0, 1, 0, 1]}
"""Every second block has attention; the others have a state."""
