"""A prompt has one BOS token, whoever writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.python.support.tiny_gguf import N_VOCAB, write_tiny_gguf

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOS = N_VOCAB  # <s>, the first control token
USER = [{"role": "user", "content": "def"}]


def make(folder: Path, *, add_bos: bool = True, sentencepiece: bool = False) -> Path:
    return write_tiny_gguf(
        folder / f"{add_bos}-{sentencepiece}.gguf",
        control_tokens=["<s>"],
        bos=BOS,
        add_bos=add_bos,
        sentencepiece=sentencepiece,
    )


@pytest.fixture(scope="module", params=[False, True], ids=["bpe", "spm"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    path = make(tmp_path_factory.mktemp("bos"), sentencepiece=request.param)
    with Engine(path, n_ctx=128) as engine:
        yield engine


def n_completed(engine: Engine, prompt: Any, **options: Any) -> int:
    answer = cast("Any", engine.create_completion(prompt, max_tokens=1, **options))
    return int(answer["usage"]["prompt_tokens"])


def test_a_prompt_that_has_it_gets_no_second(engine: Engine) -> None:
    plain = engine.tokenize("def")
    assert plain[0] == BOS
    assert engine.tokenize("<s>def", special=True) == plain
    assert engine.tokenize("<s>def", add_bos=False, special=True) == plain
    assert engine.complete("<s>def", max_tokens=1).stats.n_prompt == len(plain)
    assert n_completed(engine, "<s>def") == len(plain)
    assert n_completed(engine, plain) == len(plain)
    texts = [engine.complete(p, max_tokens=9, temperature=0.0).text for p in ("def", "<s>def")]
    assert texts[0] == texts[1]


def test_what_the_caller_doubles_stays_doubled(engine: Engine) -> None:
    plain = engine.tokenize("def")
    assert engine.tokenize("<s><s>def", special=True) == [BOS, *plain]
    assert n_completed(engine, [BOS, *plain]) == len(plain) + 1


def test_its_name_in_plain_text_is_no_token(engine: Engine) -> None:
    tokens = engine.tokenize("<s>def")
    assert tokens[0] == BOS
    assert BOS not in tokens[1:]
    assert engine.detokenize(tokens).endswith("<s>def")


def test_the_echo_is_what_was_given(engine: Engine) -> None:
    answer: Any = engine.create_completion("<s>def", max_tokens=1, echo=True)
    assert answer["choices"][0]["text"].startswith("<s>def")


@pytest.mark.parametrize(
    "template",
    ["{{ bos_token }}[{{ messages[0].content }}]", "[{{ messages[0].content }}]",
     "<s>[{{ messages[0].content }}]"],
)  # fmt: skip
def test_chat_templates_may_write_it(tmp_path: Path, template: str) -> None:
    with Engine(make(tmp_path), n_ctx=128, chat_template=template) as engine:
        answer: Any = engine.create_chat_completion(cast("Any", USER), max_tokens=1)
        assert answer["usage"]["prompt_tokens"] == len(engine.tokenize("[def]"))


def test_a_model_that_adds_none(tmp_path: Path) -> None:
    with Engine(make(tmp_path, add_bos=False), n_ctx=128) as engine:
        plain = engine.tokenize("def")
        assert BOS not in plain
        assert engine.tokenize("<s>def", special=True) == [BOS, *plain]
        assert n_completed(engine, "<s>def") == 1 + len(plain)


def test_gemma(real_models: Path) -> None:
    with Engine(real_models / "gemma-3-270m-q4_k_m.gguf", n_ctx=256) as engine:
        answers: list[Any] = [
            engine.create_completion(prompt, max_tokens=8, temperature=0.0)
            for prompt in ("The capital of France is", "<bos>The capital of France is")
        ]
    assert len({answer["usage"]["prompt_tokens"] for answer in answers}) == 1
    assert answers[0]["choices"] == answers[1]["choices"]
