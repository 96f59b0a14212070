"""Which schemas and patterns our converter and llguidance take, and whether they obey them.

    python -m benchmarks.grammars.correctness MODEL SUITE/tests/draft2020-12 [--json FILE]

MODEL is a GGUF file, of which only the vocabulary is read. SUITE is the JSON Schema Test Suite; the
source distribution of the Python package ``jsonschema`` has it in the folder ``json``.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.grammars.backends import AnyMatcher, Backend, backends
from benchmarks.grammars.suite import Case, read_suite, texts_of
from benchmarks.grammars.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

PATTERNS = (
    r"^\d{3}-\d{4}$", r"\S", r"^[\w.-]+@[\w-]+$", r"^[^\D]$", r"^a\/b$", r"^\x41$",
    r"^(?:a|b)+?$", r"^\S+$", "", r"^$", r"^#?([a-f0-9]{6}|[a-f0-9]{3})$", r"^https?://.+$",
    r"^-?\d+(\.\d+)?$", r"^\[\d+\]$", r"^[\]a]$", r"foo|^bar$", r"^foo$|^bar$", r"^(foo|bar$)",
    r"^(?!admin)\w+$", r"^(?=.{3,5}$)[a-z]+$", r"^\p{L}+$", r"^[\p{L}\d]+$", r"^(?<year>\d{4})$",
    r"^\bfoo$", r"^.{1,3000}$", r"^\u{1F600}$", r"\cA", r"^(a)\1$", r"^(?i)abc$", r"^\0$",
    r"^[\b]$", r"^[^\s@]+@[^\s@]+\.[^\s@]+$",
)  # fmt: skip
_LONGEST = 60  # tokens of a text that is written at random
_TEXTS = 5
_SPELLED = {
    r"\u{1F600}": "\U0001f600",
    r"\cA": "\x01",
    "(?<year>": "(?P<year>",
    "(?i)abc": "(?i:abc)",
}


def verdicts(backend: Backend, cases: Sequence[Case], vocabulary: Vocabulary) -> dict[str, Any]:
    """How a backend treats the schemas and instances of a suite."""
    found: Counter[str] = Counter()
    refused, wrong, missed, seconds = [], [], [], []
    for case in cases:
        begin = time.perf_counter()
        try:
            matcher = backend.compile(case.schema)
        except ValueError as error:
            refused.append((case.name, str(error).splitlines()[0][:120]))
            continue
        seconds.append(time.perf_counter() - begin)
        for instance, is_valid in case.instances:
            is_taken = any(takes(matcher, text, vocabulary) for text in texts_of(instance))
            found[f"{'valid' if is_valid else 'invalid'} {'taken' if is_taken else 'refused'}"] += 1
            if is_taken and not is_valid:
                wrong.append((case.name, json.dumps(instance)[:80]))
            elif is_valid and not is_taken:
                missed.append((case.name, json.dumps(instance)[:80]))
    seconds.sort()
    return {
        "backend": backend.name,
        "schemas": len(cases),
        "schemas refused": len(refused),
        **dict(sorted(found.items())),
        "median compile ms": 1e3 * seconds[len(seconds) // 2],
        "longest compile ms": 1e3 * seconds[-1],
        "refused": refused,
        "wrong": wrong,
        "missed": missed,
    }


def takes(matcher: AnyMatcher, text: str, vocabulary: Vocabulary) -> bool:
    """Whether a text may be the whole answer."""
    try:
        tokens = vocabulary.tokens(text)
    except UnicodeEncodeError:  # a lone surrogate
        return False
    trial = matcher.copy()
    return all(trial.accept(token) for token in tokens) and trial.may_end


def pattern_verdict(backend: Backend, pattern: str, vocabulary: Vocabulary) -> str:
    """What a backend makes of a pattern: "refused", "obeyed", or a value that does not match."""
    try:
        matcher = backend.compile({"type": "string", "pattern": pattern})
    except ValueError:
        return "refused"
    spelled = pattern
    for theirs, pythons in _SPELLED.items():
        spelled = spelled.replace(theirs, pythons)
    is_letters = r"\p{L}" in pattern
    spelled = spelled.replace(r"[\p{L}\d]", r"\w").replace(r"\p{L}", r"[^\W\d_]")
    complete = 0
    for seed in range(_TEXTS):
        text = written(matcher.copy(), vocabulary, random.Random(seed))
        if text is None:
            continue
        complete += 1
        value = json.loads(text)
        flags = 0 if is_letters else re.ASCII
        if not re.search(spelled, value, flags):
            return f"not obeyed: {value!r:.60}"
    return "obeyed" if complete else "obeyed (no text ended)"


def written(matcher: AnyMatcher, vocabulary: Vocabulary, chance: random.Random) -> str | None:
    """A text that a grammar allows, token by token at random. ``None``: it did not end."""
    text = b""
    for _ in range(_LONGEST):
        if text and matcher.may_end and chance.random() < 0.5:
            break
        allowed = [t for t in matcher.allowed() if t not in vocabulary.ends]
        if not allowed:
            break
        # Short tokens, so that the text also gets to its end.
        token = min(chance.choices(allowed, k=4), key=lambda t: len(vocabulary.pieces[t]))
        quotes = [t for t in allowed if vocabulary.pieces[t] == b'"']
        if quotes and chance.random() < 0.3:
            token = quotes[0]
        matcher.accept(token)
        text += vocabulary.pieces[token]
    try:
        return text.decode() if matcher.may_end else None
    except UnicodeDecodeError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--json", type=Path, help="write everything found to this file")
    args = parser.parse_args()
    vocabulary = Vocabulary(args.model)
    cases = read_suite(args.suite)
    report: dict[str, Any] = {"suite": [], "patterns": {}}
    sides = backends(vocabulary)
    for backend in sides:
        found = verdicts(backend, cases, vocabulary)
        report["suite"].append(found)
        print({key: value for key, value in found.items() if not isinstance(value, list)})
    for pattern in PATTERNS:
        told = {b.name: pattern_verdict(b, pattern, vocabulary) for b in sides}
        report["patterns"][pattern] = told
        print(f"{pattern!r}: {told}")
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
