"""The variants of a run: a mode with one setting, or another engine with one draft length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from specbranch_cpp import _core, policies
from specbranch_cpp._support import checked
from specbranch_cpp.bench.peers import DRAFT_PEERS
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.options import Speculation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
BASE = MODES[0]
UNTUNED = ("autoregressive", "auto")
POLICIES = ("fixed", "confidence", "adaedl", "hrad")
# The default policies of each mode.
_USUAL_POLICY = {"speculative": "fixed", "pearl": "fixed", "specbranch": "confidence"}
WITHOUT_DRAFT = ("autoregressive", "speculative", "auto")
"""The modes that need no draft model."""
SOURCES = ("all", "draft", "text")
"""Who proposes tokens: all that the pair has (the draft model and, in `auto` or without it, texts),
the draft model, or texts, for which the draft model is left out."""
AUTO_DRAFT = 16
AUTO_K_MAX = 4


@dataclass(frozen=True)
class Variant:
    """A variant: one way to decode.

    Attributes:
        mode: a mode of this engine, or the name of another engine.
        draft_length: the largest number of tokens to draft ahead; 0: no drafting, or the mode finds
            the length.
        policy: one of `POLICIES`; empty: the mode takes no policy.
        epsilon: confidence limit of the policies that use the confidence.
        max_branches: the largest number of branches.
        hrad: file with the weights of the policy ``hrad``.
        is_peer: whether this is another engine.
        sources: one of `SOURCES`; ``"all"``: all that the pair has.
    """

    mode: str
    draft_length: int = 0
    policy: str = ""
    epsilon: float | None = None
    max_branches: int = 1
    hrad: str | None = None
    is_peer: bool = False
    sources: str = "all"

    @property
    def name(self) -> str:
        """The name of the variant, unique in a run."""
        words = [str(self.draft_length)] if self.draft_length or self.is_peer else []
        if self.policy:
            words.append(self.policy)
        if self.epsilon is not None:
            words[-1] += f" {self.epsilon:g}"
        if self.max_branches > 1:
            words.append(f"k {self.max_branches}")
        if self.sources != "all":
            words.append(self.sources)
        return f"{self.mode} ({', '.join(words)})" if words else self.mode

    @property
    def kind(self) -> str:
        """The mode or engine, with the sources if these are not all: what is compared at its best
        setting.
        """
        return kind_of(self.mode, self.sources)

    def suits(self, *, has_draft: bool) -> bool:
        """Whether a pair with or without a draft model can decode in this way."""
        if self.is_peer:
            return has_draft or self.draft_length == 0 or self.mode not in DRAFT_PEERS
        return can_decode(self.mode, self.sources, has_draft=has_draft)

    @property
    def resumes(self) -> bool:
        """Whether a text may be decoded in several calls without a change of its speed.

        `auto` and ``adaedl`` learn from the rounds of a call, and forget that at its end. Other
        engines compute the text so far again.
        """
        return not self.is_peer and self.mode != "auto" and self.policy != "adaedl"

    def speculation(self) -> Speculation:
        """The options of `Engine.generate` for this variant."""
        if self.mode == BASE:
            return Speculation(mode=BASE)
        if self.mode == "auto":
            chosen = Speculation(mode="auto", max_branches=AUTO_K_MAX, max_draft=AUTO_DRAFT)
        else:
            chosen = Speculation(self.mode, self._policy(), self.max_branches, self.draft_length)
        return replace(chosen, lookup=False) if self.sources == "draft" else chosen

    def _policy(self) -> policies.BuiltIn:
        if self.policy == "fixed":
            return policies.Fixed(self.draft_length)
        if self.policy == "adaedl":
            return policies.AdaEDL()
        assert self.epsilon is not None
        if self.policy == "hrad":
            assert self.hrad is not None
            return policies.HRAD(self.hrad, epsilon=self.epsilon)
        return policies.Confidence(self.epsilon)


def of_modes(
    modes: Sequence[str],
    *,
    lengths: Sequence[int],
    epsilons: Sequence[float],
    branch_limits: Sequence[int],
    policy_names: Sequence[str] | None = None,
    hrad: str | None = None,
    sources: Sequence[str] = ("all",),
) -> list[Variant]:
    """All modes with all settings. The baseline `autoregressive` comes first.

    Args:
        modes: modes out of `MODES`.
        lengths: numbers of tokens to draft ahead, 1 to 64.
        epsilons: confidence limits for the policies ``confidence`` and ``hrad``, 0 to 1.
        branch_limits: largest numbers of branches for `specbranch`, 1 to 32.
        policy_names: policies out of `POLICIES`. ``None`` (default): ``confidence`` for
            `specbranch`, ``fixed`` for `speculative` and `pearl`.
        hrad: file with the weights of the policy ``hrad``, which needs them.
        sources: who proposes tokens in `speculative` and `auto`, out of `SOURCES`.

    Raises:
        InvalidArgument: a name is unknown, or a number is out of its range.
    """
    for mode in modes:
        _one_of("mode", mode, MODES)
    for name in policy_names or ():
        _one_of("policy", name, POLICIES)
    for name in sources:
        _one_of("source", name, SOURCES)
    for length in lengths:
        checked.integer("draft length", length, 1, _core.MAX_DRAFT)
    for max_branches in branch_limits:
        checked.integer("max_branches", max_branches, 1, _core.MAX_BRANCHES)
    for epsilon in epsilons:
        checked.share("epsilon", epsilon)
    if "hrad" in (policy_names or ()) and hrad is None:
        raise InvalidArgument("the policy hrad needs a file with weights; give it with --hrad")
    chosen: list[Variant] = [Variant(BASE)]
    for mode in (mode for mode in MODES if mode in modes and mode != BASE):
        chosen_sources = sources if mode in WITHOUT_DRAFT else ("all",)
        if mode in UNTUNED:
            chosen += [Variant(mode, sources=each) for each in chosen_sources]
            continue
        for name in policy_names or (_USUAL_POLICY[mode],):
            looks = name in ("confidence", "hrad")
            chosen += [
                Variant(
                    mode,
                    length,
                    name,
                    epsilon,
                    max_branches,
                    hrad if name == "hrad" else None,
                    sources=each,
                )
                for length, epsilon, max_branches, each in product(
                    lengths,
                    epsilons if looks else (None,),
                    branch_limits if mode == "specbranch" else (1,),
                    chosen_sources,
                )
            ]
    return list(dict.fromkeys(chosen))


def of_peers(draft_lengths: Mapping[str, Sequence[int]]) -> list[Variant]:
    """The other engines as variants, each with its draft lengths."""
    return [
        Variant(name, length, is_peer=True)
        for name, lengths in draft_lengths.items()
        for length in dict.fromkeys(lengths)
    ]


def room(variants: Sequence[Variant]) -> Speculation:
    """The limits that the engine needs for these variants."""
    own = [each for each in variants if not each.is_peer]
    return Speculation(
        max_branches=max([AUTO_K_MAX, *(each.max_branches for each in own)]),
        max_draft=max([AUTO_DRAFT, *(each.draft_length for each in own)]),
    )


def can_decode(mode: str, sources: str, *, has_draft: bool) -> bool:
    """Whether a pair with or without a draft model can decode in a mode with these sources."""
    return has_draft or (mode in WITHOUT_DRAFT and sources != "draft")


def kind_of(mode: str, sources: str = "all") -> str:
    """See `Variant.kind`."""
    return mode if sources == "all" else f"{mode} ({sources})"


def _one_of(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidArgument(f"{what} is {value!r}; it must be one of {', '.join(allowed)}")
