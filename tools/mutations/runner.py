"""Builds and tests the tree with one mutation after another."""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mutations
from mutations.mutation import StaleMutationError

if TYPE_CHECKING:
    from mutations.mutation import Mutation

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("CMakeLists.txt", "benchmarks", "cpp", "tests/cpp")
MEMORY_BYTES = 4 << 30
LONGEST_S = 900.0  # of the unchanged tree
HANGS = 3.0  # a run that takes so many times as long as that of the unchanged tree


@dataclass(frozen=True)
class Result:
    """What became of a mutation; `caught_by` is the first test that failed."""

    caught: bool
    caught_by: str
    seconds: float


def build(build_dir: Path, jobs: int) -> subprocess.CompletedProcess[str]:
    command = ["cmake", "--build", str(build_dir), f"-j{jobs}", "--target", "specbranch_core_tests"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def first_failure(output: str) -> str:
    """Name of the test case that doctest was in when the first error was printed."""
    before = re.split(r"(?:FATAL )?ERROR: ", output, maxsplit=1)[0]
    names = re.findall(r"^TEST CASE: +(.+)$", before, flags=re.MULTILINE)
    return str(names[-1]) if names else "?"


def test(build_dir: Path, scale: float, timeout_s: float) -> Result:
    """Runs the tests until the first failure. A crash or a hang is a failure, too."""
    command = [str(build_dir / "tests/cpp/specbranch_core_tests"), "--abort-after=1"]
    env = {**os.environ, "SPECBRANCH_TEST_SCALE": str(scale)}
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            env=env,
            timeout=timeout_s,
            check=False,
            preexec_fn=limit_memory,
        )
    except subprocess.TimeoutExpired:
        return Result(True, "(hangs)", time.monotonic() - begin)
    seconds = time.monotonic() - begin
    if done.returncode == 0:
        return Result(False, "", seconds)
    output = done.stdout.decode(errors="replace")
    crash = "(crash) " if done.returncode < 0 or "test case CRASHED" in output else ""
    return Result(True, crash + first_failure(output), seconds)


def run(chosen: list[Mutation], args: argparse.Namespace, tree: Path) -> int:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name)
        else:
            shutil.copy2(source, tree / name)
    for mutation in chosen:
        mutation.read(tree)
    build_dir = tree / "build"
    options = ["BUILD_PYTHON=OFF", "BUILD_LLAMA=OFF", "BUILD_TESTS=ON"]
    configure = ["cmake", "-S", str(tree), "-B", str(build_dir), "-G", "Ninja"]
    configure += ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1"]
    configure += [f"-DSPECBRANCH_{option}" for option in options]
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    built = build(build_dir, args.jobs)
    if built.returncode != 0:
        raise SystemExit(f"the unchanged tree does not build:\n{built.stdout}{built.stderr}")
    unchanged = test(build_dir, args.scale, LONGEST_S)
    if unchanged.caught:
        raise SystemExit(f"the unchanged tree fails its tests: {unchanged.caught_by}")
    print(f"{'unchanged':30} {'passes':10} {unchanged.seconds:5.1f} s", flush=True)

    # A slow machine must not make every mutation look like one that hangs.
    timeout_s = args.timeout or HANGS * unchanged.seconds
    n_bad = 0
    for mutation in chosen:
        begin = time.monotonic()
        path = mutation.path(tree)
        original = mutation.read(tree)
        path.write_text(original.replace(mutation.old, mutation.new))
        built = build(build_dir, args.jobs)
        if built.returncode == 0:
            result = test(build_dir, args.scale, timeout_s)
            verdict = "caught" if result.caught else "SURVIVED"
            note = result.caught_by if result.caught else mutation.breaks
        else:
            result = Result(False, "", 0.0)
            verdict = "NO BUILD"
            note = next((s for s in built.stdout.splitlines() if "error:" in s), mutation.breaks)
        path.write_text(original)
        n_bad += not result.caught
        seconds = time.monotonic() - begin
        print(f"{mutation.name:30} {verdict:10} {seconds:5.1f} s  {note}", flush=True)
    print(f"{len(chosen) - n_bad} of {len(chosen)} mutations caught")
    return 1 if n_bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="mutations", description=(mutations.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--list", action="store_true", help="print the mutations and stop")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutations only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scale", type=float, default=0.1, help="share of the repetitions run")
    parser.add_argument(
        "--timeout", type=float, help="seconds until a run hangs; default: from the unchanged tree"
    )
    args = parser.parse_args()

    names = {mutation.name for mutation in mutations.MUTATIONS}
    if args.only and (unknown := set(args.only) - names):
        raise SystemExit(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [m for m in mutations.MUTATIONS if not args.only or m.name in args.only]
    if args.list:
        for mutation in chosen:
            print(f"{mutation.name:30} {mutation.breaks}")
        return 0
    with tempfile.TemporaryDirectory(prefix="specbranch-mutations-") as folder:
        try:
            return run(chosen, args, Path(folder))
        except StaleMutationError as error:
            raise SystemExit(str(error)) from None
