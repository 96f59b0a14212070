"""How far is the memory that is estimated before loading from what llama.cpp then allocates?

Every model is loaded as the target of an engine, with several contexts, cache types and with and
without flash attention. llama.cpp logs the sizes of its buffers; their sum stands against the
estimate (`Engine.placement`). The log rounds to 0.01 MiB, and gives the rows of logits of one token
only, so that those are left out on both sides. Weights are read, not mapped: of a mapped file the
log gives the whole range. Every combination runs in a process of its own.

    python benchmarks/memory_estimate.py MODEL.gguf ...          # default: the bundled pair
    python benchmarks/memory_estimate.py --draft DRAFT.gguf TARGET.gguf   # both models together
    python benchmarks/memory_estimate.py FOLDER --json out.jsonl
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from specbranch_cpp import Engine, SpecBranchError, _core, demo

LOGGER = logging.getLogger("specbranch_cpp")
MIB = 2**20
KINDS = ("model", "KV", "RS", "state", "compute")
SIZE = re.compile(rf"({'|'.join(KINDS)}) buffer size = +([\d.]+) MiB")
PROMPT = 600  # tokens, more than one batch
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"n_ctx": 16384},
    {"n_ctx": 8192, "type_k": "q8_0", "type_v": "q8_0"},
    {"n_ctx": 16384, "type_k": "q4_0", "type_v": "q4_0", "n_ubatch": 128},
    {"n_ctx": 2048, "flash_attn": False},
)


class SizeLog(logging.Handler):
    """Adds up the sizes that llama.cpp logs, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = dict.fromkeys(KINDS, 0.0)

    def emit(self, record: logging.LogRecord) -> None:
        if found := SIZE.search(record.getMessage()):
            self.sizes[found[1]] += float(found[2]) * MIB


def anonymous_bytes() -> int:
    """Main memory of this process that belongs to no file."""
    words = Path("/proc/self/status").read_text(encoding="ascii").split()
    return int(words[words.index("RssAnon:") + 1]) * 1024


def measure(target: Path, draft: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The estimate and the allocation of one combination, in bytes."""
    log = SizeLog()
    level = LOGGER.level
    LOGGER.addHandler(log)
    LOGGER.setLevel(logging.INFO)
    begin = anonymous_bytes()
    try:
        with Engine(target, draft, use_mmap=False, measure_costs=False, mode="autoregressive",
                    **settings) as engine:  # fmt: skip
            placement = engine.placement
            if placement is None:
                raise SystemExit("the estimate is not known")
            models = [placement.target] + ([] if placement.draft is None else [placement.draft])
            estimate = sum(sum(model.memory.values()) for model in models)
            prompt = [token % engine.vocab_size for token in range(5, 5 + PROMPT)]
            engine.generate(prompt, max_tokens=4).result()
            in_process = anonymous_bytes() - begin
    finally:
        LOGGER.removeHandler(log)
        LOGGER.setLevel(level)
    return {
        "estimate": estimate - _logits(target, draft, settings),
        "allocated": round(sum(log.sizes.values())),
        "parts": {kind: round(size) for kind, size in log.sizes.items()},
        "with_logits": estimate,
        "in_process": in_process,
    }


def _logits(target: Path, draft: Path | None, settings: dict[str, Any]) -> int:
    """Bytes of the rows of logits."""
    options = _core.ModelOptions(bytes(target))
    options.n_ctx = settings.get("n_ctx", 4096)
    found = [_core.target_footprint(options, max_draft=16, max_branches=4)]
    if draft is not None:
        options = _core.ModelOptions(bytes(draft))
        found.append(_core.draft_footprint(options, max_draft=16, max_branches=4))
    return sum(footprint.host.outputs for footprint in found)


def files_of(given: list[Path]) -> list[Path]:
    """The files, and those in the folders."""
    found: list[Path] = []
    for path in given or [demo.pair()[0]]:
        found += sorted(path.glob("*.gguf")) if path.is_dir() else [path]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--draft", type=Path, help="a draft for every model")
    parser.add_argument("--json", type=Path, help="write one JSON line per combination")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        try:
            print(json.dumps(measure(args.models[0], args.draft, json.loads(args.one))))
        except SpecBranchError as error:
            print(json.dumps({"error": str(error)}))
        return
    lines, errors = [], []
    print(
        f"{'model':44} {'settings':58} {'estimate':>9} {'allocated':>9} {'error':>7} {'process':>9}"
    )
    for path in files_of(args.models):
        for settings in SETTINGS:
            command = [sys.executable, __file__, str(path), "--one", json.dumps(settings)]
            if args.draft is not None:
                command += ["--draft", str(args.draft)]
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
            if run.returncode != 0:
                raise SystemExit(run.stderr)
            found = json.loads(run.stdout.splitlines()[-1])
            lines.append({"model": path.name, "settings": settings, **found})
            said = ", ".join(f"{name}={value}" for name, value in settings.items()) or "defaults"
            if "error" in found:
                print(f"{path.name:44} {said:58} {found['error']}")
                continue
            deviation = found["estimate"] / found["allocated"] - 1
            errors.append(abs(deviation))
            print(
                f"{path.name:44} {said:58} {found['estimate'] / MIB:9.2f} "
                f"{found['allocated'] / MIB:9.2f} {deviation:+7.2%} "
                f"{found['in_process'] / MIB:9.2f}"
            )
    print(f"{len(errors)} combinations; largest error {max(errors, default=0):.2%}")
    if args.json is not None:
        args.json.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
