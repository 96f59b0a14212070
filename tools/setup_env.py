#!/usr/bin/env python3
"""Sets up .venv: build tools, llama-cpp-python for this CPU, the package, and what tests need.

Does nothing where everything is there. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "third_party/llama_cpp")]

from setup import llama, progress, registry, system  # noqa: E402
from setup.environment import Environment, State  # noqa: E402
from setup.package import CPU_SECONDS, Package  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = tuple[str, str, Callable[[progress.Display, Path], None]]

LOG = ROOT / "build/setup.log"
EXTRAS = {"build": None, "demo": "", "test": "test", "dev": "dev"}
"""What is set up, and the extra of the package for it; None: all but the package."""


def steps_of(purpose: str, environment: Environment) -> list[Step]:
    """What is left to do, in this order: a title, how long it usually takes, and how."""
    ci = bool(os.environ.get("CI"))
    steps: list[Step] = []

    def add(title: str, how: Callable[[progress.Display, Path], None], usual: str = "") -> None:
        steps.append((title, usual, how))

    tests = purpose in ("test", "dev")
    parts = system.missing(tests=tests, venv=environment.folder)
    if installable := system.installable(parts):
        names = ", ".join(part.package for part in installable)
        add(f"installing {names}", lambda *to: system.install(installable, *to))
    elif parts:
        system.demand(parts)
        names = ", ".join(part.what for part in parts)
        say(f"tests that need {names} are skipped; to run them: {system.instruction(parts)}")

    usable = environment.usable()
    if not usable:
        title = "making the environment " + os.path.relpath(environment.folder)
        command = environment.create()
        add(title, lambda *to: progress.run(to[0], command, to[1], read=lambda _line: None))
    if needs := registry.missing_build_tools(environment):
        add("installing build tools", lambda *to: registry.install(needs, environment, *to))
    state = State(environment)
    engine = llama.Llama(environment, state, llama.this_cpu())
    if not usable or not engine.ready():
        if engine.compiled_before():
            add("installing llama.cpp, compiled before", engine.install)
        else:
            add("compiling llama.cpp", engine.install, progress.usual_time(llama.CPU_SECONDS))
    extra = EXTRAS[purpose]
    if extra is None:
        return steps
    if extra == "test" and ci:
        extra = "ci"
    package = Package(environment, state, werror=ci)
    if not usable or steps or not package.ready():
        usual = "" if (ROOT / "build/python").exists() else progress.usual_time(CPU_SECONDS)
        add("compiling the extension", package.install, usual)
    if not usable or not package.has_requirements(extra):
        title = "installing what the " + ("tests need" if tests else "package needs")
        add(title, lambda *to: package.install_requirements(extra, *to))
    if extra == "ci" and environment.version("torch") is None:
        add("looking for PyTorch for CPUs", lambda *to: install_torch(environment, *to))
    return steps


def install_torch(environment: Environment, display: progress.Display, log: Path) -> None:
    """Where there is none without CUDA, tests/python/support/skips.py lists the skipped tests."""
    if requirement := registry.torch_for_cpus(environment):
        registry.install([requirement], environment, display, log)


def say(message: str) -> None:
    print(f"setup: {message}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="default: .venv")
    parser.add_argument("--for", dest="purpose", choices=EXTRAS, default="build")
    parser.add_argument("--print-cmake-args", action="store_true", help="print them, do nothing")
    if sys.version_info < (3, 10):  # noqa: UP036 (nothing has checked it before this script)
        sys.exit("setup: Python 3.10 or newer is needed; say which with: make PYTHON=python3.x")
    options = parser.parse_args()
    if options.print_cmake_args:
        print(llama.cmake_args(llama.this_cpu()))
        return
    steps = steps_of(options.purpose, Environment(options.venv.absolute()))
    if steps:
        LOG.unlink(missing_ok=True)
    display = progress.Display(len(steps))
    for title, usual, how in steps:
        display.begin(title, usual)
        how(display, LOG)
        display.end()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; the next run goes on from here")
