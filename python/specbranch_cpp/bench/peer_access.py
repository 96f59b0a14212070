"""The installed other engines, as variants of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.bench import machine, peers
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.bench.placements import Placement
    from specbranch_cpp.bench.plan import ModelPair

# Exceptions of a peer that does not start, or dies.
FAILURES = (OSError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Found:
    """The other engines of a run.

    Attributes:
        versions: versions by name.
        draft_lengths: draft lengths by name.
        missing: for each engine that is not measured, the reason, by name.
    """

    versions: dict[str, str]
    draft_lengths: dict[str, tuple[int, ...]]
    missing: dict[str, str]


def open_peer(name: str, pair: ModelPair, placement: Placement, n_ctx: int) -> peers.Peer:
    """The engine of this name with the pair loaded. `look` must have found the engine."""
    assert placement.peer is not None
    models = peers.PeerPair(
        target=str(pair.target),
        draft=None if pair.draft is None else str(pair.draft),
        n_ctx=n_ctx,
        **placement.peer,
    )
    return peers.open_peer(name, models)


def look(
    wanted: str,
    pair: ModelPair,
    placements: Sequence[Placement],
    n_ctx: int,
    lengths: Sequence[int] | None = None,
) -> Found:
    """Finds the installed other engines and their draft lengths.

    Args:
        wanted: ``none``, ``all``, or names with commas between them.
        pair: a pair that each engine loads once.
        placements: the placements of the run; a peer uses the first placement for peers.
        n_ctx: context length in tokens.
        lengths: draft lengths of the engines that can draft; 0, no speculation, is always among
            them. ``None``: a sweep of the engine's own.

    Raises:
        InvalidArgument: a name is unknown, a length is not positive, or an engine that was
            requested by name is not installed.
    """
    for length in lengths or ():
        if length < 1:
            raise InvalidArgument(f"a draft length of peers is {length}; it must be at least 1")
    found = Found({}, {}, {})
    if wanted == "none":
        return found
    names = list(peers.NAMES) if wanted == "all" else [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in peers.NAMES:
            allowed = ", ".join(("all", "none", *peers.NAMES))
            raise InvalidArgument(f"peer is {name!r}; it must be one of {allowed}")
    place = next((each for each in placements if each.peer is not None), None)
    for name in names:
        if place is None:
            found.missing[name] = (
                "other engines are measured only in the placements split, shared and gpu"
            )
            continue
        try:
            with open_peer(name, pair, place, n_ctx) as peer:
                about = machine.tidy(peer.system_info)
                found.versions[name] = f"{peer.version} ({about})" if about else peer.version
                found.draft_lengths[name] = _lengths(peer, lengths)
        except (peers.PeerMissing, *FAILURES) as error:
            if wanted != "all":
                raise InvalidArgument(f"{name}: {error}") from error
            found.missing[name] = str(error)
    return found


def _lengths(peer: peers.Peer, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """The draft lengths to measure; a peer that cannot draft has only 0."""
    return peer.draft_lengths if wanted is None or not peer.can_draft else (0, *wanted)
