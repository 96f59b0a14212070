#!/usr/bin/env python3
"""Builds the wheels of this package: one for every Python, for Linux with glibc 2.28 or later.

They bring no llama.cpp: at run time they link to the one that the installed llama-cpp-python has.
The core and the llama layer are compiled once for each architecture, the bindings for each Python.

    make wheels                                    # what `make wheels` runs, with its packages
    tools/build_wheels.py --python ~/python3.14    # a Python that is not on PATH
    tools/build_wheels.py --arch aarch64           # by cross compilation

Writes dist/wheels, an index of it for pip in dist/simple, and the table of docs/wheels.md to the
standard output. Exit code 1: a wheel is wrong; 2: one could not be built.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "third_party/llama_cpp")]

import locate_llama_cpp  # noqa: E402
from wheels import index, inspection, interpreters, llama_libraries  # noqa: E402
from wheels.toolchain import MissingToolError, Toolchain  # noqa: E402

BUILD = ROOT / "build/wheels"
WHEELS = ROOT / "dist/wheels"
INDEX = ROOT / "dist/simple"


def build_requirements() -> list[str]:
    """What pyproject.toml needs to build: tomllib is of Python 3.11."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^requires = \[(.*)\]$", text, re.M)
    assert listed
    return re.findall(r'"([^"]+)"', listed[1])


def library_commands(folder: Path, toolchain: Path, prefix: Path) -> list[list[str]]:
    """Compiles what does not depend on Python."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"]
    options = {
        "CMAKE_TOOLCHAIN_FILE": toolchain,
        "CMAKE_BUILD_TYPE": "Release",
        "SPECBRANCH_LLAMA_PREFIX": prefix,
        "SPECBRANCH_BUILD_PYTHON": "OFF",
        "SPECBRANCH_BUILD_LLAMA": "ON",
        "SPECBRANCH_UNITY": "ON",
    }
    configure += [f"-D{name}={value}" for name, value in options.items()]
    return [configure, ["cmake", "--build", str(folder)]]


def wheel_command(
    python: Path, folder: Path, toolchain: Path, libraries: Path, suffix: str, output: Path
) -> list[str]:
    """Compiles the bindings for one Python and packs them."""
    settings = {
        "build-dir": folder,
        "install.strip": "false",  # the linker has done it, for every architecture
        "cmake.define.CMAKE_TOOLCHAIN_FILE": toolchain,
        "cmake.define.SPECBRANCH_PREBUILT": libraries,
        "cmake.define.PYTHON_MODULE_EXTENSION": suffix,
    }
    command = [*interpreters.pip(python), "wheel", "--quiet", "--no-build-isolation", "--no-deps"]
    command += [part for item in settings.items() for part in ("-C", "{}={}".format(*item))]
    return [*command, "--wheel-dir", str(output), str(ROOT)]


def repair_command(wheel: Path, toolchain: Toolchain) -> list[str]:
    """Checks the wheel against the platform's tag, and gives it that tag."""
    auditwheel = ["-m", "auditwheel"]
    if not toolchain.is_native:
        auditwheel = [str(ROOT / "tools/wheels/auditwheel_for.py"), toolchain.arch]
    command = [sys.executable, *auditwheel, "repair"]
    command += ["--plat", toolchain.platform_tag, "--only-plat"]
    command += [part for pattern in llama_libraries.EXCLUDED for part in ("--exclude", pattern)]
    return [*command, "--wheel-dir", str(WHEELS), str(wheel)]


def build_environment(toolchain: Toolchain, prefix: Path, suffix: str) -> dict[str, str]:
    """The environment of a build: nothing of the user's flags, and whose llama.cpp it links."""
    ours = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SPECBRANCH_LLAMA_PREFIX": str(prefix),
        **toolchain.environment,
    }
    if not toolchain.is_native:
        # What Python's sysconfig takes for its own platform: scikit-build-core makes tags of it.
        ours |= {
            "_PYTHON_HOST_PLATFORM": f"linux-{toolchain.arch}",
            "SETUPTOOLS_EXT_SUFFIX": suffix,
        }
    foreign = {"CXXFLAGS", "CFLAGS", "LDFLAGS", "CMAKE_ARGS", "SKBUILD_CMAKE_ARGS"}
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    return inherited | ours


def run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, check=True, env=environment)


def build_one(
    interpreter: interpreters.Interpreter, toolchain: Toolchain, file: Path, prefix: Path
) -> Path:
    """Builds and repairs the wheel of one Python."""
    toolchain.link_python_headers(interpreter.include)
    folder = BUILD / toolchain.arch
    python = interpreters.make_environment(
        interpreter, BUILD / "env" / interpreter.folder, build_requirements()
    )
    suffix = interpreter.suffix.replace(platform.machine(), toolchain.arch)
    environment = build_environment(toolchain, prefix, suffix)
    raw = folder / "raw" / interpreter.folder
    for old in [*raw.glob("*.whl"), *WHEELS.glob(f"*-{interpreter.tag}-*_{toolchain.arch}.whl")]:
        old.unlink()
    build = folder / interpreter.folder
    run(wheel_command(python, build, file, folder / "libraries", suffix, raw), environment)
    (wheel,) = raw.glob("*.whl")
    run(repair_command(wheel, toolchain), environment)
    (repaired,) = WHEELS.glob(f"*-{interpreter.tag}-*_{toolchain.arch}.whl")
    return repaired


def forget_builds(folder: Path) -> None:
    """CMake remembers the flags that a build folder began with: another compiler needs new ones."""
    for build in [folder / "libraries", *folder.glob("cp*")]:
        shutil.rmtree(build, ignore_errors=True)


def build_arch(
    toolchain: Toolchain, found: list[interpreters.Interpreter], installed: Path
) -> list[Path]:
    """Builds the wheels of one architecture."""
    folder = BUILD / toolchain.arch
    prefix = installed
    if not toolchain.is_native:
        prefix = llama_libraries.write_stubs(installed, toolchain, folder / "llama")
    file = toolchain.write(llama_libraries.versions(installed))
    used = folder / "toolchain.cmake"
    if not used.exists() or used.read_text() != file.read_text():
        forget_builds(folder)
        shutil.copy(file, used)
    say(f"compiling the core for {toolchain.arch}")
    environment = build_environment(toolchain, prefix, "")
    for command in library_commands(folder / "libraries", file, prefix):
        run(command, environment)
    wheels = []
    for interpreter in found:
        say(f"compiling the bindings for {toolchain.arch}, {interpreter.tag}")
        wheels.append(build_one(interpreter, toolchain, file, prefix))
    return wheels


def say(message: str) -> None:
    print(f"wheels: {message}", file=sys.stderr, flush=True)


def main() -> int:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0])
    parser.add_argument(
        "--python", type=Path, action="append", default=[], help="an interpreter; several times"
    )
    parser.add_argument(
        "--arch", action="append", help=f"several times; default: {platform.machine()}"
    )
    options = parser.parse_args()
    if (installed := locate_llama_cpp.prefix()) is None:
        say(f"{locate_llama_cpp.REQUIREMENT} is not installed; `make setup` does it")
        return 2
    try:
        found, missing = interpreters.find(options.python)
        toolchains = [
            Toolchain(arch, BUILD / arch / "toolchain")
            for arch in dict.fromkeys(options.arch or [platform.machine()])
        ]
        for toolchain in toolchains:
            toolchain.libraries()
    except (interpreters.UnusableInterpreterError, MissingToolError) as error:
        say(str(error))
        return 2
    for line in missing:
        say(f"no wheel: {line}")
    llama = llama_libraries.exported_by_all(installed)
    read, n_problems = [], 0
    for toolchain in toolchains:
        try:
            built = build_arch(toolchain, found, installed)
        except subprocess.CalledProcessError as error:
            say(f"failed: {shlex.join(error.cmd)}")
            return 2
        for path in built:
            wheel = inspection.read(path)
            read.append(wheel)
            for problem in inspection.problems(
                wheel,
                tag=toolchain.platform_tag,
                requirement=locate_llama_cpp.REQUIREMENT,
                llama=llama,
            ):
                n_problems += 1
                say(f"{path.name}: {problem}")
    index.write(INDEX, sorted(WHEELS.glob("*.whl")))
    print(inspection.matrix(read))
    say(f"pip install --extra-index-url {INDEX.as_uri()} specbranch_cpp")
    return 1 if n_problems else 0


if __name__ == "__main__":
    sys.exit(main())
