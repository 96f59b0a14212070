"""Correct values of requests: samplers, prompts, messages, tools, rules and schemas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fuzz.random_schemas import random_schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["GBNF", "LARK", "REGEX", "WRONG", "damaged", "messages", "prompt", "response_format",
           "sampling", "tools"]  # fmt: skip

_SAMPLING: dict[str, Callable[[Random], Any]] = {
    "temperature": lambda rng: rng.choice((0.0, 0.3, 1.0, 2.0, 50.0)),
    "top_k": lambda rng: rng.choice((-1, 0, 1, 5, 40, 100_000)),
    "top_p": lambda rng: rng.choice((0.01, 0.1, 0.9, 1.0)),
    "min_p": lambda rng: rng.choice((0.0, 0.05, 0.5, 1.0)),
    "typical_p": lambda rng: rng.choice((0.0, 0.2, 0.95, 1.0)),
    "top_n_sigma": lambda rng: rng.choice((-1.0, 0.0, 0.5, 1.0, 3.0)),
    "min_keep": lambda rng: rng.choice((0, 1, 3, 1000)),
    "dynatemp_range": lambda rng: rng.choice((0.0, 0.5, 2.0)),
    "dynatemp_exponent": lambda rng: rng.choice((0.0, 1.0, 3.0)),
    "xtc_probability": lambda rng: rng.choice((0.0, 0.5, 1.0)),
    "xtc_threshold": lambda rng: rng.choice((0.0, 0.1, 0.4, 0.6)),
    "repeat_last_n": lambda rng: rng.choice((-1, 0, 1, 16, 64)),
    "repeat_penalty": lambda rng: rng.choice((0.5, 1.0, 1.1, 2.0)),
    "presence_penalty": lambda rng: rng.choice((-2.0, 0.0, 0.5, 2.0)),
    "frequency_penalty": lambda rng: rng.choice((-2.0, 0.0, 0.5, 2.0)),
    "dry_multiplier": lambda rng: rng.choice((0.0, 0.8, 3.0)),
    "dry_base": lambda rng: rng.choice((1.0, 1.75, 4.0)),
    "dry_allowed_length": lambda rng: rng.choice((0, 1, 2, 10)),
    "dry_penalty_last_n": lambda rng: rng.choice((-1, 0, 8, 64)),
    "dry_sequence_breakers": lambda rng: rng.choice(([], ["\n"], ["\n", ":", "x" * 40], ["é"])),
    "mirostat_mode": lambda rng: rng.choice((0, 0, 1, 2)),
    "mirostat_tau": lambda rng: rng.choice((0.0, 2.0, 5.0)),
    "mirostat_eta": lambda rng: rng.choice((0.0, 0.1, 1.0)),
    "adaptive_target": lambda rng: rng.choice((-1.0, 0.0, 0.3, 1.0)),
    "adaptive_decay": lambda rng: rng.choice((0.0, 0.5, 0.99)),
    "seed": lambda rng: rng.choice((0, 1, 7, 2**64 - 1, rng.randrange(2**32))),
}  # fmt: skip

GBNF = (
    'root ::= "yes" | "no"',
    'root ::= [a-z]+ (" " [a-z]+)* "."',
    'root ::= (line){1,3}\nline ::= [^\\n]{0,20} "\\n"',
    'root ::= "[" ws (num ("," ws num)*)? "]"\nnum ::= "-"? [0-9]{1,4}\nws ::= " "?',
    'root ::= expr\nexpr ::= term ("+" term)*\nterm ::= "x" | "(" expr ")"',
    'root ::= [\\u00e0-\\u00ff]{2} "\U0001f600"?',
)
REGEX = (r"\d{4}-\d{2}-\d{2}", r"[a-c]+x?", r"(yes|no)( maybe){0,2}", r"\w{1,8}\s\S", r"[^\n]{3,9}")
LARK = (
    'start: "yes" | "no"', "start: /[0-9]+/", 'start: item ("," item)*\nitem: /[a-z]{1,3}/',
    'start: %json {"type": "boolean"}',
)  # fmt: skip
WRONG: tuple[Any, ...] = (
    -1, 0, 1, 2**31, 2**63, 2**64, -(2**70), 10**40, 0.5, -0.5, math.nan, math.inf, -math.inf,
    1e39, "", "x", "\0", "\ud800", "9" * 300, True, None, [], {}, [None], [[]], [-1], [2**40],
    {"a": 1}, {"": None}, {"type": "x"}, "root ::= root", "root ::=", 'root ::= "a', "(" * 200,
    "[" * 200, ["x"] * 300, "a{1,2000}{1,2000}", {"$ref": "#"}, {"type": "object", "$ref": "x:y"},
)  # fmt: skip

_WORDS = ("def", " f(x):\n", "    return", " x", "\n\n", "class", " the", " end", "=", "1", "é",
          "\U0001f600", "<|im_start|>", "</s>", "\t", "# ", "\u4e2d\u6587", "{", '"a"', "\x00",
          "<tool_call>", "\u202e", "a" * 20)  # fmt: skip


def sampling(rng: Random) -> dict[str, Any]:
    """A few sampling fields. Half of the requests are sampled."""
    names = rng.sample(sorted(_SAMPLING), rng.choice((0, 0, 1, 2, 3, 6)))
    given = {name: _SAMPLING[name](rng) for name in names}
    if rng.random() < 0.5:
        given |= {"temperature": rng.choice((0.5, 1.0)), "seed": rng.randrange(1000)}
    return given


def prompt(rng: Random) -> str:
    return "".join(rng.choice(_WORDS) for _ in range(rng.choice((1, 2, 3, 6))))


def messages(rng: Random) -> list[dict[str, Any]]:
    """A conversation: roles, parts, calls of tools and their results."""
    said: list[dict[str, Any]] = []
    if rng.random() < 0.4:
        said.append({"role": rng.choice(("system", "developer")), "content": prompt(rng)})
    for _ in range(rng.choice((0, 0, 0, 1))):
        said.append({"role": "user", "content": prompt(rng)})
        if rng.random() < 0.3:
            call = {"id": "c1", "type": "function",
                    "function": {"name": "f0", "arguments": '{"a": 1}'}}  # fmt: skip
            said.append({"role": "assistant", "content": None, "tool_calls": [call]})
            said.append({"role": "tool", "tool_call_id": "c1", "content": prompt(rng)})
        said.append({"role": "assistant", "content": prompt(rng)})
    words: Any = prompt(rng)
    if rng.random() < 0.3:
        words = [{"type": "text", "text": words}, {"type": "text", "text": prompt(rng)}]
    said.append({"role": "user", "content": words})
    return said


def tools(rng: Random) -> dict[str, Any]:
    """The fields of a request with functions."""
    made = []
    for number in range(rng.choice((1, 1, 2))):
        schema = random_schema(rng, 2, "object")
        function = {"name": f"f{number}", "description": "x", "parameters": schema}
        made.append({"type": "function", "function": function})
    given: dict[str, Any] = {"tools": made}
    choice = rng.choice((None, "auto", "none", "required", "named"))
    if choice == "named":
        given["tool_choice"] = {"type": "function", "function": {"name": "f0"}}
    elif choice is not None:
        given["tool_choice"] = choice
    if rng.random() < 0.3:
        given["parallel_tool_calls"] = rng.random() < 0.5
    return given


def response_format(rng: Random) -> dict[str, Any]:
    if rng.random() < 0.3:
        return {"type": rng.choice(("json_object", "text"))}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": random_schema(rng, 3)}}


def damaged(rng: Random, given: dict[str, Any], among: tuple[str, ...]) -> dict[str, Any]:
    """The same request with wrong values of one or two fields."""
    names = sorted({*given, *among})
    wrong = rng.sample(names, min(len(names), rng.choice((1, 1, 2))))
    return given | {name: rng.choice(WRONG) for name in wrong}
