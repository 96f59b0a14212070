"""How long our grammars and llguidance take: start, compilation, and one token.

    python -m benchmarks.grammars.speed MODEL

MODEL is a GGUF file, of which only the vocabulary is read. *Check* is the time for one token,
*mask* the time for all tokens of the vocabulary, at every position of a text.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.grammars.backends import AnyMatcher, Backend, backends
from benchmarks.grammars.llguidance_c import Tokenizer, library_path, load
from benchmarks.grammars.vocabulary import Vocabulary

_ROUNDS = 7
_MOST_POSITIONS = 40
_WORDS = [f"value-{number:04d}" for number in range(400)]


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_PERSON = _object(
    {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"type": "string"}},
        "address": _object({"street": {"type": "string"}, "city": {"type": "string"}}),
    }
)
TEXTS: dict[str, tuple[Any, Any]] = {
    "any object": ({"type": "object"}, {"a": [1, {"b": "some text"}], "c": None}),
    "a person": (
        _PERSON,
        {
            "name": "Ada Lovelace",
            "age": 36,
            "tags": ["mathematics", "poetry"],
            "address": {"street": "St James's Square 12", "city": "London"},
        },
    ),
    "400 values": (_object({"choice": {"enum": _WORDS}}), {"choice": _WORDS[321]}),
    "a pattern": (
        _object({"mail": {"type": "string", "pattern": r"^[a-z0-9._-]+@[a-z0-9-]+\.[a-z]{2,}$"}}),
        {"mail": "ada.lovelace@example.org"},
    ),
    "2000 characters": (
        _object({"text": {"type": "string", "minLength": 10, "maxLength": 2000}}),
        {"text": "The engine weaves algebraic patterns. " * 3},
    ),
}


def resident_mb() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def start(vocabulary: Vocabulary) -> dict[str, float]:
    """What llguidance costs before its first grammar."""
    before, begin = resident_mb(), time.perf_counter()
    library = load()
    loaded = time.perf_counter()
    Tokenizer(library, vocabulary)
    return {
        "load ms": 1e3 * (loaded - begin),
        "trie ms": 1e3 * (time.perf_counter() - loaded),
        "memory MB": resident_mb() - before,
        "file MB": library_path().stat().st_size / 1e6,
    }


def measured(
    sides: list[Backend], schema: Any, instance: Any, vocabulary: Vocabulary
) -> dict[str, dict[str, float]]:
    """Times for one schema and the text of one instance. The sides take turns, and who begins."""
    tokens = vocabulary.tokens(json.dumps(instance, ensure_ascii=False))[:_MOST_POSITIONS]
    compilations: dict[str, list[float]] = {side.name: [] for side in sides}
    checks: dict[str, list[list[float]]] = {side.name: [] for side in sides}
    masks: dict[str, list[list[float]]] = {side.name: [] for side in sides}
    for round_ in range(_ROUNDS):
        for side in sides if round_ % 2 else reversed(sides):
            begin = time.perf_counter()
            matcher = side.compile(schema)
            compilations[side.name].append(time.perf_counter() - begin)
            one_check, one_mask = times(matcher, tokens)
            checks[side.name].append(one_check)
            masks[side.name].append(one_mask)
    return {
        side.name: {
            "compile ms": 1e3 * statistics.median(compilations[side.name]),
            "check us": 1e6 * statistics.median(_medians(checks[side.name])),
            "mask us": 1e6 * statistics.median(_medians(masks[side.name])),
            "first mask us": 1e6 * _medians(masks[side.name])[0],
            "longest mask us": 1e6 * max(_medians(masks[side.name])),
        }
        for side in sides
    }


def _medians(rounds: list[list[float]]) -> list[float]:
    """The median over the rounds, for each position of the text."""
    return [statistics.median(position) for position in zip(*rounds, strict=True)]


def times(matcher: AnyMatcher, tokens: list[int]) -> tuple[list[float], list[float]]:
    """Seconds of checks and of masks along a text."""
    checks, masks = [], []
    for token in tokens:
        matcher.prepare()
        begin = time.perf_counter()
        matcher.n_allowed([token])
        checked = time.perf_counter()
        matcher.compute_mask()
        masks.append(time.perf_counter() - checked)
        checks.append(checked - begin)
        if not matcher.accept(token):
            raise SystemExit(f"token {token} is refused: {matcher.error()}")
    return checks, masks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    vocabulary = Vocabulary(args.model)
    print(len(vocabulary.pieces), "tokens;", start(vocabulary))
    ours, _, _, theirs = backends(vocabulary)
    for name, (schema, instance) in TEXTS.items():
        for side, found in measured([ours, theirs], schema, instance, vocabulary).items():
            print(f"{name}, {side}:", {key: round(v, 1) for key, v in found.items()})


if __name__ == "__main__":
    main()
