"""Fields that rule the form of the answer, under the names of other servers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.grammars import Lark, Regex
from specbranch_cpp.server.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["with_own_form"]

_MARK = re.compile(r"\s*%llguidance\s*(\{\s*\}[ \t]*)?")
_LARK_RULE = re.compile(r"^start(\[[^\]]*\])?\s*:", re.MULTILINE)

Rule = dict[str, Any]  # the field ``grammar`` or ``response_format``


def with_own_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """The body with ``grammar`` or ``response_format`` in the place of the other names.

    Raises:
        BadRequest: two fields rule the form, or the value of a field is wrong.
    """
    own = dict(data)
    rules: dict[str, Rule] = {}
    for name, rule in _RULES.items():
        value = own.pop(name, None)
        if not _is_none(value):
            rules[name] = rule(name, value)
    outputs = own.pop("structured_outputs", None)
    if outputs is not None:
        rules |= _structured(outputs)
    grammar = own.pop("grammar", None)
    if not _is_none(grammar):
        rules["grammar"] = _grammar("grammar", grammar)
    if not rules:
        return own
    form = own.get("response_format")
    if form is not None and not (isinstance(form, dict) and form.get("type") == "text"):
        rules["response_format"] = {}
    first, *others = rules
    if others:
        raise BadRequest(f"{first} and {others[0]} are given; give only one of them", first)
    return own | rules[first]


def _is_none(value: Any) -> bool:
    """Whether a value stands for no rule: the defaults of other servers."""
    return value is None or value is False or value == ""


def _structured(outputs: Any) -> dict[str, Rule]:
    """The rule in vLLM's ``structured_outputs``."""
    if not isinstance(outputs, dict):
        raise BadRequest(
            f"structured_outputs is {outputs!r:.100}; it must be an object", "structured_outputs"
        )
    rules: dict[str, Rule] = {}
    for name, value in outputs.items():
        if _is_none(value):
            continue
        field = f"structured_outputs.{name}"
        if name in _OUTPUTS:
            rules[field] = _OUTPUTS[name](field, value)
        elif name not in _HARMLESS:
            raise BadRequest(
                f"{field} is {value!r:.100}; it must be one of {', '.join(_OUTPUTS)}",
                field,
                "unsupported_value",
            )
    return rules


def _schema(name: str, value: Any) -> Rule:
    """A JSON schema, or its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"{name} is not JSON: {error}", name) from None
    if not isinstance(value, (dict, bool)):
        raise BadRequest(f"{name} is {value!r:.100}; it must be a JSON schema", name)
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": value}}
    }


def _any_object(name: str, value: Any) -> Rule:
    if value is not True:
        raise BadRequest(f"{name} is {value!r:.100}; it must be true or false", name)
    return {"response_format": {"type": "json_object"}}


def _format(name: str, value: Any) -> Rule:
    """Ollama's field: ``"json"`` or a schema."""
    return {"response_format": {"type": "json_object"}} if value == "json" else _schema(name, value)


def _regex(name: str, value: Any) -> Rule:
    if not isinstance(value, str):
        raise BadRequest(f"{name} is {value!r:.100}; it must be a regular expression", name)
    return {"grammar": Regex(value)}


def _choice(name: str, value: Any) -> Rule:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
        raise BadRequest(f"{name} is {value!r:.100}; it must be a list of texts", name)
    return {"grammar": f"root ::= {' | '.join(map(literal_of, value))}\n"}


def _grammar(name: str, value: Any) -> Rule:
    """GBNF; or Lark, which llama-server marks and others tell by its first rule."""
    if not isinstance(value, str):
        raise BadRequest(f"{name} is {value!r:.100}; it must be GBNF or Lark", name)
    is_lark = _MARK.match(value) is not None or (
        _LARK_RULE.search(value) is not None and "::=" not in value
    )
    return {"grammar": Lark(_MARK.sub("", value)) if is_lark else value}


_RULES: dict[str, Callable[[str, Any], Rule]] = {
    "json_schema": _schema,
    "guided_json": _schema,
    "guided_json_object": _any_object,
    "guided_regex": _regex,
    "guided_choice": _choice,
    "guided_grammar": _grammar,
    "grammar_string": _grammar,
    "regex": _regex,
    "ebnf": _grammar,
    "format": _format,
}
_OUTPUTS: dict[str, Callable[[str, Any], Rule]] = {
    "json": _schema,
    "json_object": _any_object,
    "regex": _regex,
    "choice": _choice,
    "grammar": _grammar,
}
# These choose between implementations of the same rule.
_HARMLESS = ("disable_fallback", "disable_additional_properties", "disable_any_whitespace")
