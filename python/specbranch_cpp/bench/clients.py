"""Several clients at once: each sends its next request when it has the answer to the last one.

The clients are threads that call one engine of the package. No HTTP is between them, so the figures
are those of the engine.
"""

from __future__ import annotations

import math
import random
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._support import checked
from specbranch_cpp.bench import crowd, machine, placements, prompts, records, variants
from specbranch_cpp.bench.plan import ModelPair
from specbranch_cpp.engine import Engine
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.vocabulary import end_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp.bench.placements import Placement
    from specbranch_cpp.bench.records import Record
    from specbranch_cpp.bench.runner import ProgressListener

__all__ = [
    "ClientsPlan",
    "ClientsRequest",
    "ClientsRun",
    "Load",
    "check_room",
    "measure",
    "prepare",
]

MAX_CLIENTS = 256
_WARM_UP_TOKENS = 16


@dataclass(frozen=True)
class ClientsRequest:
    """The user's request.

    Attributes:
        pair: files of the target and the draft; ``None``: no draft model.
        clients: numbers of clients, 1 to 256; at most the number of prompts.
        parallel: values of ``n_parallel``, each with an engine of its own in memory. ``None``: the
            largest number of clients, at most the largest ``n_parallel``.
        modes: modes out of `variants.MODES`; `autoregressive` is always measured.
        prompts: files of JSON lines; empty: the bundled set.
        n_prompts: the largest number of prompts from each file. ``None``: all prompts.
        tokens: the number of tokens of each text.
        temperature: temperature of the texts, 0 or above.
        placement: a placement out of `placements.NAMES`. ``None``: ``gpu`` if there is a GPU,
            ``gpus`` if there are several, else ``shared``.
        repeat: number of rounds; every round measures everything once.
        n_ctx: context length in tokens.
        seed: seed of the choice of prompts, of the orders, and of the texts.
    """

    pair: tuple[Path, Path | None]
    clients: tuple[int, ...]
    parallel: tuple[int, ...] | None = None
    modes: tuple[str, ...] = ("autoregressive", "auto")
    prompts: tuple[Path, ...] = ()
    n_prompts: int | None = 16
    tokens: int = 128
    temperature: float = 0.0
    placement: str | None = None
    repeat: int = 1
    n_ctx: int = 2048
    seed: int = 1


@dataclass(frozen=True)
class Load:
    """What is measured at a time: so many clients, of an engine with this ``n_parallel``."""

    n_clients: int
    n_parallel: int
    mode: str


@dataclass(frozen=True)
class ClientsPlan:
    """A checked request: see `ClientsRequest`. `texts` are the prompts, in their order."""

    pair: ModelPair
    clients: tuple[int, ...]
    parallel: tuple[int, ...]
    modes: tuple[str, ...]
    texts: tuple[str, ...]
    tokens: int
    temperature: float
    placement: Placement
    repeat: int
    n_ctx: int
    seed: int

    @property
    def loads(self) -> list[Load]:
        """What every round measures."""
        return [Load(*each) for each in product(self.clients, self.parallel, self.modes)]

    def round(self, number: int) -> list[Load]:
        """The same in the order of this round, so that no load always has the same place."""
        mixed = self.loads
        random.Random(f"{self.seed} {number}").shuffle(mixed)
        return mixed

    def settings(self) -> Record:
        """The plan as JSON."""
        plain = {name: value for name, value in vars(self).items() if name not in ("pair", "texts")}
        return {
            **plain,
            "pair": self.pair.to_json(),
            "n_prompts": len(self.texts),
            "placement": {"name": self.placement.name, "options": self.placement.options},
        }


@dataclass(frozen=True, kw_only=True)
class ClientsRun(crowd.Waits):
    """One load in one round: all prompts, once.

    Attributes:
        round: number of the round, from 0.
        n_clients: number of clients.
        n_parallel: the largest number of generations that ran at once.
        mode: the mode of all texts.
    """

    round: int
    n_clients: int
    n_parallel: int
    mode: str


def prepare(request: ClientsRequest, command: str = "") -> tuple[ClientsPlan, Record]:
    """The plan for a request, and the header of its records.

    Args:
        request: the request.
        command: the user's command, for the header.

    Raises:
        InvalidArgument: a value is out of its range, or impossible on this machine.
        ModelLoadError: a file is not a model.
        IncompatibleModels: the models cannot be used together.
    """
    clients = _numbers("number of clients", request.clients, MAX_CLIENTS)
    parallel = request.parallel
    if parallel is None:
        parallel = (min(max(clients), _core.MAX_PARALLEL),)
    modes = _modes(request.modes, has_draft=request.pair[1] is not None)
    if request.n_prompts is not None:
        checked.integer("number of prompts", request.n_prompts, 1)
    sets = prompts.load(request.prompts, request.n_prompts, request.seed)
    texts = tuple(text for each in sets for text in each.texts.values())
    if max(clients) > len(texts):
        raise InvalidArgument(
            f"the number of clients is {max(clients)}; it must be at most the number of prompts, "
            f"which is {len(texts)}"
        )
    here = machine.describe()
    name = request.placement
    if name == placements.ALL:
        raise InvalidArgument("placement is 'all'; several clients are measured in one placement")
    (placement, *_), _ = placements.place(None if name is None else [name], here, alone=True)
    target, draft = request.pair
    pair = ModelPair(
        target, draft, machine.model(target), None if draft is None else machine.model(draft)
    )
    if draft is not None:
        _core.check_pair(bytes(target), bytes(draft))
    temperature = checked.real("temperature", request.temperature)
    if not (math.isfinite(temperature) and temperature >= 0.0):
        raise InvalidArgument(f"temperature is {temperature:g}; it must be at least 0 and finite")
    plan = ClientsPlan(
        pair=pair,
        clients=clients,
        parallel=_numbers("n_parallel", parallel, _core.MAX_PARALLEL),
        modes=modes,
        texts=texts,
        tokens=checked.integer("number of tokens", request.tokens, 1),
        temperature=temperature,
        placement=placement,
        repeat=checked.integer("number of repeats", request.repeat, 1),
        n_ctx=request.n_ctx,
        seed=checked.integer("seed", request.seed, 0),
    )
    header: Record = {
        "package": machine.package(),
        "machine": here.to_json(),
        "libraries": machine.libraries(),
        "plan": plan.settings(),
        "load_average": machine.load_average(),
        "made": records.timestamp(),
        "command": command,
    }
    return plan, header


def measure(
    plan: ClientsPlan,
    put: Callable[[ClientsRun], object],
    progress: ProgressListener | None = None,
) -> None:
    """Measures every load of every round.

    Args:
        plan: the plan.
        put: gets what was measured, at once.
        progress: called before each load, and at the end.

    Raises:
        InvalidArgument: a prompt does not fit into the context.
        ModelLoadError: the models do not fit into the memory.
        DecodeError: a forward pass failed.
    """
    n_loads = len(plan.loads) * plan.repeat
    n_done = 0
    with ExitStack() as stack:
        engines = {n: stack.enter_context(_open(plan, n)) for n in plan.parallel}
        some = engines[plan.parallel[0]]
        tokens = [_tokens(some, text, plan) for text in plan.texts]
        for engine, mode in product(engines.values(), plan.modes):
            engine.generate_many(
                tokens[: engine.n_parallel],
                max_tokens=min(plan.tokens, _WARM_UP_TOKENS),
                mode=mode,
            )
        for number in range(plan.repeat):
            for load in plan.round(number):
                if progress is not None:
                    progress(n_done, n_loads, f"{load.n_clients} clients, {load.mode}")
                waits = _crowd(engines[load.n_parallel], plan, load, tokens)
                put(ClientsRun(round=number, **asdict(load), **vars(waits)))
                n_done += 1
    if progress is not None:
        progress(n_loads, n_loads, "done")


def _crowd(
    engine: Engine, plan: ClientsPlan, load: Load, tokens: Sequence[list[int]]
) -> crowd.Waits:
    """All prompts, once."""
    # Texts of one length: otherwise the number of clients at work would depend on the texts.
    bias = dict.fromkeys(end_tokens(engine), -math.inf)

    def ask(index: int) -> crowd.Answer:
        times = [time.monotonic()]
        generation = engine.generate(
            tokens[index],
            max_tokens=plan.tokens,
            temperature=plan.temperature,
            seed=plan.seed + index,
            mode=load.mode,
            logit_bias=bias,
        )
        times += [time.monotonic() for chunk in generation if chunk.token is not None]
        stats = generation.result().stats
        return crowd.Answer(times, stats.n_generated, stats.n_drafted, stats.n_accepted)

    return crowd.ask_all(load.n_clients, len(tokens), ask)


def _open(plan: ClientsPlan, n_parallel: int) -> Engine:
    """An engine. Each request reads its whole prompt, and no earlier answer proposes tokens: other
    loads had the same prompts and gave the same answers.
    """
    return Engine(
        plan.pair.target,
        plan.pair.draft,
        n_ctx=plan.n_ctx,
        n_parallel=n_parallel,
        prefix_reuse="off",
        lookup_answers=False,
        **plan.placement.options,
    )


def _tokens(engine: Engine, text: str, plan: ClientsPlan) -> list[int]:
    tokens = engine.tokenize(text, special=True)
    check_room(text, len(tokens), plan.tokens, engine.n_ctx)
    return tokens


def check_room(prompt: str, n_prompt: int, n_tokens: int, n_ctx: int) -> None:
    """Checks that a prompt and its text fit into the context.

    Raises:
        InvalidArgument: they do not.
    """
    if n_prompt + n_tokens > n_ctx:
        raise InvalidArgument(
            f"the prompt {prompt[:40]!r} has {n_prompt} tokens; with {n_tokens} tokens to "
            f"generate, this is more than the context of {n_ctx}; use a larger --ctx-size"
        )


def _numbers(what: str, values: Sequence[int], high: int) -> tuple[int, ...]:
    """Different numbers, in their order."""
    if not values:
        raise InvalidArgument(f"the {what} is missing; give at least one")
    return tuple(dict.fromkeys(checked.integer(what, value, 1, high) for value in values))


def _modes(names: Sequence[str], *, has_draft: bool) -> tuple[str, ...]:
    """The modes, `autoregressive` first, with which they are compared."""
    for name in names:
        if name not in variants.MODES:
            raise InvalidArgument(
                f"mode is {name!r}; it must be one of {', '.join(variants.MODES)}"
            )
        if not variants.can_decode(name, "all", has_draft=has_draft):
            raise InvalidArgument(f"mode is {name!r}; it needs a draft model; give one with -md")
    return tuple(dict.fromkeys([variants.BASE, *names]))
