"""The documents: their links lead somewhere, their programs run, their commands exist."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.conftest import ROOT, run_program
from typer.main import get_command

import specbranch_cpp
from specbranch_cpp.cli import app

if TYPE_CHECKING:
    from pathlib import Path

NOT_RUN = "<!-- not run:"
"""A comment before a block of Python that says why it is not run here."""


def documents() -> list[Path]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
    return sorted([*found, *ROOT.glob("python/**/README.md"), *ROOT.glob("third_party/*.md")])


DOCUMENTS = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents()]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.M | re.S)


def anchors(text: str) -> set[str]:
    """What a heading is called in a link, as GitHub and Python-Markdown have it."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M):
        words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found |= {words.replace(" ", "-"), re.sub(r"[-\s]+", "-", words)}
    return found


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text())
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        place = (path.parent / file).resolve() if file else path
        if not place.exists():
            broken.append(f"{link}: no such file")
        elif anchor and place.suffix == ".md" and anchor not in anchors(place.read_text()):
            broken.append(f"{link}: no such heading")
    assert not broken


def programs(path: Path) -> list[str]:
    """The blocks of Python of a document, those left out that say why they are not run."""
    text = path.read_text()
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        if match[2] == "python" and not before.startswith(NOT_RUN):
            found.append(match[3])
    return found


WITH_PROGRAMS = [
    pytest.param(path, id=str(path.relative_to(ROOT)))
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if programs(path) and path.name != "server.md"  # test_server_docs.py runs those
]


@pytest.mark.parametrize("path", WITH_PROGRAMS)
def test_programs_run(path: Path, tmp_path: Path) -> None:
    """All blocks of a document, one after another, as one program."""
    file = tmp_path / "program.py"
    file.write_text("\n".join(programs(path)))
    run_program(file, cwd=tmp_path)


def test_the_reference_finds_every_module() -> None:
    """mkdocstrings reads packages: from a folder without `__init__.py` a class inherits nothing."""
    modules = (ROOT / "python/specbranch_cpp").rglob("*.py")
    assert [path for path in modules if not (path.parent / "__init__.py").exists()] == []


def test_the_reference_has_every_public_module() -> None:
    text = "".join(path.read_text() for path in ROOT.glob("docs/reference/*.md"))
    shown = {name.lower() for name in re.findall(r"^::: specbranch_cpp\.(\S+)$", text, re.M)}
    assert sorted(specbranch_cpp._MODULES - shown) == []


CODE = {".py", ".h", ".cpp", ".js", ".sh"}


def test_the_architecture_names_every_part() -> None:
    """Every folder with code; those of the tests mirror the others."""
    text = (ROOT / "docs/architecture.md").read_text()
    known = {word for words in re.findall(r"`([^`\n]+)`", text) for word in words.split()}
    parts = ("python", "cpp", "tools", "benchmarks", "examples", "third_party")
    folders = {
        str(path.relative_to(ROOT).parent)
        for part in parts
        for path in (ROOT / part).rglob("*")
        if path.suffix in CODE
    }
    assert sorted(folders - known) == []


def commands(path: Path) -> list[list[str]]:
    """The lines of a document that call `specbranch`, in words."""
    found = []
    text = path.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\$ )?(specbranch .*)$", text, re.M) + re.findall(
        r"`(specbranch [^`]+)`", text
    )
    for line in lines:
        words = shlex.split(line, comments=True)
        found.append(list(takewhile(lambda word: word not in ("|", ">", "&&"), words))[1:])
    return found


@pytest.mark.parametrize("path", DOCUMENTS)
def test_commands_exist(path: Path) -> None:
    unknown = []
    for words in commands(path):
        command: Any = get_command(app)
        for word in words:
            inner = getattr(command, "commands", {})
            if word in inner:
                command = command.loaded(word) if hasattr(command, "loaded") else inner[word]
            elif word.startswith("-"):
                name = word.partition("=")[0]
                known = {name for option in command.params for name in option.opts}
                known |= {name for option in command.params for name in option.secondary_opts}
                if name not in known | {"--help", "--install-completion", "..."}:
                    unknown.append(f"{word} in: specbranch {' '.join(words)}")
            elif inner and re.fullmatch(r"[a-z-]+", word):
                unknown.append(f"{word} in: specbranch {' '.join(words)}")
    assert not unknown
