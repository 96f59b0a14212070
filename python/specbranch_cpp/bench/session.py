"""Turns the user's request into a plan, a header and a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core, policies
from specbranch_cpp._support.files import file_sha256, replace_file
from specbranch_cpp.bench import (
    machine,
    peer_access,
    placements,
    plots,
    prompts,
    records,
    report,
    statistics,
    turns,
    variants,
)
from specbranch_cpp.bench.plan import BenchPlan, ModelPair
from specbranch_cpp.errors import InvalidArgument, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.bench.records import Record
    from specbranch_cpp.bench.summary import Summary


@dataclass(frozen=True)
class BenchRequest:
    """The user's request.

    Attributes:
        pairs: files of targets and drafts; ``None``: no draft model.
        prompts: files of JSON lines; empty: the bundled set.
        modes: modes out of `variants.MODES`; `autoregressive` is always measured.
        policies: policies out of `variants.POLICIES`. ``None``: the default policy of each mode.
        lengths: numbers of tokens to draft ahead.
        epsilons: confidence limits of the policies that use the confidence.
        branch_limits: largest numbers of branches in `specbranch`.
        hrad: file with the weights of the policy ``hrad``.
        sources: who proposes tokens in `speculative` and `auto`, out of `variants.SOURCES`.
        placements: placements out of `placements.NAMES`, or `placements.ALL`. ``None``: the first
            possible placement.
        temperatures: temperatures, 0 or above.
        peers: other engines: ``all``, ``none``, or names with commas between them.
        peer_lengths: draft lengths of the other engines; each is measured without drafts, too.
            ``None``: `Peer.draft_lengths`.
        tokens: the largest number of tokens of a text.
        n_prompts: the largest number of prompts of a set. ``None``: all prompts.
        repeat: the number of repeats of every prompt.
        n_ctx: context length in tokens.
        seed: seed of the choice of prompts, of the orders, and of the texts (temperature above 0).
        bit_exact: as in `Engine`.
        stretch: tokens that a variant decodes in one turn; 0: whole texts.
    """

    pairs: tuple[tuple[Path, Path | None], ...]
    prompts: tuple[Path, ...] = ()
    modes: tuple[str, ...] = variants.MODES
    policies: tuple[str, ...] | None = None
    lengths: tuple[int, ...] = (4, 8)
    epsilons: tuple[float, ...] = (0.4,)
    branch_limits: tuple[int, ...] = (4,)
    hrad: Path | None = None
    sources: tuple[str, ...] = ("all",)
    placements: tuple[str, ...] | None = None
    temperatures: tuple[float, ...] = (0.0,)
    peers: str = "none"
    peer_lengths: tuple[int, ...] | None = None
    tokens: int = 128
    n_prompts: int | None = 16
    repeat: int = 1
    n_ctx: int = 2048
    seed: int = 1
    bit_exact: bool = False
    stretch: int = turns.STRETCH


@dataclass(frozen=True)
class Prepared:
    """A plan and the header of its record file."""

    plan: BenchPlan
    header: Record


def prepare(request: BenchRequest, command: str = "") -> Prepared:
    """Makes the plan for a request. Reads the headers of the models, and looks for other engines.

    Args:
        request: the request.
        command: the user's command, for the report.

    Raises:
        InvalidArgument: a value is out of its range, or impossible on this machine.
        ModelLoadError: a file is not a model.
        IncompatibleModels: two models cannot be used together.
    """
    hrad = None if request.hrad is None else str(request.hrad)
    if hrad is not None:
        policies.HRAD(hrad)  # raises an error if the file has no weights
    own = variants.of_modes(
        request.modes,
        lengths=request.lengths,
        epsilons=request.epsilons,
        branch_limits=request.branch_limits,
        policy_names=request.policies,
        hrad=hrad,
        sources=request.sources,
    )
    if request.n_prompts is not None and request.n_prompts < 1:
        raise InvalidArgument(f"n_prompts is {request.n_prompts}; it must be at least 1")
    sets = prompts.load(request.prompts, request.n_prompts, request.seed)
    here = machine.describe()
    names = None if request.placements is None else list(request.placements)
    alone = all(draft is None for _, draft in request.pairs)
    possible, impossible = placements.place(names, here, alone=alone)
    files = dict.fromkeys(file for pair in request.pairs for file in pair if file is not None)
    about = {file: machine.model(file) for file in files}
    pairs = tuple(
        _checked(ModelPair(target, draft, about[target], None if draft is None else about[draft]))
        for target, draft in dict.fromkeys(request.pairs)
    )
    others = peer_access.look(
        request.peers, pairs[0], possible, request.n_ctx, request.peer_lengths
    )
    plan = BenchPlan(
        pairs=pairs,
        prompt_sets=tuple(sets),
        variants=(*own, *variants.of_peers(others.draft_lengths)),
        placements=tuple(possible),
        temperatures=tuple(dict.fromkeys(request.temperatures)),
        tokens=request.tokens,
        repeat=request.repeat,
        n_ctx=request.n_ctx,
        seed=request.seed,
        bit_exact=request.bit_exact,
        stretch=request.stretch,
    )
    header: dict[str, Any] = {
        "package": machine.package(),
        "machine": here.to_json(),
        "libraries": machine.libraries()
        | {f"peer {name}": version for name, version in others.versions.items()},
        "plan": plan.settings(),
        "hrad_sha256": None if hrad is None else file_sha256(hrad),
        "skipped": {"placement": impossible, "peer": others.missing},
        "n_items": len(plan.items),
        "made": records.timestamp(),
        "command": command,
    }
    return Prepared(plan, header)


def _checked(pair: ModelPair) -> ModelPair:
    if pair.draft is not None:
        _core.check_pair(bytes(pair.target), bytes(pair.draft))
    return pair


def write_report(folder: Path, *, pictures: bool = True) -> tuple[Summary, Sequence[Record], str]:
    """Writes ``report.md`` and the pictures of a run, from its records alone.

    Args:
        folder: folder of the run.
        pictures: whether to draw pictures, if matplotlib is installed.

    Returns:
        The figures, the records, and the reason if there are no pictures.

    Raises:
        InvalidArgument: the folder has no run, or the run is damaged.
        OSError: the folder cannot be written.
    """
    found = [records.in_lines(record) for record in records.read(folder)]
    try:
        summary = statistics.summarize(found)
        sections = report.sections(found, summary)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise InvalidArgument(
            f"{folder / records.NAME} is damaged: its records do not fit together "
            f"({type(error).__name__}: {error})"
        ) from error
    drawn, reason = {}, ""
    if pictures:
        try:
            drawn = plots.save_all(folder, found, summary)
        except MissingExtra as error:
            reason = str(error)
    replace_file(folder / report.NAME, report.joined(sections, drawn).encode())
    return summary, found, reason
