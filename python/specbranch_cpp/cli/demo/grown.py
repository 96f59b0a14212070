"""The bundled pair, grown in memory and loaded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from specbranch_cpp import _core, demo
from specbranch_cpp._scaling.in_memory import InMemoryModel, memory_needed
from specbranch_cpp._scaling.scaled_model import ScaledModel, plan_model
from specbranch_cpp._scaling.source import Source
from specbranch_cpp.bench import machine
from specbranch_cpp.bench.placements import Placement, place
from specbranch_cpp.cli.demo import sizes
from specbranch_cpp.cli.demo.sizes import SIZES, WEIGHT_TYPES, Choice, Probe
from specbranch_cpp.engine import Engine
from specbranch_cpp.errors import SpecBranchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from specbranch_cpp._engine.machine_keywords import PlaceKeywords
    from specbranch_cpp.bench.machine import Hardware

N_CTX = 1024
_FEW_CORES = 2


class GrownPair:
    """The bundled pair at one size after another. At most one size is loaded.

    Args:
        progress: a function that is called with the loaded share of the current pair, 0 to 1.
        options: options of `Engine`; a placement is added to them.
    """

    def __init__(self, progress: Callable[[float], object], options: Mapping[str, Any]) -> None:
        self.paths = demo.pair()
        self._sources = tuple(map(Source, self.paths))
        self._progress = progress
        self._options = {"n_ctx": N_CTX, **options}
        self._loaded = ExitStack()
        self._choice: Choice | None = None
        self._engine: Engine | None = None
        self.plan = cache(self._plan)

    def __enter__(self) -> GrownPair:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the loaded pair."""
        self._loaded.close()
        self._engine = None

    @property
    def bundled(self) -> tuple[int, int]:
        """The numbers of parameters of both bundled models."""
        target, draft = (
            sum(int(tensor.n_elements) for tensor in source.reader.tensors)
            for source in self._sources
        )
        return target, draft

    def _plan(self, size: int, weight_type: str) -> tuple[ScaledModel, ScaledModel]:
        growth = (SIZES[size].target, SIZES[size].draft)
        target, draft = (
            plan_model(source, **dimensions, weight_type=weight_type)
            for source, dimensions in zip(self._sources, growth, strict=True)
        )
        return target, draft

    def n_bytes(self, size: int, weight_type: str) -> int:
        """The bytes of the weights of both models."""
        return sum(map(memory_needed, self.plan(size, weight_type)))

    def load(self, choice: Choice) -> Engine:
        """Loads the engine with this pair. The last engine is used again if it has this pair."""
        if self._engine is not None and choice == self._choice:
            return self._engine
        self.close()
        self._choice = choice
        models = self.plan(choice.size, choice.weight_type)
        target, draft = (self._loaded.enter_context(InMemoryModel(model)) for model in models)
        engine = Engine(
            target,
            draft,
            progress_callback=self._progress,
            **{**self._options, **choice.placement.options},
        )
        self._engine = self._loaded.enter_context(engine)
        return engine

    def measure(self, choice: Choice) -> Probe:
        """Loads this pair. Returns its step costs and the expected gain."""
        costs = self.load(choice).costs
        if costs is None:
            raise SpecBranchError("the engine could not measure the step costs of the grown pair")
        return sizes.judge(choice, costs)


@dataclass(frozen=True)
class Grown:
    """The chosen pair, and the measurements behind the choice.

    Attributes:
        engine: an engine with the chosen pair.
        best: the step costs of the chosen pair.
        probes: the other measurements.
        models: the plans of target and draft.
    """

    engine: Engine
    best: Probe
    probes: tuple[Probe, ...]
    models: tuple[ScaledModel, ScaledModel]


def placements(here: Hardware) -> tuple[Placement, Placement | None]:
    """Both models on all cores, and each on cores of its own.

    The draft has a quarter of the threads, at least one: its steps are short. None for the second
    where the target would be left with half of the cores or less: it would never decode as fast
    without speculation as on all of them.
    """
    threads: PlaceKeywords = {
        "n_gpu_layers": 0,
        "draft_n_gpu_layers": 0,
        "n_threads": here.n_usable,
        "draft_n_threads": max(1, here.n_usable // 4),
    }
    shared = Placement("shared", threads)
    if here.n_usable <= _FEW_CORES:
        return shared, None
    return shared, place(["split"], here)[0][0]


def find(
    pair: GrownPair,
    *,
    weight_types: Sequence[str] = WEIGHT_TYPES,
    placement: Placement | None = None,
) -> Grown | None:
    """Loads the pair with the largest gain on this machine. ``None``: the memory is too small.

    Args:
        pair: the bundled pair, which loads itself at each size.
        weight_types: the weight types to measure, in this order.
        placement: the placement of the models. ``None`` (default): the best placement.
    """
    budget = sizes.memory_budget(_core.available_memory())
    split = None
    if placement is None:
        placement, split = placements(machine.describe())
    probes = sizes.search(
        pair.measure,
        pair.n_bytes,
        budget,
        shared=placement,
        split=split,
        weight_types=weight_types,
    )
    if not probes:
        return None
    choice = sizes.largest(probes[-1], pair.n_bytes, budget)
    best = probes.pop() if choice == probes[-1].choice else pair.measure(choice)
    return Grown(pair.load(choice), best, tuple(probes), pair.plan(choice.size, choice.weight_type))
