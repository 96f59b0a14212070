"""Batches of random requests that run at once: each text is what it is alone.

SPECBRANCH_BATCHES=500 runs that many batches instead of a few. All weights and KV cells have 32
bits, so scores beside others differ by some millionths. Where a text leaves the one alone, a change
of a score by a thousandth must let the one alone leave, too.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.tiny_hybrid import write_tiny_hybrid

from fuzz.request_values import GBNF, REGEX, prompt, sampling
from soak import EXACT, copies
from specbranch_cpp import Engine, InvalidArgument, demo
from specbranch_cpp.grammars import Regex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from specbranch_cpp import Completion

N_BATCHES = int(os.environ.get("SPECBRANCH_BATCHES", "4"))
N_TEXTS = 8
MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
NEAR_TIE = 0.001  # nats, before the samplers


@dataclass(frozen=True)
class Request:
    """A request, its text alone, and when its client leaves."""

    arguments: dict[str, Any]
    alone: Completion
    n_read: int | None
    """Tokens after which the client cancels. ``None``: it reads to the end."""


@pytest.fixture(scope="module", params=["bundled", "hybrid"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    if request.param == "bundled":
        return copies(list(demo.pair()), folder)
    return [
        write_tiny_hybrid(folder / "target.gguf"),
        write_tiny_hybrid(folder / "draft.gguf", sharpness=3.5),
    ]


@pytest.fixture(scope="module")
def alone(models: list[Path]) -> Iterator[Engine]:
    with Engine(models[0], mode="autoregressive", lookup=False, **EXACT) as engine:
        yield engine


@pytest.fixture(scope="module")
def together(models: list[Path]) -> Iterator[Engine]:
    with Engine(*models, draft_n_threads=1, n_parallel=N_TEXTS, **EXACT) as engine:
        yield engine


def arguments(chance: Random) -> dict[str, Any]:
    """Any samplers, a rule for some texts, and an end by length or by a stop string."""
    begun = chance.choice(("def add(a, b):\n", "import os\n\n", "x = [1, 2, ", "# Sort\n", ""))
    given: dict[str, Any] = {
        "prompt": begun + prompt(chance),
        "max_tokens": chance.choice((1, 3, 10, 20, 40, 64)),
        "seed": chance.getrandbits(32),
        **sampling(chance),
    }
    rule = chance.random()
    if rule < 0.15:
        given["grammar"] = chance.choice(GBNF)
    elif rule < 0.25:
        given["grammar"] = Regex(chance.choice(REGEX))
    elif rule < 0.4:
        given["stop"] = chance.choice(("\n", ["):", "return"], "  "))
    elif rule < 0.5:
        given["logit_bias"] = {chance.randrange(500): chance.choice((-5.0, 2.0, 8.0))}
    return given


def make_request(engine: Engine, chance: Random) -> Request:
    """A request that the engine accepts."""
    while True:
        given = arguments(chance)
        try:
            done = engine.generate(**given).result()
        except InvalidArgument:  # samplers that exclude each other
            continue
        return Request(given, done, chance.randrange(30) if chance.random() < 0.25 else None)


def run(engine: Engine, one: Request, mode: str) -> Completion:
    generation = engine.generate(**one.arguments, mode=mode)
    if one.n_read is not None:
        for number, _ in enumerate(generation):
            if number >= one.n_read:
                generation.cancel()
                break
    return generation.result()


def leaves_by_a_hair(engine: Engine, one: Request, place: int, token: int) -> bool:
    """Whether the text alone gets this token if its score, and that of the other, is changed."""
    begin = len(engine.tokenize(one.arguments["prompt"], add_bos=True, special=True))

    def nudge(ids: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]) -> Any:
        if len(ids) == begin + place:
            scores[token] += NEAR_TIE
            scores[one.alone.tokens[place]] -= NEAR_TIE
        return scores

    nudged = engine.generate(**one.arguments, logits_processor=nudge).result()
    return nudged.tokens[: place + 1] == (*one.alone.tokens[:place], token)


def outcome(engine: Engine, one: Request, got: Completion) -> str:
    """How a text compares with that alone."""
    wanted = one.alone
    pairs = enumerate(zip(wanted.tokens, got.tokens, strict=False))
    for place, (expected, token) in pairs:
        if token != expected:
            assert leaves_by_a_hair(engine, one, place, token), (one, got)
            return "near-tie"
    if got.finish_reason == "cancelled":
        assert one.n_read is not None
        return "cancelled"
    assert (got.text, got.tokens) == (wanted.text, wanted.tokens), one
    assert got.finish_reason == wanted.finish_reason, one
    return "same"


def test_random_texts_are_what_they_are_alone(alone: Engine, together: Engine) -> None:
    found: Counter[str] = Counter()
    for number in range(N_BATCHES):
        chance = Random(f"batch {number}")
        requests = [make_request(alone, chance) for _ in range(N_TEXTS)]
        modes = [chance.choice(MODES) for _ in requests]
        with ThreadPoolExecutor(N_TEXTS) as pool:
            texts = pool.map(lambda one, mode: run(together, one, mode), requests, modes)
            for one, got in zip(requests, texts, strict=True):
                found[outcome(alone, one, got)] += 1
    print(dict(found))
    assert sum(found.values()) == N_BATCHES * N_TEXTS
    assert found["same"] > found["near-tie"]
