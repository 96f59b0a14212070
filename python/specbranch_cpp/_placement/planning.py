"""Where the layers of both models go, decided before anything is loaded."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._placement.layers import most_layers
from specbranch_cpp._placement.memory import Memories, Need
from specbranch_cpp.errors import InvalidArgument, ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BY_LAYERS, _BY_ROWS, _BY_TENSORS = 1, 2, 3  # values of `split_mode`


@dataclass(frozen=True)
class Side:
    """A model to be placed.

    Attributes:
        role: ``"target"`` or ``"draft"``.
        options: its options. `plan` makes a copy.
        automatic: whether the number of its layers on GPUs is to be found.
        max_draft: as in `Engine`.
        max_branches: as in `Engine`.
        with_weights: whether the file holds the weights.
        n_parallel: the number of texts at once.
    """

    role: str
    options: _core.ModelOptions
    automatic: bool
    max_draft: int
    max_branches: int
    with_weights: bool = True
    n_parallel: int = 1

    @property
    def mapped(self) -> bool:
        """Whether the weights in main memory are mapped from the file, and may leave memory."""
        return self.with_weights and self.options.use_mmap and not self.options.use_mlock

    @property
    def prefix(self) -> str:
        """The prefix of this model's keywords."""
        return "draft_" if self.role == "draft" else ""

    def changed(self, **values: object) -> Side:
        """The same with other options."""
        options = copy(self.options)
        for name, value in values.items():
            setattr(options, name, value)
        return replace(self, options=options)

    def footprint(self) -> _core.Footprint:
        """What llama.cpp would allocate."""
        measure = _core.draft_footprint if self.role == "draft" else _core.target_footprint
        return measure(
            self.options,
            max_draft=self.max_draft,
            max_branches=self.max_branches,
            n_parallel=self.n_parallel,
            with_weights=self.with_weights,
        )


@dataclass(frozen=True)
class Placed:
    """A model with its place.

    Attributes:
        side: the model; its options have a number of layers.
        footprint: what llama.cpp will allocate.
    """

    side: Side
    footprint: _core.Footprint

    @property
    def need(self) -> Need:
        """The memory that it needs."""
        return Need.of(self.footprint, mapped=self.side.mapped)

    @property
    def n_gpu_layers(self) -> int:
        """Number of layers on GPUs."""
        asked = self.side.options.n_gpu_layers
        if not self.footprint.devices:
            return 0
        return self.footprint.n_layers if asked < 0 else min(asked, self.footprint.n_layers)


@dataclass(frozen=True)
class Layout:
    """Where both models go.

    Attributes:
        target: the target. ``None``: its memory cannot be found out.
        draft: the draft. ``None``: there is none, or its memory cannot be found out.
        memories: what is free, and what the models get of it.
    """

    target: Placed | None
    draft: Placed | None
    memories: Memories


def plan(
    target: Side, draft: Side | None, measured: Callable[[], Memories] = Memories.measured
) -> Layout:
    """Finds the place of both models. Numbers of layers that were given come first, then the
    target, then the draft.

    Args:
        target: the target.
        draft: the draft, if there is one.
        measured: returns the free memory.

    Raises:
        InvalidArgument: an option is out of its range, or the number of layers must be given.
        ModelLoadError: a file cannot be loaded.
        IncompatibleModels: the model cannot have this role.
    """
    sides = [side for side in (target, draft) if side is not None]
    if not measured().gpus:
        alone = [side.changed(n_gpu_layers=0) if side.automatic else side for side in sides]
        placed = {side.role: _lay_out(side) for side in alone}
        memories = measured()
    else:
        placed, memories = _beside_each_other(sides, measured)
    for each in placed.values():
        memories = memories if each is None else memories.after(each.need)
    return Layout(placed.get("target"), placed.get("draft"), memories)


def _lay_out(side: Side) -> Placed | None:
    """The model where its options put it. ``None``: llama.cpp does not tell what it needs there."""
    if side.options.n_gpu_layers != 0 and side.options.split_mode in (_BY_ROWS, _BY_TENSORS):
        return None
    footprint = side.footprint()
    if footprint.devices and side.options.n_gpu_layers >= footprint.n_layers:
        side = side.changed(n_gpu_layers=-1)  # so are threads planned for it
    return Placed(side, footprint)


def _beside_each_other(
    sides: Sequence[Side], measured: Callable[[], Memories]
) -> tuple[dict[str, Placed | None], Memories]:
    """The places of all models, and the memory that is free before one of them is loaded."""
    placed: dict[str, Placed | None] = {}
    free: Memories | None = None
    left: Memories | None = None
    for side in sorted(sides, key=lambda one: one.automatic):
        if side.automatic and side.options.split_mode in (_BY_ROWS, _BY_TENSORS):
            raise InvalidArgument(
                f"{side.prefix}split_mode is {side.options.split_mode}; then "
                f"{side.prefix}n_gpu_layers must be given, because llama.cpp does not tell how "
                "much memory the layers would need"
            )
        if side.automatic and None in placed.values():
            # Nobody knows what the other model leaves.
            placed[side.role] = _on_cpu(side)
            continue
        found = _tried(side.changed(n_gpu_layers=-1)) if side.automatic else _lay_out(side)
        if left is None:
            # The first layout starts the driver, which takes memory of its own.
            free = left = measured()
        if side.automatic:
            found = _most(side, found, left)
        elif found is not None:
            found = _on_gpus(found, left)
        if found is not None:
            left = left.after(found.need)
        placed[side.role] = found
    return placed, free or measured()


def _tried(side: Side) -> Placed | None:
    """``None``: a GPU cannot hold the recurrent states, which even a layout allocates."""
    try:
        return Placed(side, side.footprint())
    except ModelLoadError:
        return None


def _on_gpus(found: Placed, memories: Memories) -> Placed:
    """The same on the GPUs that it should use: on one if it fits there, else with fixed shares of
    all. What the caller has chosen stays.

    llama.cpp would take the shares from the memory that is free while it loads, which the other
    model changes.
    """
    options = found.side.options
    names = [share.device for share in found.footprint.devices]
    if len(names) < 2 or options.tensor_split or options.n_gpu_layers == 0:
        return found
    if not options.devices and options.split_mode == _BY_LAYERS:
        for name in _best_first(names, memories, found.side):
            alone = found.side.changed(devices=[name])
            placed = Placed(alone, alone.footprint())
            if memories.excess(placed.need) <= 0:
                return placed
    shares = dict(zip(names, memories.shares(names), strict=True))
    used = [name for name, share in shares.items() if share > 0]
    if not used:
        return found
    split = [shares[name] for name in used] if len(used) > 1 else []
    side = found.side.changed(devices=used, tensor_split=split)
    return Placed(side, side.footprint())


def _best_first(gpus: Sequence[str], memories: Memories, side: Side) -> list[str]:
    """GPUs without the other model come first, since models on one GPU slow each other down; then
    those with more free memory, in hundredths. A draft leaves the best one to a later target."""
    taken = {name for need in memories.given for name in need.gpus}
    shares = dict(zip(gpus, memories.shares(gpus), strict=True))
    sign = 1 if side.role == "draft" and not taken else -1
    return sorted(gpus, key=lambda name: (name in taken, sign * shares[name]))


def _most(side: Side, whole: Placed | None, memories: Memories) -> Placed:
    """As many layers as fit beside what was given before.

    Args:
        side: the model.
        whole: the same with all layers on GPUs, as `_tried` has it.
        memories: what is free.
    """
    if whole is None:
        # Says what is wrong with the file, if that is the reason.
        n_layers, too_much = _on_cpu(side).footprint.n_layers, 1
    elif not whole.need.gpus:  # no GPU may be used
        return _on_cpu(side)
    else:
        whole = _on_gpus(whole, memories)
        side, n_layers = whole.side, whole.footprint.n_layers
        too_much = memories.excess(whole.need)
        if too_much <= 0:
            return whole
    tried: dict[int, Placed] = {}

    def excess(n_layers: int) -> int:
        found = _tried(side.changed(n_gpu_layers=n_layers))
        if found is None:
            return 1
        tried[n_layers] = found
        return memories.excess(found.need)

    most = most_layers(n_layers, excess, too_much)
    return tried[most] if most else _on_cpu(side)


def _on_cpu(side: Side) -> Placed:
    alone = side.changed(n_gpu_layers=0, tensor_split=[])
    return Placed(alone, alone.footprint())
