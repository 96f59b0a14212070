"""Every keyword of llama-cpp-python's two calls is accepted, or refused with a reason."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp._support.signatures import arguments_of
from specbranch_cpp.openai_api.keywords import ChatKeywords, CompletionKeywords

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = "import os\n"
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

# In a process of its own: importing llama_cpp installs a log callback that needs the GIL.
SIGNATURES = """
import inspect, json, sys
from llama_cpp import Llama
print(json.dumps([
    {name: [str(p.kind), None if p.default is p.empty else [repr(p.default)]]
     for name, p in inspect.signature(method).parameters.items()}
    for method in (Llama.create_completion, Llama.create_chat_completion)
]))
"""


@pytest.fixture(scope="module")
def theirs() -> list[dict[str, Any]]:
    result = subprocess.run(
        [sys.executable, "-c", SIGNATURES], capture_output=True, text=True, check=True, timeout=120
    )
    signatures: list[dict[str, Any]] = json.loads(result.stdout)
    return signatures


def no_list(default: str) -> str:
    return "()" if default == "[]" else default  # ours is the same without being shared


@pytest.mark.parametrize("index", [0, 1])
def test_names_order_and_defaults_are_those_of_llama_cpp_python(
    theirs: list[dict[str, Any]], index: int
) -> None:
    method = (Engine.create_completion, Engine.create_chat_completion)[index]
    ours = {
        name: [str(p.kind), None if p.default is p.empty else [repr(p.default)]]
        for name, p in inspect.signature(method).parameters.items()
        if p.kind is not p.KEYWORD_ONLY
    }
    wanted = {
        name: [kind, None if default is None else [no_list(default[0])]]
        for name, (kind, default) in theirs[index].items()
    }
    assert list(ours.items()) == list(wanted.items())


def test_nothing_is_lost_on_the_way() -> None:
    """The objects that the calls make of their arguments have a field for each."""
    for method, kind in (
        (Engine.create_completion, CompletionKeywords),
        (Engine.create_chat_completion, ChatKeywords),
    ):
        parameters = inspect.signature(method).parameters
        assert {field.name for field in fields(kind)} == {*parameters} - {"self"}
        values = {name: object() for name in parameters if name != "self"}
        assert arguments_of(method, **values) == values


# For each keyword a value that must be accepted, or one that must be refused and why.
ACCEPTED: dict[str, Any] = {
    "suffix": "",
    "max_tokens": 3,
    "temperature": 0.5,
    "top_p": 0.5,
    "min_p": 0.1,
    "typical_p": 0.5,
    "logprobs": 1,
    "echo": True,
    "stop": ["x"],
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "repeat_penalty": 1.5,
    "top_k": 3,
    "stream": True,
    "seed": 7,
    "tfs_z": 1.0,
    "mirostat_mode": 2,
    "mirostat_tau": 3.0,
    "mirostat_eta": 0.3,
    "model": "mine",
    "stopping_criteria": [],
    "logits_processor": [],
    "grammar": 'root ::= "a" "b"',
    "logit_bias": {"5": 1.0},
    "functions": [TOOL["function"]],
    "function_call": "auto",
    "tools": [TOOL],
    "tool_choice": "none",
    "response_format": {"type": "text"},
    "top_logprobs": 0,
}
REFUSED: dict[str, tuple[Any, str]] = {
    "typical_p": (1.5, r"it must be in \[0, 1\]"),
    "tfs_z": (0.5, "tail-free sampling"),
    "mirostat_mode": (3, "must be in 0 .. 2"),
    "mirostat_tau": ("x", "must be a number"),
    "stopping_criteria": ("x", "must be a function"),
    "logits_processor": ([5], "must be a function"),
    "grammar": (5, "must be GBNF"),
    "max_tokens": (1.5, "must be an integer"),
    "seed": (-2, "must be in"),
    "stream": (1, "must be True or False"),
    "model": (3, "must be a str"),
    "suffix": (3, "must be a str"),
    "stop": (3, "must be a sequence"),
    "logit_bias": ({1.5: 1.0}, "must be an integer"),
    "temperature": (-1.0, "temperature"),
}


def calls(engine: Engine) -> list[Callable[..., Any]]:
    return [
        lambda **options: engine.create_completion(PROMPT, **{"max_tokens": 2, **options}),
        lambda **options: engine.create_chat_completion(HELLO, **{"max_tokens": 2, **options}),
    ]


@pytest.mark.parametrize("index", [0, 1])
def test_every_keyword_is_accepted_with_some_value(
    engine: Engine, theirs: list[dict[str, Any]], index: int
) -> None:
    for name in theirs[index]:
        if name in {"self", "prompt", "messages"}:
            continue
        value = True if (index, name) == (1, "logprobs") else ACCEPTED[name]
        answer = calls(engine)[index](**{name: value})
        if name == "stream":
            answer = list(answer)[-1]
        assert answer["choices"][0]["finish_reason"] in {"stop", "length"}, name


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_its_reason(
    engine: Engine, theirs: list[dict[str, Any]], name: str
) -> None:
    value, reason = REFUSED[name]
    for index, call in enumerate(calls(engine)):
        if name in theirs[index]:
            with pytest.raises(InvalidArgument, match=reason):
                call(**{name: value})
            assert call()["choices"]  # the engine can be used on


SAMPLERS: dict[str, Any] = {
    "typical_p": 0.3,
    "mirostat_mode": 1,
    "mirostat_tau": 2.0,
    "mirostat_eta": 0.9,
    "dynatemp_range": 0.7,
    "dynatemp_exponent": 3.0,
    "top_n_sigma": 0.7,
    "min_keep": 40,
    "xtc_probability": 1.0,
    "xtc_threshold": 0.02,
    "repeat_last_n": 3,
    "dry_multiplier": 3.0,
    "dry_base": 1.1,
    "dry_allowed_length": 1,
    "dry_penalty_last_n": -1,
    "dry_sequence_breakers": [],
    "adaptive_target": 0.3,
    "adaptive_decay": 0.2,
    "samplers": ["temperature", "top_k"],
}


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_those_of_generate(engine: Engine, index: int, name: str) -> None:
    """Each keyword reaches the request of the core under its name."""
    seen: list[Any] = []
    core = engine._core

    class Spy:
        def __getattr__(self, attribute: str) -> Any:
            return getattr(core, attribute)

        def generate(self, request: Any) -> Any:
            seen.append(request)
            return core.generate(request)

    engine._core = Spy()  # type: ignore[assignment]
    try:
        calls(engine)[index](**{name: SAMPLERS[name]})
    finally:
        engine._core = core
    value = getattr(seen[0], {"mirostat_mode": "mirostat"}.get(name, name))
    wanted = SAMPLERS[name]
    assert value == (pytest.approx(wanted) if isinstance(wanted, float) else wanted)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"echo": True, "logprobs": 1, "suffix": "x"}, "does not have the order"),
        ({"grammar": "x", "response_format": {"type": "json_object"}}, "give only one of them"),
        ({"stream_options": {"include_usage": True}}, "need stream=True"),
        ({"stream": True, "stream_options": {"x": 1}}, "may only have include_usage"),
        ({"stream": True, "stream_options": 3}, "must be a mapping"),
    ],
)
def test_combinations_that_make_no_sense(
    engine: Engine, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        engine.create_completion(PROMPT, **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"top_logprobs": 2}, "needs logprobs=True"),
        ({"tools": [TOOL], "grammar": 'root ::= "a"'}, "cannot contain calls"),
        ({"continue_final_message": True}, "must be text of the assistant"),
        ({"continue_final_message": 1}, "must be True or False"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "only one of them"),
        ({"grammar": "x", "response_format": {"type": "json_object"}}, "give only one of them"),
        ({"tools": [TOOL], "functions": [TOOL["function"]]}, "old name"),
        ({"chat_template_kwargs": 3}, "must be a mapping"),
        ({"chat_template_kwargs": {"messages": []}}, "use the keyword of that name"),
    ],
)
def test_combinations_that_make_no_sense_in_a_chat(
    engine: Engine, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        engine.create_chat_completion(HELLO, **options)


def test_an_unknown_keyword_is_an_error(engine: Engine) -> None:
    with pytest.raises(TypeError, match="temprature"):
        engine.create_completion(PROMPT, temprature=1.0)  # type: ignore[call-arg]


class LlamaGrammar:
    """llama-cpp-python's, as far as it matters."""

    def __init__(self, grammar: str) -> None:
        self._grammar = grammar


def test_a_grammar_may_be_an_object_of_llama_cpp_python(engine: Engine) -> None:
    grammar = 'root ::= "yes" | "no"'
    as_text = engine.create_completion(PROMPT, grammar=grammar, seed=1)
    as_object = engine.create_completion(PROMPT, grammar=LlamaGrammar(grammar), seed=1)
    assert isinstance(as_text, dict)
    assert isinstance(as_object, dict)
    assert as_object["choices"][0]["text"] == as_text["choices"][0]["text"]
    assert as_text["choices"][0]["text"] in {"yes", "no"}


@pytest.mark.parametrize("limit", [None, 0, -1])
def test_without_a_limit_the_context_is_it(engine: Engine, limit: int | None) -> None:
    prompt = [1] * (engine.n_ctx - 3)
    answer = engine.create_completion(prompt, max_tokens=limit, logit_bias={0: float("-inf")})
    assert isinstance(answer, dict)
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "length"
