"""What the reader of headers finds, and that damage gives nothing but its own error."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.python.support.rewrite_gguf import with_holes, with_numbers
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp._support.gguf_header import HeaderError, read_header, step_bytes

if TYPE_CHECKING:
    from pathlib import Path


def test_sizes_of_tensors(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", n_embd=64, n_ff=128, n_layer=1, n_vocab=320)
    header = read_header(path)
    assert header.architecture == "llama"
    assert header.tensors["token_embd.weight"] == 4 * 320 * 64
    assert header.tensors["blk.0.ffn_up.weight"] == 4 * 64 * 128
    assert header.tensors["output_norm.weight"] == 4 * 64


def test_a_step_reads_no_table(tmp_path: Path, tiny: Path) -> None:
    untied = read_header(write_tiny_gguf(tmp_path / "untied.gguf"))
    tied = read_header(write_tiny_gguf(tmp_path / "tied.gguf", tied=True))
    table = untied.tensors["token_embd.weight"]
    assert step_bytes([untied]) == sum(untied.tensors.values()) - table
    assert step_bytes([tied]) == sum(tied.tensors.values())
    assert step_bytes([untied]) == step_bytes([tied])
    shapes = {"token_embd.weight": (64, 32), "per_layer_token_embd.weight": (64, 320)}
    layered = read_header(with_holes(tiny, tmp_path / "layered.gguf", shapes))
    assert step_bytes([layered]) == 4 * 64 * 32


@pytest.mark.parametrize(("used", "share"), [(2, 0.25), (8, 1.0), (0, 1.0), (9, 1.0)])
def test_a_step_reads_the_experts_that_it_uses(
    tmp_path: Path, tiny: Path, used: int, share: float
) -> None:
    shapes = {
        "token_embd.weight": (64, 32),
        "output.weight": (64, 32),
        "blk.0.ffn_up_exps.weight": (8, 128, 64),
        "blk.0.ffn_down_shexp.weight": (32, 64),
    }
    counts = {"llama.expert_count": 8, "llama.expert_used_count": used}
    path = with_holes(with_numbers(tiny, tmp_path / "m.gguf", counts), tmp_path / "h.gguf", shapes)
    fixed = 4 * (64 * 32 + 32 * 64)
    assert step_bytes([read_header(path)]) == fixed + 4 * 8 * 128 * 64 * share


def test_equal_digests_mean_equal_vocabularies(tmp_path: Path) -> None:
    def digest(**changes: object) -> str:
        return read_header(write_tiny_gguf(tmp_path / "a.gguf", **changes)).vocabulary  # type: ignore[arg-type]

    usual = digest()
    assert usual == digest(n_layer=1, seed=3, name="another", context_length=99)
    for changes in ({"n_vocab": 300}, {"token_text": {40: "x"}}, {"eos": 1}, {"add_bos": False}):
        assert digest(**changes) != usual, changes


def test_the_sample_has_every_64th_token(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", n_vocab=400, token_text={64: "here", 65: "there"})
    sample = read_header(path).sample
    assert len(sample) == 7
    assert sample[:2] == (b"<|endoftext|>", b"here")
    assert sample[6] == f"[PAD{384 - 273}]".encode()


def test_every_cut_is_an_error(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", n_embd=32, n_head=1, n_head_kv=1, n_ff=32)
    whole = path.read_bytes()
    n_header = len(whole) - sum(read_header(path).tensors.values())
    cut = tmp_path / "cut.gguf"
    for length in [*range(200), *range(200, n_header - 64, 97)]:
        cut.write_bytes(whole[:length])
        with pytest.raises(HeaderError, match=r"cut off|not a GGUF file"):
            read_header(cut)


def test_damage_is_an_error_or_harmless(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", n_embd=32, n_head=1, n_head_kv=1, n_ff=32)
    whole = path.read_bytes()
    rng = random.Random(1)
    failed = 0
    for _ in range(400):
        data = bytearray(whole[:9000])
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(4, len(data))] = rng.randrange(256)
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(data + whole[9000:])
        try:
            read_header(damaged)
        except HeaderError:
            failed += 1
    assert failed


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"GGML", "not a GGUF file"),
        (4, b"\x01\0\0\0", "version is 1"),
        (16, b"\xff" * 8, "cut off|larger|unknown type"),
        (24, b"\xff" * 8, "larger than"),
    ],
)
def test_the_reason_is_named(tmp_path: Path, at: int, value: bytes, message: str) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf")
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)
    with pytest.raises(HeaderError, match=message):
        read_header(path)
