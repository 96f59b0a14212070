"""Which models can draft for which, and the speed-up to expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.fake_home import FakeHome
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tiny_hybrid import write_tiny_hybrid

from specbranch_cpp import SpecBranchError, _core, simulation
from specbranch_cpp.local_models import Catalog
from specbranch_cpp.local_models.pairs import usual_machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> FakeHome:
    return FakeHome(tmp_path)


def pairs(catalog: Catalog) -> set[tuple[str, str]]:
    names = {model.path: model.name.removesuffix(".gguf") for model in catalog.models}
    return {(names[pair.target], names[pair.draft]) for pair in catalog.pairs}


def write(home: FakeHome, name: str, **changes: Any) -> Path:
    return write_tiny_gguf(home.folder / f"given/{name}.gguf", **changes)


@pytest.fixture
def given(home: FakeHome) -> Path:
    folder = home.folder / "given"
    folder.mkdir()
    return folder


def test_smaller_models_with_the_same_vocabulary_fit(home: FakeHome, given: Path) -> None:
    write(home, "large", n_layer=24)
    write(home, "middle", n_layer=8)
    write(home, "small", n_layer=1)
    write(home, "other", n_layer=1, token_text={i: f"<{i}>" for i in range(10, 250)})
    found = home.find(given)
    assert pairs(found) == {("large", "middle"), ("large", "small"), ("middle", "small")}
    drafts = found.drafts_for(found.models[0])
    assert [found.models[0].name, len(drafts)] == ["large.gguf", 2]
    assert all(pair.n_common > 0 for pair in drafts)
    for pair in drafts:
        sizes = {model.path: model.step_bytes for model in found.models}
        assert pair.ratio == round(sizes[pair.target] / sizes[pair.draft], 2)


def test_the_rule_is_the_engine_s(
    home: FakeHome, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever `check_pair` says is the answer; equal cases are asked once."""
    write(home, "large", n_layer=4)
    write(home, "middle", n_layer=2)
    write(home, "small", n_layer=1, seed=5)
    write(home, "other", n_layer=1, token_text={40: "<40>"})
    asked = []
    real = _core.check_pair

    def check(target: bytes, draft: bytes) -> _core.PairCheck:
        asked.append((target, draft))
        return real(target, draft)

    monkeypatch.setattr(_core, "check_pair", check)
    home.find(given)
    assert len(asked) == 2  # the equal ones, and the other one as a draft

    class Answer:
        n_common = 7

    monkeypatch.setattr(_core, "check_pair", lambda _target, _draft: Answer())
    found = home.find(given)
    assert {pair.n_common for pair in found.pairs} == {7}


def test_other_tokenizers_are_not_asked(
    home: FakeHome, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, "large", n_layer=4, n_vocab=2000)
    write(home, "small", n_layer=1, n_vocab=2000,
          token_text={i: f"<{i}>" for i in range(1, 2000)})  # fmt: skip

    def refuse(_target: bytes, _draft: bytes) -> None:
        raise AssertionError

    monkeypatch.setattr(_core, "check_pair", refuse)
    assert home.find(given).pairs == []


def test_a_recurrent_draft_is_judged_by_the_rule(home: FakeHome, given: Path) -> None:
    """The same vocabulary does not make it equal to a draft that fits."""
    write(home, "target", n_layer=24)
    write(home, "fits", n_layer=1)
    hybrid = write_tiny_hybrid(given / "hybrid.gguf")
    try:
        _core.check_pair(bytes(given / "target.gguf"), bytes(hybrid))
        expected = {("target", "fits"), ("target", "hybrid")}
    except SpecBranchError:
        expected = {("target", "fits")}
    assert {pair for pair in pairs(home.find(given)) if pair[0] == "target"} == expected


def test_the_gain_is_the_simulator_s(home: FakeHome, given: Path) -> None:
    write(home, "target", n_layer=40, n_vocab=273)
    write(home, "draft", n_layer=2, n_vocab=273)
    found = home.find(given, alpha=0.75, machine="two-gpus")
    (pair,) = found.pairs
    assert found.assumptions.machine == "two-gpus"
    assert (found.assumptions.alpha_low, found.assumptions.alpha_high) == (0.5, 0.85)
    ratio = float(f"{pair.ratio:.2g}")
    for alpha, gain in ((0.75, "expected"), (0.5, "low"), (0.85, "high")):
        simulated = simulation.simulate(
            simulation.Pair(alpha=alpha, draft_us=20_000 / ratio), "two-gpus", "auto"
        )
        assert getattr(pair.gain, gain) == round(simulated.speedup, 2)
    assert 1 < pair.gain.low < pair.gain.expected < pair.gain.high


def test_the_best_draft_comes_first(home: FakeHome, given: Path) -> None:
    write(home, "target", n_layer=40)
    write(home, "half", n_layer=20)
    write(home, "small", n_layer=2)
    found = home.find(given)
    target = next(model for model in found.models if model.name == "target.gguf")
    gains = [pair.gain for pair in found.drafts_for(target)]
    assert [pair.draft.rpartition("/")[2] for pair in found.drafts_for(target)] == [
        "small.gguf", "half.gguf",
    ]  # fmt: skip
    assert gains[0].expected > gains[1].expected


def test_an_alpha_beyond_the_usual_rates(home: FakeHome, given: Path) -> None:
    write(home, "target", n_layer=20)
    write(home, "draft", n_layer=1)
    found = home.find(given, alpha=0.3)
    assert (found.assumptions.alpha_low, found.assumptions.alpha_high) == (0.3, 0.85)
    gain = found.pairs[0].gain
    assert gain.low == gain.expected < gain.high


def test_the_usual_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Device:
        def __init__(self, *, is_gpu: bool) -> None:
            self.is_gpu = is_gpu

    def on(cpus: int, *devices: Device) -> str:
        monkeypatch.setattr(_core, "list_devices", lambda: list(devices))
        # The CPUs of the machine that this process may not use do not count.
        monkeypatch.setattr("os.cpu_count", lambda: 64)
        monkeypatch.setattr(
            "specbranch_cpp.local_models.pairs.usable_cpus", lambda: list(range(cpus))
        )
        return usual_machine()

    cpu, gpu = Device(is_gpu=False), Device(is_gpu=True)
    assert on(8, cpu, gpu) == "one-gpu"
    assert on(8, cpu) == "two-cores"
    assert on(1) == "shared-cores"
    assert {"one-gpu", "two-cores", "shared-cores"} <= set(simulation.MACHINES)
