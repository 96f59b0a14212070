"""What the demo prints: sentences, the table of all modes, colours, the timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from specbranch_cpp.cli import render, trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from specbranch_cpp.bench.placements import Placement
    from specbranch_cpp.cli.demo.runs import ModeRuns
    from specbranch_cpp.engine import Engine
    from specbranch_cpp.results import Completion, StepCosts

SUMMARISED = "auto"
_COLUMNS = (
    "mode",
    "tokens\nper s",
    "ratio",
    *render.STATS_COLUMNS[3:],
    "same\ntext",
)
_LABEL = 8
_VERIFIED = 4  # tokens, in sentences about what a verification costs
OWN_FILES = """\
With your own files:

    specbranch check your-target.gguf your-draft.gguf          # do they fit, what will they gain
    specbranch demo -m your-target.gguf -md your-draft.gguf    # all of the above

    from specbranch_cpp import Engine

    with Engine("your-target.gguf", "your-draft.gguf") as engine:
        print(engine.generate("def add(a, b):", max_tokens=64).result().text)
"""


def millions(n: int) -> str:
    return f"{n / 1e6:.0f} M" if n >= 10_000_000 else f"{n / 1e6:.1f} M"


def times(number: float) -> str:
    return f"{number:.1f} times"


def step_sentence(costs: StepCosts) -> str:
    """What steps of the two models cost here."""
    step, draft = costs.target_ms[0], costs.draft_ms[0]
    sentence = f"A step of the target takes {step:.1f} ms, one of the draft {draft:.2f} ms"
    if len(costs.target_ms) >= _VERIFIED:
        factor = costs.target_ms[_VERIFIED - 1] / step
        sentence += f"; verifying {_VERIFIED} tokens takes {times(factor)} as long as decoding one"
    return sentence + "."


def grown_sentence(
    sizes: tuple[int, int], bundled: tuple[int, int], weight_type: str, placement: Placement
) -> str:
    """How the bundled pair was changed; sizes are parameters of target and draft."""
    draft = f"the draft has {millions(sizes[1])}"
    if sizes[1] > 1.1 * bundled[1]:
        draft = f"the draft from {millions(bundled[1])} to {millions(sizes[1])}"
    where = {
        "shared": "both models share all cores",
        "split": "each model has cores of its own",
    }.get(placement.name, "the models run where you said")
    return (
        f"The bundled pair is tiny, so its target was grown in memory from {millions(bundled[0])} "
        f"to {millions(sizes[0])} parameters, {draft} ({weight_type} weights): they compute the "
        f"same function and write the same text, but take as long as larger models; {where}."
    )


def not_grown_sentence() -> str:
    return "There is too little free memory to grow the bundled pair, so it runs as it is."


def comparison(found: Sequence[ModeRuns]) -> Table:
    """One row a mode; the first is what the others are compared with."""
    rows = []
    for each in found:
        shares = (each.acceptance_rate, each.rollback_rate, each.overlap)
        rows.append(
            [
                each.mode,
                f"{each.tokens_per_second:.0f}",
                f"{each.ratio:.2f}x",
                f"{each.tokens_per_step:.2f}",
                *("" if share is None else render.percent(share) for share in shares),
                Text("yes", "green") if each.same_text else Text("no", "bold red"),
            ]
        )
    return render.table(_COLUMNS, rows)


def speed_up(found: Sequence[ModeRuns]) -> str:
    """The last line: how much faster, and whether it is the same text."""
    (auto,) = (each for each in found if each.mode == SUMMARISED)
    spread = ""
    if len(auto.ratios) > 1:
        low, high = min(auto.ratios), max(auto.ratios)
        spread = f" ({low:.2f} to {high:.2f} in {len(auto.ratios)} texts)"
    return (
        f"{auto.mode} is {auto.ratio:.2f} times as fast as decoding without speculation{spread}; "
        f"{_same_text(found)}"
    )


def no_gain(found: Sequence[ModeRuns], costs: StepCosts | None, n_cores: int) -> str:
    """Why no mode gains on this machine, from what was measured."""
    best = max(found[1:], key=lambda each: each.ratio)
    cores = f"{n_cores} core{'' if n_cores == 1 else 's'}"
    reason = f"a step of the target takes only {found[0].step_ms:.2f} ms"
    if costs is not None and len(costs.target_ms) >= _VERIFIED:
        step = costs.target_ms[0]
        factor, share = costs.target_ms[_VERIFIED - 1] / step, costs.draft_ms[0] / step
        reason = (
            f"verifying {_VERIFIED} tokens takes {times(factor)} as long as decoding one, and a "
            f"step of the draft {share:.2f} of a target step of {step:.2f} ms"
        )
    return (
        f"Nothing gains on this machine ({cores}): {reason}; the {best.tokens_per_step:.1f} tokens "
        f"that {best.mode} gets from a step of the target do not make up for that; "
        f"{_same_text(found)}"
    )


def _same_text(found: Sequence[ModeRuns]) -> str:
    return f"same text: {'yes' if all(each.same_text for each in found) else 'no'}"


def show_trace(console: Console, engine: Engine, prompt: str, completion: Completion) -> None:
    """The text in the colours of where its tokens came from, and what both models did when."""
    record = completion.trace
    assert record is not None
    marks = console.color_system is None or console.no_color  # NO_COLOR leaves bold and dim
    heading = Text(completion.stats.mode, "bold").append("  ")
    text = Text().append(prompt, trace.PROMPT)
    text.append(trace.story(record.rounds, engine.detokenize, marks=marks))
    console.print(heading.append(trace.story_legend(marks=marks)))
    console.print()
    console.print(text, soft_wrap=marks)
    console.print()
    window = trace.choose_window(record.spans, max(1, console.width - _LABEL))
    for side in trace.SIDES:
        console.print(Text(side.ljust(_LABEL)).append(trace.timeline(record.spans, window, side)))
    begin, end = f"{window.begin_ms:.1f} ms", f"{window.end_ms:.1f} ms"
    console.print(" " * _LABEL + begin + end.rjust(window.n_cells - len(begin)), style="dim")
    console.print(Text(" " * _LABEL).append(trace.timeline_legend()))
