"""The report of gpu_suite.sh: one JSON of everything that its stages left, and a short table.

    python benchmarks/gpu_report.py WORK --out report.json

Reads WORK/stamps (what is done, and in how many seconds), test.xml, curves/*.json,
copies/*.jsonl and bench/*/summary.json; what is missing is left out. Standard library and the
package only.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from specbranch_cpp import __version__, _core

ROOT = Path(__file__).resolve().parent.parent
FORMAT = "specbranch-gpu-suite-1"
_GPU_FIELDS = ("name", "compute_cap", "memory.total", "driver_version")


def output(*command: str) -> str:
    """What a command prints; empty where there is no such command, or it fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> dict[str, Any]:
    library = _core.library_info()
    query = f"--query-gpu={','.join(_GPU_FIELDS)}"
    rows = output("nvidia-smi", query, "--format=csv,noheader").splitlines()
    nvcc = re.search(r"release .*", output("nvcc", "--version"))
    cpu = re.search(r"model name\s*:\s*(.*)", _read(Path("/proc/cpuinfo")))
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "gpus": [
            dict(zip(_GPU_FIELDS, (cell.strip() for cell in row.split(",")), strict=False))
            for row in rows
        ],
        "devices": [
            {"name": one.name, "description": one.description}
            for one in _core.list_devices()
            if one.is_gpu
        ],
        "llama.cpp": f"{library.llama_version} ({library.ggml_commit})",
        "ggml": library.ggml_version,
        "system": library.system,
        "nvcc": nvcc[0] if nvcc else "",
        "compiler": (output("c++", "--version").splitlines() or [""])[0],
        "python": platform.python_version(),
        "specbranch_cpp": __version__,
        "commit": output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def stages(work: Path) -> dict[str, int]:
    """Seconds of every stage that is done."""
    files = sorted(work.glob("stamps/*.seconds"), key=lambda path: path.stat().st_mtime)
    return {path.stem: int(path.read_text()) for path in files}


def tests(work: Path) -> dict[str, Any] | None:
    """What pytest counted; the names of what failed, and why tests were skipped."""
    path = work / "test.xml"
    if not path.is_file():
        return None
    found: dict[str, Any] = {"passed": 0, "failed": [], "skipped": {}}
    for case in ET.parse(path).iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            found["failed"].append(case.get("name"))
        elif skipped is not None:
            reason = skipped.get("message", "")
            found["skipped"][reason] = found["skipped"].get(reason, 0) + 1
        else:
            found["passed"] += 1
    return found


def contents(work: Path, pattern: str) -> dict[str, Any]:
    """The files, by their paths."""
    return {
        str(path.relative_to(work)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(work.glob(pattern))
        if path.stat().st_size > 0
    }


def gather(work: Path) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "stages": stages(work),
        "tests": tests(work),
        "curves": {Path(name).stem: one for name, one in contents(work, "curves/*.json").items()},
        "copies": {
            path.stem: [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted(work.glob("copies/*.jsonl"))
        },
        "bench": {
            Path(name).parent.name: one
            for name, one in contents(work, "bench/*/summary.json").items()
        },
    }


# The table -------------------------------------------------------------------------------------


def curve_rows(curves: Mapping[str, Any]) -> list[str]:
    """Steps of one token, and what more of them cost relative to one."""
    lines = []
    for name, one in curves.items():
        cells = []
        for side, lengths in (("target", (4, 8, 16)), ("draft", (4, 8))):
            us = one["costs"][f"{side}_us"]
            ratios = ", ".join(f"{us[n - 1] / us[0]:.2f}" for n in lengths if n <= len(us))
            cells += [f"{us[0] / 1000:.2f} ms", ratios, f"{one['costs'][f'{side}_slowdown']:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {one['hop_us']:.0f} |")
    if lines:
        lines[:0] = [
            (
                "| pair and placement | target step | 4, 8, 16 tokens cost | s | draft step "
                "| 4, 8 lanes cost | s | hop, us |"
            ),
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
    return lines


def bench_rows(bench: Mapping[str, Any]) -> list[str]:
    """The best setting of every mode."""
    lines = []
    for name, summary in bench.items():
        for group in summary["groups"]:
            for row in group["rows"]:
                if not row["is_best"]:
                    continue
                speedup = row["speedup"]
                lines.append(
                    f"| {name} | {group['placement']} | {group['temperature']:g} | {row['name']} "
                    f"| {row['tokens_per_second']:.1f} "
                    f"| {'' if speedup is None else format(speedup['total'], '.2f')} "
                    f"| {row['n_equal']} of {row['n_texts']} |"
                )
    if lines:
        lines[:0] = [
            "| pair | placement | T | mode at its best | tokens/s | speed-up | equal texts |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
    return lines


def copy_rows(copies: Mapping[str, Any]) -> list[str]:
    """Medians of the seconds to the first token, by kind of text."""
    lines: list[str] = []
    for name, records in copies.items():
        for one in records:
            medians = {kind: statistics.median(some) for kind, some in one["seconds"].items()}
            if not lines:
                lines = [
                    f"| pair | tokens | {' | '.join(f'{kind}, s' for kind in medians)} |",
                    f"| --- | --- |{' --- |' * len(medians)}",
                ]
            cells = " | ".join(f"{seconds:.3f}" for seconds in medians.values())
            lines.append(f"| {name} | {one['tokens']} | {cells} |")
    return lines


def table(report: Mapping[str, Any]) -> str:
    where = report["machine"]
    gpus = "; ".join(one["description"] for one in where["devices"]) or "no GPU"
    lines = [f"{where['cpu']}; {gpus}; llama.cpp {where['llama.cpp']}", ""]
    seconds = ", ".join(f"{name} {taken} s" for name, taken in report["stages"].items())
    lines += [f"stages: {seconds}", ""] if seconds else []
    if (found := report["tests"]) is not None:
        n_skipped = sum(found["skipped"].values())
        lines += [
            f"tests: {found['passed']} passed, {len(found['failed'])} failed, {n_skipped} skipped",
            *(f"  failed: {name}" for name in found["failed"]),
            *(f"  skipped {n}: {reason}" for reason, n in found["skipped"].items()),
            "",
        ]
    for rows in (
        curve_rows(report["curves"]),
        bench_rows(report["bench"]),
        copy_rows(report["copies"]),
    ):
        lines += [*rows, ""] if rows else []
    return "\n".join(lines[:-1])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder of gpu_suite.sh")
    parser.add_argument("--out", type=Path, help="write the JSON to this file")
    args = parser.parse_args(argv)
    if not args.work.is_dir():
        print(f"gpu_report: there is no folder {args.work}", file=sys.stderr)
        return 1
    report = gather(args.work)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
