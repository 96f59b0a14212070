"""A compiler for an older Linux than this one: zig's C library and the C++ library of GCC.

zig brings the headers and the link-time symbols of every glibc, so that the extension asks for none
newer than that of the wheel's tag. Its C++ library (libc++) would not do: exceptions that libllama
throws are those of libstdc++, and libc++ cannot catch them (they end the process). So GCC's is
linked, statically, since the one installed with a user may be older; `exports.map` keeps its
symbols inside.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

GLIBC = "2.28"
"""The oldest C library that the wheels run with."""

COMPAT = Path(__file__).parent / "compat"
"""What GCC's C++ library asks of a newer C library."""

_TEMPLATE = """\
# Written by tools/wheels/toolchain.py.
set(CMAKE_CXX_COMPILER "{zig}" cc -target {target})
set(CMAKE_CXX_COMPILER_LAUNCHER "")
set(CMAKE_CXX_FLAGS_INIT "-g0 -nostdinc++ {includes} -include compat.h")
set(CMAKE_CXX_STANDARD_LIBRARIES "{libraries} -lpthread -lm")
# libgcc_s.so.1 of this machine asks for this machine's C library.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--allow-shlib-undefined")
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-s")
set(CMAKE_CXX_ARCHIVE_CREATE "\\"{zig}\\" ar qcs <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "")
"""
_CROSS = """\
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR {arch})
# FindLlamaCpp.cmake asks the library, which does not run here; it is what its twin has said.
set(llama_exit 0 CACHE STRING "")
set(llama_exit__TRYRUN_OUTPUT "{versions}" CACHE STRING "")
"""


class MissingToolError(Exception):
    """A compiler is not installed; the message says how to get it."""


@dataclass(frozen=True)
class Toolchain:
    """The compiler for one architecture.

    Attributes:
        arch: as ``uname -m`` says it.
        folder: its own, where what it needs is written.
    """

    arch: str
    folder: Path

    @property
    def is_native(self) -> bool:
        return self.arch == platform.machine()

    @property
    def target(self) -> str:
        """As zig calls it."""
        return f"{self.arch}-linux-gnu.{GLIBC}"

    @property
    def platform_tag(self) -> str:
        """As in the name of a wheel."""
        return f"manylinux_{GLIBC.replace('.', '_')}_{self.arch}"

    def gcc(self, *arguments: str) -> str:
        """What the GCC of this architecture prints: it knows where its C++ library is.

        Raises:
            MissingToolError: there is none.
        """
        name = "g++" if self.is_native else f"{self.arch}-linux-gnu-g++"
        if shutil.which(name) is None:
            package = name if self.is_native else f"g++-{self.arch}-linux-gnu"
            raise MissingToolError(f"{name} is missing; on Debian: apt-get install {package}")
        command = [name, *arguments]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        )
        return result.stdout + result.stderr

    @property
    def environment(self) -> dict[str, str]:
        """For whatever runs zig: its caches lie here, not in the user's home."""
        cache = str(self.folder / "zig")
        return {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}

    def zig(self, *arguments: str) -> None:
        environment = os.environ | self.environment
        subprocess.run([str(zig_path()), *arguments], check=True, env=environment)

    def write(self, versions: str) -> Path:
        """Writes the toolchain file for CMake and returns its path.

        Args:
            versions: of llama.cpp, ggml and its commit, between semicolons.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        compat = self.folder / "compat.o"
        source = str(COMPAT / "compat.c")
        options = ["-target", self.target, "-O2", "-g0", "-fPIC"]
        self.zig("cc", *options, "-c", source, "-o", str(compat))
        folders = [COMPAT, self.python_headers, *self.include_folders()]
        text = _TEMPLATE.format(
            zig=zig_path(),
            target=self.target,
            includes=" ".join(f"-I{folder}" for folder in folders),
            libraries=" ".join(map(str, [compat, *self.libraries()])),
        )
        if not self.is_native:
            text += _CROSS.format(arch=self.arch, versions=versions)
        file = self.folder / "toolchain.cmake"
        file.write_text(text)
        return file

    @property
    def python_headers(self) -> Path:
        """A folder of includes for what `link_python_headers` has found."""
        return self.folder / "python"

    def link_python_headers(self, include: Path) -> None:
        """Makes the headers in this folder complete where Debian has split them.

        There pyconfig.h includes ``<x86_64-linux-gnu/python3.11/pyconfig.h>`` of /usr/include,
        which has no place here: it is full of this machine's C library.
        """
        split = include.parent / f"{platform.machine()}-linux-gnu" / include.name
        link = self.python_headers / f"{self.arch}-linux-gnu" / include.name
        link.unlink(missing_ok=True)
        if split.is_dir():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(split)

    def include_folders(self) -> list[Path]:
        """Those of GCC's C++ headers. They come before zig's, which are of C."""
        log = self.gcc("-E", "-v", "-x", "c++", "/dev/null")
        return cxx_folders(log)

    def libraries(self) -> list[Path]:
        """GCC's C++ library to be linked statically, and the unwinder, which must be libllama's."""
        names = ("libstdc++.a", "libgcc_s.so.1")
        paths = [Path(self.gcc(f"-print-file-name={name}").strip()) for name in names]
        for path in paths:
            if not path.is_absolute():
                raise MissingToolError(f"GCC for {self.arch} has no {path}")
        return paths


def cxx_folders(log: str) -> list[Path]:
    """The folders of C++ headers in what ``g++ -v`` prints."""
    search = re.search(r"#include <\.\.\.> search starts here:\n(.*?)End of search", log, re.S)
    lines = search[1].splitlines() if search else []
    return [Path(line.strip()).resolve() for line in lines if "/c++" in line]


def zig_path() -> Path:
    """The compiler that the package `ziglang` brings."""
    import ziglang

    return Path(ziglang.__file__).parent / "zig"
