"""Where a text ends: ``ignore_eos``, ``stop_token_ids``, and biases of tokens in every shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp.openai_api.logit_bias import biases_of
from specbranch_cpp.openai_api.vocabulary import end_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT = "import os\n"
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def bytes_engine(tiny: Path, tiny_draft: Path) -> Iterator[Engine]:
    """Its tokens are single bytes."""
    with Engine(tiny, tiny_draft, n_ctx=256, n_threads=1, draft_n_threads=1) as engine:
        yield engine


def answers(engine: Engine, **options: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The whole answer and the chunks of both calls."""
    given: dict[str, Any] = {"max_tokens": 24, "temperature": 0.0, **options}
    yield (
        engine.create_completion(PROMPT, **given),
        [*engine.create_completion(PROMPT, stream=True, **given)],
    )
    yield (
        engine.create_chat_completion(HELLO, **given),
        [*engine.create_chat_completion(HELLO, stream=True, **given)],
    )


def text_of(answer: Any) -> str:
    choice = answer["choices"][0]
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    assert isinstance(text, str)
    return text


def streamed(chunks: list[Any]) -> str:
    choices = [chunk["choices"][0] for chunk in chunks]
    return "".join(
        one["text"] if "text" in one else one["delta"].get("content", "") for one in choices
    )


def test_the_stop_string_that_ends_a_text_is_named(engine: Engine) -> None:
    for whole, _ in answers(engine):
        stop = text_of(whole)[4:8]
        found = [
            found
            for found in answers(engine, stop=["never there", stop])
            if found[0]["object"] == whole["object"]
        ]
        ((answer, chunks),) = found
        assert text_of(answer) == streamed(chunks) == text_of(whole).partition(stop)[0]
        for last in (answer, chunks[-1]):
            assert last["choices"][0]["finish_reason"] == "stop"
            assert last["choices"][0]["stop_reason"] == stop
        assert "stop_reason" not in chunks[0]["choices"][0]
        assert whole["choices"][0]["stop_reason"] is None


def test_a_stop_string_of_the_template_is_not_named(pair: tuple[Path, Path]) -> None:
    template = "{% for m in messages %}{{ m.content }}<END>{% endfor %}"
    given: dict[str, Any] = {"max_tokens": 40, "grammar": 'root ::= "ab<END>cd"'}
    with Engine(*pair, n_ctx=512, chat_template=template) as engine:
        answer: Any = engine.create_chat_completion(HELLO, **given)
        named: Any = engine.create_chat_completion(HELLO, **given, stop="<END>")
    for one, stop in ((answer, None), (named, "<END>")):
        (choice,) = one["choices"]
        assert choice["message"]["content"] == "ab"
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


def test_an_end_token_can_be_ignored(engine: Engine) -> None:
    likely = {engine.eos_token: 30.0}
    for answer, _ in answers(engine, logit_bias=likely):
        assert answer["usage"]["completion_tokens"] < 24
    for answer, chunks in answers(engine, logit_bias=likely, ignore_eos=True):
        assert answer["usage"]["completion_tokens"] == 24
        assert answer["choices"][0]["finish_reason"] == "length"
        assert streamed(chunks) == text_of(answer)


def test_without_an_end_token_in_the_way_nothing_changes(engine: Engine) -> None:
    for plain, ignored in zip(answers(engine), answers(engine, ignore_eos=True), strict=True):
        assert text_of(plain[0]) == text_of(ignored[0])


@pytest.mark.parametrize("mode", ["autoregressive", "specbranch", "auto"])
def test_a_text_ends_before_a_token(bytes_engine: Engine, mode: str) -> None:
    """Also where text was held back, because a stop string could follow."""
    word = "aé日🙂b!c"
    (end,) = bytes_engine.tokenize("!", add_bos=False)
    options: dict[str, Any] = {
        "grammar": f'root ::= "{word}"',
        "stop": ["b!?"],
        "stop_token_ids": [end],
        "mode": mode,
    }
    for answer, chunks in answers(bytes_engine, **options):
        assert text_of(answer) == "aé日🙂b"
        assert streamed(chunks) == "aé日🙂b"
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["completion_tokens"] == 1 + 2 + 3 + 4 + 1
    plain = bytes_engine.create_completion(PROMPT, grammar=options["grammar"], max_tokens=24)
    assert text_of(plain) == word


def test_a_half_character_before_the_token_is_marked(bytes_engine: Engine) -> None:
    first, second = bytes_engine.tokenize("é", add_bos=False)
    answer = bytes_engine.create_completion(
        PROMPT, grammar='root ::= "aé"', stop_token_ids=[second], logprobs=0
    )
    assert text_of(answer) == "a\ufffd"
    assert first != second
    assert isinstance(answer, dict)
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs is not None
    assert len(logprobs["tokens"]) == answer["usage"]["completion_tokens"] == 2


def test_a_stop_token_ends_a_text_in_the_engine(engine: Engine) -> None:
    """No token is computed for nothing: the text ends as it does with the model's own end."""
    plain = engine.complete(PROMPT, max_tokens=24)
    third = plain.tokens[2]
    before = plain.tokens[: plain.tokens.index(third)]
    for mode in ("autoregressive", "speculative", "pearl", "specbranch", "auto"):
        done = engine.complete(PROMPT, max_tokens=24, stop_token_ids=[third], mode=mode)
        assert done.tokens == before
        assert done.finish_reason == "stop"
        assert done.stats.n_generated == len(before)


@pytest.mark.parametrize("mode", ["autoregressive", "speculative", "pearl", "specbranch", "auto"])
def test_nothing_ends_a_text_before_its_least_length(engine: Engine, mode: str) -> None:
    assert engine.eos_token is not None
    likely = {engine.eos_token: 1e9}
    for least in (0, 1, 7, 24):
        done = engine.complete(
            PROMPT, max_tokens=24, min_tokens=least, logit_bias=likely, mode=mode
        )
        assert len(done.tokens) == least
        assert done.finish_reason == ("stop" if least < 24 else "length")
    plain = engine.complete(PROMPT, max_tokens=24, temperature=0.9, seed=5)
    ends: dict[str, Any] = {"stop_token_ids": [*plain.tokens], "stop": [*plain.text]}
    for least in (1, 9):
        held = engine.complete(
            PROMPT, max_tokens=24, temperature=0.9, seed=5, mode=mode, min_tokens=least, **ends
        )
        assert len(held.tokens) >= least
        assert not set(held.tokens[:least]) & set(plain.tokens)
        same = engine.complete(
            PROMPT, max_tokens=24, temperature=0.9, seed=5, min_tokens=least,
            mode="autoregressive", **ends,
        )  # fmt: skip
        assert held.tokens == same.tokens
        assert held.text == same.text


def test_the_least_length_of_both_calls(engine: Engine) -> None:
    likely = {engine.eos_token: 100.0}
    for answer, chunks in answers(engine, logit_bias=likely, min_tokens=9):
        assert answer["usage"]["completion_tokens"] == 9
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert streamed(chunks) == text_of(answer)


def test_a_grammar_that_is_complete_ends_a_text_all_the_same(engine: Engine) -> None:
    done = engine.complete(PROMPT, max_tokens=24, min_tokens=20, grammar='root ::= "ab"')
    assert done.text == "ab"
    assert done.finish_reason == "stop"


@pytest.mark.parametrize("least", [-1, 25, 1.5, True, "4"])
def test_the_least_length_is_checked(engine: Engine, least: Any) -> None:
    with pytest.raises(InvalidArgument, match="min_tokens is "):
        engine.generate(PROMPT, max_tokens=24, min_tokens=least)


def test_an_end_token_among_them_ends_a_text_although_ends_are_ignored(engine: Engine) -> None:
    likely = {engine.eos_token: 30.0}
    ends = [engine.eos_token]
    for answer, _ in answers(engine, logit_bias=likely, ignore_eos=True, stop_token_ids=ends):
        assert answer["choices"][0]["finish_reason"] == "stop"


def test_the_engine_can_be_used_on(engine: Engine) -> None:
    plain = engine.complete(PROMPT, max_tokens=24)
    third = plain.tokens[2]
    answer: Any = engine.create_completion(
        PROMPT, stop_token_ids=[third], max_tokens=None, temperature=0.0
    )
    assert answer["usage"]["completion_tokens"] == plain.tokens.index(third)
    assert engine.complete(PROMPT, max_tokens=24).text == plain.text


def test_what_can_be_read_only_once_holds_throughout(engine: Engine) -> None:
    plain = engine.complete(PROMPT, max_tokens=24)
    third = plain.tokens[2]
    values: list[Any] = [iter([third]), np.array([third])]
    for ids in values:
        answer: Any = engine.create_completion(
            PROMPT, stop_token_ids=ids, ignore_eos=True, temperature=0.0
        )
        assert answer["usage"]["completion_tokens"] == plain.tokens.index(third)
    whole: Any = engine.create_chat_completion(HELLO, max_tokens=24, temperature=0.0)
    stop = whole["choices"][0]["message"]["content"][3:6]
    given: Any = {"max_tokens": 24, "temperature": 0.0, "stop": iter([stop])}
    answer = engine.create_chat_completion(HELLO, **given)
    assert answer["choices"][0]["stop_reason"] == stop


@pytest.mark.parametrize("ids", [5, "x", [-1], [10**9], [1.5], [True]])
def test_ids_are_checked(engine: Engine, ids: Any) -> None:
    for ignored in (False, True):
        with pytest.raises(InvalidArgument, match="stop_token_ids"):
            engine.create_completion(PROMPT, stop_token_ids=ids, ignore_eos=ignored)


@pytest.mark.parametrize(
    ("given", "biases"),
    [
        (None, None),
        ({}, {}),
        ([], {}),
        ({5: 1.5}, {5: 1.5}),
        ({"5": -100}, {5: -100.0}),
        ([[5, -100.0]], {5: -100.0}),
        ([(5, False)], {5: float("-inf")}),
        ({"5": False}, {5: float("-inf")}),
        ([["5", 1], [5, 2]], {5: 2.0}),
    ],
)
def test_a_bias_has_many_shapes(engine: Engine, given: Any, biases: Any) -> None:
    assert biases_of(engine, given) == biases


def test_all_tokens_of_a_text_get_its_bias(engine: Engine) -> None:
    tokens = engine.tokenize("import os", add_bos=False)
    for shape in ({"import os": 2}, [["import os", 2]]):
        assert biases_of(engine, shape) == dict.fromkeys(tokens, 2.0)
    # Without its first token, the text is another one.
    first = text_of(engine.create_completion(PROMPT, temperature=0.0, max_tokens=4))
    banned = engine.create_completion(
        PROMPT, temperature=0.0, max_tokens=4, logit_bias=[[first, False]]
    )
    assert not set(engine.tokenize(text_of(banned), add_bos=False)) & set(
        engine.tokenize(first, add_bos=False)
    )


@pytest.mark.parametrize(
    "given",
    [
        5, "x", [5], [[5]], [[5, 1, 2]], [[5, "x"]], {5: True}, {"": 1}, {"5": "-inf"}, [{"5": 1}],
        {5: float("nan")}, {5: float("inf")}, {-1: 1}, {10**9: 1}, {"\ud800": 1}, {None: 1},
        {"-1": 1}, {"99999999999": 1}, [["-99999999999", 1]], {"9" * 5000: 1},
    ],
)  # fmt: skip
def test_other_shapes_are_refused(engine: Engine, given: Any) -> None:
    with pytest.raises(InvalidArgument, match="logit_bias"):
        engine.create_completion(PROMPT, logit_bias=given)


def test_the_tokens_that_end_a_text_are_found(engine: Engine) -> None:
    ends = end_tokens(engine)
    assert engine.eos_token in ends
    assert all(engine.is_end_token(token) for token in ends)
