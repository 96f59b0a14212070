"""Every sampler of llama.cpp, alone and together: every mode gives the text of `autoregressive`.

``SPECBRANCH_SAMPLER_MATRIX`` is the number of random combinations; 200 are all of them.
"""

from __future__ import annotations

import os
import random
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, InvalidArgument, Sampling, _core
from specbranch_cpp._support.sampler_letters import LETTERS, samplers_of
from specbranch_cpp.options import SAMPLERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.python.conftest import MakeFake

N_COMBINATIONS = int(os.environ.get("SPECBRANCH_SAMPLER_MATRIX", "6"))
MODES = ("speculative", "pearl", "specbranch", "auto")
PROMPTS = (
    "def fibonacci(n):\n    ",
    "for i in range(10):\n    print(i)\nfor i in range(10):\n    print(i)\nfor i in range(",
)
BREAKERS = ["\n", ":", "self"]

# The settings of each sampler; a number of a range, or one of several values.
VALUES: dict[str, dict[str, Any]] = {
    "penalties": {
        "repeat_last_n": [-1, 5, 64, 200],
        "repeat_penalty": (0.9, 1.4),
        "presence_penalty": (-0.3, 0.6),
        "frequency_penalty": (-0.1, 0.4),
    },
    "dry": {
        "dry_multiplier": (0.3, 3.0),
        "dry_base": (1.0, 2.0),
        "dry_allowed_length": [0, 1, 2, 4],
        "dry_penalty_last_n": [-1, 16, 64],
        "dry_sequence_breakers": [[], BREAKERS, ["\n", ":", '"', "*"]],
    },
    "top_n_sigma": {"top_n_sigma": (0.5, 3.0)},
    "top_k": {"top_k": [1, 3, 20, 200]},
    "typ_p": {"typical_p": (0.1, 0.99)},
    "top_p": {"top_p": (0.1, 0.99)},
    "min_p": {"min_p": (0.01, 0.5)},
    "xtc": {"xtc_probability": (0.2, 1.0), "xtc_threshold": (0.01, 0.4)},
    "temperature": {
        "temperature": [0.0, 0.3, 0.8, 1.0, 1.5],
        "dynatemp_range": [0.0, 0.0, 0.4],
        "dynatemp_exponent": (0.5, 2.0),
    },
    "infill": {
        "samplers": [["top_k", "infill"], ["top_k", "infill", "temperature"]],
        "top_k": [5, 40],
    },
    "adaptive_p": {"adaptive_target": (0.0, 1.0), "adaptive_decay": (0.0, 0.99)},
    "mirostat 1": {"mirostat_mode": [1], "mirostat_tau": (0.5, 6.0), "mirostat_eta": (0.0, 1.0)},
    "mirostat 2": {"mirostat_mode": [2], "mirostat_tau": (0.5, 6.0), "mirostat_eta": (0.0, 1.0)},
}


def some_values(of: str, chance: random.Random) -> dict[str, Any]:
    """Random values for the settings of a sampler."""
    return {
        name: chance.choice(each) if isinstance(each, list) else round(chance.uniform(*each), 3)
        for name, each in VALUES[of].items()
    }


def combination(number: int) -> Sampling:
    """Random samplers with random values, in llama.cpp's order or in a random one."""
    chance = random.Random(number)
    names = chance.sample(SAMPLERS, chance.randint(2, len(SAMPLERS)))
    settings: dict[str, Any] = {"temperature": 0.8}
    for name in names:
        settings |= some_values(name, chance)
    if number % 8 == 7:
        settings |= some_values(chance.choice(["mirostat 1", "mirostat 2"]), chance)
    if number % 5 != 4:
        settings["samplers"] = names
    if chance.random() < 0.3:
        settings["min_keep"] = chance.choice([1, 3, 30])
    if chance.random() < 0.2:
        settings["logit_bias"] = {40: 2.0, 41: float("-inf")}
    return Sampling(seed=number, **settings)


def check_modes(engine: Engine, sampling: Sampling, max_tokens: int = 32) -> set[str]:
    """Compares the texts of all modes; returns the texts of `autoregressive`."""
    texts = set()
    for prompt in PROMPTS:
        arguments: dict[str, Any] = {"sampling": sampling, "max_tokens": max_tokens}
        want = engine.generate(prompt, mode="autoregressive", **arguments).result()
        texts.add(want.text)
        for mode in MODES:
            got = engine.generate(prompt, mode=mode, **arguments).result()
            assert (mode, sampling, got.tokens) == (mode, sampling, want.tokens)
            assert got.finish_reason == want.finish_reason
    return texts


@pytest.fixture(scope="module")
def plain(engine: Engine) -> set[str]:
    """The texts at a temperature, without samplers."""
    return check_modes(engine, Sampling(temperature=0.9, seed=1))


@pytest.mark.parametrize("name", VALUES)
def test_each_sampler_alone(engine: Engine, plain: set[str], name: str) -> None:
    changed = 0
    for number in range(2):
        settings = {"temperature": 0.9} | some_values(name, random.Random(number))
        changed += check_modes(engine, Sampling(seed=1, **settings)) != plain
    assert changed, "the sampler does something"


@pytest.mark.parametrize("number", range(N_COMBINATIONS))
def test_samplers_together(engine: Engine, number: int) -> None:
    check_modes(engine, combination(number))


@pytest.mark.parametrize("name", ["mirostat 2", "adaptive_p", "dry", "xtc"])
def test_state_does_not_outlive_its_text(engine: Engine, name: str) -> None:
    settings = {"temperature": 1.0} | some_values(name, random.Random(5))
    sampling = Sampling(seed=3, **settings)
    first = engine.generate(PROMPTS[0], sampling=sampling, max_tokens=40).result()
    engine.generate(PROMPTS[1], sampling=replace(sampling, seed=4), max_tokens=40).result()
    again = engine.generate(PROMPTS[0], sampling=sampling, max_tokens=40).result()
    assert again.tokens == first.tokens


@pytest.mark.parametrize("name", ["mirostat 1", "mirostat 2", "adaptive_p", "dry", "typ_p"])
def test_a_grammar_goes_with_every_sampler(engine: Engine, name: str) -> None:
    settings = {"temperature": 1.2} | some_values(name, random.Random(2))
    texts = check_modes(engine, Sampling(seed=2, grammar="root ::= [a-z \\n]*", **settings))
    assert all(set(text) <= set("abcdefghijklmnopqrstuvwxyz \n") for text in texts)


@pytest.mark.parametrize("name", VALUES)
def test_a_perfect_draft_is_never_rejected(perfect: Engine, name: str) -> None:
    """The target as its own draft, one token ahead: the draft knows what the target's samplers
    remember.
    """
    for number in range(2):
        settings = {"temperature": 1.0} | some_values(name, random.Random(number))
        for prompt in PROMPTS:
            done = perfect.generate(
                prompt, sampling=Sampling(seed=number, **settings), max_tokens=32,
                mode="speculative", max_draft=1,
            ).result()  # fmt: skip
            assert (number, settings, done.stats.n_rolled_back) == (number, settings, 0)


@pytest.fixture(scope="module")
def perfect(pair: tuple[Path, Path]) -> Iterator[Engine]:
    target, _ = pair
    with Engine(target, target, n_ctx=1024, n_threads=1, draft_n_threads=1) as engine:
        yield engine


def test_greedy_text_changes_only_by_what_changes_the_best(engine: Engine) -> None:
    plain = check_modes(engine, Sampling())
    keeping = Sampling(top_k=5, top_p=0.5, min_p=0.2, top_n_sigma=1.0, min_keep=4)
    assert check_modes(engine, keeping) == plain
    assert check_modes(engine, Sampling(dry_multiplier=2.0, dry_penalty_last_n=-1)) != plain
    assert check_modes(engine, Sampling(xtc_probability=1.0, xtc_threshold=0.01)) != plain
    assert check_modes(engine, Sampling(typical_p=0.01)) != plain


def test_samplers_that_are_not_in_the_list_do_not_run(engine: Engine) -> None:
    hot: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 30}
    one = engine.generate(PROMPTS[0], top_k=1, **hot).result()
    free = engine.generate(PROMPTS[0], **hot).result()
    listed = engine.generate(PROMPTS[0], top_k=1, samplers=["temperature"], **hot).result()
    none = engine.generate(PROMPTS[0], top_k=1, samplers=[], **hot).result()
    at_one = engine.generate(PROMPTS[0], **hot | {"temperature": 1.0}).result()
    assert one.tokens != free.tokens == listed.tokens
    assert none.tokens == at_one.tokens


def test_the_window_of_the_penalties(engine: Engine) -> None:
    def text(**settings: Any) -> tuple[int, ...]:
        return engine.generate(PROMPTS[1], max_tokens=40, **settings).result().tokens

    assert text(repeat_penalty=1.5, repeat_last_n=0) == text()
    assert text(repeat_penalty=1.5, repeat_last_n=64) == text(repeat_penalty=1.5) != text()
    assert text(repeat_penalty=1.5, repeat_last_n=-1) == text(
        repeat_penalty=1.5, repeat_last_n=5000
    )


def test_names_of_samplers(make_fake: MakeFake) -> None:
    request = _core.Request()
    assert request.samplers is None
    request.samplers = SAMPLERS
    assert request.samplers == [*SAMPLERS]
    request.samplers = ["top-k", "TopP", "min_p", "nucleus", "temp", "typ", "typical_p", "minp"]
    assert request.samplers == [
        "top_k", "top_p", "min_p", "top_p", "temperature", "typ_p", "typ_p", "min_p",
    ]  # fmt: skip
    request.samplers = None
    assert request.samplers is None
    engine = make_fake()
    for wrong in (["top_k", "tfs_z"], ["fill"], [""], ["top_k top_p"]):
        with pytest.raises(InvalidArgument, match=r"samplers has .*; it may have penalties, dry"):
            engine.generate("abc", samplers=wrong)
    with pytest.raises(InvalidArgument, match="samplers is 'top_k'"):
        engine.generate("abc", samplers="top_k")
    with pytest.raises(InvalidArgument, match="number of samplers is 65; it must be at most 64"):
        engine.generate("abc", samplers=["top_k"] * 65)


def test_letters_of_samplers() -> None:
    assert "".join(LETTERS) == "edskypmxtia"
    assert samplers_of("kpmt") == ["top_k", "top_p", "min_p", "temperature"]
    with pytest.raises(InvalidArgument, match=r"letter 'f'; it may have e \(penalties\)"):
        samplers_of("kf")


def test_the_defaults_are_the_cores() -> None:
    request, defaults = _core.Request(), Sampling()
    for field in fields(Sampling):
        name = {"mirostat_mode": "mirostat"}.get(field.name, field.name)
        mine, core = getattr(defaults, field.name), getattr(request, name)
        if name == "dry_sequence_breakers":
            core = tuple(each.decode() for each in core)
        if mine is not None:
            assert core == pytest.approx(mine) if isinstance(mine, float) else core == mine
