"""Learning H-RAD's classifier; needs PyTorch, but for what is told without it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from specbranch_cpp import InvalidArgument, MissingExtra
from specbranch_cpp.cli import app
from specbranch_cpp.hrad import Classifier, Records
from specbranch_cpp.hrad.train import Recipe, normalisation, split, train

if TYPE_CHECKING:
    from pathlib import Path

N_PROMPTS = 24
SETTINGS: dict[str, Any] = {
    "n_layers": 2, "n_embd": 4, "target_sha256": "a", "draft_sha256": "b", "target_name": "t",
    "draft_name": "d", "mode": "specbranch", "max_draft": 8, "epsilon": 0.4,
}  # fmt: skip
PROMPTS = [f"prompt {number}" for number in range(N_PROMPTS)]
SMALL = Recipe(epochs=10, hidden=(32, 16), learning_rate=3e-3)


def made_up(seed: int = 0, n: int = 1500) -> Records:
    """Rounds whose fate can be told from the features, and not from the confidence."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n, 12)).astype(np.float16)
    features[:, 3] = 7.0  # never changes
    sign = features[:, 0].astype(np.float32) + features[:, 5]
    label = np.digitize(sign, [-0.7, 1.2]).astype(np.int8)
    label[:5] = -1
    return Records(
        features=features,
        label=label,
        position=np.arange(n, dtype=np.int32),
        n_submitted=np.ones(n, np.int16),
        window=np.ones((n, 4), np.int32),
        confidence=draw.uniform(size=(n, 4)).astype(np.float32),
        temperature=np.zeros(n, np.float32),
        prompt=draw.integers(0, N_PROMPTS, n),
    )


def test_split_is_by_prompt_and_seeded() -> None:
    held = split(PROMPTS, 0.15, seed=1)
    assert held.sum() == 4
    assert (split(PROMPTS, 0.15, seed=1) == held).all()
    assert (split(PROMPTS, 0.15, seed=2) != held).any()
    assert split(["a", "b"], 0.9, seed=1).sum() == 1


def test_normalisation_leaves_out_what_never_changes() -> None:
    features = made_up().features
    mean, scale = normalisation(features)
    x = (features.astype(np.float64) - mean) * scale
    assert np.abs(x.mean(axis=0)).max() < 1e-3
    np.testing.assert_allclose(np.delete(x.std(axis=0), 3), 1.0, rtol=1e-3)
    assert scale[3] == 0.0
    assert np.isfinite(scale).all()


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r'pip install "specbranch_cpp\[hrad\]"'):
        train(made_up(), SETTINGS, PROMPTS)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="training needs torch")


@pytest.mark.usefixtures("torch")
def test_learns_what_can_be_learned(tmp_path: Path) -> None:
    losses = []
    done = train(made_up(), SETTINGS, PROMPTS, SMALL, progress=lambda *epoch: losses.append(epoch))
    assert [epoch for epoch, _, _ in losses] == list(range(1, 11))
    assert done.held_out.accuracy > 0.85
    assert done.held_out.balanced_accuracy > 0.8
    assert done.rule.accuracy < 0.6
    assert done.policy.accuracy > done.rule.accuracy
    assert done.best_rule.n == done.held_out.n == done.rule.n
    held = split(PROMPTS, SMALL.held_out, SMALL.seed)
    known = made_up().where(made_up().label >= 0)
    assert done.held_out.n == held[known.prompt].sum()

    file = done.file
    assert file.tensors["w1"].shape == (32, 12)
    assert file.tensors["w3"].shape == (3, 16)
    assert file.metadata["trained_rounds"] == str(len(known) - done.held_out.n)
    assert file.metadata["target_sha256"] == "a"
    file.save(tmp_path / "hrad.safetensors")
    loaded = Classifier.load(tmp_path / "hrad.safetensors")
    # Other rounds, which it has never seen.
    other = made_up(seed=9)
    other = other.where(other.label >= 0)
    assert (loaded.probabilities(other.features).argmax(axis=1) == other.label).mean() > 0.85


@pytest.mark.usefixtures("torch")
def test_the_same_seed_gives_the_same_weights() -> None:
    recipe = Recipe(epochs=2, hidden=(8, 4))
    first = train(made_up(), SETTINGS, PROMPTS, recipe)
    again = train(made_up(), SETTINGS, PROMPTS, recipe)
    other = train(made_up(), SETTINGS, PROMPTS, Recipe(epochs=2, hidden=(8, 4), seed=2))
    for name, tensor in first.file.tensors.items():
        np.testing.assert_array_equal(again.file.tensors[name], tensor)
    assert (other.file.tensors["w1"] != first.file.tensors["w1"]).any()


@pytest.mark.usefixtures("torch")
def test_balance_helps_the_rare_class() -> None:
    records = made_up()
    draw = np.random.default_rng(1)
    rare = (records.label == 2) & (draw.uniform(size=len(records)) < 0.8)
    records = records.where(~rare)
    noisy = records.label.copy()
    flipped = draw.uniform(size=len(records)) < 0.25
    noisy[flipped] = draw.integers(0, 3, flipped.sum())
    records.label[:] = noisy
    recalls = [
        train(
            records, SETTINGS, PROMPTS,
            Recipe(epochs=6, hidden=(32, 16), learning_rate=3e-3, balance=balance),
        ).held_out.recalls[2]
        for balance in (0.0, 1.0)
    ]  # fmt: skip
    assert recalls[1] > recalls[0]


@pytest.mark.usefixtures("torch")
def test_too_little_is_refused() -> None:
    records = made_up()
    few = records.where(np.arange(len(records)) < 9)
    with pytest.raises(InvalidArgument, match="at least 10 rounds of 2"):
        train(few, SETTINGS, PROMPTS)
    with pytest.raises(InvalidArgument, match="at least 10 rounds of 2"):
        train(records, SETTINGS, ["one"])
    with pytest.raises(InvalidArgument, match="rounds by label: none"):
        train(records.where(records.label == 1), SETTINGS, PROMPTS)


def test_the_place_of_the_weights_is_checked_first(tmp_path: Path) -> None:
    command = ["hrad", "train", str(tmp_path / "none"), "-o"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "no" / "weights")])
    assert done.exit_code == 1
    assert done.stderr == f"specbranch: {tmp_path / 'no'}: No such file or directory\n"
    done = CliRunner().invoke(app, [*command, str(tmp_path)])
    assert done.exit_code == 2
    assert "it is a folder" in done.stderr


@pytest.mark.usefixtures("torch")
def test_commands(pair: tuple[Path, Path], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        "".join(f'{{"prompt": "def name_{n}(self, value):\\n"}}\n' for n in range(6)),
        encoding="utf-8",
    )
    runner = CliRunner()
    models = ["-m", str(pair[0]), "-md", str(pair[1]), "-t", "1", "-td", "1", "--layers", "2"]
    traces = str(tmp_path / "traces")
    collect = ["hrad", "collect", *models, "--prompts", str(prompts), "-o", traces, "-n", "24"]
    done = runner.invoke(app, [*collect, "--temp", "0.8"])
    assert done.exit_code == 0, done.output
    assert "rounds of 6 texts" in done.output
    weights = tmp_path / "hrad.safetensors"
    learn = ["hrad", "train", traces, "-o", str(weights), "--epochs", "2", "--test", traces]
    done = runner.invoke(app, learn)
    assert done.exit_code == 0, done.output
    assert "confidence" in done.output
    assert Classifier.load(weights).metadata["n_layers"] == "2"
    done = runner.invoke(app, ["hrad", "train", str(tmp_path), "-o", str(weights)])
    assert done.exit_code == 2
    assert "has no traces" in done.output
