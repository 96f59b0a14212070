"""Loads the compiled extension against the llama.cpp that llama-cpp-python has installed.

One copy of each library must be mapped, whether `llama_cpp` is imported before, after, or never;
and it must be the one whose headers the extension was compiled with.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_PACKAGE = "specbranch_cpp"
# In the order of their dependencies; backends of their own (CUDA ...) come before libggml.
_FIRST, _LAST = ("libggml-base", "libggml-cpu"), ("libggml", "libllama")
# The same list as in FindLlamaCpp.cmake.
_HEADERS = ("llama.h", "ggml.h", "ggml-backend.h", "ggml-cpu.h", "gguf.h")
_INSTALL = "Install it with: pip install llama-cpp-python==0.3.36"
# What helps, by what the loader misses; the first that begins the library's name.
_MISSING = {
    "libcuda.so": "It was built for NVIDIA GPUs and needs their driver, which this machine lacks: "
    "install the driver, or a llama-cpp-python without CUDA",
    "libcu": "It was built for NVIDIA GPUs and needs this library of the CUDA toolkit: install it, "
    "and name its folder in LD_LIBRARY_PATH unless the loader searches there anyway",
    "": "Install llama-cpp-python again, or the libraries that it was built for",
}
_REINSTALL = (
    "Build specbranch_cpp again, for this llama.cpp: "
    "pip install --force-reinstall --no-deps --no-cache-dir specbranch_cpp "
    "(or the folder of its source)"
)


def load() -> ModuleType:
    """Returns the extension module, or raises an ImportError that says what to do."""
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        # Two models share the cores: a thread that spins at a barrier takes one from the other.
        os.environ["OMP_WAIT_POLICY"] = "passive"
    folder = library_folder()
    libraries = preload(folder)
    try:
        core = importlib.import_module("._core", _PACKAGE)
    except ImportError as error:
        raise ImportError(
            f"specbranch_cpp's extension does not load with llama.cpp in {folder}: {error}. "
            f"{_REINSTALL}"
        ) from error
    info = core._abi()
    running = {
        **info["running"],
        "headers": headers_digest(folder.parents[1] / "include"),
        "struct_sizes": struct_sizes(libraries),
    }
    if differences := compare(info["built"], running):
        raise ImportError(
            f"specbranch_cpp was built for another llama.cpp than the one in {folder}: "
            f"{'; '.join(differences)}. {_REINSTALL}"
        )
    return core


def library_folder() -> Path:
    """The folder of libllama.so, as `import llama_cpp` would choose it, without executing that.

    Executing it would install a log callback that needs the GIL.
    """
    if override := os.environ.get("LLAMA_CPP_LIB_PATH"):
        folders = [Path(override)]
    else:
        spec = importlib.util.find_spec("llama_cpp")
        locations = spec.submodule_search_locations if spec else None
        if not locations:
            raise ImportError(f"specbranch_cpp needs llama-cpp-python. {_INSTALL}")
        folders = [Path(location, "lib") for location in locations]
    for folder in folders:
        if (folder / "libllama.so").is_file():
            return folder.resolve()
    raise ImportError(f"specbranch_cpp needs libllama.so, and {folders[0]} has none. {_INSTALL}")


def preload(folder: Path) -> dict[str, ctypes.CDLL]:
    """Maps the libraries under the names that `llama_cpp` opens, unless they are there already.

    The extension asks for `libllama.so.0` and so on, and the loader gives it any mapped library
    of that SONAME. The wheel stores each library as three files, so the names matter: opened as
    `libllama.so.0`, it would be mapped once more when `llama_cpp` opens `libllama.so`.
    """
    others = {path.stem for path in folder.glob("libggml-*.so")} - {*_FIRST}
    libraries = {}
    for name in (*_FIRST, *sorted(others), *_LAST):
        path = folder / f"{name}.so"
        library = _mapped(f"{name}.so.0")
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
    """What to do; the loader's message begins with the library that is missing."""
    return next(remedy for name, remedy in _MISSING.items() if error.startswith(name))


def _mapped(soname: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(soname, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None


def headers_digest(include: Path) -> str | None:
    """The fingerprint of the installed headers, as FindLlamaCpp.cmake takes it."""
    digests = []
    for name in _HEADERS:
        try:
            digests.append(hashlib.sha256((include / name).read_bytes()).hexdigest())
        except OSError:
            return None
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def struct_sizes(libraries: dict[str, ctypes.CDLL]) -> dict[str, int]:
    """Measures the structs that the loaded libraries return by value.

    Nothing in llama.cpp tells their sizes. On x86-64, a function that returns a large struct takes
    the address of the result as a hidden first argument, so what it writes there can be seen.
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
        # Padding at the end is not written: round up to the alignment of a pointer.
        sizes[struct] = (max(extents) + 7) // 8 * 8
    return sizes


def compare(built: dict[str, Any], running: dict[str, Any]) -> list[str]:
    """What differs, one phrase each. A value that is not known on one side says nothing."""
    differences = []
    for key, name in (
        ("llama_version", "llama.cpp's version"),
        ("ggml_version", "ggml's version"),
        ("ggml_commit", "llama.cpp's commit"),
        ("headers", "headers' fingerprint"),
    ):
        before, now = (str(value).removesuffix("-dirty") for value in (built[key], running[key]))
        if before != now and not {before, now} & {"None", "unknown"}:
            differences.append(f"{name} was {before[:12]}, is {now[:12]}")
    for struct, now in running["struct_sizes"].items():
        before = built["struct_sizes"][struct]
        if before != now:
            differences.append(f"{struct} had {before} bytes, has {now}")
    return differences
