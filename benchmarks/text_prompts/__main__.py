"""Writes the sets as files of JSON lines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.text_prompts.sets import SETS, chatml, prompts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text_prompts", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chatml", action="store_true", help="write turns of ChatML")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        texts = [chatml(text) if args.chatml else text for text in prompts(name)]
        lines = [json.dumps({"kind": name, "prompt": text}) for text in texts]
        (args.folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
