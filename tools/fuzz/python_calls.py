"""Random calls of the Python API: samplers, rules, streams, cancels, functions, policies."""

from __future__ import annotations

import contextlib
import json
import random
from typing import TYPE_CHECKING, Any

from fuzz.crowd import BrokenPromiseError
from fuzz.request_values import (
    GBNF,
    LARK,
    REGEX,
    damaged,
    messages,
    prompt,
    response_format,
    sampling,
    tools,
)
from specbranch_cpp import (
    ContextOverflow,
    DecodeError,
    Engine,
    InvalidArgument,
    demo,
    policies,
)
from specbranch_cpp.grammars import JsonSchema, Lark, Regex

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KNOWN", "TEMPLATE", "Call", "PythonCaller", "open_python_caller"]

KNOWN = "def fibonacci(n):\n"
TEMPLATE = (
    "{% for m in messages %}# {{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}# assistant:\n{% endif %}"
)
_DOCUMENTED = (InvalidArgument, ContextOverflow, DecodeError)
_DAMAGED = 0.3
_MODES = ("auto", "autoregressive", "speculative", "pearl", "specbranch")
_FIELDS = (
    "temperature", "top_k", "top_p", "min_p", "stop", "max_tokens", "seed", "logprobs", "grammar",
    "logit_bias", "mode", "stop_token_ids", "dry_sequence_breakers", "samplers",
)  # fmt: skip
"""Fields of all calls that damaged calls have wrong."""


class Call:
    """A call: it follows from the seed and an index.

    Attributes:
        kind: the method.
        given: its keywords.
        is_damaged: whether some of them are wrong.
        cancel_after: the number of pieces after which a stream is left. ``None``: it is read.
    """

    def __init__(self, seed: int, index: int) -> None:
        rng = random.Random(f"{seed}/{index}")
        self.kind = rng.choices(tuple(_MAKERS), _WEIGHTS)[0]
        self.given: dict[str, Any] = _MAKERS[self.kind](rng)
        self.is_damaged = rng.random() < _DAMAGED
        if self.is_damaged:
            others = () if self.kind in _PLAIN else _FIELDS
            self.given = damaged(rng, self.given, others)
        stays = rng.random() < 0.8
        self.cancel_after = None if stays else rng.randrange(4)

    def __str__(self) -> str:
        return ascii(f"{self.kind}({self.given!r}, cancel_after={self.cancel_after})")[1:-1]


class PythonCaller:
    """Makes the calls of a seed."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._seed = seed

    def describe(self, index: int) -> str:
        return str(Call(self._seed, index))

    def known_text(self) -> str:
        return str(self._engine.complete(KNOWN, max_tokens=12))

    def call(self, index: int) -> str:
        call = Call(self._seed, index)
        kind = f"{call.kind}{' damaged' if call.is_damaged else ''}"
        try:
            self._run(call)
        except _DOCUMENTED as error:
            return f"{kind}: {type(error).__name__}"
        except BrokenPromiseError:
            raise
        except Exception as error:
            raise BrokenPromiseError(f"{type(error).__name__}: {error}") from error
        return f"{kind}: worked"

    def _run(self, call: Call) -> None:
        made = getattr(self._engine, call.kind)(**call.given)
        if call.kind == "generate":
            with made as generation:
                for number, _ in enumerate(generation):
                    if number == call.cancel_after:
                        return
                _check_completion(call, generation.result())
        elif call.given.get("stream") is True:
            with contextlib.closing(made) as stream:
                for number, piece in enumerate(stream):
                    json.dumps(piece)
                    if number == call.cancel_after:
                        return
        elif call.kind.startswith("create"):
            json.dumps(made)


def _check_completion(call: Call, done: Any) -> None:
    limit, stop = call.given.get("max_tokens"), call.given.get("stop")
    if isinstance(limit, int) and len(done.tokens) > limit:
        raise BrokenPromiseError(f"{len(done.tokens)} tokens, and max_tokens is {limit}")
    stops = [stop] if isinstance(stop, str) else stop or []
    for text in stops:
        if text in done.text and not call.given.get("min_tokens"):
            raise BrokenPromiseError(f"the text {done.text!r} has the stop {text!r}")


@contextlib.contextmanager
def open_python_caller(seed: int) -> Iterator[PythonCaller]:
    """A caller with the bundled pair, whose engine runs four texts at once."""
    with Engine(
        *demo.pair(), n_ctx=320, n_threads=1, draft_n_threads=1, n_parallel=4, trusted=True,
        measure_costs=False, chat_template=TEMPLATE, seed=seed,
    ) as engine:  # fmt: skip
        yield PythonCaller(engine, seed)


def _rule(rng: random.Random) -> Any:
    from fuzz.random_schemas import random_schema

    return rng.choice((
        lambda: rng.choice(GBNF), lambda: Regex(rng.choice(REGEX)), lambda: Lark(rng.choice(LARK)),
        lambda: JsonSchema(random_schema(rng, 3)),
    ))()  # fmt: skip


def _common(rng: random.Random) -> dict[str, Any]:
    """Fields that all calls share."""
    given = sampling(rng)
    given["max_tokens"] = rng.choice((0, 1, 2, 4, 8, 16)) if rng.random() < 0.99 else None
    if rng.random() < 0.3:
        given["stop"] = rng.choice(("\n", ["\n\n", "return"], ["e"], ["\U0001f600", " x", "(((("]))
    if rng.random() < 0.25:
        given["grammar"] = _rule(rng)
    if rng.random() < 0.5:
        given["mode"] = rng.choice(_MODES)
    if given.get("mode") != "auto" and "mode" in given and rng.random() < 0.2:
        given["policy"] = rng.choice((policies.Confidence(), policies.Fixed(3), policies.AdaEDL()))
    for name, values in _OPTIONS.items():
        if rng.random() < 0.08:
            given[name] = rng.choice(values)
    if given["max_tokens"] is not None:
        given["max_tokens"] = max(given["max_tokens"], given.get("min_tokens", 0))
    return given


_OPTIONS: dict[str, tuple[Any, ...]] = {
    "stop_token_ids": ([5], [1, 2, 3]),
    "min_tokens": (0, 3, 10),
    "max_branches": (1, 2, 4),
    "max_draft": (1, 4, 16),
    "lookup": (True, False),
    "lookup_answers": (True, False),
    "prediction": ("def fibonacci(n):\n    return n", [1, 2, 3]),
    "trace": (True,),
    "samplers": (["top_k", "temperature"], ["temperature", "top_p"], [], ["penalties", "min_p"]),
    "logit_bias": ({5: 3.0}, {0: float("-inf")}, {7: -100.0, 8: 100.0}),
    "logits_processor": ([lambda _, scores: scores],),
    "stopping_criteria": ([lambda tokens, _: len(tokens) % 7 == 0],),
}


def _generate(rng: random.Random) -> dict[str, Any]:
    given = _common(rng)
    tokens = [rng.randrange(400) for _ in range(rng.choice((1, 5, 60)))]
    given["prompt"] = prompt(rng) if rng.random() < 0.8 else tokens
    if rng.random() < 0.2:
        given["logprobs"] = rng.choice((0, 1, 5))
    if rng.random() < 0.05:
        given["prompt_logprobs"] = rng.choice((0, 2))
    return given


def _many(rng: random.Random) -> dict[str, Any]:
    given = _generate(rng)
    del given["prompt"]
    return given | {"prompts": [prompt(rng) for _ in range(rng.randrange(4))]}


def _completion(rng: random.Random) -> dict[str, Any]:
    given = _common(rng) | {"prompt": prompt(rng), "stream": rng.random() < 0.4}
    given["max_tokens"] = given["max_tokens"] or 1  # 0: until the context is full
    if rng.random() < 0.2:
        given["logprobs"] = rng.choice((0, 2))
    if rng.random() < 0.1:
        given["echo"] = True
    if rng.random() < 0.1 and "grammar" not in given:
        given["response_format"] = response_format(rng)
    return given


def _chat(rng: random.Random) -> dict[str, Any]:
    given = _common(rng) | {"messages": messages(rng), "stream": rng.random() < 0.4}
    given["max_tokens"] = given["max_tokens"] or 1
    if rng.random() < 0.2:
        given |= {"logprobs": True, "top_logprobs": rng.choice((0, 2))}
    what = rng.random()
    if "grammar" not in given and what < 0.25:
        given |= tools(rng)
    elif "grammar" not in given and what < 0.5:
        given["response_format"] = response_format(rng)
    return given


_MAKERS: dict[str, Any] = {
    "generate": _generate,
    "generate_many": _many,
    "create_completion": _completion,
    "create_chat_completion": _chat,
    "tokenize": lambda rng: {"text": prompt(rng), "special": rng.random() < 0.5},
    "detokenize": lambda rng: {"tokens": [rng.randrange(300) for _ in range(9)]},
}
_PLAIN = ("tokenize", "detokenize")
_WEIGHTS = (6, 1, 5, 6, 1, 1)
