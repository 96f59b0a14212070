"""The set-up of `make demo` and `make test`: what it decides, and what it shows."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.python.conftest import ROOT

import locate_llama_cpp
import setup_env
from setup import llama, progress, registry, system
from setup.environment import Environment, State
from setup.package import INCLUDED_IN, Package, sources
from specbranch_cpp._llama import cpu_flags

if TYPE_CHECKING:
    from collections.abc import Callable

# What /proc/cpuinfo says, shortened.
V2 = "sse4_2 bmi2"
V3 = f"{V2} avx avx2 fma f16c"
V4 = f"{V3} avx512f avx512cd avx512vl avx512dq avx512bw"
SAPPHIRE_RAPIDS = f"{V4} avx512vbmi avx512_vnni avx512_bf16 avx_vnni amx_tile amx_int8 amx_bf16"


@pytest.mark.parametrize(
    ("flags", "args"),
    [
        (V3, "-DGGML_NATIVE=OFF"),
        (V4, "-DGGML_NATIVE=OFF -DGGML_AVX512=ON"),
        (f"{V4} avx512_vnni", "-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON"),
        (
            SAPPHIRE_RAPIDS,
            "-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON",
        ),
        (f"{V3} avx512f avx512_vnni", "-DGGML_NATIVE=OFF"),
        (
            V2,
            "-DGGML_NATIVE=OFF -DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF",
        ),
    ],
)
def test_cmake_args_follow_cpuinfo(flags: str, args: str) -> None:
    cpuinfo = f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu {flags}\nbugs\t\t: none\n"
    found = cpu_flags.cpu_flags(f"{cpuinfo}\n{cpuinfo}")
    assert cpu_flags.safe_cmake_args(found, "x86_64") == args


def test_other_machines_get_the_defaults() -> None:
    found = cpu_flags.cpu_flags("processor\t: 0\nFeatures\t: fp asimd sve\n")
    assert cpu_flags.safe_cmake_args(found, "aarch64") == "-DGGML_NATIVE=OFF"


def test_a_llama_cpp_that_is_compiled_again_keeps_its_gpus() -> None:
    found = "CUDA : ARCHS = 900 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | "
    assert cpu_flags.with_backends("-DX=ON", found) == "-DGGML_CUDA=ON -DX=ON"
    assert cpu_flags.with_backends("-DX=ON", "CPU : SSE3 = 1 | ") == "-DX=ON"


def test_unsafe_wheels_are_recognized() -> None:
    flags = set(SAPPHIRE_RAPIDS.split())
    assert llama.unsafe_features(["avx2", "avx512", "avx512_vnni"], flags) == []
    assert llama.unsafe_features(["avx2", "amx_int8"], flags) == ["amx_int8"]
    assert llama.unsafe_features(["avx2", "avx512"], set(V3.split())) == ["avx512"]


def fake_environment(folder: Path) -> Environment:
    """The files by which an environment is known, without a Python in it."""
    environment = Environment(folder)
    environment.site.mkdir(parents=True)
    (folder / "bin").mkdir()
    environment.python.touch()
    (folder / "bin/pip").write_text(f"#!{environment.python}\n")
    return environment


def add_distribution(environment: Environment, name: str, version: str, record: str = "") -> None:
    folder = environment.site / f"{name}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "RECORD").write_text(record)


class FakeLlama(llama.Llama):
    """Notes what would be installed; `builds` says what each of them turns out to be made of."""

    def __init__(self, environment: Environment, flags: set[str], builds: list[list[str]]) -> None:
        super().__init__(environment, State(environment), flags)
        self.environment = environment
        self.builds = builds
        self.installed: list[tuple[str, bool]] = []

    def install_wheel(self, *_to: object, compiled: bool) -> None:
        self.installed.append((self._args, compiled))
        add_distribution(self.environment, "llama_cpp_python", llama.VERSION, str(self.installed))

    def unsafe(self) -> list[str]:
        return llama.unsafe_features(self.builds[len(self.installed) - 1], self._flags)

    def set_up(self) -> list[bool]:
        """As the set-up does it; returns for each installation whether it was compiled."""
        if not self.ready():
            self.install(progress.Display(1, io.StringIO()), Path("unused"))
        return [compiled for _, compiled in self.installed]


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    return set(SAPPHIRE_RAPIDS.split())


def test_safe_wheel_is_kept(tmp_path: Path, flags: set[str]) -> None:
    fake = FakeLlama(fake_environment(tmp_path), flags, [["avx2"]])
    assert fake.set_up() == [False]
    assert fake.set_up() == [False]
    assert fake.installed == [(cpu_flags.safe_cmake_args(flags), False)]


def test_unsafe_wheel_is_compiled_again(tmp_path: Path, flags: set[str]) -> None:
    fake = FakeLlama(fake_environment(tmp_path), flags, [["avx2", "amx_int8"], ["avx2"]])
    assert fake.set_up() == [False, True]


def test_setup_gives_up_on_a_build_that_stays_unsafe(tmp_path: Path, flags: set[str]) -> None:
    fake = FakeLlama(fake_environment(tmp_path), flags, [["amx_int8"], ["amx_int8"]])
    with pytest.raises(SystemExit, match="amx_int8"):
        fake.set_up()


def test_a_build_for_another_cpu_is_compiled_again(tmp_path: Path, flags: set[str]) -> None:
    """The folder was copied to a machine whose CPU has less."""
    environment = fake_environment(tmp_path)
    FakeLlama(environment, flags, [["avx2", "avx512"]]).set_up()
    there = FakeLlama(environment, set(V3.split()), [["avx2", "avx512"], ["avx2"]])
    there.installed = [("", False)]
    there.builds = [["avx512"], ["avx2"]]
    assert there.set_up() == [False, True]


def test_what_was_installed_by_hand_is_respected_if_it_runs(
    tmp_path: Path, flags: set[str]
) -> None:
    environment = fake_environment(tmp_path)
    add_distribution(environment, "llama_cpp_python", llama.VERSION)
    assert FakeLlama(environment, flags, [["avx2"]]).set_up() == []


def test_another_version_is_replaced(tmp_path: Path, flags: set[str]) -> None:
    environment = fake_environment(tmp_path)
    add_distribution(environment, "llama_cpp_python", "0.3.1")
    assert FakeLlama(environment, flags, [["avx2"]]).set_up() == [False]


def test_explicit_cmake_args_are_respected(
    tmp_path: Path, flags: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = fake_environment(tmp_path)
    for args in ("-DGGML_CUDA=ON", "-DGGML_CUDA=OFF"):
        monkeypatch.setenv("CMAKE_ARGS", args)
        fake = FakeLlama(environment, flags, [["amx_int8"]])
        assert fake.set_up() == fake.set_up() == [True]
        assert fake.installed == [(args, True)]
    monkeypatch.delenv("CMAKE_ARGS")
    assert FakeLlama(environment, flags, []).set_up() == []


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
def test_the_installed_library_runs_on_this_cpu() -> None:
    environment = Environment(Path(sys.prefix))
    here = llama.Llama(environment, State(environment), llama.this_cpu())
    assert here.version() == locate_llama_cpp.REQUIREMENT.partition("==")[2]
    assert here.unsafe() == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The sources of a package, as far as the set-up looks at them."""
    root = tmp_path / "project"
    for name in ("cpp/a.cpp", "python/specbranch_cpp/a.py", "pyproject.toml", "CMakeLists.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


class FakePackage(Package):
    """A package that is installed without being built."""

    def put(self, environment: Environment, record: str) -> None:
        (environment.folder / "specbranch_wheel").mkdir(exist_ok=True)
        (environment.folder / "specbranch_wheel/specbranch_cpp-0.1.0.whl").touch()
        add_distribution(environment, "specbranch_cpp", "0.1.0", record)
        self._state.set("package", self._description())


def edit_cpp(root: Path) -> None:
    (root / "cpp/a.cpp").write_text("edited")


def add_python(root: Path) -> None:
    (root / "python/specbranch_cpp/b.py").touch()


def rename_cpp(root: Path) -> None:
    (root / "cpp/a.cpp").rename(root / "cpp/b.cpp")


def edit_project(root: Path) -> None:
    (root / "pyproject.toml").write_text("edited")


def delete_python(root: Path) -> None:
    (root / "python/specbranch_cpp/a.py").unlink()


@pytest.mark.parametrize("change", [edit_cpp, add_python, rename_cpp, edit_project, delete_python])
def test_a_changed_source_is_built_again(
    change: Callable[[Path], None], tmp_path: Path, project: Path
) -> None:
    environment = fake_environment(tmp_path / "venv")
    package = FakePackage(environment, State(environment), werror=False, root=project)
    assert not package.ready()
    package.put(environment, "installed")
    again = FakePackage(environment, State(environment), werror=False, root=project)
    assert again.ready()
    (project / "python/specbranch_cpp/__pycache__").mkdir()
    (project / "python/specbranch_cpp/__pycache__/a.pyc").touch()
    (project / "python/specbranch_cpp/_core.so").touch()
    assert again.ready()
    change(project)
    assert not again.ready()


def test_another_installation_is_built_over(tmp_path: Path, project: Path) -> None:
    environment = fake_environment(tmp_path / "venv")
    package = FakePackage(environment, State(environment), werror=False, root=project)
    package.put(environment, "installed")
    add_distribution(environment, "specbranch_cpp", "0.1.0", "by hand")
    assert not package.ready()
    package.put(environment, "installed")
    assert package.ready()
    add_distribution(environment, "llama_cpp_python", llama.VERSION, "another build")
    assert not package.ready()
    assert not FakePackage(environment, State(environment), werror=True, root=project).ready()


def test_requirements_are_installed_once(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = []
    environment = fake_environment(tmp_path / "venv")

    def run(_display: object, command: list[str], *_rest: object, **_options: object) -> None:
        installed.append(command[-1].rpartition("/")[2])
        add_distribution(environment, "numpy", "2.0")

    monkeypatch.setattr(progress, "run", run)
    package = FakePackage(environment, State(environment), werror=False, root=project)
    package.put(environment, "installed")
    for extra in ("", "test"):
        assert not package.has_requirements(extra)
        package.install_requirements(extra, progress.Display(1, io.StringIO()), tmp_path / "log")
    assert installed == ["specbranch_cpp-0.1.0.whl", "specbranch_cpp-0.1.0.whl[test]"]
    assert package.has_requirements("")
    assert package.has_requirements("test")
    (environment.site / "numpy-2.0.dist-info").rename(environment.site / "gone")
    assert not package.has_requirements("")
    (environment.site / "gone").rename(environment.site / "numpy-2.0.dist-info")
    edit_project(project)
    assert not package.has_requirements("")


def test_extras_include_others(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a demo after the tests asks pip nothing."""
    monkeypatch.setattr(progress, "run", lambda *_to, **_options: None)
    environment = fake_environment(tmp_path / "venv")
    package = FakePackage(environment, State(environment), werror=False, root=project)
    package.put(environment, "installed")
    package.install_requirements("test", progress.Display(1, io.StringIO()), tmp_path / "log")
    assert [name for name in INCLUDED_IN if package.has_requirements(name)] == ["", "test"]
    listed = (ROOT / "pyproject.toml").read_text()
    for inner, outer in INCLUDED_IN.items():
        for name in outer if inner else ():
            assert re.search(rf"^{name} = \[[^]]*?\[[\w,]*{inner}\]", listed, re.M), (inner, name)


def test_the_build_reads_what_is_watched() -> None:
    found = {str(path.relative_to(ROOT)) for path in sources()}
    assert {"cpp/bindings/module.cpp", "python/specbranch_cpp/engine.py"} <= found
    assert "third_party/llama_cpp/FindLlamaCpp.cmake" in found
    assert not [name for name in found if name.startswith(("tests/", "docs/", "benchmarks/"))]


def test_a_moved_environment_is_made_anew(tmp_path: Path) -> None:
    """Its programs name the folder where it was made."""
    environment = fake_environment(tmp_path / "venv")
    State(environment).set("package", "known")
    assert environment.usable()
    assert State(environment).get("package") == "known"
    (tmp_path / "venv").rename(tmp_path / "moved")
    moved = Environment(tmp_path / "moved")
    assert not moved.usable()
    assert State(moved).get("package") is None
    assert not Environment(tmp_path / "none").usable()


def test_a_state_that_was_cut_off_is_forgotten(tmp_path: Path) -> None:
    environment = fake_environment(tmp_path)
    State(environment).set("package", "known")
    (tmp_path / "specbranch_setup.json").write_text('{"packa')
    assert State(environment).get("package") is None


GCC = system.Part("g++", "a compiler")
CHROMIUM = system.Part("chromium", "Chromium", optional=True)


def test_a_demo_needs_nothing_that_only_tests_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "doctest_is_there", lambda: False)
    monkeypatch.setattr(system, "BROWSERS", ("no-browser",))
    for_a_demo = [part.package for part in system.missing(tests=False, venv=tmp_path)]
    for_tests = [part.package for part in system.missing(tests=True, venv=tmp_path)]
    assert for_tests == [*for_a_demo, "doctest-dev", "chromium"]
    assert setup_env.EXTRAS["demo"] == ""


def test_without_a_compiler_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-compiler")
    assert "g++" in [part.package for part in system.missing(tests=False, venv=tmp_path)]


def test_the_steps_are_known_before_there_is_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(system, "privilege", list)
    monkeypatch.setattr(system, "installable", list)
    titles = [step[0] for step in setup_env.steps_of("demo", Environment(tmp_path / "venv"))]
    assert titles[0].startswith("installing g++")
    assert titles[1].startswith("making the environment")
    assert titles[2:] == [
        "installing build tools",
        "compiling llama.cpp",
        "compiling the extension",
        "installing what the package needs",
    ]


def test_a_finished_set_up_has_no_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: set[str]
) -> None:
    environment = fake_environment(tmp_path / "venv")
    for name, version in (("pybind11", "3.1"), ("scikit_build_core", "0.11"), ("ninja", "1")):
        add_distribution(environment, name, version)
    for name in ("cmake", "ninja"):
        (environment.folder / "bin" / name).write_text("#!/bin/sh\necho version 4.0.1\n")
        (environment.folder / "bin" / name).chmod(0o755)
    monkeypatch.setattr(system, "missing", lambda **_options: [])
    monkeypatch.setattr(llama, "this_cpu", lambda: flags)
    monkeypatch.setattr(setup_env, "Package", FakePackage)
    FakeLlama(environment, flags, [["avx2"]]).set_up()
    package = FakePackage(environment, State(environment), werror=False)
    package.put(environment, "installed")
    monkeypatch.setattr(progress, "run", lambda *_to, **_options: None)
    package.install_requirements("", progress.Display(1, io.StringIO()), tmp_path / "log")
    monkeypatch.delenv("CI", raising=False)
    assert setup_env.steps_of("demo", environment) == []
    titles = [step[0] for step in setup_env.steps_of("test", environment)]
    assert titles == ["installing what the tests need"]


def test_missing_packages_are_named_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "privilege", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert system.installable([GCC, CHROMIUM]) == []
    with pytest.raises(SystemExit) as caught:
        system.demand([GCC, CHROMIUM])
    message = str(caught.value)
    assert message.endswith("sudo apt-get update && sudo apt-get install -y g++ chromium")
    assert "\n" not in message
    system.demand([CHROMIUM])  # only tests are skipped


def test_without_apt_they_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert system.installable([GCC]) == []
    assert system.instruction([GCC, CHROMIUM]) == "install a compiler, Chromium"


@pytest.mark.parametrize(("name", "installed"), [("debian", True), ("ubuntu", False)])
def test_ubuntu_has_no_chromium_for_us(
    name: str, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "privilege", list)
    monkeypatch.setattr(system, "distribution", lambda: name)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert (CHROMIUM in system.installable([GCC, CHROMIUM])) == installed
    assert GCC in system.installable([GCC, CHROMIUM])


@pytest.mark.parametrize(("code", "expected"), [(0, ["sudo", "-n"]), (1, None)])
def test_sudo_is_used_where_it_asks_for_no_password(
    code: int, expected: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/sh\ntest "$*" = "-n true" && exit {code}\nexit 2\n')
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert system.privilege() == expected


def test_pytorch_for_cpus_is_found_by_its_local_version() -> None:
    listed = "torch (2.15.0)\nAvailable versions: 2.15.0, 2.13.0+cpu, 2.13.0, 2.9.1+cpu\n"
    assert registry.cpu_build(listed) == "torch==2.13.0+cpu"
    assert registry.cpu_build("Available versions: 2.15.0, 2.13.0\n") is None
    assert registry.cpu_build("") is None


def test_build_tools_of_the_system_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = fake_environment(tmp_path / "venv")
    add_distribution(environment, "pybind11", "2.13.0")
    add_distribution(environment, "scikit_build_core", "0.11.1")
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    needs = registry.missing_build_tools(environment)
    assert needs == ["pybind11>=3.0", "cmake>=3.21", "ninja"]
    for name, version in (("cmake", "3.18.4"), ("ninja", "1.11")):
        (programs / name).write_text(f"#!/bin/sh\necho {name} version {version}\n")
        (programs / name).chmod(0o755)
    add_distribution(environment, "pybind11", "3.1.0")
    (environment.site / "pybind11-2.13.0.dist-info/RECORD").unlink()
    (environment.site / "pybind11-2.13.0.dist-info").rmdir()
    assert registry.missing_build_tools(environment) == ["cmake>=3.21"]
    (programs / "cmake").write_text("#!/bin/sh\necho cmake version 3.25.1\n")
    assert registry.missing_build_tools(environment) == []
