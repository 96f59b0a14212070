"""A copy of the tree that is broken, built and tested."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mutations.mutation import Mutation

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("CMakeLists.txt", "benchmarks", "cpp", "tests/cpp")
PROGRAM = "specbranch_core_tests"
MEMORY_BYTES = 4 << 30
LONGEST_S = 900.0  # of the unchanged tree
HANGS = 3.0  # a run that takes so many times as long as that of the unchanged tree
ONE_TEST_HANGS = 10.0  # the same for one test case, and at least
ONE_TEST_S = 20.0
LAST_WORDS_S = 10.0  # for a test that hangs to say its name


@dataclass(frozen=True)
class Result:
    """What the tests said.

    Attributes:
        caught: whether a test failed, crashed or hung.
        caught_by: the test case in which that happened; empty if it is not known.
        how: the same with "(crash)" or "(hangs)", for people.
        output: what they printed.
    """

    caught: bool
    caught_by: str = ""
    how: str = ""
    output: str = field(default="", compare=False, repr=False)


def first_failure(output: str) -> str:
    """Name of the test case that doctest was in when the first error was printed."""
    before = re.split(r"(?:FATAL )?ERROR: ", output, maxsplit=1)[0]
    names = re.findall(r"^TEST CASE: +(.+)$", before, flags=re.MULTILINE)
    return str(names[-1]) if names else ""


def durations(output: str) -> dict[str, float]:
    """Seconds of each test case, as doctest's ``--duration`` prints them."""
    return {
        name: float(seconds)
        for seconds, name in re.findall(r"^(\d+\.\d+) s: (.+)$", output, flags=re.MULTILINE)
    }


def run_tests(program: Path, options: list[str], scale: float, timeout_s: float) -> Result:
    """Runs tests until the first failure. A crash or a hang is a failure, too."""
    process = subprocess.Popen(
        [str(program), "--abort-after=1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "SPECBRANCH_TEST_SCALE": str(scale)},
    )
    # From here: several threads start tests, and a function between fork and exec may not run then.
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    hangs = False
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        hangs = True
        process.send_signal(signal.SIGTERM)  # doctest says in which test case it was
        try:
            output, _ = process.communicate(timeout=LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
    text = output.decode(errors="replace")
    if process.returncode == 0 and not hangs:
        return Result(False, output=text)
    name = first_failure(text)
    crashed = process.returncode < 0 or "test case CRASHED" in text
    kind = "(hangs) " if hangs else "(crash) " if crashed else ""
    return Result(True, name, kind + (name or "?"), text)


@dataclass
class WorkingCopy:
    """One copy of the tree with a build folder of its own."""

    tree: Path
    scale: float
    timeout_s: float | None = None
    seconds_of: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.tree / name)
            else:
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, self.tree / name)

    @property
    def _build_dir(self) -> Path:
        return self.tree / "build"

    @property
    def _program(self) -> Path:
        return self._build_dir / "tests/cpp" / PROGRAM

    def prepare(self, jobs: int) -> float:
        """Builds and tests the unchanged tree; returns how many seconds its tests took."""
        self._first_build(jobs)
        begin = time.monotonic()
        done = run_tests(self._program, ["--duration=true"], self.scale, LONGEST_S)
        seconds = time.monotonic() - begin
        if done.caught:
            raise SystemExit(f"the unchanged tree fails its tests: {done.how}")
        self.seconds_of = durations(done.output)
        # A slow machine must not make every mutation look like one that hangs.
        self.timeout_s = self.timeout_s or HANGS * seconds
        return seconds

    def again(self, tree: Path, jobs: int) -> WorkingCopy:
        """Another copy, which is built, and whose tests take as long."""
        other = replace(self, tree=tree)
        other._first_build(jobs)
        return other

    def build(self, jobs: int = 1) -> str | None:
        """The first error of the compiler, or None."""
        command = ["cmake", "--build", str(self._build_dir), f"-j{jobs}", "--target", PROGRAM]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode == 0:
            return None
        lines = (built.stdout + built.stderr).splitlines()
        return next((line for line in lines if "error:" in line), lines[-1] if lines else "?")

    def test(self, hint: str | None) -> Result:
        """Runs the test case `hint` first, then all."""
        assert self.timeout_s is not None
        if hint is not None and hint in self.seconds_of:
            longest_s = max(ONE_TEST_S, ONE_TEST_HANGS * self.seconds_of[hint])
            only = "--test-case=" + hint.replace(",", r"\,")
            result = run_tests(self._program, [only], self.scale, longest_s)
            if result.caught:
                return result
        return run_tests(self._program, [], self.scale, self.timeout_s)

    @contextlib.contextmanager
    def broken(self, mutation: Mutation) -> Iterator[None]:
        path = mutation.path(self.tree)
        original = mutation.read(self.tree)
        path.write_text(original.replace(mutation.old, mutation.new))
        try:
            yield
        finally:
            path.write_text(original)

    def _first_build(self, jobs: int) -> None:
        options = ["BUILD_PYTHON=OFF", "BUILD_LLAMA=OFF", "BUILD_TESTS=ON"]
        command = ["cmake", "-S", str(self.tree), "-B", str(self._build_dir), "-G", "Ninja"]
        command += ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1"]
        command += [f"-DSPECBRANCH_{option}" for option in options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        error = self.build(jobs)
        if error is not None:
            raise SystemExit(f"the unchanged tree does not build: {error}")
