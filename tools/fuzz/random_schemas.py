"""Random JSON schemas, most of which can be enforced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

__all__ = ["random_schema"]

_PATTERNS = ("^[a-z]{1,4}$", r"^\d+$", "^(a|b)c?$", "^.{0,3}$", "x")
_FORMATS = ("uuid", "date", "time", "date-time", "email", "ipv4", "unknown")
_NAMES = ("a", "b", "long name", "é", 'q"uote', "x-y")
_CONSTANTS: tuple[Any, ...] = (1, "x", None, True, 2.5, [1], {"k": "v"}, 'a"b', "\n")
_LINK = "#/$defs/d"
_CHAIN = {"type": "object", "properties": {"next": {"$ref": _LINK}}}


def random_schema(rng: Random, depth: int, kind: str | None = None) -> Any:
    """A whole schema whose parts are nested at most `depth` deep. `kind`: such as ``"object"``."""
    made = _part(rng, depth, kind)
    if isinstance(made, dict) and _LINK in repr(made):
        made["$defs"] = {"d": rng.choice((_string(rng, 0), _CHAIN, _object(rng, 0)))}
    return made


def _part(rng: Random, depth: int, kind: str | None = None) -> Any:
    kinds = ["string", "integer", "number", "constant", "simple", "any"]
    if depth > 0:
        kinds += ["object", "object", "object", "array", "array", "either", "all", "link", "tuple"]
    kind = kind or rng.choice(kinds)
    made = _MAKERS[kind](rng, depth)
    if isinstance(made, dict) and rng.random() < 0.1:
        made |= rng.choice(({"description": "x"}, {"title": "t"}, {"default": 1}, {"not": {}},
                            {"$comment": "c"}, {"nullable": True}, {"if": {}}))  # fmt: skip
    return made


def _object(rng: Random, depth: int) -> dict[str, Any]:
    names = rng.sample(_NAMES, rng.randrange(4))
    made: dict[str, Any] = {
        "type": "object",
        "properties": {name: _part(rng, depth - 1) for name in names},
        "required": rng.sample(names, rng.randrange(len(names) + 1)),
    }
    if rng.random() < 0.5:
        made["additionalProperties"] = rng.choice((False, True, {"type": "integer"}))
    if rng.random() < 0.1:
        made[rng.choice(("minProperties", "maxProperties"))] = rng.randrange(4)
    if rng.random() < 0.05:
        made["patternProperties"] = {"^x": {"type": "null"}}
    return made


def _array(rng: Random, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "array", "items": _part(rng, depth - 1)}
    if rng.random() < 0.5:
        made["minItems"] = rng.randrange(3)
    if rng.random() < 0.6:
        made["maxItems"] = made.get("minItems", 0) + rng.randrange(4)
    if rng.random() < 0.1:
        made["uniqueItems"] = True
    return made


def _string(rng: Random, _: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "string"}
    way = rng.choice(("", "length", "pattern", "format"))
    if way == "length":
        made |= {"minLength": rng.randrange(4), "maxLength": rng.randrange(3, 12)}
    elif way:
        made[way] = rng.choice(_PATTERNS if way == "pattern" else _FORMATS)
    return made


def _number(rng: Random, _: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": rng.choice(("integer", "number"))}
    low = rng.choice((-1000, -1, 0, 0.5, 7, 10**12))
    if rng.random() < 0.5:
        made[rng.choice(("minimum", "exclusiveMinimum"))] = low
    if rng.random() < 0.5:
        made[rng.choice(("maximum", "exclusiveMaximum"))] = low + rng.choice(
            (0.5, 1, 2, 100, 10**9)
        )
    if rng.random() < 0.1:
        made["multipleOf"] = rng.choice((1, 2, 7, 0.5))
    return made


def _several(rng: Random, depth: int) -> list[Any]:
    return [_part(rng, depth - 1) for _ in range(rng.choice((1, 2, 3)))]


_MAKERS: dict[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "link": lambda *_: {"$ref": _LINK},
    "constant": lambda rng, _: (
        {"const": rng.choice(_CONSTANTS)}
        if rng.random() < 0.5
        else {"enum": rng.sample(_CONSTANTS, rng.choice((1, 3)))}
    ),
    "simple": lambda rng, _: {
        "type": rng.choice(("boolean", "null", "string", ["integer", "null"]))
    },
    "any": lambda rng, _: rng.choice(({}, True)),
    "either": lambda rng, depth: {rng.choice(("anyOf", "oneOf")): _several(rng, depth)},
    "all": lambda rng, depth: {"allOf": _several(rng, depth)},
    "tuple": lambda rng, depth: {"type": "array", "prefixItems": _several(rng, depth),
                                 "items": rng.choice((False, True))},
}  # fmt: skip
