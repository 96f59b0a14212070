"""Reads a wheel: what it needs of the machine it is installed on, and what is wrong with it."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wheels.llama_libraries import SONAMES
from wheels.toolchain import GLIBC

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import Symbol

RUNPATH = "$ORIGIN/../llama_cpp/lib"
"""Where the extension finds llama.cpp: beside its own package."""

_SYSTEM = re.compile(r"(libc|libm|libpthread|libdl|librt|ld-linux-[\w-]+|libgcc_s)\.so\.\d+")
"""What every Linux of the tag has; no libstdc++, of which a user's may be too old."""


@dataclass(frozen=True)
class Extension:
    """What the dynamic linker reads in an extension module.

    Attributes:
        name: of the file, in the wheel.
        needed: the libraries it asks for.
        runpath: where it looks for them, first.
        versions: the symbol versions it asks for: ``GLIBC_2.17``.
        exported: the names it offers.
        unversioned: the names it asks for without a version, weak ones left out.
    """

    name: str
    needed: tuple[str, ...]
    runpath: str
    versions: frozenset[str]
    exported: frozenset[str]
    unversioned: frozenset[str]

    def newest(self, family: str) -> str:
        """The newest version of ``GLIBC`` or another family that it asks for; empty: none."""
        numbers = [
            v.removeprefix(f"{family}_") for v in self.versions if v.startswith(f"{family}_")
        ]
        return max(numbers, key=version_key, default="")


@dataclass(frozen=True)
class Wheel:
    """A built wheel.

    Attributes:
        path: the file.
        requirements: of its metadata.
        extension: its only compiled file.
        others: further libraries in it, which there should not be.
    """

    path: Path
    requirements: tuple[str, ...]
    extension: Extension
    others: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, str]:
        """Of Python and of the platform."""
        _, _, python, _, platform = self.path.stem.split("-")
        return python, platform


def version_key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def read(path: Path) -> Wheel:
    """Reads a wheel of this package."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        libraries = [name for name in names if re.search(r"\.so(\.[\d.]+)?$", name)]
        (core,) = (name for name in libraries if name.startswith("specbranch_cpp/_core."))
        text = archive.read(metadata).decode()
        extension = read_extension(core, archive.read(core))
    others = tuple(name for name in libraries if name != core)
    return Wheel(path, tuple(re.findall(r"^Requires-Dist: (.*)$", text, re.M)), extension, others)


def read_extension(name: str, content: bytes) -> Extension:
    """Reads the tables of an ELF file."""
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(content))
    tags = list(elf.get_section_by_name(".dynamic").iter_tags())
    verneed = elf.get_section_by_name(".gnu.version_r")
    versions = {aux.name for _, auxiliaries in verneed.iter_versions() for aux in auxiliaries}
    exported, unversioned = set(), set()
    for symbol, versioned in _symbols(elf):
        if symbol.entry.st_shndx != "SHN_UNDEF":
            exported.add(symbol.name)
        elif not versioned and symbol.entry.st_info.bind != "STB_WEAK":
            unversioned.add(symbol.name)
    return Extension(
        name=name,
        needed=tuple(tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"),
        runpath=":".join(tag.runpath for tag in tags if tag.entry.d_tag == "DT_RUNPATH"),
        versions=frozenset(versions),
        exported=frozenset(exported),
        unversioned=frozenset(unversioned),
    )


def _symbols(elf: ELFFile) -> Iterator[tuple[Symbol, bool]]:
    """The named symbols, and whether each has a version."""
    table = elf.get_section_by_name(".dynsym")
    indices = elf.get_section_by_name(".gnu.version")
    for number, symbol in enumerate(table.iter_symbols()):
        if symbol.name and symbol.entry.st_info.bind != "STB_LOCAL":
            index = indices.get_symbol(number).entry["ndx"]
            yield symbol, index not in ("VER_NDX_LOCAL", "VER_NDX_GLOBAL")


def problems(wheel: Wheel, *, tag: str, requirement: str, llama: Iterable[str]) -> list[str]:
    """Why the wheel must not be published, one phrase each.

    Args:
        wheel: what to judge.
        tag: the platform's that it should have.
        requirement: what it has to ask pip for.
        llama: the names that llama.cpp's libraries export.
    """
    extension = wheel.extension
    found = []
    if wheel.tags[1] != tag:
        found.append(f"its platform is {wheel.tags[1]}, not {tag}")
    if requirement not in wheel.requirements:
        found.append(f"it does not require {requirement}")
    found += [f"it contains {name}" for name in wheel.others]
    if not {"libllama.so.0", "libggml-base.so.0"} <= {*extension.needed}:
        found.append("it does not ask for libllama and libggml-base")
    found += [
        f"it asks for {name}"
        for name in extension.needed
        if name not in SONAMES and not _SYSTEM.fullmatch(name)
    ]
    if version_key(extension.newest("GLIBC") or "0") > version_key(GLIBC):
        found.append(f"it asks for glibc {extension.newest('GLIBC')}, newer than {GLIBC}")
    if extension.runpath != RUNPATH:
        found.append(f"its RUNPATH is '{extension.runpath}', not '{RUNPATH}'")
    if extension.exported != {"PyInit__core"}:
        found.append(f"it exports {len(extension.exported)} names, not PyInit__core alone")
    offered = {*llama}
    unknown = {
        name
        for name in extension.unversioned
        if name not in offered and not re.match(r"_?Py", name)
    }
    found += [f"nobody offers {name}" for name in sorted(unknown)]
    return found


def matrix(wheels: Iterable[Wheel]) -> str:
    """A table in Markdown."""
    lines = ["| wheel | size | NEEDED | glibc | GLIBCXX |", "| --- | --- | --- | --- | --- |"]
    for wheel in wheels:
        extension = wheel.extension
        size = f"{wheel.path.stat().st_size / 1e6:.1f} MB"
        cells = [
            f"`{wheel.path.name}`",
            size,
            " ".join(extension.needed),
            extension.newest("GLIBC"),
            extension.newest("GLIBCXX") or "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
