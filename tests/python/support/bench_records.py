"""Records of runs that were never made, for tests of what is read from them."""

from __future__ import annotations

from typing import Any

from specbranch_cpp.bench.records import FORMAT, Record
from specbranch_cpp.bench.variants import Variant

BASE = Variant("autoregressive")
SHORT = Variant("speculative", 2, "fixed")
LONG = Variant("speculative", 6, "fixed")
AUTO = Variant("auto")
PEER = Variant("other-engine", 3, is_peer=True)
ALL = (BASE, SHORT, LONG, AUTO, PEER)


def model(name: str) -> dict[str, Any]:
    return {"name": name, "bytes": 1000, "sha256": name * 8, "parameters": 10,
            "quantization": "q8_0"}  # fmt: skip


def header(**changes: Any) -> Record:
    plan = {
        "pairs": [{"target": model("big.gguf"), "draft": model("small.gguf")}],
        "prompts": {"some": {"sha256": "12" * 32, "numbers": [0, 1, 2, 3]}},
        "variants": {each.name: vars(each) for each in ALL},
        "placements": {"shared": {"n_threads": 2}},
        "temperatures": [0.0],
        "tokens": 10,
        "repeat": 1,
        "ctx_size": 512,
        "seed": 1,
        "bit_exact": False,
        "stretch": 0,
    }
    return {
        "kind": "header",
        "format": FORMAT,
        "package": {"version": "1.2.3", "commit": None, "extension_sha256": "ab" * 32},
        "machine": {"cpu": "A CPU", "cpus": [0, 1], "cores": [[0], [1]], "n_usable": 2,
                    "memory_bytes": 2**31, "gpus": []},
        "libraries": {"llama.cpp": "9"},
        "plan": {**plan, **changes},
        "skipped": {"placement": {"gpu": "there is none"}, "peer": {}},
        "n_items": 20,
        "made": "2030-01-01T00:00:00Z",
        "command": "specbranch bench run",
    }  # fmt: skip


def turn(
    variant: Variant, prompt: int, decode_ms: float, *, part: int = 0, stretch: int | None = None,
    start: int = 0, repeat: int = 0, tokens: tuple[int, ...] = (1, 2, 3, 4), **stats: Any,
) -> Record:  # fmt: skip
    """One turn: a whole text by default."""
    known: dict[str, Any] = {"n_generated": len(tokens), "decode_ms": decode_ms, "prefill_ms": 1.0,
                             "finish_reason": "length"}  # fmt: skip
    if not variant.is_peer:
        known |= {
            "n_target_steps": len(tokens),
            "n_draft_steps": 0,
            "n_drafted": 0,
            "n_accepted": 0,
            "n_rolled_back": 0,
            "target_busy_ms": decode_ms,
            "draft_busy_ms": 0.0,
            "coordination_ms": 0.0,
            "overlap_ms": 0.0,
            "acceptance_histogram": [len(tokens)],
            "mode_reason": "",
        }
    return {
        "kind": "turn",
        "key": f"{variant.name} {prompt} {repeat} {part} {stretch}",
        "part": part,
        "pair": 0,
        "placement": "shared",
        "prompts": "some",
        "prompt": prompt,
        "temperature": 0.0,
        "repeat": repeat,
        "variant": variant.name,
        "stretch": stretch,
        "start": start,
        "tokens": list(tokens),
        "stats": {**known, **stats},
    }
