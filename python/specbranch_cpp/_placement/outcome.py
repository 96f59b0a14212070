"""What a plan comes to: the result that users see, a line for the log, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._placement.advice import what_fits
from specbranch_cpp._placement.memory import MAIN
from specbranch_cpp._support.words import readable
from specbranch_cpp.errors import ModelLoadError
from specbranch_cpp.results import ModelPlacement, PairPlacement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

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


def uses_cpu(placement: PairPlacement) -> bool:
    """Whether layers of a model run on the CPU."""
    models = (placement.target, placement.draft)
    return any(each is not None and each.n_gpu_layers < each.n_layers for each in models)


def line(plan: Layout) -> str:
    """The plan in one line."""
    placed = [each for each in (plan.target, plan.draft) if each is not None]
    parts = [f"the {each.side.role} {_where(_of_model(each))}" for each in placed]
    gpus = plan.memories.gpus
    full = [each.side.role for each in placed if _found_no_room(each, gpus)]
    if not gpus:
        parts.append("llama.cpp finds no GPU")
    elif full:
        layer = "no layer" if len(full) == 2 else f"no layer of the {full[0]}"
        parts.append(f"{layer} fits into the free memory of {', '.join(gpus)}")
    return "; ".join(parts)


def _found_no_room(placed: Placed, gpus: Collection[str]) -> bool:
    """Whether the number of layers was to be found, and is 0 though a GPU may be used."""
    named = {name.casefold() for name in placed.side.options.devices}  # as llama.cpp reads them
    allowed = not named or any(gpu.casefold() in named for gpu in gpus)
    return placed.side.automatic and placed.n_gpu_layers == 0 and allowed


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


def tightness_words(plan: Layout) -> str | None:
    """Which GPUs the models nearly fill. ``None``: none."""
    if not (full := plan.memories.nearly_full()):
        return None
    left = " and ".join(f"{readable(size)} on {name}" for name, size in full.items())
    return (
        f"the models leave only {left}; llama.cpp takes memory there while it computes, and ends "
        "the process if there is none: use fewer layers (n_gpu_layers) or a smaller context"
    )


def shortage_words(shortage: Shortage, *, several: bool) -> str:
    """A shortage as a sentence. ``several``: there is a draft."""
    models = "the models need" if several else "the model needs"
    place = "of main memory" if shortage.place == MAIN else f"on {shortage.place}"
    return (
        f"{models} {readable(shortage.needed)} {place}, but only {readable(shortage.free)} are free"
    )
