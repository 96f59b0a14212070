"""What importing the package brings, and what it leaves until it is used."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
import typer
from typer.main import get_command

import specbranch_cpp
from specbranch_cpp.cli import app

if TYPE_CHECKING:
    from tests.python.conftest import RunPython

SLOW = ("asyncio", "importlib.metadata", "jinja2", "matplotlib", "numpy", "rich", "typer")


def loaded(python: RunPython, code: str) -> set[str]:
    """The modules that are there after a program."""
    return set(json.loads(python(f"{code}\nimport json, sys\nprint(json.dumps([*sys.modules]))")))


@pytest.mark.parametrize(
    "code", ["import specbranch_cpp", "from specbranch_cpp import Engine, policies, timeline"]
)
def test_an_import_brings_nothing_slow(python: RunPython, code: str) -> None:
    assert loaded(python, code) & {*SLOW} == set()


def test_the_extension_is_loaded_at_once(python: RunPython) -> None:
    """Before the caller can load a llama.cpp of another kind."""
    assert "specbranch_cpp._core" in loaded(python, "import specbranch_cpp")


def test_all_public_names_are_there(python: RunPython) -> None:
    names = set(specbranch_cpp.__all__)
    assert names == {*specbranch_cpp._MODULE_OF, "__version__", "policies"}
    assert names <= {*dir(specbranch_cpp)}
    code = "import specbranch_cpp\nprint([specbranch_cpp.{}])"
    assert python(code.format(", specbranch_cpp.".join(sorted(names))))
    everything = "from specbranch_cpp import *\nimport json\nprint(json.dumps(dir()))"
    assert names <= {*json.loads(python(everything))}


@pytest.mark.parametrize("name", sorted(specbranch_cpp._MODULES))
def test_modules_are_there_too(python: RunPython, name: str) -> None:
    code = f"import specbranch_cpp\nprint(specbranch_cpp.{name}.__name__)"
    assert python(code) == f"specbranch_cpp.{name}"


def test_the_homes_of_the_names() -> None:
    for name, home in specbranch_cpp._MODULE_OF.items():
        module = import_module(f"specbranch_cpp.{home}")
        assert name in module.__all__
        assert getattr(specbranch_cpp, name) is getattr(module, name)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="'specbranch_cpp' has no attribute 'Motor'"):
        specbranch_cpp.Motor  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="Motor"):
        from specbranch_cpp import Motor  # type: ignore[attr-defined]  # noqa: F401


def test_help_loads_no_command(python: RunPython) -> None:
    code = """
from specbranch_cpp.cli import main
import contextlib, io, sys
sys.argv = ["specbranch", "--help"]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main()
"""
    modules = loaded(python, code)
    ours = {name for name in modules if name.startswith("specbranch_cpp.cli.")}
    assert ours == {"specbranch_cpp.cli.aliases", "specbranch_cpp.cli.lazy_group"}
    assert modules & {"numpy", "asyncio", "specbranch_cpp.engine"} == set()


def test_a_command_is_the_one_that_help_names() -> None:
    group = get_command(app)
    stand_ins = group.commands  # type: ignore[attr-defined]
    assert list(stand_ins) == list(group.lazy)  # type: ignore[attr-defined]
    for name in stand_ins:
        command = group.loaded(name)  # type: ignore[attr-defined]
        assert command.name == name
        assert command.help
        assert command.params or command.commands
        context = typer.Context(group)
        called = group.resolve_command(context, [name, "--x"])  # type: ignore[attr-defined]
        assert (called[0], called[1].name, called[2]) == (name, name, ["--x"])
