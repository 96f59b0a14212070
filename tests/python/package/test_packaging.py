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
import specbranch_build
from specbranch_cpp import _core
from specbranch_cpp._llama import native

if TYPE_CHECKING:
    from collections.abc import Callable

Build = dict[str, Any]

OPENMP_WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
PRINT_LIBRARIES = """
paths = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
names = sorted(path.rsplit("/", 1)[-1] for path in paths)
print(*(name for name in names if name.startswith(("libllama", "libggml"))))
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the code in a process of its own, without this process's OpenMP settings."""
    inherited = {k: v for k, v in os.environ.items() if k not in OPENMP_WAITS}
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


PRINT_WAITS = f"""
import os, specbranch_cpp
print(*(os.environ.get(name) for name in {OPENMP_WAITS}))
"""


def openmp_says(**variables: str) -> dict[str, str]:
    """How the threads of GNU OpenMP wait, in its own words."""
    said = python(PRINT_WAITS, OMP_DISPLAY_ENV="verbose", **variables).stderr
    return dict(re.findall(r"(OMP_WAIT_POLICY|GOMP_SPINCOUNT) = '(\w+)'", said))


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP")
def test_openmp_spins_shortly_unless_the_user_says_otherwise() -> None:
    assert openmp_says() == {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "400"}
    passive = openmp_says(OMP_WAIT_POLICY="passive")
    assert passive == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    assert openmp_says(GOMP_SPINCOUNT="100")["GOMP_SPINCOUNT"] == "100"


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP")
def test_other_programs_do_not_inherit_how_openmp_waits() -> None:
    assert output(PRINT_WAITS) == "None None 0"
    assert output(PRINT_WAITS, OMP_WAIT_POLICY="active") == "active None None"
    assert output(PRINT_WAITS, GOMP_SPINCOUNT="100") == "None 100 None"
    assert output(PRINT_WAITS, KMP_BLOCKTIME="5") == "None None 5"


def test_missing_llama_cpp_says_how_to_install_it() -> None:
    message = import_error("import sys; sys.modules['llama_cpp'] = None; import specbranch_cpp")
    assert "needs llama-cpp-python" in message
    assert f"pip install {locate_llama_cpp.REQUIREMENT}" in message


def test_folder_without_libllama_is_named(tmp_path: Path) -> None:
    message = import_error("import specbranch_cpp", LLAMA_CPP_LIB_PATH=str(tmp_path))
    assert str(tmp_path) in message
    assert "libllama.so" in message
    assert message.endswith("Correct or remove LLAMA_CPP_LIB_PATH")
    assert "does not contain it" in import_error(
        "import specbranch_cpp", LLAMA_CPP_LIB_PATH=500 * "x"
    )


SCRIPT = "import sys\nfrom specbranch_cpp.__main__ import main\nsys.exit(main())\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("generate", "-p", "x")], ids=" ".join)
@pytest.mark.parametrize("how", ["script", "module"])
def test_a_command_without_llama_cpp_is_one_line(
    tmp_path: Path, how: str, arguments: tuple[str, ...]
) -> None:
    script = tmp_path / "specbranch"
    script.write_text(SCRIPT)
    program = ["-m", "specbranch_cpp"] if how == "module" else [str(script)]
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        env=os.environ | {"LLAMA_CPP_LIB_PATH": str(tmp_path), "PYTHONPATH": path_of_tests()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("specbranch: specbranch_cpp needs libllama.so, but the folder of")
    assert done.stderr.count("\n") == 1


def path_of_tests() -> str:
    return os.pathsep.join(sys.path)


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


def test_library_without_a_measured_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_libraries: object) -> None:
        raise AttributeError("libllama.so.0: undefined symbol: llama_batch_get_one")

    monkeypatch.setattr(native, "struct_sizes", missing)
    with pytest.raises(ImportError, match=r"another llama\.cpp .* undefined symbol: llama_batch"):
        native.load()


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
        (older_version, "llama.cpp's version was 0.4.0 and is now "),
        (other_commit, "commit was 1234567 and is now "),
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
