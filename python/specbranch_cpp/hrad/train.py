"""Trains the classifier from traces. This needs PyTorch: ``pip install "specbranch_cpp[hrad]"``."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument, MissingExtra
from specbranch_cpp.hrad.records import LABELS, UNKNOWN
from specbranch_cpp.hrad.scores import Score, best_epsilon, by_confidence, with_rule
from specbranch_cpp.hrad.weights import Classifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from specbranch_cpp.hrad.records import Records

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Recipe:
    """The settings of the training. Layers, epochs and batches are those of the paper.

    Attributes:
        epochs: number of passes over the training rounds; the epoch with the least loss on the
            held-out prompts is kept.
        batch: number of rounds per step.
        hidden: widths of the two hidden layers.
        learning_rate: learning rate at the start; it falls to 0 along a cosine.
        weight_decay: weight decay of AdamW.
        dropout: dropout rate of inputs and hidden units.
        balance: weight of rare labels: 0: labels count as often as they occur; 1: all labels count
            the same; between: a compromise.
        held_out: share of the prompts that are not used for training.
        seed: seed of the training; the same seed and traces give the same weights on the same
            machine.

    Raises:
        InvalidArgument: a setting has the wrong type or is out of its range.
    """

    epochs: int = 20
    batch: int = 32
    hidden: tuple[int, int] = (256, 64)
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    dropout: float = 0.3
    balance: float = 0.0
    held_out: float = 0.15
    seed: int = 1

    def __post_init__(self) -> None:
        checked.integer("epochs", self.epochs, 1)
        checked.integer("batch", self.batch, 1)
        widths = checked.integers("hidden", self.hidden, 1, 2**20)
        if len(widths) != 2:
            raise InvalidArgument(f"hidden has {len(widths)} widths; it must have 2")
        for name in ("dropout", "balance", "held_out"):
            checked.share(name, getattr(self, name))
        for name in ("learning_rate", "weight_decay"):
            checked.at_least(name, getattr(self, name), 0.0)
        checked.integer("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class Trained:
    """A classifier and its scores.

    Attributes:
        file: the weights.
        held_out: score of the classifier on the held-out prompts.
        policy: score on the held-out prompts if the confidence rule decides where the classifier
            says *some*.
        rule: score of the confidence rule on the held-out prompts, with the epsilon of the traces.
        best_rule: score of the confidence rule with ``best_epsilon``.
        best_epsilon: the best epsilon on the training prompts.
        losses: loss on the held-out prompts after each epoch.
    """

    file: Classifier
    held_out: Score
    policy: Score
    rule: Score
    best_rule: Score
    best_epsilon: float
    losses: tuple[float, ...]


def import_torch() -> Any:
    """PyTorch.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtra('training needs PyTorch: pip install "specbranch_cpp[hrad]"') from error
    return torch


def split(names: Sequence[str], share: float, seed: int) -> Mask:
    """The held-out prompts: those with the smallest hashes of their names, at least one prompt."""
    keys = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
    n = min(max(1, round(share * len(names))), len(names) - 1)
    mask = np.zeros(len(names), bool)
    mask[sorted(range(len(names)), key=keys.__getitem__)[:n]] = True
    return mask


def train(
    records: Records,
    settings: Mapping[str, Any],
    prompts: Sequence[str],
    recipe: Recipe | None = None,
    *,
    progress: Callable[[int, float, float], object] | None = None,
) -> Trained:
    """Trains a classifier from the result of `records.load_traces`.

    Args:
        records: the rounds; rounds without a label are left out.
        settings: the settings of the traces.
        prompts: the names of the prompts.
        recipe: the settings of the training. ``None`` (default): the default settings.
        progress: a function that is called after each epoch with its number and the losses on
            training and held-out prompts.

    Raises:
        MissingExtra: PyTorch is not installed.
        InvalidArgument: there are too few rounds or prompts, or all rounds have the same label.
    """
    recipe = recipe or Recipe()
    torch = import_torch()
    records = records.where(records.label != UNKNOWN)
    if len(prompts) < 2 or len(records) < 10:
        raise InvalidArgument(
            f"the traces have {len(records)} rounds of {len(prompts)} prompts; they must have at "
            "least 10 rounds of 2 prompts"
        )
    held = split(prompts, recipe.held_out, recipe.seed)[records.prompt]
    learned, rest = records.where(~held), records.where(held)
    counts = np.bincount(learned.label, minlength=len(LABELS))
    if np.count_nonzero(counts) < 2 or not len(rest):
        raise InvalidArgument(
            "the traces have too few different rounds; rounds by label: "
            + ", ".join(f"{name} {n}" for name, n in zip(LABELS, counts, strict=True))
            + f"; {len(rest)} held out"
        )
    mean, scale = normalisation(learned.features)
    # Labels that did not occur have weight 0.
    weights = np.where(counts > 0, (counts.sum() / np.maximum(counts, 1)) ** recipe.balance, 0.0)
    best, losses = _fit(
        torch,
        (_inputs(learned, mean, scale), learned.label),
        (_inputs(rest, mean, scale), rest.label),
        weights / (weights * counts).sum() * counts.sum(),
        recipe,
        progress,
    )
    tensors = {"mean": mean, "scale": scale, **best}
    file = Classifier(tensors, {})
    held_out = score(file, rest)
    epsilon = best_epsilon(learned)
    file.metadata.update(_metadata(settings, recipe, len(learned), held_out))
    return Trained(
        file=file,
        held_out=held_out,
        policy=policy_score(file, rest, settings),
        rule=rule_score(rest, settings),
        best_rule=Score.of(rest.label, by_confidence(rest, epsilon)),
        best_epsilon=epsilon,
        losses=tuple(losses),
    )


def normalisation(
    features: npt.NDArray[np.float16],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and 1 / standard deviation of every input. A constant input gets scale 0."""
    values = features.astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    steady = deviation <= 1e-6 * (1.0 + np.abs(mean))
    scale = np.where(steady, 0.0, 1.0 / np.where(steady, 1.0, deviation))
    return mean.astype(np.float32), scale.astype(np.float32)


def score(file: Classifier, records: Records) -> Score:
    """The score of the classifier on rounds with a label."""
    known = records.where(records.label != UNKNOWN)
    return Score.of(known.label, file.probabilities(known.features).argmax(axis=1))


def policy_score(file: Classifier, records: Records, settings: Mapping[str, Any]) -> Score:
    """The score of `policies.HRAD`, with the epsilon of the traces."""
    known = records.where(records.label != UNKNOWN)
    foretold = file.probabilities(known.features).argmax(axis=1)
    return Score.of(known.label, with_rule(foretold, known, float(settings["epsilon"])))


def rule_score(records: Records, settings: Mapping[str, Any]) -> Score:
    """The score of the confidence rule, with the epsilon of the traces."""
    known = records.where(records.label != UNKNOWN)
    return Score.of(known.label, by_confidence(known, float(settings["epsilon"])))


def _inputs(
    records: Records, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    return (records.features.astype(np.float32) - mean) * scale


def _metadata(
    settings: Mapping[str, Any], recipe: Recipe, n_rounds: int, held_out: Score
) -> dict[str, str]:
    known = ("n_layers", "n_embd", "target_sha256", "draft_sha256", "target_name", "draft_name")
    return {
        **{name: str(settings[name]) for name in known},
        **{f"traces_{name}": str(settings[name]) for name in ("mode", "max_draft", "epsilon")},
        "trained_rounds": str(n_rounds),
        "held_out_rounds": str(held_out.n),
        "accuracy": f"{held_out.accuracy:.4f}",
        "balanced_accuracy": f"{held_out.balanced_accuracy:.4f}",
        "recipe": str(asdict(recipe)),
    }


def _network(torch: Any, n_inputs: int, recipe: Recipe) -> Any:
    first, second = recipe.hidden
    return torch.nn.Sequential(
        torch.nn.Dropout(recipe.dropout),
        torch.nn.Linear(n_inputs, first),
        torch.nn.ReLU(),
        torch.nn.Dropout(recipe.dropout),
        torch.nn.Linear(first, second),
        torch.nn.ReLU(),
        torch.nn.Dropout(recipe.dropout),
        torch.nn.Linear(second, len(LABELS)),
    )


def _fit(
    torch: Any,
    learned: tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]],
    held_out: tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]],
    class_weights: npt.NDArray[np.float64],
    recipe: Recipe,
    progress: Callable[[int, float, float], object] | None,
) -> tuple[dict[str, npt.NDArray[np.float32]], list[float]]:
    """The weights after the best epoch, and the held-out loss after each."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        x, y = (torch.from_numpy(np.asarray(part)) for part in learned)
        held_x, held_y = (torch.from_numpy(np.asarray(part)) for part in held_out)
        y, held_y = y.long(), held_y.long()
        network = _network(torch, x.shape[1], recipe)
        loss_of = torch.nn.CrossEntropyLoss(torch.from_numpy(class_weights.astype(np.float32)))
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        n_steps = recipe.epochs * -(-len(x) // recipe.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        losses: list[float] = []
        best: dict[str, npt.NDArray[np.float32]] = {}
        for epoch in range(1, recipe.epochs + 1):
            network.train()
            total = 0.0
            for rows in torch.randperm(len(x)).split(recipe.batch):
                optimizer.zero_grad()
                loss = loss_of(network(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                schedule.step()
                total += float(loss.detach()) * len(rows)
            network.eval()
            with torch.no_grad():
                losses.append(float(loss_of(network(held_x), held_y)))
            if losses[-1] == min(losses):
                best = _tensors(network)
            if progress is not None:
                progress(epoch, total / len(x), losses[-1])
    return best, losses


def _tensors(network: Any) -> dict[str, npt.NDArray[np.float32]]:
    layers = [layer for layer in network if hasattr(layer, "weight")]
    tensors = {}
    for i, layer in enumerate(layers, 1):
        tensors[f"w{i}"] = layer.weight.detach().numpy().copy()
        tensors[f"b{i}"] = layer.bias.detach().numpy().copy()
    return tensors
