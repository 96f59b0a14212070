"""Imports point one way: from a floor of the house to those below it, in C++ and in Python."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest
from tests.python.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

CPP = ROOT / "cpp"
CPP_FLOORS = (
    {"base"},
    {"sampling"},
    {"model"},
    {"report", "tree"},
    {"lookup"},
    {"planner"},
    {"planner/auto", "decoder"},
    {"engine"},
    {"simulation"},
    {"llama/runtime"},
    {"llama/vocabulary"},
    {"llama/file", "llama/sampling"},
    {"llama/context"},
    {"llama/models"},
    {"bindings/library"},
    {"bindings/engine", "bindings/report"},
    {"bindings/simulation"},
    {"bindings"},
)
"""Folders below cpp/specbranch, and cpp/bindings: each includes only from floors before its own."""

NOT_FOR_LLAMA = {"tree", "lookup", "planner", "planner/auto", "decoder", "engine", "simulation"}
"""What makes decisions knows no llama.cpp, and llama.cpp's side knows nothing of it."""

PACKAGE = ROOT / "python/specbranch_cpp"
PYTHON_FLOORS = (
    {"_core", "errors", "demo", "grammars", "options"},
    {"_support"},
    {"_llama", "_plots"},
    {"_grammar", "_pair", "_rpc", "_scaling", "timeline"},
    {"results", "policies", "processors", "simulation"},
    {"_placement"},
    {"_engine"},
    {"generation", "_isolated"},
    {"openai_api"},
    {"engine"},
    {"async_engine", "hrad", "bench"},
    {"server", "check"},
    {"local_models"},
    {"cli"},
    {"__init__", "__main__"},
)
"""Modules and folders of the package: each imports only from floors before its own, or from itself.
What only a type checker reads (``if TYPE_CHECKING``) may point anywhere."""


def floor_of(floors: Sequence[Collection[str]]) -> dict[str, int]:
    return {unit: floor for floor, units in enumerate(floors) for unit in units}


def wrong_edges(graph: Mapping[str, set[str]], floors: Sequence[Collection[str]]) -> list[str]:
    """What is not on a floor, or needs something of its own floor or above."""
    known = floor_of(floors)
    wrong = []
    for unit, needed in sorted(graph.items()):
        if unit not in known:
            wrong.append(f"{unit} has no floor")
            continue
        wrong += [
            f"{unit} needs {below}"
            for below in sorted(needed - {unit})
            if known.get(below, len(floors)) >= known[unit]
        ]
    return wrong


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Files that need each other in a circle; empty if none do."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def between(graph: Mapping[str, set[str]], unit: Mapping[str, str]) -> dict[str, set[str]]:
    """The same graph with folders in place of files."""
    made: dict[str, set[str]] = {}
    for file, needed in graph.items():
        made.setdefault(unit[file], set()).update(unit[one] for one in needed)
    return made


def cpp_includes() -> dict[str, set[str]]:
    """Paths below cpp/, and the files there that each includes."""
    files = {
        path.relative_to(CPP).as_posix(): path
        for path in CPP.rglob("*")
        if path.suffix in (".h", ".cpp")
    }
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        beside = name.rpartition("/")[0]
        written = re.findall(r'^\s*#\s*include "([^"]+)"', path.read_text(), re.MULTILINE)
        whole = {one if one in files else f"{beside}/{one}" for one in written}
        found[name] = whole & files.keys()
    return found


def cpp_unit(file: str) -> str:
    return file.rpartition("/")[0].removeprefix("specbranch/")


def test_includes_point_down() -> None:
    files = cpp_includes()
    graph = between(files, {file: cpp_unit(file) for file in files})
    assert wrong_edges(graph, CPP_FLOORS) == []
    assert {unit for units in CPP_FLOORS for unit in units} == set(graph)
    for unit, needed in graph.items():
        if unit.startswith("llama/"):
            assert needed & NOT_FOR_LLAMA == set(), unit
    assert circle(files) == []


def test_folders_that_the_thread_sanitizer_leaves_out_start_no_threads() -> None:
    rules = (ROOT / "tests/cpp/CMakeLists.txt").read_text()
    (line,) = re.findall(r"set\(without_threads ([^)]*)\)", rules)
    folders = line.split()
    assert "planner/auto" in folders
    started = re.compile(
        r"\b(std::(j?thread|async|packaged_task)|Strand|Worker|Engine [a-z_]+\(|Engine\()"
    )
    for folder in folders:
        for tree in ("cpp/specbranch", "tests/cpp"):
            for path in (ROOT / tree / folder).iterdir():
                if path.suffix in (".h", ".cpp"):
                    assert not started.search(path.read_text()), path


def imported(node: ast.AST) -> Iterator[tuple[str, str | None]]:
    """What a module imports when the program runs, at its top or later: modules, and names of them.

    What stands under ``if TYPE_CHECKING`` is left out.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from imported(ast.Module(child.orelse, type_ignores=[]))
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, None) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: name the whole module"
            yield from ((str(child.module), alias.name) for alias in child.names)
        yield from imported(child)


class Package:
    """The modules of a package, and which of them import which.

    Args:
        folder: of the package.
        extensions: compiled modules at its top.
    """

    def __init__(self, folder: Path, extensions: Collection[str] = ()) -> None:
        self.name = folder.name
        self.files = {self._module(path, folder): path for path in folder.rglob("*.py")}
        self._modules = {*self.files, *(f"{self.name}.{each}" for each in extensions)}

    def imports(self) -> dict[str, set[str]]:
        """Modules of the package that each of its modules imports."""
        return {module: set(self._imports_of(module)) - {module} for module in self.files}

    def units(self) -> dict[str, set[str]]:
        """The same with folders at the top of the package in place of their modules."""
        graph = self.imports()
        modules = set(graph).union(*graph.values())
        return between(graph, {module: [*module.split("."), "__init__"][1] for module in modules})

    def _module(self, path: Path, folder: Path) -> str:
        parts = path.relative_to(folder.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imports_of(self, module: str) -> Iterator[str]:
        for other, name in imported(ast.parse(self.files[module].read_text())):
            if other.split(".")[0] == self.name:
                full = f"{other}.{name}"
                yield full if full in self._modules else other


def test_imports_point_down() -> None:
    package = Package(PACKAGE, ["_core"])
    units = package.units()
    assert wrong_edges(units, PYTHON_FLOORS) == []
    assert {unit for units in PYTHON_FLOORS for unit in units} == {*units, "_core"}
    assert circle(package.imports()) == []


def test_what_is_seen_of_a_package(tmp_path: Path) -> None:
    folder = tmp_path / "house"
    folder.mkdir()
    sources = {
        "__init__": "from house.hall import door\n__version__ = '1'\n",
        "hall": "def open():\n    from house import cellar\n    import house.roof\n",
        "cellar": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from house.hall import open\nelse:\n    from house import _core\n",
        "roof": "if True:\n    from house import __version__\n",
    }
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text)
    package = Package(folder, ["_core"])
    assert package.units() == {
        "__init__": {"hall"},
        "hall": {"cellar", "roof"},
        "cellar": {"_core"},
        "roof": {"__init__"},
    }
    floors: Sequence[Collection[str]] = (["_core"], ["cellar"], ["roof"], ["hall"], ["__init__"])
    assert wrong_edges(package.units(), floors) == ["roof needs __init__"]
    assert wrong_edges({"attic": set()}, floors) == ["attic has no floor"]
    assert set(circle(package.imports())) == {"house", "house.hall", "house.roof"}
    (folder / "roof.py").write_text("from . import cellar\n")
    with pytest.raises(AssertionError, match="name the whole module"):
        package.imports()


def test_matplotlib_is_guarded_in_one_place() -> None:
    files = Package(PACKAGE).files
    found = {
        module
        for module, path in files.items()
        for other, _ in imported(ast.parse(path.read_text()))
        if other.split(".")[0] == "matplotlib"
    }
    assert found == {"specbranch_cpp._plots.style"}


def test_a_class_has_a_name_of_its_own() -> None:
    """But for the backends of other engines in `bench.peers`, which have one interface."""
    files: dict[str, list[str]] = {}
    for module, path in Package(PACKAGE).files.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files.setdefault(node.name, []).append(module)
    shared = {name: modules for name, modules in files.items() if len(modules) > 1}
    assert set(shared) == {"Backend"}, shared
