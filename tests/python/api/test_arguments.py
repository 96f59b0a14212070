"""What a caller may pass: the right exception for everything else, and a usable engine after it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from specbranch_cpp import Engine, InvalidArgument, SpecBranchError, policies

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

INF, NAN = math.inf, math.nan

BAD_PROMPTS: list[Any] = [
    "",
    [],
    "lone \ud800 surrogate",
    "ABC",  # the fake has no such tokens
    [32],
    [-1],
    [2**31],
    [2**64],
    [0, 1.0],
    [0, True],
    [0, None],
    ["a"],
    np.array([0.5]),
    np.array([[0, 1]]),
    np.array(5),
    b"abc",
    None,
    5,
    {"a": 1},
]

BAD_ARGUMENTS: list[tuple[str, Any]] = [
    ("max_tokens", -1),
    ("max_tokens", 1.0),
    ("max_tokens", True),
    ("max_tokens", "5"),
    ("max_tokens", 2**31),
    ("temperature", -0.1),
    ("temperature", NAN),
    ("temperature", INF),
    ("temperature", 1e39),
    ("temperature", 1e-40),
    ("temperature", "hot"),
    ("temperature", True),
    ("temperature", 1j),
    ("top_k", -2),
    ("top_k", 1.5),
    ("top_k", 2**40),
    ("top_p", 0.0),
    ("top_p", 1.1),
    ("top_p", NAN),
    ("min_p", -0.1),
    ("min_p", 1.1),
    ("min_p", NAN),
    ("typical_p", -0.1),
    ("typical_p", 1.1),
    ("typical_p", NAN),
    ("top_n_sigma", NAN),
    ("top_n_sigma", INF),
    ("min_keep", -1),
    ("min_keep", 1.5),
    ("xtc_probability", 1.1),
    ("xtc_probability", NAN),
    ("xtc_threshold", -0.1),
    ("dynatemp_range", -0.1),
    ("dynatemp_range", INF),
    ("dynatemp_exponent", -1.0),
    ("dynatemp_exponent", NAN),
    ("repeat_last_n", -2),
    ("repeat_last_n", "all"),
    ("dry_multiplier", -0.5),
    ("dry_multiplier", INF),
    ("dry_base", 0.5),
    ("dry_base", NAN),
    ("dry_allowed_length", -1),
    ("dry_penalty_last_n", -2),
    ("dry_sequence_breakers", "\n"),
    ("dry_sequence_breakers", [5]),
    ("dry_sequence_breakers", [""]),
    ("dry_sequence_breakers", ["a\0"]),
    ("dry_sequence_breakers", ["é" * 21]),
    ("dry_sequence_breakers", ["a"] * 65),
    ("dry_sequence_breakers", ["\ud800"]),
    ("mirostat_mode", 3),
    ("mirostat_mode", -1),
    ("mirostat_mode", 1.0),
    ("mirostat_tau", -1.0),
    ("mirostat_tau", NAN),
    ("mirostat_eta", -0.1),
    ("mirostat_eta", INF),
    ("adaptive_target", 1.1),
    ("adaptive_target", NAN),
    ("adaptive_decay", 1.0),
    ("adaptive_decay", -0.1),
    ("samplers", "top_k"),
    ("samplers", ["best"]),
    ("samplers", [5]),
    ("samplers", 5),
    ("repeat_penalty", 0.0),
    ("repeat_penalty", -1.0),
    ("repeat_penalty", INF),
    ("repeat_penalty", NAN),
    ("presence_penalty", NAN),
    ("presence_penalty", INF),
    ("frequency_penalty", NAN),
    ("frequency_penalty", -INF),
    ("logit_bias", {32: 1.0}),
    ("logit_bias", {-1: 1.0}),
    ("logit_bias", {1: NAN}),
    ("logit_bias", {1: INF}),
    ("logit_bias", {1: "x"}),
    ("logit_bias", {"1": 1.0}),
    ("logit_bias", {True: 1.0}),
    ("logit_bias", [(1, 1.0)]),
    ("grammar", ""),
    ("grammar", " \n"),
    ("grammar", 5),
    ("grammar", "root ::= \ud800"),
    ("grammar", 'root ::= "a\0"'),
    ("stop", ""),
    ("stop", ["a", ""]),
    ("stop", [5]),
    ("stop", 5),
    ("stop", b"abc"),
    ("stop", "\udcff"),
    ("stop", np.array("a")),
    ("stop_token_ids", np.array(5)),
    ("seed", -1),
    ("seed", 2**64),
    ("seed", 1.0),
    ("seed", False),
    ("logprobs", -1),
    ("logprobs", 33),
    ("logprobs", True),
    ("mode", "fast"),
    ("mode", ""),
    ("mode", 1),
    ("policy", "Fixed"),
    ("policy", policies.Fixed),
    ("max_branches", 0),
    ("max_branches", 5),
    ("max_draft", 0),
    ("max_draft", 17),
    ("max_draft", True),
    ("temperature", np.True_),
]


@pytest.mark.parametrize("prompt", BAD_PROMPTS, ids=repr)
def test_bad_prompts(make_fake: MakeFake, prompt: Any) -> None:
    engine = make_fake()
    with pytest.raises(InvalidArgument):
        engine.generate(prompt)
    assert len(engine.generate("abc", max_tokens=3).result().tokens) == 3


@pytest.mark.parametrize(("name", "value"), BAD_ARGUMENTS)
def test_bad_arguments_are_named(make_fake: MakeFake, name: str, value: Any) -> None:
    engine = make_fake()
    arguments: dict[str, Any] = {"max_tokens": 3, name: value}
    with pytest.raises(InvalidArgument, match=name.replace("_", ".")) as caught:
        engine.generate("abc", **arguments)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, SpecBranchError)
    assert ";" in str(caught.value), "the message says what is allowed"
    assert len(engine.generate("abc", max_tokens=3).result().tokens) == 3


@pytest.mark.parametrize("name", ["prompt", "max_tokens", "temperature", "seed", "stop_token_ids"])
def test_python_does_not_write_integers_with_thousands_of_digits(
    make_fake: MakeFake, name: str
) -> None:
    engine = make_fake()
    value: Any = [-(10**5000)] if name in {"prompt", "stop_token_ids"} else 10**5000
    arguments: dict[str, Any] = {"prompt": "abc", name: value}
    with pytest.raises(InvalidArgument, match=rf"{name}.* is a number with too many digits"):
        engine.generate(**arguments)


def test_numbers_of_numpy_are_numbers(make_fake: MakeFake) -> None:
    engine = make_fake()
    plain = engine.generate([0, 1, 2], max_tokens=9, temperature=0.5, seed=3).result()
    arrays = engine.generate(
        np.array([0, 1, 2]),  # type: ignore[arg-type]
        max_tokens=np.int64(9),
        temperature=np.float32(0.5),
        seed=np.uint64(3),
    )
    assert arrays.result().tokens == plain.tokens


def test_off_values_change_nothing(make_fake: MakeFake) -> None:
    engine = make_fake()
    plain = engine.generate("abc", max_tokens=20, temperature=1, seed=3).result()
    off = engine.generate(
        "abc",
        max_tokens=20,
        temperature=1.0,
        seed=3,
        top_k=-1,
        stop=[],
        logit_bias={},
        policy=policies.Confidence(0.0),
    )
    assert off.result().tokens == plain.tokens


def test_bias_forbids(make_fake: MakeFake) -> None:
    engine = make_fake()
    first = engine.generate("abc", max_tokens=1).result().tokens[0]
    other = engine.generate("abc", max_tokens=1, logit_bias={first: -INF}).result().tokens[0]
    assert other != first
    forced = engine.generate("abc", max_tokens=5, logit_bias={7: 1000}).result()
    assert forced.tokens == (7,) * 5


def test_tokenize_and_detokenize(make_fake: MakeFake) -> None:
    engine = make_fake()
    assert engine.tokenize("cab") == [2, 0, 1]
    assert engine.detokenize([2, 0, 1]) == "cab"
    for tokens in ([32], [-1], "abc", [0.0], None):
        with pytest.raises(InvalidArgument, match="tokens"):
            engine.detokenize(tokens)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="surrogate"):
        engine.tokenize("\ud800")
    with pytest.raises(InvalidArgument, match="text"):
        engine.tokenize(b"abc")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="add_bos"):
        engine.tokenize("abc", add_bos=1)  # type: ignore[arg-type]


def test_names_that_utf_8_cannot_express(make_fake: MakeFake) -> None:
    engine = make_fake()
    with pytest.raises(InvalidArgument, match="mode has a lone surrogate"):
        engine.generate("abc", mode="\ud800")
    with pytest.raises(InvalidArgument, match="prefix_reuse has a lone surrogate"):
        Engine("none.gguf", prefix_reuse="\ud800")


@pytest.mark.parametrize("gamma", [0, 65, -1, 1.0, True, "3"])
def test_fixed_checks_gamma(gamma: Any) -> None:
    with pytest.raises(InvalidArgument, match="gamma"):
        policies.Fixed(gamma)


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, NAN, "0.5", None])
def test_confidence_checks_epsilon(epsilon: Any) -> None:
    with pytest.raises(InvalidArgument, match="epsilon"):
        policies.Confidence(epsilon)


def test_the_message_tells_the_right_form(make_fake: MakeFake) -> None:
    engine, wrong = make_fake(), cast("Any", 5)
    for call, message in (
        (lambda: engine.generate("a", stop=wrong), "stop is 5 .*sequence of str, or a str"),
        (lambda: engine.generate("a", stop_token_ids=wrong), "it must be a sequence of token ids"),
        (lambda: engine.detokenize(wrong), "tokens is 5 .* it must be a sequence of token ids"),
        (lambda: engine.generate(wrong), "prompt is 5 .* it must be a str or token ids"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            call()
