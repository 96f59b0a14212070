"""Settings of many architectures that contradict the tensors of a file.

Each of these files ends llama.cpp's process, or makes it compute for ever.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.matrix.random_model import write_random_model
from tests.python.matrix.table import ARCHITECTURES
from tests.python.support.rewrite_gguf import split_gguf

from fuzz.gguf_bytes import Entry, Gguf
from specbranch_cpp import ModelLoadError, _core

if TYPE_CHECKING:
    from collections.abc import Callable

_UINT32 = 4  # a kind of a value
_FLOAT16, _INT32 = 1, 26  # kinds of weights
_LABELS = [one.label for one in ARCHITECTURES]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A correct file of an architecture, by its label in the matrix."""
    folder = tmp_path_factory.mktemp("bases")

    @cache
    def written(label: str) -> Path:
        path = folder / f"{label}.gguf"
        write_random_model(path, next(one for one in ARCHITECTURES if one.label == label))
        return path

    return written


def changed(source: Path, path: Path, settings: dict[str, Any], without: tuple[str, ...]) -> Path:
    """The same file with other settings, and without some tensors. ``None``: without the key."""
    file = Gguf.read(source.read_bytes())
    for name, value in settings.items():
        key = f"{file.architecture}.{name}".encode()
        old = next((one for one in file.entries if one.key == key), Entry(key, _UINT32, 0))
        file.entries = [one for one in file.entries if one.key != key]
        if value is not None:
            file.entries.append(replace(old, value=value))
    names = {name.encode() for name in without}
    assert names <= {tensor.name for tensor in file.tensors}
    file.tensors = [tensor for tensor in file.tensors if tensor.name not in names]
    path.write_bytes(file.packed())
    return path


def refused(path: Path) -> str:
    with pytest.raises(ModelLoadError) as error:
        _core.inspect_model(str(path).encode())
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("label", _LABELS)
def test_no_rule_refuses_a_correct_file(base: Callable[[str], Path], label: str) -> None:
    _core.inspect_model(str(base(label)).encode())


@pytest.mark.parametrize(
    ("label", "settings", "message"),
    [
        ("kimi-linear", {"expert_gating_func": 6}, "expert_gating_func is 6, not in 1 to 4"),
        ("glm4moe", {"expert_gating_func": 5}, "expert_gating_func is 5, not in 0 to 4"),
        ("dots1", {"expert_gating_func": None}, "expert_gating_func is 0, not in 1 to 4"),
        ("granitehybrid", {"ssm.inner_size": 255}, "ssm.inner_size is 255, and blk.0.ssm_out"),
        ("granitehybrid", {"embedding_length": 32}, "embedding_length is 32, and token_embd"),
        ("granitehybrid", {"ssm.group_count": 0}, "ssm.group_count (0) do not divide"),
        ("jamba", {"ssm.inner_size": 256}, "ssm.inner_size is 256, and blk."),
        ("qwen3next", {"ssm.inner_size": 32}, "ssm.inner_size is 32, and blk.0.ssm_out.weight"),
        ("qwen35", {"ssm.inner_size": 128}, "ssm.inner_size is 128, and blk.0.ssm_out.weight"),
        ("mamba2", {"ssm.time_step_rank": 0}, "ssm.time_step_rank (0)"),
        ("plamo", {"rope.dimension_count": 2}, "all 32 dimensions of a head of 'plamo'"),
        ("baichuan", {"rope.dimension_count": 16}, "all 32 dimensions of a head of 'baichuan'"),
        ("ernie4_5", {"rope.dimension_count": 30}, "all 32 dimensions of a head of 'ernie4_5'"),
        ("chatglm", {"rope.dimension_count": 0}, "is 0, with which llama.cpp computes for ever"),
        ("gptneox", {"rope.dimension_count": 0}, "is 0, with which llama.cpp computes for ever"),
        ("deepseek2", {"attention.key_length": 63}, "64 elements of keys, and 1 heads of 63"),
        ("deepseek2", {"attention.head_count_kv": 2}, "64 elements of keys, and 2 heads of 64"),
        ("deepseek2", {"attention.key_length_mla": 32}, "32 to be rotated, and a head has 32"),
        ("minicpm3", {"attention.head_count_kv": 1}, "keys for 2 heads, and 1 heads of"),
        ("kimi-linear", {"attention.head_count_kv": (0, 2, 0, 1)}, "64 elements of keys, and 2"),
        ("kimi-linear", {"attention.key_length": 2**32 - 1}, "is 4294967295, not in 0 to"),
        ("deepseek4", {"attention.head_count_kv": 2}, "rows, and 2 keys of"),
        ("deepseek4", {"attention.value_length": 32}, "and values of 32 are stated"),
        ("deepseek4", {"attention.output_group_count": 0}, "output_group_count is 0, which does"),
        ("deepseek32", {"attention.indexer.key_length": 16}, "indexer.key_length is 16"),
        ("qwen", {"attention.head_count": 3}, "blk.0.attn_output.weight has rows of 64, and 3"),
        ("qwen", {"attention.head_count_kv": 4}, "192 rows, and 2 queries and 4 keys of 32"),
        ("cogvlm", {"attention.head_count_kv": 0}, "192 rows, and 2 queries and 0 keys of 32"),
        ("gpt2", {"attention.head_count": 1}, "blk.0.attn_qkv.weight"),
        ("dbrx", {"attention.head_count_kv": 3}, "blk.0.attn_qkv.weight"),
        ("bloom", {"attention.value_length": 16}, "2 heads with values of 16 are stated"),
        ("rwkv6", {"attention.head_count_kv": 1}, "head_count_kv is 1, and blk.0.time_mix_key"),
        ("arwkv7", {"token_shift_count": 0}, "is 0, and layers shift tokens 1 times"),
        ("rwkv7", {"token_shift_count": 1}, "is 1, and layers shift tokens 2 times"),
        ("llama", {"attention.head_count_kv": 2**31}, "is 2147483648, not in 0 to"),
    ],
)
def test_settings_that_do_not_fit(
    base: Callable[[str], Path], tmp_path: Path, label: str, settings: dict[str, Any], message: str
) -> None:
    assert message in refused(changed(base(label), tmp_path / "x.gguf", settings, ()))


@pytest.mark.parametrize(
    ("label", "without", "message"),
    [
        ("kimi-linear", "ffn_down_shexp", "no tensor 'blk.1.ffn_down_shexp.weight', which 'blk.1."),
        ("kimi-linear", "ffn_up_shexp", "no tensor 'blk.1.ffn_up_shexp.weight', which 'blk.1."),
        ("phi3", "attn_k", "no tensor 'blk.1.attn_k.weight'"),
        ("phi3", "attn_q", "no tensor 'blk.1.attn_q.weight'"),
        ("phi3", "attn_v", "no tensor 'blk.1.attn_v.weight'"),
    ],
)
def test_tensors_that_others_need(
    base: Callable[[str], Path], tmp_path: Path, label: str, without: str, message: str
) -> None:
    path = changed(base(label), tmp_path / "x.gguf", {}, (f"blk.1.{without}.weight",))
    assert message in refused(path)


@pytest.mark.parametrize(
    ("label", "name", "kind"),
    [
        ("minicpm3", "rope_factors_long.weight", _INT32),
        ("gpt-oss", "blk.0.attn_sinks.weight", _FLOAT16),
    ],
)
def test_rows_that_are_f32(
    base: Callable[[str], Path], tmp_path: Path, label: str, name: str, kind: int
) -> None:
    file = Gguf.read(base(label).read_bytes())
    assert name.encode() in {one.name for one in file.tensors}
    file.tensors = [
        replace(one, kind=kind) if one.name == name.encode() else one for one in file.tensors
    ]
    path = tmp_path / "x.gguf"
    path.write_bytes(file.packed())
    assert f"tensor '{name}' has the type" in (message := refused(path))
    assert "are f32" in message


def test_attention_without_any_of_its_matrices(base: Callable[[str], Path], tmp_path: Path) -> None:
    without = tuple(f"blk.0.attn_{name}.weight" for name in "qkv")
    assert "no tensor 'blk.0.attn_q.weight'" in refused(
        changed(base("phi3"), tmp_path / "x.gguf", {}, without)
    )


def test_rules_know_the_tensors_of_all_parts(base: Callable[[str], Path], tmp_path: Path) -> None:
    """A layer that begins in one part and ends in another one is complete."""
    copy = tmp_path / "whole.gguf"
    copy.write_bytes(base("phi3").read_bytes())
    _core.inspect_model(str(split_gguf(copy, 3)[0]).encode())


def test_a_setting_that_does_not_fit_a_tensor_of_a_later_part(
    base: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = tmp_path / "whole.gguf"
    changed(base("phi3"), copy, {}, ("blk.1.attn_k.weight",))
    assert "no tensor 'blk.1.attn_k.weight'" in refused(split_gguf(copy, 3)[0])
