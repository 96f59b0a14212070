"""llama-cpp-python's converter from JSON schemas to grammars, with corrections.

This module loads only the converter's file, which needs only the standard library, because an
import of the package would install a log callback. The corrections: constants and names are
escaped, strings have no raw control characters, patterns keep a string valid JSON, and long
repetitions do not nest.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

from specbranch_cpp._grammar.regex import gbnf_of_pattern, literal_of, repeated
from specbranch_cpp.errors import MissingExtra

__all__ = ["any_object", "converted"]

_CHAR = (
    r'[\x20\x21\x23-\x5B\x5D-\x7E\x80-\uD7FF\uE000-\U0010FFFF] | "\\" (["\\/bfnrt] | "u" '
    r"([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))"
)


def any_object() -> str:
    """The grammar of any JSON object."""
    return converted({"type": "object"}, {})


def converted(schema: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> str:
    """The grammar of a schema that `json_schema` has prepared.

    Args:
        schema: the schema.
        definitions: the schemas that its references name: ``{"$ref": "#/$defs/name"}``.
    """
    converter = _converter()(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
    converter._refs = {f"#/$defs/{name}": one for name, one in definitions.items()}
    converter.visit(schema, "")
    return str(converter.format_grammar())


@cache
def _library() -> Any:
    package = importlib.util.find_spec("llama_cpp")
    if package is None or package.origin is None:
        raise MissingExtra("JSON schemas need llama-cpp-python, which is not installed")
    path = Path(package.origin).with_name("llama_grammar.py")
    spec = importlib.util.spec_from_file_location("specbranch_cpp._llama_grammar", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PRIMITIVE_RULES["char"] = module.BuiltinRule(_CHAR, [])
    return module


@cache
def _converter() -> Any:
    return type("Converter", (_Mended, _library().SchemaConverter), {})


class _Mended:
    """The differences from llama-cpp-python's ``SchemaConverter``."""

    _add_rule: Any
    _add_primitive: Any
    _rules: dict[str, str]

    def _format_literal(self, literal: str) -> str:
        """A literal of JSON text, with characters that are not escaped."""
        return literal_of(json.dumps(json.loads(literal), ensure_ascii=False))

    def _visit_pattern(self, pattern: str, name: str) -> Any:
        self._char()
        return self._add_rule(name, rf'"\"" {gbnf_of_pattern(pattern)} "\"" space')

    def visit(self, schema: dict[str, Any], name: str) -> Any:
        library = _library()
        name = library.INVALID_RULE_CHARS_RE.sub("-", name)
        rule = name + "-" if name in library.RESERVED_NAMES else name or "root"
        if "gbnf" in schema:
            return self._add_rule(rule, f"{schema['gbnf']} space")
        if "multipleOf" in schema:
            return self._multiples(rule, schema["multipleOf"])
        if "different" in schema:
            return self._different(rule, schema["different"], schema["minItems"])
        least, most = schema.get("minLength"), schema.get("maxLength")
        if (least, most) != (None, None):
            inside = repeated(self._char(), least or 0, most)
            return self._add_rule(rule, rf'"\"" {inside} "\"" space')
        least, most = schema.get("minItems"), schema.get("maxItems")
        if (least, most) != (None, None):
            item = self.visit(schema["items"], f"{name}-item" if name else "item")
            return self._add_rule(
                rule, f'"[" space {self._items(item, rule, least or 0, most)} "]" space'
            )
        return super().visit(schema, name)  # type: ignore[misc]

    def _char(self) -> Any:
        return self._add_primitive("char", _library().PRIMITIVE_RULES["char"])

    def _items(self, item: str, rule: str, least: int, most: int | None) -> str:
        """The items of an array. Own rules avoid nested repetitions, which llama.cpp limits."""
        if most == 0:
            return ""
        more = self._add_rule(f"{rule}-more", f'"," space {item}')
        limit = None if most is None else most - 1
        rest = self._add_rule(f"{rule}-rest", repeated(more, max(least - 1, 0), limit))
        return f"{item} {rest}" if least else f"({item} {rest})?"

    def _multiples(self, rule: str, step: int) -> Any:
        """The integers that `step` divides. Each rule has read digits with one remainder."""
        names = [f"{rule}-n{len(self._rules)}-rest{remainder}" for remainder in range(step)]

        def after(remainder: int, first: int) -> str:
            ways = [f'"{d}" {names[(10 * remainder + d) % step]}' for d in range(first, 10)]
            return " | ".join(ways)

        for remainder, name in enumerate(names):
            end = ' | ""' if remainder == 0 else ""
            self._add_rule(name, after(remainder, 0) + end)
        return self._add_rule(rule, f'("0" | "-"? ({after(0, 1)})) space')

    def _different(self, rule: str, values: list[Any], least: int) -> Any:
        """An array of different values, in the order of `values`."""
        texts = [f"{self._format_literal(json.dumps(value))} space" for value in values]
        rests = [f"{rule}-n{len(self._rules)}-after{index}" for index in range(len(values))]
        for index, name in enumerate(rests):
            later = range(index + 1, len(values))
            ways = [f'"," space {texts[other]} {rests[other]}' for other in later]
            self._add_rule(name, " | ".join([*ways, '""']))
        ways = [f"{text} {rest}" for text, rest in zip(texts, rests, strict=True)]
        some = "" if least else "?"
        return self._add_rule(rule, f'"[" space ({" | ".join(ways)}){some} "]" space')
