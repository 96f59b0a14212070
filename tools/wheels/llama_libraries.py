"""llama.cpp's libraries: what the wheels link, and never contain."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wheels.toolchain import Toolchain

LINKED = ("libggml-base", "libggml-cpu", "libggml", "libllama")
"""In the order of their dependencies; `specbranch_cpp._llama.native` loads the same."""

SONAMES = tuple(f"{name}.so.0" for name in LINKED)

EXCLUDED = ("libllama.so*", "libggml*.so*")
"""Patterns of what auditwheel must not copy into a wheel."""


def exported(library: Path) -> set[str]:
    """The names that a library offers to others."""
    from elftools.elf.elffile import ELFFile

    with library.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".dynsym")
        return {
            symbol.name
            for symbol in table.iter_symbols()
            if symbol.entry.st_shndx != "SHN_UNDEF"
            and symbol.entry.st_info.bind in ("STB_GLOBAL", "STB_WEAK")
        }


def exported_by_all(prefix: Path) -> set[str]:
    """The names that the installation in `prefix` offers."""
    return set().union(*(exported(library_path(prefix, name)) for name in LINKED))


def library_path(prefix: Path, name: str) -> Path:
    """Where llama-cpp-python has it."""
    return prefix / "llama_cpp/lib" / f"{name}.so"


def versions(prefix: Path) -> str:
    """What the libraries say of themselves, as third_party/llama_cpp/print_versions.cpp does."""
    libraries = {name: ctypes.CDLL(str(library_path(prefix, name))) for name in LINKED}
    answers = []
    for name, function in (
        ("libllama", "llama_version"),
        ("libggml-base", "ggml_version"),
        ("libggml-base", "ggml_commit"),
    ):
        call = getattr(libraries[name], function)
        call.restype = ctypes.c_char_p
        answers.append(call().decode())
    return ";".join(answers)


def write_stubs(prefix: Path, toolchain: Toolchain, folder: Path) -> Path:
    """An installation for another architecture that can be linked but not run.

    The same headers, and libraries of the same names that export the same symbols: the linker
    wants no more. Returns its prefix.
    """
    shutil.copytree(prefix / "include", folder / "include", dirs_exist_ok=True)
    for name in LINKED:
        library = library_path(folder, name)
        library.parent.mkdir(parents=True, exist_ok=True)
        source = library.with_suffix(".s")
        source.write_text(stub_source(exported(library_path(prefix, name))))
        options = ["-target", toolchain.target, "-shared", "-nostdlib", f"-Wl,-soname,{name}.so.0"]
        toolchain.zig("cc", *options, str(source), "-o", str(library))
    return folder


def stub_source(names: set[str]) -> str:
    """Assembler of every architecture that defines these names and nothing behind them."""
    lines = [f".globl {name}\n.type {name}, %function\n{name}:" for name in sorted(names)]
    return "\n".join([".text", *lines, ""])
