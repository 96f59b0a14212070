"""Loads the compiled extension against the llama.cpp that llama-cpp-python has installed.

The process must map exactly one copy of each library, whether `llama_cpp` is imported before,
after, or never. That copy must belong to the headers with which the extension was compiled.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._llama.library_names import file_name, loaded_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

_PACKAGE = "specbranch_cpp"
# In the order of their dependencies. Separate backends (CUDA ...) come before libggml.
_FIRST, _LAST = ("libggml-base", "libggml-cpu"), ("libggml", "libllama")
# The same list as in FindLlamaCpp.cmake.
_HEADERS = ("llama.h", "ggml.h", "ggml-backend.h", "ggml-cpu.h", "gguf.h")
_OVERRIDE = "LLAMA_CPP_LIB_PATH"
_INSTALL = "Install it with: pip install llama-cpp-python==0.3.36"
# Advice by the name of the missing library: the first entry that is a prefix of the name.
_MISSING = {
    "libcuda.so": "It was built for NVIDIA GPUs, but this machine has no driver for them: "
    "install the driver, or a llama-cpp-python without CUDA",
    "libcu": "It was built for NVIDIA GPUs and needs this library of the CUDA toolkit: install "
    "the library, and add its folder to LD_LIBRARY_PATH if the loader does not search "
    "there",
    "": "Install llama-cpp-python again, or install the missing libraries",
}
_REINSTALL = (
    "Build specbranch_cpp again, for this llama.cpp: "
    "pip install --force-reinstall --no-deps --no-cache-dir specbranch_cpp "
    "(or the folder of its source)"
)


_IS_LINUX = sys.platform.startswith("linux")
SHORT_WAITS = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "400"}
"""With these variables, a thread of GNU OpenMP that waits at a barrier spins for some microseconds,
and then sleeps. Without the first one it spins a quarter of that where two models share the cores.

A forward pass has hundreds of barriers. To sleep at each, and to be woken, takes longer than to
spin. To spin until all are there takes a core away from the other model, or from other programs.
``benchmarks/README.md`` has the measurements.
"""


def waits(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to add, so that threads of OpenMP wait as in the engine.

    None are added where the user says how they wait.
    """
    if environment.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        return {}
    return SHORT_WAITS if _IS_LINUX else {"OMP_WAIT_POLICY": "passive"}


def load() -> ModuleType:
    """Returns the extension module. Raises an ImportError that says what to do."""
    folder = library_folder()
    with _waits():
        libraries = preload(folder)
    try:
        core = importlib.import_module("._core", _PACKAGE)
    except ImportError as error:
        raise ImportError(
            f"specbranch_cpp's extension does not load with llama.cpp in {folder}: {error}. "
            f"{_REINSTALL}"
        ) from error
    info = core._abi()
    try:
        sizes = struct_sizes(libraries)
    except AttributeError as error:  # a function is missing
        raise ImportError(
            f"specbranch_cpp was built for another llama.cpp than that in {folder}: {error}. "
            f"{_REINSTALL}"
        ) from error
    running = {
        **info["running"],
        "headers": headers_digest(folder.parents[1] / "include"),
        "struct_sizes": sizes,
    }
    if differences := compare(info["built"], running):
        raise ImportError(
            f"specbranch_cpp was built for another llama.cpp than that in {folder}: "
            f"{'; '.join(differences)}. {_REINSTALL}"
        )
    return core


@contextlib.contextmanager
def _waits() -> Iterator[None]:
    """Loads OpenMP with the variables of `waits`.

    GNU OpenMP reads its variables when it is loaded, so that later they need not be there: other
    programs, and other copies of OpenMP, keep their own defaults. Other implementations do not know
    the number of spins, and may read their variables later: their threads always sleep.
    """
    added = waits(os.environ)
    os.environ.update(added)
    if not (added and _IS_LINUX):
        yield
        return
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # LLVM's and Intel's OpenMP
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def library_folder() -> Path:
    """The folder of libllama.so that `import llama_cpp` would use.

    This function does not import `llama_cpp`, because the import would install a log callback that
    needs the GIL.
    """
    if override := os.environ.get(_OVERRIDE):
        folders = [Path(override)]
    else:
        spec = importlib.util.find_spec("llama_cpp")
        locations = spec.submodule_search_locations if spec else None
        if not locations:
            raise ImportError(f"specbranch_cpp needs llama-cpp-python. {_INSTALL}")
        folders = [Path(location, "lib") for location in locations]
    for folder in folders:
        if os.path.isfile(folder / file_name("libllama")):  # noqa: PTH113 (never raises)
            return folder.resolve()
    named = f"the folder of {_OVERRIDE}, {folders[0]}," if override else str(folders[0])
    remedy = f"Correct or remove {_OVERRIDE}" if override else _INSTALL
    raise ImportError(
        f"specbranch_cpp needs {file_name('libllama')}, but {named} does not contain it. {remedy}"
    )


def preload(folder: Path) -> dict[str, ctypes.CDLL]:
    """Maps the libraries under the names that `llama_cpp` opens, unless they are already mapped.

    The extension needs `libllama.so.0` and others; the loader takes any mapped library with this
    SONAME. The wheel stores each library as three files, so the names matter: a library that is
    opened as `libllama.so.0` would be mapped again when `llama_cpp` opens `libllama.so`.
    """
    found = {"lib" + path.stem.removeprefix("lib") for path in folder.glob(file_name("libggml-*"))}
    libraries = {}
    for name in (*_FIRST, *sorted(found - {*_FIRST}), *_LAST):
        path = folder / file_name(name)
        library = _mapped(loaded_name(name))
        if library is None and path.is_file():
            try:
                library = ctypes.CDLL(str(path))
            except OSError as error:
                raise ImportError(
                    f"llama.cpp's {path} does not load: {error}. {_remedy(str(error))}"
                ) from error
        if library is not None:
            libraries[name] = library
    return libraries


def _remedy(error: str) -> str:
    """The advice for an error of the loader, which begins with the name of the library."""
    return next(remedy for name, remedy in _MISSING.items() if error.startswith(name))


def _mapped(soname: str) -> ctypes.CDLL | None:
    """A library that this process has; ``None``: it has none, or the system does not tell."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    try:
        return ctypes.CDLL(soname, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None


def headers_digest(include: Path) -> str | None:
    """The fingerprint of the installed headers, computed as in FindLlamaCpp.cmake."""
    digests = []
    for name in _HEADERS:
        try:
            digests.append(hashlib.sha256((include / name).read_bytes()).hexdigest())
        except OSError:
            return None
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def struct_sizes(libraries: dict[str, ctypes.CDLL]) -> dict[str, int]:
    """Measures the sizes of the structs that the loaded libraries return by value.

    llama.cpp does not report these sizes. On x86-64, a function that returns a large struct gets
    the address of the result as a hidden first argument. So this function can see how many bytes
    were written there.
    """
    if platform.machine() != "x86_64":
        return {}
    calls = {
        "llama_model_params": ("libllama", "llama_model_default_params", ()),
        "llama_context_params": ("libllama", "llama_context_default_params", ()),
        "llama_batch": ("libllama", "llama_batch_get_one", (None, 0)),
        "ggml_threadpool_params": ("libggml-base", "ggml_threadpool_params_default", (1,)),
    }
    sizes = {}
    for struct, (library, function, arguments) in calls.items():
        if library not in libraries:
            continue
        call = getattr(libraries[library], function)
        call.restype = None
        extents = []
        for fill in (b"\x00", b"\xff"):
            buffer = ctypes.create_string_buffer(fill * 4096, 4096)
            call(buffer, *arguments)
            extents.append(len(buffer.raw.rstrip(fill)))
        # Padding at the end is not written, so round up to the alignment of a pointer.
        sizes[struct] = (max(extents) + 7) // 8 * 8
    return sizes


def compare(built: dict[str, Any], running: dict[str, Any]) -> list[str]:
    """The differences, one phrase each. A value that is unknown on one side is not compared."""
    differences = []
    for key, name in (
        ("llama_version", "llama.cpp's version"),
        ("ggml_version", "ggml's version"),
        ("ggml_commit", "llama.cpp's commit"),
        ("headers", "headers' fingerprint"),
    ):
        before, now = (str(value).removesuffix("-dirty") for value in (built[key], running[key]))
        if before != now and not {before, now} & {"None", "unknown"}:
            differences.append(f"{name} was {before[:12]} and is now {now[:12]}")
    for struct, now in running["struct_sizes"].items():
        before = built["struct_sizes"][struct]
        if before != now:
            differences.append(f"{struct} had {before} bytes and now has {now} bytes")
    return differences
