"""What the package does on systems that have less than Linux. Those systems are not here: the tests
take away what they lack."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest
from tests.python.conftest import ROOT

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp._isolated import loading
from specbranch_cpp._llama.library_names import file_name, loaded_name
from specbranch_cpp._support import system

if TYPE_CHECKING:
    from pathlib import Path

    from tests.python.conftest import RunPython

# What Windows lacks and this package uses. The standard library keeps what it has imported.
POORER = """
import asyncio, importlib, os, pkgutil, prompt_toolkit, signal, subprocess, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource", "pwd", "grp"):
            raise ImportError(name)
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
for name in ("sched_getaffinity", "sched_setaffinity", "sysconf", "getloadavg", "fchmod", "getuid",
             "O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK", "RTLD_NOLOAD"):
    delattr(os, name)
del signal.SIGBUS
"""
USE = """
import json
import specbranch_cpp
from specbranch_cpp import Engine, demo
for found in pkgutil.walk_packages(specbranch_cpp.__path__, "specbranch_cpp."):
    # Not what would run a program, or load another engine into this process.
    if found.name.endswith("__main__") or ".peers._" in found.name:
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if error.name != "torch":  # of an extra
            raise
from specbranch_cpp._support.files import replace_file
from specbranch_cpp.bench import machine
from specbranch_cpp.bench.records import RecordFile
here = machine.describe()
replace_file("note.txt", b"a\\nb")
replace_file("note.txt", b"c\\nd")
with Engine(*demo.pair(), n_ctx=512) as engine:
    text = engine.generate("def add(a, b):", max_tokens=8).result().text
print(json.dumps([text, len(here.cpus), here.memory_bytes, machine.load_average()]))
"""


def test_the_package_works_with_less(python: RunPython, tmp_path: Path) -> None:
    code = f"import os\nos.chdir({str(tmp_path)!r})\n"
    text, n_cpus, n_bytes, load = json.loads(python(code + POORER + USE).splitlines()[-1])
    assert text
    assert n_cpus == os.cpu_count()
    assert n_bytes == 0
    assert load is None
    assert (tmp_path / "note.txt").read_bytes() == b"c\nd"


def test_only_one_module_asks_the_system() -> None:
    """Others would fail to import on a system without these modules."""
    imports = re.compile(r"^\s*(import|from) (fcntl|resource|msvcrt|pwd|grp)\b", re.MULTILINE)
    found = {
        path.name for path in (ROOT / "python").rglob("*.py") if imports.search(path.read_text())
    }
    assert found == {"system.py", "_child.py"}


def test_only_one_interface_asks_the_system_in_cpp() -> None:
    headers = (
        r"#\s*include <(sched|pthread|unistd|dlfcn|fcntl|windows|process|sys/\w+|mach/\w+)(\.h)?>"
    )
    found = {
        path.relative_to(ROOT / "cpp/specbranch").as_posix()
        for path in (ROOT / "cpp").rglob("*")
        if path.suffix in (".h", ".cpp") and re.search(headers, path.read_text())
    }
    runtime = "llama/runtime/system"
    assert found == {
        "base/process.h",
        *(f"{runtime}_{name}.cpp" for name in ("linux", "macos", "posix", "windows")),
    }


def test_an_engine_needs_sockets_for_a_process_of_its_own(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "can_pass_sockets", lambda: False)
    with pytest.raises(InvalidArgument, match="an engine cannot run in a process of its own"):
        Engine(pair[0], isolate=True)


def test_names_of_libraries() -> None:
    assert file_name("libllama", "linux") == "libllama.so"
    assert file_name("libggml-*", "darwin") == "libggml-*.dylib"
    assert file_name("libggml-base", "win32") == "ggml-base.dll"
    assert loaded_name("libllama", "linux") == "libllama.so.0"
    assert loaded_name("libllama", "darwin") == "@rpath/libllama.0.dylib"
    assert loaded_name("libllama", "win32") == "llama.dll"


def test_facts_of_this_system(tmp_path: Path) -> None:
    assert set(system.usable_cpus()) <= set(range(os.cpu_count() or 1))
    memory = system.physical_memory()
    assert memory is not None
    assert memory > 2**28
    assert system.can_pass_sockets()
    with (tmp_path / "file").open("wb") as one, (tmp_path / "file").open("wb") as other:
        assert system.lock_file(one)
        assert not system.lock_file(other)
    with (tmp_path / "file").open("wb") as other:
        assert system.lock_file(other)
