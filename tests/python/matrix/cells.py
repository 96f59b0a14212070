"""The cells of one row of the matrix: an architecture in all roles, with all settings.

llama.cpp may abort, so that a row is a program of its own, which prints its cells as JSON lines:

    python -m tests.python.matrix.cells ARCHITECTURE [--quick]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tests.python.matrix.table import ARCHITECTURES

from specbranch_cpp import Engine, SpecBranchError
from specbranch_cpp.bench import near_ties

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.python.matrix.architecture import Architecture

    from specbranch_cpp import Completion, Generation

ROLES = ("itself", "near", "target", "draft")
"""The draft is the same file; nearly the same weights; a Llama. Or a Llama is the target."""

SETTINGS: dict[str, dict[str, Any]] = {
    "f16": {"flash_attn": True},
    "f16, no FA": {"flash_attn": False},
    "q8_0": {"flash_attn": True, "type_k": "q8_0", "type_v": "q8_0"},
    "q4_0": {"flash_attn": True, "type_k": "q4_0", "type_v": "q4_0"},
    "n_ubatch 16": {"flash_attn": True, "n_ubatch": 16},
    "q8_0, no FA": {"flash_attn": False, "type_k": "q8_0", "type_v": "q8_0"},
}
"""Of both models."""

WINDOWS = "windows"
"""Of a target with sliding windows: its layers keep only about a window of cells."""

SEVERAL = "several texts"
"""The three texts of a mode at once, on one engine."""

QUICK = (("itself", "f16"), ("near", "f16"), ("near", "n_ubatch 16"), ("target", "q8_0"),
         ("draft", "f16, no FA"), ("near", "q4_0"), ("near", SEVERAL),
         ("near", WINDOWS))  # fmt: skip
"""Cells that have every role and every setting of use once."""

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")

NEAR_TIE = 0.02
"""Largest gap of two scores, in nats, that rounding explains. Scores spread over about 3."""

OWN_ROLLED_BACK = 30
"""Drafted tokens that a model may reject of itself: those behind one near-tie, or two."""

N_TOKENS = 32

DEAR_TARGET = {
    "target_us": [20_000.0] * 17, "draft_us": [10.0] * 4,
    "target_slowdown": 1.0, "draft_slowdown": 1.0,
}  # fmt: skip
"""Costs with which `auto` speculates. With those of models so small it never does."""

N_TUNED = 12
"""Engines that start with these costs before it is a fault that `auto` drafted nothing.

An engine learns within a few steps that they are wrong; a busy machine may leave it none of them.
"""


def settings_of(architecture: Architecture, role: str) -> list[str]:
    """The settings of a row's cells in this role."""
    if role not in ("near", "target"):
        return [*SETTINGS]
    return [*SETTINGS, SEVERAL, *([WINDOWS] if architecture.has_windows else [])]


@dataclass
class Cell:
    """What came out of one cell.

    Attributes:
        n_drafted_by_auto: of `n_drafted`, with the costs of `DEAR_TARGET`. Role "near" alone.
        found: "equal"; "near-tie": different, and the scores were almost equal there; "refused":
            by an error before anything was generated; anything else is a fault.
        words: of the refusal or the fault.
    """

    architecture: str
    role: str
    settings: str
    found: str = "equal"
    words: str = ""
    n_drafted: int = 0
    n_rolled_back: int = 0
    n_hits: int = 0
    n_drafted_by_auto: int = 0
    n_reused: int = 0
    gaps: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Turn:
    """A text: what `generate` gets for it."""

    prompt: list[int]
    sampling: dict[str, Any]

    def start(self, engine: Engine, mode: str) -> Generation:
        return engine.generate(
            self.prompt, mode=mode, max_tokens=N_TOKENS, logit_bias={0: float("-inf")},
            **self.sampling,
        )  # fmt: skip

    def run(self, engine: Engine, mode: str) -> Completion:
        return self.start(engine, mode).result()


def turns_of(engine: Engine, n_first: int) -> list[Turn]:
    """Three turns: a prompt, what follows its answer, and one that parts from both."""
    rng = np.random.default_rng(11)
    tokens = [int(token) for token in rng.integers(1, 270, 400)]
    first = Turn(tokens[:n_first], {"temperature": 1.0, "seed": 3})
    answer = first.run(engine, "autoregressive").tokens
    return [
        first,
        Turn([*first.prompt, *answer, *tokens[n_first : n_first + 20]], {"temperature": 0.0}),
        Turn(
            [*tokens[: n_first - 15], *tokens[n_first + 50 : n_first + 90]],
            {"temperature": 1.0, "top_p": 0.95, "seed": 4},
        ),
    ]


def run_cell(cell: Cell, target: Path, draft: Path) -> None:
    # A cache of windows has 256 cells: only a longer text uses some of them again.
    windows = cell.settings == WINDOWS
    n_first = 300 if windows else 150
    several = cell.settings == SEVERAL
    # Of several rows the kernel of flash attention is coarser.
    options = SETTINGS["n_ubatch 16" if windows else "f16, no FA" if several else cell.settings]
    both: dict[str, Any] = {"n_ctx": 400, "n_threads": 1, **options}
    both |= {f"draft_{name}": value for name, value in both.items() if name != "n_ctx"}
    alone = {name: value for name, value in both.items() if not name.startswith("draft_")}
    if windows:
        both["swa_full"] = False
    if several:
        both["n_parallel"] = 3
    try:
        plain = Engine(target, **alone, prefix_reuse="off")
        engine = Engine(target, draft, **both, max_branches=4, measure_costs=cell.role == "near")
    except SpecBranchError as error:
        cell.found, cell.words = "refused", str(error)
        return
    with plain, engine:
        turns = turns_of(plain, n_first)
        expected = [turn.run(plain, "autoregressive") for turn in turns]
        for index, completion in enumerate(expected):
            if len(set(completion.tokens)) < 8 and turns[index].sampling["temperature"] > 0:
                cell.found, cell.words = "fault", f"a dull text: {completion.tokens}"
                return

        def run_turns(drafting: Engine, mode: str) -> None:
            for turn, wanted, done in zip(
                turns, expected, _completions(turns, drafting, mode, several), strict=True
            ):
                _count(cell, done)
                _compare(cell, plain, turn, mode, wanted.tokens, done.tokens)

        for mode in MODES:
            run_turns(engine, mode)
        for _ in range(N_TUNED if cell.role == "near" else 0):
            n_before = cell.n_drafted
            # An engine writes what it has learned into its profile at its end.
            with Engine(target, draft, **both, profile=_tuned(engine, target.parent)) as tuned:
                run_turns(tuned, "auto")
                # Of several texts a recurrent target computes a row that one of them has more than
                # the others in a pass of its own, which a few likely tokens do not pay for. Of
                # texts that the engine has written before, all have many.
                if several:
                    run_turns(tuned, "auto")
            cell.n_drafted_by_auto = cell.n_drafted - n_before
            if cell.n_drafted_by_auto > 0:
                break
        if cell.role == "itself" and cell.n_rolled_back > OWN_ROLLED_BACK:
            cell.found = "fault"
            cell.words += f"{cell.n_rolled_back} of {cell.n_drafted} own tokens were rejected; "
        if cell.role != "draft" and cell.n_drafted == 0:
            cell.found, cell.words = "fault", "nothing was drafted"


def _completions(
    turns: Sequence[Turn], engine: Engine, mode: str, several: bool
) -> Iterator[Completion]:
    """One after another, or all at once."""
    if not several:
        return (turn.run(engine, mode) for turn in turns)
    running = [turn.start(engine, mode) for turn in turns]
    return (generation.result() for generation in running)


def _tuned(engine: Engine, folder: Path) -> Path:
    """A profile of this pair with the costs of `DEAR_TARGET`."""
    path = folder / "profile.json"
    engine.save_profile(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"costs": DEAR_TARGET}))
    return path


def _count(cell: Cell, done: Completion) -> None:
    cell.n_drafted += done.stats.n_drafted
    cell.n_rolled_back += done.stats.n_rolled_back
    cell.n_hits += done.stats.branch_hits
    cell.n_reused += done.stats.n_reused


def _compare(
    cell: Cell, plain: Engine, turn: Turn, mode: str, wanted: Sequence[int], found: Sequence[int]
) -> None:
    difference = near_ties.first_difference(wanted, found)
    if difference is None:
        return
    gap = near_ties.gap(
        plain, turn.prompt, wanted, difference,
        temperature=turn.sampling["temperature"], seed=turn.sampling.get("seed", 0),
    )  # fmt: skip
    if gap is not None and gap <= NEAR_TIE:
        cell.gaps.append(gap)
        if cell.found == "equal":
            cell.found = "near-tie"
        return
    cell.found = "fault"
    cell.words += f"{mode}: another text from token {difference.index} on (gap {gap}); "


def rows(label: str, *, quick: bool) -> Iterator[Cell]:
    """Writes the models, and runs the cells one after another."""
    architecture = next(one for one in ARCHITECTURES if one.label == label)
    with tempfile.TemporaryDirectory() as folder:
        own, other, llama = (
            write(Path(folder), *words)
            for words in ((label,), (label, "--other"), ("llama", "--other"))
        )
        pairs = {
            "itself": (own, own),
            "near": (own, other),
            "target": (own, llama),
            "draft": (llama, own),
        }
        for role in ROLES:
            for settings in settings_of(architecture, role):
                if quick and (role, settings) not in QUICK:
                    continue
                cell = Cell(label, role, settings)
                try:
                    run_cell(cell, *pairs[role])
                except Exception as error:  # noqa: BLE001 - whatever it is belongs to the cell
                    cell.found, cell.words = "fault", f"{type(error).__name__}: {error}"
                yield cell


def write(folder: Path, *words: str) -> Path:
    """A random model, written by a process of its own."""
    path = folder / f"{''.join(words)}.gguf"
    command = [sys.executable, "-m", "tests.python.matrix.random_model", words[0], str(path)]
    done = subprocess.run([*command, *words[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"llama.cpp made no model: {done.stderr[-800:]}")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architecture", choices=[one.label for one in ARCHITECTURES])
    parser.add_argument("--quick", action="store_true", help="a few cells only")
    args = parser.parse_args()
    for cell in rows(args.architecture, quick=args.quick):
        print(json.dumps(asdict(cell)), flush=True)


if __name__ == "__main__":
    main()
