"""What a plan comes to: the result that users see, a line for the log, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._placement.advice import what_fits
from specbranch_cpp._placement.memory import MAIN
from specbranch_cpp._support.words import readable
from specbranch_cpp.errors import ModelLoadError
from specbranch_cpp.results import ModelPlacement, PairPlacement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp._placement.memory import Memories, Shortage
    from specbranch_cpp._placement.planning import Layout, Placed, Side


def placement_of(plan: Layout) -> PairPlacement | None:
    """The plan as a result. ``None``: it is not known what the target needs."""
    if plan.target is None:
        return None
    draft = None if plan.draft is None else _of_model(plan.draft)
    return PairPlacement(_of_model(plan.target), draft)


def _of_model(placed: Placed) -> ModelPlacement:
    memory = {MAIN: placed.footprint.host.total, **placed.need.gpus}
    return ModelPlacement(placed.n_gpu_layers, placed.footprint.n_layers, memory)


def line(placement: PairPlacement, gpus: Sequence[str]) -> str:
    """The placement in one line. ``gpus``: names of all GPUs of the machine."""
    models = [("target", placement.target), ("draft", placement.draft)]
    parts = [f"the {role} {_where(model)}" for role, model in models if model is not None]
    return "; ".join(parts) + ("" if gpus else "; llama.cpp finds no GPU")


def _where(model: ModelPlacement) -> str:
    sizes = [f"{readable(size)} on {name}" for name, size in model.memory.items() if name != MAIN]
    main = f"{readable(model.memory[MAIN])} of main memory"
    if not model.n_gpu_layers:
        return f"runs on the CPU ({main})"
    layers = f"has {model.n_gpu_layers} of {model.n_layers} layers on GPUs"
    return f"{layers} ({', '.join([*sizes, main])})"


def check(
    plan: Layout, target: Side, draft: Side | None, measured: Callable[[], Memories] | None = None
) -> None:
    """Refuses a plan that does not fit.

    Raises:
        ModelLoadError: a place is too small. The message says what would fit.
    """
    if shortages := plan.memories.shortages():
        words = "; ".join(shortage_words(each, several=draft is not None) for each in shortages)
        fits = what_fits(target, draft, shortages, measured)
        advice = f"these settings would fit: {', or '.join(fits)}" if fits else (
            "no smaller context and no smaller cache would fit; use smaller models"
        )  # fmt: skip
        raise ModelLoadError(f"{words}; {advice}")


def shortage_words(shortage: Shortage, *, several: bool) -> str:
    """A shortage as a sentence. ``several``: there is a draft."""
    models = "the models need" if several else "the model needs"
    place = "of main memory" if shortage.place == MAIN else f"on {shortage.place}"
    return (
        f"{models} {readable(shortage.needed)} {place}, but only {readable(shortage.free)} are free"
    )
