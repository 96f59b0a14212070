"""What forced tokens bring under a JSON schema: target alone and with them, in turns.

    python -m benchmarks.forced_tokens [TARGET [DRAFT]] [--rounds 6] [--tokens 160] [--json FILE]

Texts propose nothing here (``lookup=False``). Without a draft model `auto` differs from
`autoregressive` only by the tokens about which the schema leaves no choice. With one, the modes are
`autoregressive`, and `auto` with the draft model and forced tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

from specbranch_cpp import Engine, demo
from specbranch_cpp.grammars import JsonSchema

TEXT = {"type": "string", "maxLength": 24}
COUNT = {"type": "integer", "minimum": 0, "maximum": 99}
SCHEMAS: dict[str, dict[str, Any]] = {
    "long names": {
        "name_of_the_function": TEXT,
        "short_description": TEXT,
        "number_of_positional_arguments": COUNT,
        "number_of_keyword_arguments": COUNT,
        "returned_type": {"enum": ["integer", "string", "list of strings", "nothing at all"]},
        "is_a_generator": {"type": "boolean"},
    },
    "short names": {"name": TEXT, "text": TEXT, "a": COUNT, "b": COUNT, "ok": {"type": "boolean"}},
}
PROMPTS = (
    "def add(first, second):\n    return first + second\n\n# As JSON:\n",
    "def names(path, *, encoding='utf-8'):\n    return open(path).read().split()\n\n# As JSON:\n",
    "def stop(process):\n    process.kill()\n\n# As JSON:\n",
)
_Z = 1.96


def rule(name: str) -> JsonSchema:
    properties = SCHEMAS[name]
    return JsonSchema({"type": "object", "properties": properties, "required": list(properties)})


def compared(engine: Engine, name: str, rounds: int, n_tokens: int) -> dict[str, Any]:
    """Steps and times of both modes with one schema; raises if a text differs."""
    ratios, steps, forced, drafted = [], {"autoregressive": 0, "auto": 0}, 0, 0
    grammar = rule(name)
    for round_number in range(-1, rounds):
        for index, prompt in enumerate(PROMPTS):
            order = ["autoregressive", "auto"]
            if (round_number + index) % 2:
                order.reverse()
            found: dict[str, Any] = {}
            taken: dict[str, float] = {}
            for mode in order:
                begin = time.perf_counter()
                found[mode] = engine.generate(
                    prompt, max_tokens=n_tokens, mode=mode, grammar=grammar, temperature=0.7,
                    seed=round_number + 1, lookup=False,
                ).result()  # fmt: skip
                taken[mode] = time.perf_counter() - begin
            if found["auto"].tokens != found["autoregressive"].tokens:
                raise SystemExit(f"the texts differ: {name}, seed {round_number + 1}, {prompt!r}")
            if round_number < 0:
                continue
            for mode, done in found.items():
                steps[mode] += done.stats.n_target_steps
            forced += found["auto"].stats.n_forced_accepted
            drafted += found["auto"].stats.n_forced_drafted
            ratios.append(math.log(taken["autoregressive"] / taken["auto"]))
    half = _Z * statistics.stdev(ratios) / math.sqrt(len(ratios))
    middle = statistics.mean(ratios)
    return {
        "schema": name,
        "texts": len(ratios),
        "steps": steps,
        "forced_accepted": forced,
        "forced_drafted": drafted,
        "speed": [round(math.exp(middle + side * half), 3) for side in (0, -1, 1)],
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, help="target and draft; default: a pair")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, help="append a line for each schema")
    args = parser.parse_args(arguments)
    models = args.models or list(demo.pair())
    with Engine(*models, n_ctx=1024, n_threads=args.threads) as engine:
        for name in SCHEMAS:
            line = compared(engine, name, args.rounds, args.tokens)
            print(json.dumps(line))
            if args.json:
                with args.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
