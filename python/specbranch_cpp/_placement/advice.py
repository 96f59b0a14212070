"""Settings with which a pair would fit, each of them tried."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from specbranch_cpp._placement.memory import MAIN, Memories
from specbranch_cpp._placement.planning import plan
from specbranch_cpp.errors import SpecBranchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from specbranch_cpp._placement.memory import Shortage
    from specbranch_cpp._placement.planning import Layout, Side

_SMALLEST_CONTEXT = 512
_Q8_0, _Q4_0 = 8, 2  # ggml's numbers
_BITS = {0: 32, 1: 16, 2: 4.5, 3: 5, 6: 5.5, 7: 6, 8: 8.5, 20: 4.5, 30: 16}

Pair = tuple["Side", "Side | None"]


def what_fits(
    target: Side,
    draft: Side | None,
    shortages: Sequence[Shortage],
    measured: Callable[[], Memories] | None = None,
) -> list[str]:
    """Keywords of `Engine` that make the pair fit; each alone is enough.

    Args:
        target: the target, as it does not fit.
        draft: the draft, if there is one.
        shortages: where memory is too small.
        measured: returns the free memory.
    """
    pair = (target, draft)
    on_gpu = any(each.place != MAIN for each in shortages)
    in_main = any(each.place == MAIN for each in shortages)

    def planned(changed: Pair) -> Layout | None:
        try:
            found = plan(*changed, measured or Memories.measured)
        except SpecBranchError:  # not every model can have every type of cache
            return None
        return None if found.memories.shortages() else found

    fits = []
    if on_gpu:
        fits += [words for words, changed in _fewer_layers(pair, planned) if planned(changed)]
    for makes in (_only_windows(pair), _smaller_contexts(pair), _smaller_caches(pair)):
        fits += next(([words] for words, changed in makes if planned(changed)), [])
    if in_main:
        fits += [words for words, changed in _less_main_memory(pair) if planned(changed)]
    return fits


def _sides(pair: Pair) -> list[Side]:
    return [side for side in pair if side is not None]


def _all_changed(pair: Pair, **values: object) -> Pair:
    target, draft = pair
    return target.changed(**values), None if draft is None else draft.changed(**values)


def _words(pair: Pair, changed: Pair, names: Sequence[str]) -> str:
    """The keywords that make the change. A draft that had the target's values has them again."""
    (target, draft), (new_target, new_draft) = pair, changed
    words = [f"{name}={getattr(new_target.options, name)}" for name in names]
    if draft is not None and new_draft is not None:
        words += [
            f"draft_{name}={getattr(new_draft.options, name)}"
            for name in names
            if getattr(draft.options, name) != getattr(target.options, name)
        ]
    return ", ".join(words)


def _fewer_layers(
    pair: Pair, planned: Callable[[Pair], Layout | None]
) -> Iterator[tuple[str, Pair]]:
    target, draft = pair
    if draft is not None and not draft.automatic and draft.options.n_gpu_layers != 0:
        yield "draft_n_gpu_layers=0", (target, draft.changed(n_gpu_layers=0))
    given = [side for side in _sides(pair) if not side.automatic and side.options.n_gpu_layers]
    if not given:
        return
    automatic = (
        replace(target, automatic=target in given or target.automatic),
        None if draft is None else replace(draft, automatic=draft in given or draft.automatic),
    )
    found = planned(automatic)
    if found is None:
        return
    words = []
    for side, placed in ((target, found.target), (draft, found.draft)):
        if side in given and placed is not None:
            words.append(f"{side.prefix}n_gpu_layers={placed.n_gpu_layers}")
    yield ", ".join(words), automatic


def _only_windows(pair: Pair) -> Iterator[tuple[str, Pair]]:
    target, draft = pair
    if target.options.swa_full:
        yield "swa_full=False", (target.changed(swa_full=False), draft)


def _smaller_contexts(pair: Pair) -> Iterator[tuple[str, Pair]]:
    lengths = [side.options.n_ctx for side in _sides(pair)]
    if 0 in lengths:  # the length of the training, which only the file tells
        lengths = [2**17]
    n_ctx = max(lengths) // 2
    while n_ctx >= _SMALLEST_CONTEXT:
        shorter = [
            side.changed(n_ctx=min(side.options.n_ctx or n_ctx, n_ctx)) for side in _sides(pair)
        ]
        changed = (shorter[0], shorter[1] if len(shorter) > 1 else None)
        yield _words(pair, changed, ("n_ctx",)), changed
        n_ctx //= 2


def _smaller_caches(pair: Pair) -> Iterator[tuple[str, Pair]]:
    if any(not side.options.flash_attn for side in _sides(pair)):
        return  # a quantized V cache needs it
    largest = max(
        max(_BITS.get(side.options.type_k, 0), _BITS.get(side.options.type_v, 0))
        for side in _sides(pair)
    )
    for name, number in (("q8_0", _Q8_0), ("q4_0", _Q4_0)):
        if _BITS[number] < largest:
            changed = _all_changed(pair, type_k=number, type_v=number)
            words = _words(pair, changed, ("type_k", "type_v"))
            yield words.replace(f"={number}", f"='{name}'"), changed


def _less_main_memory(pair: Pair) -> Iterator[tuple[str, Pair]]:
    if any(side.options.use_extra_bufts for side in _sides(pair)):
        yield "use_extra_bufts=False", _all_changed(pair, use_extra_bufts=False)
    if not all(side.mapped for side in _sides(pair)):
        yield "use_mmap=True, use_mlock=False", _all_changed(pair, use_mmap=True, use_mlock=False)
