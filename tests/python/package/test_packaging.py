from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.conftest import ROOT

import locate_llama_cpp
import setup_env
import specbranch_build
from specbranch_cpp import _core
from specbranch_cpp._llama import cpu_flags, native

if TYPE_CHECKING:
    from collections.abc import Callable

Build = dict[str, Any]

PRINT_LIBRARIES = """
paths = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
names = sorted(path.rsplit("/", 1)[-1] for path in paths)
print(*(name for name in names if name.startswith(("libllama", "libggml"))))
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the code in a process of its own, without this process's OpenMP settings."""
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def output(code: str, **environment: str) -> str:
    result = python(code, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def import_error(code: str, **environment: str) -> str:
    """The last line of the traceback, which has to be an ImportError."""
    result = python(code, **environment)
    assert result.returncode == 1, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    return last


@pytest.mark.parametrize(
    "statements",
    [
        "import specbranch_cpp",
        "import specbranch_cpp, llama_cpp",
        "import llama_cpp, specbranch_cpp",
    ],
)
def test_one_copy_of_each_library_is_mapped(statements: str) -> None:
    names = output(statements + PRINT_LIBRARIES).split()
    assert [name.partition(".")[0] for name in names] == [
        "libggml-base",
        "libggml-cpu",
        "libggml",
        "libllama",
    ]


def test_import_does_not_execute_llama_cpp() -> None:
    assert output("import sys, specbranch_cpp; print('llama_cpp' in sys.modules)") == "False"


PRINT_OPENMP = """
import os, specbranch_cpp
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


def test_openmp_waits_passively_unless_the_user_says_otherwise() -> None:
    assert output(PRINT_OPENMP) == "passive None"
    assert output(PRINT_OPENMP, OMP_WAIT_POLICY="active") == "active None"
    assert output(PRINT_OPENMP, GOMP_SPINCOUNT="100") == "None 100"


def test_missing_llama_cpp_says_how_to_install_it() -> None:
    message = import_error("import sys; sys.modules['llama_cpp'] = None; import specbranch_cpp")
    assert "needs llama-cpp-python" in message
    assert f"pip install {locate_llama_cpp.REQUIREMENT}" in message


def test_folder_without_libllama_is_named(tmp_path: Path) -> None:
    message = import_error("import specbranch_cpp", LLAMA_CPP_LIB_PATH=str(tmp_path))
    assert str(tmp_path) in message
    assert "libllama.so" in message


def test_library_that_does_not_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "libllama.so").write_text("not a library")
    message = import_error("import specbranch_cpp", LLAMA_CPP_LIB_PATH=str(tmp_path))
    assert str(tmp_path / "libllama.so") in message


def build_without(missing: str, folder: Path) -> None:
    """A libggml-cuda.so that needs a library of that name, which is not there."""
    compiler = shutil.which("c++") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no compiler")
    stub = folder / missing
    subprocess.run(
        [compiler, "-shared", "-x", "c", "/dev/null", f"-Wl,-soname,{missing}", "-o", stub],
        check=True,
    )
    subprocess.run(
        [compiler, "-shared", "-Wl,--no-as-needed", "-o", folder / "libggml-cuda.so", stub],
        check=True,
    )
    stub.unlink()


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("libcuda.so.77", "install the driver, or a llama-cpp-python without CUDA"),
        ("libcublas.so.77", "LD_LIBRARY_PATH"),
        ("libhexagon.so.77", "Install llama-cpp-python again"),
    ],
)
def test_backend_whose_library_is_missing_says_what_to_do(
    other_llama: Path, missing: str, remedy: str
) -> None:
    """A build for a GPU, on a machine without its driver or its toolkit."""
    build_without(missing, other_llama)
    message = import_error("import specbranch_cpp", LLAMA_CPP_LIB_PATH=str(other_llama))
    assert f"{other_llama / 'libggml-cuda.so'} does not load: {missing}" in message
    assert remedy in message


@pytest.fixture
def other_llama(tmp_path: Path) -> Path:
    """A copy of the installed llama.cpp, laid out as the wheel does it."""
    installed = native.library_folder()
    lib = tmp_path / "llama_cpp/lib"
    lib.mkdir(parents=True)
    for name in ("libggml-base", "libggml-cpu", "libggml", "libllama"):
        shutil.copy(installed / f"{name}.so", lib)
    shutil.copytree(installed.parents[1] / "include", tmp_path / "include")
    return lib


def test_the_same_llama_elsewhere_is_accepted(other_llama: Path) -> None:
    names = output("import specbranch_cpp" + PRINT_LIBRARIES, LLAMA_CPP_LIB_PATH=str(other_llama))
    assert names == "libggml-base.so libggml-cpu.so libggml.so libllama.so"


def test_other_headers_are_refused(other_llama: Path) -> None:
    with (other_llama.parents[1] / "include/llama.h").open("a") as header:
        header.write("struct llama_new_thing { int a; };\n")
    message = import_error("import specbranch_cpp", LLAMA_CPP_LIB_PATH=str(other_llama))
    assert "another llama.cpp" in message
    assert "headers' fingerprint was" in message
    assert "pip install --force-reinstall" in message


def compile_library(source: str, target: Path, soname: str) -> None:
    command = ["cc", "-O2", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-x", "c", "-", "-o"]
    subprocess.run([*command, str(target)], input=source, text=True, check=True)


def test_library_without_our_functions_is_refused(other_llama: Path) -> None:
    (other_llama / "libllama.so").unlink()
    compile_library("int nothing;", other_llama / "libllama.so", "libllama.so.0")
    message = import_error("import specbranch_cpp", LLAMA_CPP_LIB_PATH=str(other_llama))
    assert "undefined symbol" in message
    assert "pip install --force-reinstall" in message


def test_sizes_are_measured_at_run_time(tmp_path: Path) -> None:
    source = """
    struct params { long a[9]; char last; };
    struct params llama_model_default_params(void) { return (struct params){{1}, 1}; }
    struct params llama_context_default_params(void) { return (struct params){{0}, 0}; }
    struct batch { int n; void *p[7]; };
    struct batch llama_batch_get_one(int *t, int n) { return (struct batch){n, {t}}; }
    struct params ggml_threadpool_params_default(int n) { return (struct params){{n}, 0}; }
    """
    compile_library(source, tmp_path / "lib.so", "lib.so")
    library = ctypes.CDLL(str(tmp_path / "lib.so"))
    sizes = native.struct_sizes({"libllama": library, "libggml-base": library})
    assert sizes == {
        "llama_model_params": 80,
        "llama_context_params": 80,
        "llama_batch": 64,
        "ggml_threadpool_params": 80,
    }


def older_version(built: Build) -> None:
    built["llama_version"] = "0.4.0"


def other_commit(built: Build) -> None:
    built["ggml_commit"] = "1234567"


def smaller_struct(built: Build) -> None:
    built["struct_sizes"]["llama_context_params"] -= 8


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (older_version, "llama.cpp's version was 0.4.0, is "),
        (other_commit, "commit was 1234567, is "),
        (smaller_struct, "llama_context_params had "),
    ],
)
def test_mismatch_is_an_import_error(
    change: Callable[[Build], None], phrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = _core._abi()
    change(info["built"])
    monkeypatch.setattr(_core, "_abi", lambda: info)
    with pytest.raises(ImportError, match="built for another") as caught:
        native.load()
    assert phrase in str(caught.value)
    assert "pip install --force-reinstall" in str(caught.value)


def test_unknown_commit_and_missing_headers_say_nothing() -> None:
    built = _core._abi()["built"]
    running = {**built, "ggml_commit": "unknown", "headers": None, "struct_sizes": {}}
    assert native.compare(built, running) == []
    assert native.compare({**built, "ggml_commit": "0c1e570-dirty"}, running) == []


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


def test_unsafe_wheels_are_recognized() -> None:
    flags = set(SAPPHIRE_RAPIDS.split())
    assert setup_env.unsafe_features(["avx2", "avx512", "avx512_vnni"], flags) == []
    assert setup_env.unsafe_features(["avx2", "amx_int8"], flags) == ["amx_int8"]
    assert setup_env.unsafe_features(["avx2", "avx512"], set(V3.split())) == ["avx512"]


class FakeEnvironment(setup_env.Environment):
    """Notes what would be installed; `builds` says what each of them turns out to be made of."""

    def __init__(self, folder: Path, builds: list[list[str]]) -> None:
        self.record = folder / "record.txt"
        self.builds = builds
        self.installed: list[tuple[str, bool]] = []

    def has(self, requirement: str) -> bool:
        assert requirement == locate_llama_cpp.REQUIREMENT
        return bool(self.installed)

    def install_llama(self, args: str, *, cached: bool) -> None:
        self.installed.append((args, cached))
        self.record.write_text(args)

    def unsafe(self, flags: set[str]) -> list[str]:
        return setup_env.unsafe_features(self.builds[len(self.installed) - 1], flags)


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    return set(SAPPHIRE_RAPIDS.split())


def test_safe_wheel_from_the_cache_is_kept(tmp_path: Path, flags: set[str]) -> None:
    environment = FakeEnvironment(tmp_path, [["avx2"]])
    setup_env.install_llama(environment, flags)
    setup_env.install_llama(environment, flags)
    assert environment.installed == [(cpu_flags.safe_cmake_args(flags), True)]


def test_unsafe_wheel_from_the_cache_is_compiled_again(tmp_path: Path, flags: set[str]) -> None:
    environment = FakeEnvironment(tmp_path, [["avx2", "amx_int8"], ["avx2"]])
    setup_env.install_llama(environment, flags)
    assert [cached for _, cached in environment.installed] == [True, False]


def test_setup_gives_up_on_a_build_that_stays_unsafe(tmp_path: Path, flags: set[str]) -> None:
    environment = FakeEnvironment(tmp_path, [["amx_int8"], ["amx_int8"]])
    with pytest.raises(SystemExit, match="amx_int8"):
        setup_env.install_llama(environment, flags)


def test_explicit_cmake_args_are_respected(
    tmp_path: Path, flags: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    environment = FakeEnvironment(tmp_path, [["amx_int8"], ["amx_int8"]])
    setup_env.install_llama(environment, flags)
    setup_env.install_llama(environment, flags)
    assert environment.installed == [("-DGGML_CUDA=ON", False)]
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=OFF")
    setup_env.install_llama(environment, flags)
    assert environment.installed[1:] == [("-DGGML_CUDA=OFF", False)]


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
def test_the_installed_library_runs_on_this_cpu() -> None:
    environment = setup_env.Environment(Path(sys.prefix))
    assert environment.has(locate_llama_cpp.REQUIREMENT)
    assert environment.unsafe(cpu_flags.cpu_flags(cpu_flags.read_cpuinfo())) == []


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(setup_env, "missing_packages", lambda: ["doctest-dev"])
    with pytest.raises(SystemExit, match="apt-get install doctest-dev"):
        setup_env.install_packages()


def fake_installation(folder: Path, version: str) -> Path:
    for file in ("include/llama.h", "llama_cpp/lib/libllama.so"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    metadata = folder / f"llama_cpp_python-{version}.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {version}\n")
    return folder


def test_only_the_pinned_installation_is_linked_to(tmp_path: Path) -> None:
    pinned = locate_llama_cpp.REQUIREMENT.partition("==")[2]
    old = fake_installation(tmp_path / "old", "0.3.1")
    right = fake_installation(tmp_path / "right", pinned)
    assert locate_llama_cpp.installed_prefix([tmp_path, old]) is None
    assert locate_llama_cpp.installed_prefix([old, right]) == right


def test_llama_is_a_build_requirement_only_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SPECBRANCH_LLAMA_PREFIX", raising=False)
    pinned = locate_llama_cpp.REQUIREMENT.partition("==")[2]
    monkeypatch.setattr(locate_llama_cpp, "user_folders", lambda: [tmp_path])
    assert locate_llama_cpp.REQUIREMENT in specbranch_build.get_requires_for_build_wheel()
    fake_installation(tmp_path, pinned)
    assert locate_llama_cpp.REQUIREMENT not in specbranch_build.get_requires_for_build_wheel()
    assert locate_llama_cpp.REQUIREMENT not in specbranch_build.get_requires_for_build_editable()


def test_the_pins_agree() -> None:
    assert locate_llama_cpp.REQUIREMENT in (importlib.metadata.requires("specbranch_cpp") or [])
    assert locate_llama_cpp.REQUIREMENT in native._INSTALL


def test_the_gpu_suite_installs_what_the_package_needs() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    listed = project.split("\ndependencies = [", 1)[1].split("]", 1)[0]
    needed = re.findall(r'^ *"([\w-]+)([^"]*)"', listed, re.M)
    assert len(needed) > 3
    pack = (ROOT / "benchmarks/gpu_pack.sh").read_text()
    suite = (ROOT / "benchmarks/gpu_suite.sh").read_text()
    packed = re.findall(r"^packages=\((.*?)\)", pack, re.M | re.S)[0].split()
    for name, version in needed:
        if name != "llama-cpp-python":  # built from its source there
            assert name in packed
            assert f"'{name}{version}'" in suite
