"""`suffix`: the model fills the gap between two texts, or says that it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.python.support.tiny_gguf import N_VOCAB, write_tiny_gguf

from specbranch_cpp import Engine, InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
IDS = tuple(N_VOCAB + i for i in range(3))


def make(folder: Path, names: tuple[str, ...], **options: Any) -> Engine:
    path = write_tiny_gguf(folder / "fim.gguf", control_tokens=names, **options)
    return Engine(path, n_ctx=128)


def filled(engine: Engine, prompt: Any, suffix: str | None) -> Any:
    return cast(
        "Any", engine.create_completion(prompt, suffix, max_tokens=9, temperature=0.0, seed=1)
    )


def same(one: Any, other: Any) -> None:
    assert one["choices"] == other["choices"]
    assert one["usage"]["prompt_tokens"] == other["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    "keys", [("prefix", "suffix", "middle"), ("fim_pre", "fim_suf", "fim_mid")]
)
def test_tokens_by_the_keys_of_the_file(tmp_path: Path, keys: tuple[str, ...]) -> None:
    token_ids = {f"{key}_token_id": token for key, token in zip(keys, IDS, strict=True)}
    with make(tmp_path, ("<1>", "<2>", "<3>"), token_ids=token_ids) as engine:
        assert engine.fim_tokens == IDS
        answer = filled(engine, "de", "f")
        same(answer, filled(engine, "<1>de<2>f<3>", None))
        assert answer["usage"]["prompt_tokens"] == 1 + 3 + 2


@pytest.mark.parametrize(
    "names",
    [
        QWEN,
        ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
        tuple(f"<\uff5cfim▁{name}\uff5c>" for name in ("begin", "hole", "end")),
        ("▁<PRE>", "▁<SUF>", "▁<MID>"),
        ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    ],
)
@pytest.mark.parametrize("add_bos", [False, True])
def test_tokens_by_their_names(tmp_path: Path, names: tuple[str, ...], add_bos: bool) -> None:
    with make(tmp_path, names, add_bos=add_bos) as engine:
        assert engine.fim_tokens == IDS
        before, after, middle = names
        answer = filled(engine, "de", "f")
        same(answer, filled(engine, f"{before}de{after}f{middle}", None))
        assert answer["usage"]["prompt_tokens"] == add_bos + 3 + 2
        # A stream, and a prompt of tokens, with BOS or without.
        stream: Any = engine.create_completion(
            "de", "f", max_tokens=9, temperature=0.0, seed=1, stream=True
        )
        streamed = "".join(chunk["choices"][0]["text"] for chunk in stream if chunk["choices"])
        assert streamed == answer["choices"][0]["text"]
        same(filled(engine, engine.tokenize("de"), "f"), answer)
        same(filled(engine, engine.tokenize("de", add_bos=False), "f"), answer)


def test_a_gap_at_the_begin_or_at_the_end(tmp_path: Path) -> None:
    with make(tmp_path, QWEN, add_bos=False) as engine:
        before, after, middle = QWEN
        same(filled(engine, "", "f"), filled(engine, f"{before}{after}f{middle}", None))
        same(filled(engine, "de", ""), filled(engine, f"{before}de{after}{middle}", None))


def test_names_of_tokens_in_the_texts_are_plain_text(tmp_path: Path) -> None:
    with make(tmp_path, QWEN) as engine:
        answer = filled(engine, "<|endoftext|>", QWEN[2])
    assert answer["usage"]["prompt_tokens"] == 1 + 3 + len("<|endoftext|>") + len(QWEN[2])


@pytest.mark.parametrize("names", [(), QWEN[:2]])
def test_a_model_without_the_tokens_says_so(tmp_path: Path, names: tuple[str, ...]) -> None:
    with make(tmp_path, names) as engine:
        assert engine.fim_tokens is None
        for stream in (False, True):
            with pytest.raises(InvalidArgument, match="no fill-in-the-middle tokens"):
                engine.create_completion("de", "f", stream=stream)
        same(filled(engine, "de", ""), filled(engine, "de", None))


def test_qwen_coder(real_models: Path) -> None:
    """Its file has no keys for these tokens."""
    model = real_models / "qwen2.5-coder-1.5b-instruct-q4_0.gguf"
    draft = real_models / "qwen2.5-coder-0.5b-instruct-q4_0.gguf"
    before, after = "def add(a, b):\n    ", "\n\nprint(add(2, 3))\n"
    with Engine(model, draft, n_ctx=256, measure_costs=False) as engine:
        assert not [key for key in engine.metadata if "fim" in key]
        answer = filled(engine, before, after)
        same(answer, filled(engine, f"{QWEN[0]}{before}{QWEN[1]}{after}{QWEN[2]}", None))
    assert "return a + b" in answer["choices"][0]["text"]
