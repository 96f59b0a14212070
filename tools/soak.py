"""Hours of random texts: is every text right, and does the memory stay flat?

    python tools/soak.py [TARGET DRAFT] --minutes 240 [--seed N] [--isolate] [--json FILE]

Threads ask one engine, half of them through the HTTP server: random prompts, samplers, grammars,
modes and lengths. They read to the end, cancel, drop the text, or hang up. Each text must be how
the text of a plain engine with the same seed begins, which decodes the same requests one by one in
mode ``autoregressive``. Every ten seconds the memory of the process, and that of the engine's own
process, is noted. The exit status is 1 if a text was wrong, or if an error came.

The models are copies of the given ones with weights of 32 bits, the KV cells have 32 bits, too, and
flash attention is off: its kernel for several rows is coarser. Then texts beside others diverge
only where two scores are equal to three digits; such a place is counted, and must be one of them.
Texts under a grammar or with penalties are only read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from fuzz.served import serving
from specbranch_cpp import Completion, Engine, _core, demo

SCALE = Path(__file__).resolve().parents[1] / "benchmarks/scale_model.py"
N_TOKENS = 64
MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
PROMPTS = (
    "def add(a, b):\n    return a + b\n\n\ndef ", "import os\nimport sys\n\n", "class Queue:\n    ",
    "# Sorts a list\n", "for i in range(10):\n", "x = [1, 2, 3]\ny = [", "try:\n    ",
    "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n", "0.5, 0.25, 0.125, ", "assert ",
)  # fmt: skip
COMPARED = ("temperature", "top_p", "top_k", "min_p", "stop", "seed")
"""A text with other options is not compared: its scores are not those that the model reports."""
NEAR_TIE = 0.0005  # nats
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {"temperature": 0.8},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 0.7, "top_k": 20, "min_p": 0.05},
    {"temperature": 0.9, "repeat_penalty": 1.2, "presence_penalty": 0.3},
    {"temperature": 0.8, "grammar": 'root ::= [a-z ]+ ("." | ",")? root?'},
    {"temperature": 0.6, "stop": ["\n\n"]},
)
EXACT: dict[str, Any] = {
    "n_ctx": 512, "n_threads": 1, "type_k": "f32", "type_v": "f32", "flash_attn": False,
}  # fmt: skip
_SAMPLE_S = 10.0


@dataclass(frozen=True)
class Known:
    """A request, and the text that it must give."""

    prompt: str
    options: dict[str, Any]
    text: str
    ties: tuple[tuple[int, int], ...]
    """The begins and ends, in the text, of tokens that were chosen by a hair."""

    def begins(self, found: str) -> bool:
        """Whether a text is how this text begins."""
        # A text that is cancelled keeps the begin of a stop string, and half a character.
        whole = self.text + "".join(self.options.get("stop", ()))
        return whole.startswith(found.rstrip("\ufffd"))

    def allows(self, found: str) -> bool:
        """Whether a text is how this text begins, or leaves it at a near-tie."""
        if self.begins(found):
            return True
        place = next(
            i for i, (a, b) in enumerate(zip(self.text + "\0", found, strict=False)) if a != b
        )
        return any(begin <= place <= end for begin, end in self.ties)


@dataclass
class Tally:
    """What happened so far."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def check(self, what: str, known: Known, found: str) -> None:
        """Notes a text that is not how the known text begins."""
        self.add(what)
        if any(name not in COMPARED for name in known.options):
            return
        if not known.allows(found):
            with self.lock:
                self.wrong.append(f"{what} {known.options} {found!r} is not {known.text!r}")
        elif not known.begins(found):
            self.add("near-tie")


def copies(models: list[Path], folder: Path) -> list[Path]:
    """The models with weights of 32 bits."""
    made = []
    for model in models:
        made.append(folder / model.name)
        command = [
            sys.executable,
            str(SCALE),
            str(model),
            str(made[-1]),
            "--type",
            "F32",
            "--quiet",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return made


def near_ties(engine: Engine, prompt: str, done: Completion, options: Any) -> tuple[Any, ...]:
    """The places of a text at which the two best scores are almost equal."""
    n_prompt = len(engine.tokenize(prompt, special=True))
    temperature = options["temperature"]
    ties = []
    begin = 0
    for number, one in enumerate(done.logprobs or ()):
        end = len(engine.detokenize(done.tokens[: number + 1]))
        scores = sorted(one.top.values(), reverse=True)
        if temperature > 0:
            scores = sorted(
                (
                    score / temperature + _core._gumbel(options["seed"], n_prompt + number, token)
                    for token, score in one.top.items()
                ),
                reverse=True,
            )
        if scores[0] - scores[1] < NEAR_TIE:
            ties.append((begin, end))
        begin = end
    return tuple(ties)


def known_texts(models: list[Path], seed: int) -> list[Known]:
    """The requests of a run, decoded one by one without speculation."""
    chance = random.Random(seed)
    found = []
    with Engine(models[0], mode="autoregressive", lookup=False, **EXACT) as engine:
        for prompt in PROMPTS:
            for sampling in SAMPLINGS:
                options = {**sampling, "seed": chance.getrandbits(32)}
                done = engine.complete(prompt, max_tokens=N_TOKENS, logprobs=50, **options)
                found.append(
                    Known(prompt, options, done.text, near_ties(engine, prompt, done, options))
                )
    return found


def ask_engine(engine: Engine, known: list[Known], tally: Tally, chance: random.Random) -> None:
    """One text through the Python API."""
    one = chance.choice(known)
    n_tokens = chance.randint(1, N_TOKENS)
    generation = engine.generate(
        one.prompt, max_tokens=n_tokens, mode=chance.choice(MODES), **one.options
    )
    action = chance.choice(("read", "read", "read", "cancel", "drop", "unread"))
    if action == "read":
        done = generation.result()
        tally.check("read", one, done.text)
        return
    if action == "unread":
        tally.add("unread")
        return
    text = ""
    for number, chunk in enumerate(generation):
        text += chunk.text
        if number >= n_tokens // 3:
            break
    if action == "cancel":
        generation.cancel()
        text = generation.result().text
    tally.check(action, one, text)


def ask_server(
    client: httpx.Client, known: list[Known], tally: Tally, chance: random.Random
) -> None:
    """One text through the HTTP interface."""
    one = chance.choice(known)
    n_tokens = chance.randint(1, N_TOKENS)
    body = {"prompt": one.prompt, "max_tokens": n_tokens, "mode": chance.choice(MODES)}
    body |= {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0} | one.options
    if chance.random() < 0.5:
        reply = client.post("/v1/completions", json=body)
        if reply.status_code == 429:
            tally.add("queue full")
            return
        reply.raise_for_status()
        tally.check("http", one, reply.json()["choices"][0]["text"])
        return
    stays = chance.random() < 0.5
    text = ""
    with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as stream:
        if stream.status_code == 429:
            tally.add("queue full")
            return
        stream.raise_for_status()
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["text"]
            if not stays and len(text) > n_tokens // 2:
                break
    tally.check("stream" if stays else "hung up", one, text)


def resident_mib(process: int | str) -> float:
    """The memory of a process, without files that are mapped. 0: there is no such process."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def soak(engine: Engine, known: list[Known], minutes: float, seed: int, n_threads: int) -> Tally:
    """Runs until the time is over, or a text is wrong."""
    tally = Tally()
    begin = time.monotonic()
    end = begin + 60 * minutes

    def over() -> bool:
        return time.monotonic() > end or bool(tally.wrong)

    def work(number: int, url: str) -> None:
        chance = random.Random(f"{seed} {number}")
        with httpx.Client(base_url=url, timeout=120) as client:
            while not over():
                try:
                    if number % 2:
                        ask_server(client, known, tally, chance)
                    else:
                        ask_engine(engine, known, tally, chance)
                except Exception as error:  # noqa: BLE001, every error is a finding
                    with tally.lock:
                        tally.wrong.append(f"{type(error).__name__}: {error}")

    child = getattr(engine._core, "process_id", None)
    with serving(engine) as server:
        threads = [threading.Thread(target=work, args=(n, server.url)) for n in range(n_threads)]
        for thread in threads:
            thread.start()
        while not over():
            minute = (time.monotonic() - begin) / 60
            own = resident_mib("self")
            tally.memory.append((minute, own, resident_mib(child) if child else 0.0))
            time.sleep(_SAMPLE_S)
        for thread in threads:
            thread.join()
    return tally


def report(tally: Tally, minutes: float) -> dict[str, Any]:
    """What a run has shown."""
    quarter = max(1, len(tally.memory) // 4)

    def median(samples: list[tuple[float, float, float]], column: int) -> float:
        return round(statistics.median([sample[column] for sample in samples] or [0.0]), 1)

    return {
        "minutes": minutes,
        "texts": dict(tally.counts),
        "n_texts": sum(tally.counts.values()),
        "wrong": tally.wrong[:20],
        "second_quarter_mib": [median(tally.memory[quarter : 2 * quarter], c) for c in (1, 2)],
        "last_quarter_mib": [median(tally.memory[-quarter:], c) for c in (1, 2)],
        "memory_mib": [[round(value, 1) for value in sample] for sample in tally.memory],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, help="target and draft")
    parser.add_argument("--minutes", type=float, default=240.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--isolate", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = copies(arguments.models or list(demo.pair()), Path(folder))
        known = known_texts(models, arguments.seed)
        with Engine(
            *models, draft_n_threads=1, n_parallel=4, isolate=arguments.isolate, **EXACT
        ) as engine:
            tally = soak(engine, known, arguments.minutes, arguments.seed, arguments.clients)
    found = report(tally, arguments.minutes)
    if arguments.json:
        arguments.json.write_text(json.dumps(found) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "memory_mib"}))
    sys.exit(bool(tally.wrong))


if __name__ == "__main__":
    main()
