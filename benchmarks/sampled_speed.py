"""Tokens per second above temperature 0: versions of this package, and other engines, in turns.

Each contender is a process of its own, and all of them stay loaded. They load one after the other,
so that none disturbs the measurement of step costs of another. They take turns at the same prompts;
the order rotates. Texts of two versions of this package at the same seed should be equal;
the other engines draw their own random numbers, so only their speeds compare.

    python -m benchmarks.sampled_speed TARGET DRAFT --prompts FILE \\
        --contender before=OLD_CHECKOUT/python:auto --contender now=python:auto \\
        --contender plain=python:autoregressive --contender server=llama-server:5

A contender is NAME=FOLDER:MODE with the folder that holds the package ``specbranch_cpp``,
NAME=llama-server:LENGTH with the draft length (0: no draft model; it needs xllamacpp), or
NAME=lookup:LENGTH for llama-cpp-python with its prompt lookup. The first one is the base of the
ratios. ``slowest`` is the lowest ratio of a prompt.

With ``--placement split``, the default, each of our models has a core of its own; with ``shared``
both have both cores, as the models of the other engines. ``--set NAME:VARIABLE=VALUE`` sets a
variable in the environment of a contender, ``--busy N`` starts N processes that always compute.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import itertools
import json
import os
import runpy
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 7
LEVEL = 0.95
N_RESAMPLES = 4000
N_WARM_UP = 2  # first prompts that no figure counts


@dataclass(frozen=True)
class Contender:
    name: str
    place: str  # a folder, or a name of `OTHERS`
    how: str  # the mode, or the draft length


@dataclass(frozen=True)
class Variable:
    contender: str
    name: str
    value: str


class Process:
    """One contender; answers one JSON line per request."""

    def __init__(self, contender: Contender, arguments: argparse.Namespace) -> None:
        self.name = contender.name
        settings = {
            "place": contender.place,
            "how": contender.how,
            "target": str(arguments.target.resolve()),
            "draft": str(arguments.draft.resolve()),
            "n_ctx": arguments.n_ctx,
            "placement": arguments.placement,
        }
        environment = dict(os.environ)
        environment |= {
            one.name: one.value for one in arguments.set if one.contender == contender.name
        }
        if contender.place not in OTHERS:
            environment["PYTHONPATH"] = str(Path(contender.place).resolve())
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
        )
        self._read()  # it has loaded

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


# --- in the contenders' processes ---


def serve(settings: dict[str, Any]) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    answer = OTHERS.get(settings["place"], _engine)(settings)

    def say(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    say({})
    for line in sys.stdin:
        say(answer(json.loads(line)))


def _engine(settings: dict[str, Any]) -> Any:
    """The first path entry would be this folder of benchmarks."""
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]
    from specbranch_cpp import Engine

    options: dict[str, Any] = {"n_threads": 2, "draft_n_threads": 2}
    if settings["placement"] == "split":
        options = {"n_threads": 1, "draft_n_threads": 1, "cpus": [0], "draft_cpus": [1]}
    if "lookup_answers" in inspect.signature(Engine.__init__).parameters:
        options["lookup_answers"] = False  # a prompt comes several times
    engine = Engine(settings["target"], settings["draft"], n_ctx=settings["n_ctx"], **options)

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        done = engine.generate(seed=SEED, mode=settings["how"], **question).result()
        return {
            "n": done.stats.n_generated,
            "ms": done.stats.decode_ms,
            "drafted": done.stats.n_drafted,
            "accepted": done.stats.n_accepted,
            "reason": done.stats.mode_reason,
            "text": done.text,
        }

    return answer


def _server(settings: dict[str, Any]) -> Any:
    """Both cores for both models: they take turns there."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["target"]
    params.n_ctx = settings["n_ctx"]
    params.n_parallel = 1
    params.cache_ram_mib = 0
    params.verbosity = 1
    length = int(settings["how"])
    groups = [params.cpuparams, params.cpuparams_batch]
    if length > 0:
        draft = params.speculative.draft
        draft.mparams.path = settings["draft"]
        draft.n_max = length
        params.speculative.types = [
            xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE
        ]
        groups += [draft.cpuparams, draft.cpuparams_batch]
    for group in groups:
        group.n_threads = 2
    server = xllamacpp.Server(params)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        body = {
            "prompt": question["prompt"], "n_predict": question["max_tokens"], "seed": SEED,
            "temperature": question["temperature"], "top_p": question["top_p"], "top_k": 0,
            "min_p": 0.0, "cache_prompt": False,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{server.listening_address}/completion",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with opener.open(request) as response:
            found = json.load(response)
        timings = found["timings"]
        return {
            "n": timings["predicted_n"],
            "ms": timings["predicted_ms"],
            "drafted": timings.get("draft_n", 0),
            "accepted": timings.get("draft_n_accepted", 0),
            "text": found["content"],
        }

    return answer


def _lookup(settings: dict[str, Any]) -> Any:
    """Prompt lookup of llama-cpp-python on both cores."""
    # As a file of its own: the package would load llama.cpp with how *our* threads wait.
    file = Path(__file__).parents[1] / "python/specbranch_cpp/bench/peers/_llama_cpp_python.py"
    backend_of = runpy.run_path(str(file))["Backend"]

    pair = {"target": settings["target"], "n_ctx": settings["n_ctx"], "n_threads": 2}
    backend = backend_of({**pair, "n_gpu_layers": 0}, lookup=True)

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        sampling = {
            "temp": question["temperature"], "top_p": question["top_p"], "top_k": 0, "min_p": 0.0
        }  # fmt: skip
        backend.set_seed(SEED)
        prompt = backend.tokenize(question["prompt"])
        found = backend.generate(prompt, question["max_tokens"], int(settings["how"]), sampling)
        return {
            "n": len(found["tokens"]),
            "ms": found["decode_ms"],
            "drafted": found["n_drafted"],
            "accepted": found["n_accepted"],
            "text": backend.detokenize(found["tokens"]),
        }

    return answer


OTHERS = {"llama-server": _server, "lookup": _lookup}

# --- here ---


def speed(found: list[dict[str, Any]]) -> float:
    """Tokens per second of all texts together."""
    n_tokens = float(sum(one["n"] for one in found))
    return 1000.0 * n_tokens / float(sum(one["ms"] for one in found))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """A row for each contender; the interval is a bootstrap over the prompts (Efron, 1979)."""
    import numpy as np

    lines = [
        f"| contender | tokens/s | ratio | {LEVEL:.0%} interval | slowest | accepted | equal |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    base = next(iter(found.values()))
    draws = np.random.default_rng(1).integers(0, len(base), (N_RESAMPLES, len(base)))
    tail = 50.0 * (1.0 - LEVEL)

    def speeds(group: list[dict[str, Any]]) -> Any:
        n, ms = (np.array([float(one[key]) for one in group]) for key in ("n", "ms"))
        return n[draws].sum(axis=1) / ms[draws].sum(axis=1)

    for name, group in found.items():
        ratios = speeds(group) / speeds(base)
        low, high = np.percentile(ratios, [tail, 100.0 - tail])
        drafted = sum(one["drafted"] for one in group)
        accepted = f"{sum(one['accepted'] for one in group) / drafted:.2f}" if drafted else "-"
        slowest = min(speed([a]) / speed([b]) for a, b in zip(group, base, strict=True))
        same = sum(a["text"] == b["text"] for a, b in zip(group, base, strict=True))
        lines.append(
            f"| {name} | {speed(group):.2f} | {speed(group) / speed(base):.2f} | {low:.2f} .. "
            f"{high:.2f} | {slowest:.2f} | {accepted} | {same} of {len(base)} |"
        )
    return "\n".join(lines)


def contender(text: str) -> Contender:
    name, equals, rest = text.partition("=")
    place, colon, how = rest.rpartition(":")
    if not (name and equals and place and colon and how):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER:MODE")
    return Contender(name, place, how)


def variable(text: str) -> Variable:
    name, colon, rest = text.partition(":")
    key, equals, value = rest.partition("=")
    if not (name and colon and key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:VARIABLE=VALUE")
    return Variable(name, key, value)


@contextlib.contextmanager
def busy_processes(n: int) -> Iterator[None]:
    code = "while True: pass"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(n)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def measure(processes: list[Process], prompts: list[str], args: argparse.Namespace) -> None:
    """Prints a table for each sampling."""
    for temperature, top_p in itertools.product(args.temperatures, args.top_p):
        sampling = {"temperature": temperature, "top_p": top_p}
        found: dict[str, list[dict[str, Any]]] = {one.name: [] for one in processes}
        for i, prompt in enumerate(prompts[:N_WARM_UP] + prompts):
            for j in range(len(processes)):
                one = processes[(i + j) % len(processes)]
                answer = one.ask({"prompt": prompt, "max_tokens": args.tokens, **sampling})
                if i < N_WARM_UP:
                    continue
                found[one.name].append(answer)
                if args.json:
                    text = {"contender": one.name, "prompt": i - N_WARM_UP, **sampling, **answer}
                    with args.json.open("a") as file:
                        file.write(json.dumps(text) + "\n")
        print(f"\ntemperature {temperature:g}, top_p {top_p:g}\n\n{table(found)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("--prompts", type=Path, action="append", required=True)
    parser.add_argument("--contender", type=contender, action="append", required=True)
    parser.add_argument("--n-prompts", type=int, default=6, help="of each file")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.8, 1.0])
    parser.add_argument("--top-p", type=float, nargs="+", default=[1.0])
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument("--placement", choices=("split", "shared"), default="split")
    parser.add_argument("--set", type=variable, action="append", default=[], metavar="VARIABLE")
    parser.add_argument("--busy", type=int, default=0, help="other processes that compute")
    parser.add_argument("--chatml", action="store_true", help="ask the prompts as ChatML turns")
    parser.add_argument("--json", type=Path, help="append one line per text")
    args = parser.parse_args()
    prompts = [
        json.loads(line)["prompt"]
        for file in args.prompts
        for line in file.read_text(encoding="utf-8").splitlines()[: args.n_prompts]
    ]
    if args.chatml:
        frame = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
        prompts = [frame.format(prompt) for prompt in prompts]
    processes = [Process(one, args) for one in args.contender]
    with busy_processes(args.busy):
        measure(processes, prompts, args)
    for one in processes:
        one.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        serve(json.loads(sys.argv[2]))
    else:
        main()
