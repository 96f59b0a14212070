"""What llama.cpp prints of a grammar that it cannot read is no line of a log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp._grammar import log_lines
from specbranch_cpp._grammar.log_lines import indented

if TYPE_CHECKING:
    from pathlib import Path

FORGED = "2026-01-01 ERROR forged line"
WRONG = (
    f"root ::= (\n{FORGED}",
    f"root ::= (\r{FORGED}",
    f"{FORGED}",
    f'root ::= "a\n{FORGED}"(',
    f"root ::= (# comment\n{FORGED}",
    f"root ::= [a\n{FORGED}](",
    f'root ::= "a\n{FORGED}',
    'root ::= "\x1b[31m\x9b" (',
    "root ::= other # \x1b[31m",
)

CHILD = """
import sys
from specbranch_cpp import Engine, InvalidArgument
with Engine(sys.argv[1], n_ctx=128, n_threads=1) as engine:
    for grammar in sys.argv[2:]:
        try:
            engine.complete("x", grammar=grammar)
        except InvalidArgument:
            print("refused")
"""


def test_no_line_begins_with_text_of_the_grammar(tiny: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tiny), *WRONG],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == [b"refused"] * len(WRONG)
    lines = done.stderr.decode().replace("\r", "\n").split("\n")
    assert [line for line in lines if line.startswith("2026")] == []
    assert not {*done.stderr} & {0x1B, 0x9B}


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ('root ::= "a\nb"', "a\nb"),
        ('root ::= "a\r\nb" # end', "a\r\nb"),
        ('root ::= "\x1b" "\x85" "\\n"', "\x1b\x85\n"),
        ("# first\n\nroot ::= x\n# more\nx ::= \"q\" |\n\"q\"\n", "q"),
        ('root ::= (\n"a"\n"b"\n)', "ab"),
        ('root ::= "#[" "]\\""', '#[]"'),
        ("root ::= [\n]", "\n"),
        ('root ::= x\r\nx ::= "\\\\" "\t"\r\n', "\\\t"),
    ],
)  # fmt: skip
def test_the_rules_stay(engine: Engine, grammar: str, text: str) -> None:
    done = engine.complete("x", grammar=grammar, max_tokens=20, temperature=0)
    assert done.text == text
    assert (
        engine.complete("x", grammar=indented(grammar), max_tokens=20, temperature=0).text == text
    )


@pytest.mark.parametrize("grammar", ['root ::= \x1b "a"', 'root ::= "\\\x1b"', "root ::= \x07"])
def test_control_characters_outside_of_texts(engine: Engine, grammar: str) -> None:
    with pytest.raises(InvalidArgument, match="which must be in a text or a class of characters"):
        engine.generate("x", grammar=grammar)


@pytest.mark.parametrize("mark", ["[", '"', "<"])
def test_a_part_without_an_end_is_one_part(monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    parts: list[str] = []
    replaced = log_lines._replaced

    def counted(found: re.Match[str]) -> str:
        parts.append(found[0])
        return replaced(found)

    monkeypatch.setattr(log_lines, "_replaced", counted)
    if mark == '"':
        mark = '"\\'  # escapes the marks that follow
    begun = f"{mark * 1000}x"
    assert indented(f"root ::= {begun}").split() == ["root", "::=", begun]
    assert len(parts) == 2
