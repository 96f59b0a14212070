"""Log-probabilities: those of the target, in both shapes, whatever was speculated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT = "import os\n"
HELLO = [{"role": "user", "content": "hello"}]
OPTIONS: dict[str, Any] = {"max_tokens": 16, "seed": 3}
SAMPLING: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "min_p": 0.05, "top_k": 40}


def completion(engine: Engine, **options: Any) -> Any:
    return engine.create_completion(PROMPT, **{**OPTIONS, **options})


def chat(engine: Engine, **options: Any) -> Any:
    return engine.create_chat_completion(HELLO, logprobs=True, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def tiny_engine(tiny: Path, tiny_draft: Path) -> Iterator[Engine]:
    """Its tokens are single bytes."""
    with Engine(tiny, tiny_draft, n_ctx=256, n_threads=1, draft_n_threads=1) as engine:
        yield engine


def test_they_are_those_of_generate(engine: Engine) -> None:
    done = engine.generate(PROMPT, **OPTIONS, **SAMPLING, logprobs=2).result()
    assert done.logprobs is not None
    entries = completion(engine, logprobs=2)["choices"][0]["logprobs"]
    assert entries["token_logprobs"] == [one.logprob for one in done.logprobs]
    texts = [engine.detokenize([one.token]) for one in done.logprobs]
    assert entries["tokens"] == texts
    assert "".join(texts) == done.text
    for entry, one in zip(entries["top_logprobs"], done.logprobs, strict=True):
        assert list(entry)[:2] == [engine.detokenize([token]) for token in one.top]
        assert entry == {
            **{engine.detokenize([token]): value for token, value in one.top.items()},
            engine.detokenize([one.token]): one.logprob,
        }
    offsets = [len(PROMPT) + len("".join(texts[:i])) for i in range(len(texts))]
    assert entries["text_offset"] == offsets


@pytest.mark.parametrize("mode", ["specbranch", "auto", "speculative", "pearl"])
def test_every_mode_gives_the_same(engine: Engine, mode: str) -> None:
    for call in (completion, chat):
        options = {"logprobs": 3} if call is completion else {"top_logprobs": 3}
        plain = call(engine, mode="autoregressive", **options)["choices"][0]["logprobs"]
        speculated = call(engine, mode=mode, **options)
        assert speculated["choices"][0]["logprobs"] == plain
        assert speculated["usage"]["completion_tokens"] == 16


def test_none_are_zeros_where_drafted_tokens_are_accepted(engine: Engine) -> None:
    answer = completion(engine, logprobs=1, mode="specbranch", trace=True, temperature=0.0)
    origins = [token["origin"] for token in answer["speculation"]["tokens"]]
    values = answer["choices"][0]["logprobs"]["token_logprobs"]
    accepted = [v for v, origin in zip(values, origins, strict=True) if origin != "target"]
    assert accepted
    assert all(value < 0.0 for value in accepted)


def test_a_stream_has_the_same_piece_by_piece(engine: Engine) -> None:
    at_once = completion(engine, logprobs=2)["choices"][0]["logprobs"]
    chunks = [chunk["choices"][0] for chunk in completion(engine, logprobs=2, stream=True)]
    told = [chunk["logprobs"] for chunk in chunks if chunk["logprobs"] is not None]
    assert len(told) == 16
    for name, values in at_once.items():
        assert [value for one in told for value in one[name]] == values
    at_once = chat(engine, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    chunks = [chunk["choices"][0] for chunk in chat(engine, top_logprobs=2, stream=True)]
    told = [chunk["logprobs"] for chunk in chunks if chunk["logprobs"] is not None]
    assert [value for one in told for value in one["content"]] == at_once


def test_the_two_shapes_agree(engine: Engine) -> None:
    content = chat(engine, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    for one in content:
        assert bytes(one["bytes"]).decode() == one["token"]
        assert len(one["top_logprobs"]) == 2
        best, second = one["top_logprobs"]
        assert best["logprob"] >= second["logprob"]
        assert best["logprob"] >= one["logprob"]
    bare = chat(engine)["choices"][0]["logprobs"]["content"]
    assert [one["logprob"] for one in bare] == [one["logprob"] for one in content]
    assert [one["top_logprobs"] for one in bare] == [[]] * 16


def test_parts_of_characters_have_their_bytes(tiny_engine: Engine) -> None:
    text = "aé日🙂"
    grammar = f'root ::= "{text}"'
    content = chat(tiny_engine, grammar=grammar)["choices"][0]["logprobs"]["content"]
    assert bytes(byte for one in content for byte in one["bytes"]) == text.encode()
    assert content[0]["token"] == "a"
    assert content[1]["token"] == "\\xc3"
    answer = completion(tiny_engine, grammar=grammar, logprobs=0)["choices"][0]
    assert answer["text"] == text
    assert answer["logprobs"]["tokens"][:3] == ["a", "bytes:\\xc3", "bytes:\\xa9"]
    offsets = [offset - len(PROMPT) for offset in answer["logprobs"]["text_offset"]]
    assert offsets == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert all(len(top) == 1 for top in answer["logprobs"]["top_logprobs"])


def test_alternatives_that_are_control_tokens_have_names(tiny_engine: Engine) -> None:
    answer = tiny_engine.create_completion(
        PROMPT, max_tokens=1, logprobs=tiny_engine.vocab_size, temperature=0.0
    )
    top = cast("Any", answer)["choices"][0]["logprobs"]["top_logprobs"][0]
    assert "<|endoftext|>" in top
    assert sum(2.718281828459045**value for value in top.values()) == pytest.approx(1.0)
