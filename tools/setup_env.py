#!/usr/bin/env python3
"""Creates .venv with llama-cpp-python, built for this CPU, and with what builds the package.

Standard library only; does nothing where everything is there. An explicit CMAKE_ARGS is passed on
as it is. Otherwise llama.cpp is not built with -march=native: on a virtual machine the CPU may
announce what the kernel does not allow (AMX), and the first matrix product then dies with SIGILL.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "third_party/llama_cpp"))

from locate_llama_cpp import REQUIREMENT  # noqa: E402

if TYPE_CHECKING:
    from specbranch_cpp._llama import cpu_flags
else:  # the file alone: the package is not there yet
    _spec = importlib.util.spec_from_file_location(
        "cpu_flags", ROOT / "python/specbranch_cpp/_llama/cpu_flags.py"
    )
    cpu_flags = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(cpu_flags)

# What a built library says it uses (ggml_cpu_has_*): what the CPU must announce for it.
FEATURES = {
    "avx": "avx",
    "avx_vnni": "avx_vnni",
    "avx2": "avx2",
    "bmi2": "bmi2",
    "f16c": "f16c",
    "fma": "fma",
    "avx512": "avx512f",
    "avx512_vbmi": "avx512vbmi",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_int8": "amx_int8",
}
PROBE = """
import ctypes, json, sys
ctypes.CDLL(sys.argv[1] + "/libggml-base.so")
library = ctypes.CDLL(sys.argv[1] + "/libggml-cpu.so")
print(json.dumps([n for n in sys.argv[2:] if getattr(library, "ggml_cpu_has_" + n)()]))
"""


def unsafe_features(features: list[str], flags: set[str]) -> list[str]:
    """What the library uses and the CPU lacks; AMX in any case, since the kernel has a say."""
    return [name for name in features if name == "amx_int8" or FEATURES[name] not in flags]


class Environment:
    """The virtual environment, and what is installed in it."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin/python"
        self.record = folder / "llama_cpp_cmake_args.txt"
        if not self.python.exists():
            run(sys.executable, "-m", "venv", str(folder))

    def pip(self, *arguments: str, **environment: str) -> None:
        run(str(self.python), "-m", "pip", "install", *arguments, env=os.environ | environment)

    def install_llama(self, args: str, *, cached: bool) -> None:
        options = [] if cached else ["--no-cache-dir", "--no-binary=llama-cpp-python"]
        if self.has(REQUIREMENT):
            options += ["--force-reinstall", "--no-deps"]
        self.pip(*options, REQUIREMENT, CMAKE_ARGS=args)
        self.record.write_text(args)

    def ask(self, code: str, *arguments: str) -> str | None:
        """What the code prints in a process of its own, or None if that fails or dies."""
        command = [str(self.python), "-c", code, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else None

    def has(self, requirement: str) -> bool:
        name, _, version = requirement.partition("==")
        found = self.ask(f"import importlib.metadata as m; print(m.version({name!r}))")
        return found is not None and version in ("", found)

    def unsafe(self, flags: set[str]) -> list[str]:
        """The reasons why the installed libraries must not be used."""
        if platform.machine() != "x86_64":
            return []
        folder = Path(self.ask("import sysconfig as s; print(s.get_path('platlib'))") or "")
        features = self.ask(PROBE, str(folder / "llama_cpp/lib"), *FEATURES)
        if features is None:
            return ["libraries that do not load"]
        return unsafe_features(json.loads(features), flags)


def install_llama(environment: Environment, flags: set[str]) -> None:
    """Installs llama-cpp-python, or checks the one that is there.

    pip's cache of built wheels knows nothing of CMAKE_ARGS: what comes from it is checked, and
    not used at all for an explicit CMAKE_ARGS.
    """
    explicit = os.environ.get("CMAKE_ARGS")
    args = cpu_flags.safe_cmake_args(flags) if explicit is None else explicit
    # No record: installed by hand, and respected if it can run.
    recorded = environment.record.read_text() if environment.record.exists() else args
    if not environment.has(REQUIREMENT):
        say(f"installing {REQUIREMENT} with '{args}'; where it is compiled, this takes 5 minutes")
        environment.install_llama(args, cached=explicit is None)
    elif explicit is not None and recorded != explicit:
        say(f"CMAKE_ARGS has changed: compiling {REQUIREMENT} with '{args}'")
        environment.install_llama(args, cached=False)
    if explicit is None and (reasons := environment.unsafe(flags)):
        say(f"the installed llama.cpp has {', '.join(reasons)}: compiling it with '{args}'")
        environment.install_llama(args, cached=False)
        if reasons := environment.unsafe(flags):
            sys.exit(f"setup: it still has {', '.join(reasons)}; set CMAKE_ARGS yourself")


def install_build_tools(environment: Environment) -> None:
    """What `pip install --no-build-isolation` needs; CMake and Ninja unless they are there."""
    needs = ["scikit-build-core>=0.11", "pybind11>=3.0"]
    needs += [tool for tool in ("cmake", "ninja") if shutil.which(tool) is None]
    missing = [need for need in needs if not environment.has(need.partition(">=")[0])]
    if missing:
        environment.pip(*missing)


def missing_packages() -> list[str]:
    """The Debian packages of what pip cannot install."""
    packages = []
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        packages.append("g++")
    if not any(Path(root, "include/doctest/doctest.h").exists() for root in ("/usr", "/usr/local")):
        packages.append("doctest-dev")
    if importlib.util.find_spec("ensurepip") is None:
        packages.append("python3-venv")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        packages.append("python3-dev")
    return packages


def install_packages() -> None:
    """CI's machine is ours to change; a developer's is not."""
    if not (packages := missing_packages()):
        return
    if os.environ.get("CI") != "true" or os.geteuid() != 0:
        sys.exit(f"Missing; on Debian: sudo apt-get install {' '.join(packages)}")
    run("apt-get", "update", "-q")
    run("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages)


def say(message: str) -> None:
    print(f"setup: {message}", flush=True)


def run(*command: str, env: dict[str, str] | None = None) -> None:
    if (result := subprocess.run(command, env=env, check=False)).returncode != 0:
        sys.exit(f"setup: failed ({result.returncode}): {' '.join(command)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="default: .venv")
    parser.add_argument("--print-cmake-args", action="store_true", help="print them, do nothing")
    options = parser.parse_args()
    flags = cpu_flags.cpu_flags(cpu_flags.read_cpuinfo())
    if options.print_cmake_args:
        print(os.environ.get("CMAKE_ARGS", cpu_flags.safe_cmake_args(flags)))
        return
    if sys.version_info < (3, 10):  # noqa: UP036 (nothing has checked it before this script)
        sys.exit("setup: Python 3.10 or newer is needed; say which with: make PYTHON=python3.x")
    install_packages()
    environment = Environment(options.venv)
    install_llama(environment, flags)
    install_build_tools(environment)


if __name__ == "__main__":
    main()
