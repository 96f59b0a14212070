"""The plan of a run: the measurements, their order, and the key of every item.

A *group* is a pair of models in a placement; it has one engine. A *round* is one prompt at one
temperature that all variants decode, in turns. An *item* is the text of one variant in a round. A
*turn* is one call: a stretch of such a text, or the whole of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp.bench import turns
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from specbranch_cpp.bench.placements import Placement
    from specbranch_cpp.bench.prompts import PromptSet
    from specbranch_cpp.bench.variants import Variant

_MAX_TOKENS = 100_000


@dataclass(frozen=True)
class ModelPair:
    """A target and a draft: their files and their descriptions by `machine.model`.

    ``None`` for the draft: the target has no draft model.
    """

    target: Path
    draft: Path | None
    target_about: dict[str, Any]
    draft_about: dict[str, Any] | None

    @property
    def name(self) -> str:
        return pair_name(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {"target": self.target_about, "draft": self.draft_about}


def pair_name(pair: Mapping[str, Any]) -> str:
    """The names of a pair of a header: of the target, and of the draft if the pair has one."""
    return " + ".join(pair[side]["name"] for side in ("target", "draft") if pair[side] is not None)


@dataclass(frozen=True)
class Item:
    """One text to measure.

    Attributes:
        variant: the variant that decodes.
        key: digest of everything that the text and its turns depend on.
    """

    variant: Variant
    key: str


@dataclass(frozen=True)
class BenchRound:
    """A prompt that all variants decode.

    Attributes:
        pair: index of the pair in the plan.
        placement: name of the placement.
        prompts: name of the prompt set.
        prompt: number of the prompt in the set.
        text: the prompt.
        temperature: temperature of the texts.
        repeat: number of earlier rounds with this prompt.
        seed: seed of the texts, the same for all variants.
        items: one item for each variant.
        turns: the turns in the order of the measurement.
    """

    pair: int
    placement: str
    prompts: str
    prompt: int
    text: str = field(repr=False)
    temperature: float
    repeat: int
    seed: int
    items: tuple[Item, ...] = field(repr=False)
    turns: tuple[turns.Turn, ...] = field(repr=False)

    def about(self) -> dict[str, Any]:
        """The fields of the round in a record."""
        return {
            "pair": self.pair,
            "placement": self.placement,
            "prompts": self.prompts,
            "prompt": self.prompt,
            "temperature": self.temperature,
            "repeat": self.repeat,
        }


@dataclass(frozen=True)
class BenchGroup:
    """The measurements with one engine."""

    pair: int
    placement: Placement
    rounds: tuple[BenchRound, ...] = field(repr=False)

    def about(self) -> dict[str, Any]:
        return {"pair": self.pair, "placement": self.placement.name}


@dataclass(frozen=True)
class BenchPlan:
    """All measurements of a run: pairs x placements x temperatures x repeats x prompts x variants.

    Attributes:
        pairs: the pairs of models.
        prompt_sets: the prompt sets, with different names.
        variants: the variants, `autoregressive` first.
        placements: the placements.
        temperatures: the temperatures, 0 or above.
        tokens: the largest number of tokens of a text.
        repeat: the number of repeats of every prompt.
        n_ctx: context length in tokens.
        seed: seed of the orders, and of the texts at temperatures above 0.
        bit_exact: as in `Engine`.
        stretch: tokens that a variant decodes in one turn; 0: whole texts.

    Raises:
        InvalidArgument: a number is out of its range.
    """

    pairs: tuple[ModelPair, ...]
    prompt_sets: tuple[PromptSet, ...]
    variants: tuple[Variant, ...]
    placements: tuple[Placement, ...]
    temperatures: tuple[float, ...] = (0.0,)
    tokens: int = 128
    repeat: int = 1
    n_ctx: int = 2048
    seed: int = 1
    bit_exact: bool = False
    stretch: int = turns.STRETCH

    def __post_init__(self) -> None:
        checked.integer("tokens", self.tokens, 1, _MAX_TOKENS)
        checked.integer("repeat", self.repeat, 1)
        checked.integer("ctx_size", self.n_ctx, 1)
        checked.integer("seed", self.seed, 0)
        turns.check_length(self.stretch)
        for temperature in self.temperatures:
            if not 0.0 <= checked.real("temperature", temperature) < 100.0:
                raise InvalidArgument(f"temperature is {temperature}; it must be in 0 .. 100")

    def settings(self) -> dict[str, Any]:
        """The plan in a header. Plans with equal descriptions measure the same."""
        return {
            "pairs": [pair.to_json() for pair in self.pairs],
            "prompts": {
                each.name: {"sha256": each.sha256, "numbers": list(each.texts)}
                for each in self.prompt_sets
            },
            "variants": {each.name: asdict(each) for each in self.variants},
            "placements": {each.name: each.options for each in self.placements},
            "temperatures": list(self.temperatures),
            "tokens": self.tokens,
            "repeat": self.repeat,
            "ctx_size": self.n_ctx,
            "seed": self.seed,
            "bit_exact": self.bit_exact,
            "stretch": self.stretch,
        }

    @cached_property
    def groups(self) -> tuple[BenchGroup, ...]:
        return tuple(
            BenchGroup(pair, placement, tuple(self._rounds(pair, placement)))
            for pair in range(len(self.pairs))
            for placement in self.placements
        )

    @cached_property
    def items(self) -> tuple[Item, ...]:
        return tuple(
            item for group in self.groups for one in group.rounds for item in one.items
        )  # fmt: skip

    @cached_property
    def n_turns(self) -> int:
        """The largest number of turns of the run. Texts may end early."""
        return sum(len(one.turns) for group in self.groups for one in group.rounds)

    def _rounds(self, pair: int, placement: Placement) -> Iterator[BenchRound]:
        number = 0
        for temperature in self.temperatures:
            taking_part = [
                each
                for each in self.variants
                if each.suits(has_draft=self.pairs[pair].draft is not None)
                and (not each.is_peer or (temperature == 0.0 and placement.peer is not None))
            ]
            for repeat in range(self.repeat):
                for prompts in self.prompt_sets:
                    for prompt, text in prompts.texts.items():
                        about: dict[str, Any] = {
                            "pair": pair,
                            "placement": placement.name,
                            "prompts": prompts.name,
                            "prompt": prompt,
                            "temperature": float(temperature),
                            "repeat": repeat,
                        }
                        items = tuple(
                            Item(each, self._key(about, text, each, placement))
                            for each in taking_part
                        )
                        yield BenchRound(
                            **about,
                            text=text,
                            seed=_seed(self.seed, prompts.name, prompt, repeat),
                            items=items,
                            turns=tuple(
                                turns.turns(items, self.tokens, self.stretch, number, self.seed)
                            ),
                        )
                        number += 1

    def _key(self, about: dict[str, Any], text: str, variant: Variant, placement: Placement) -> str:
        pair = self.pairs[about["pair"]]
        content = {
            **about,
            "pair": [about and about["sha256"] for about in pair.to_json().values()],
            "text": text,
            "variant": asdict(variant),
            "options": placement.options,
            "tokens": self.tokens,
            "ctx_size": self.n_ctx,
            "seed": self.seed,
            "bit_exact": self.bit_exact,
            "stretch": self.stretch,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _seed(seed: int, *place: object) -> int:
    digest = hashlib.sha256(json.dumps([seed, *place]).encode()).digest()
    return int.from_bytes(digest[:4], "little")
