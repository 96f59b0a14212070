"""From figures to a verdict; no models, no clocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp._support.words import count
from specbranch_cpp.check.predicted_speedup import ENOUGH
from specbranch_cpp.check.report import Interval, Needs, Verdict

if TYPE_CHECKING:
    from specbranch_cpp.check.report import Acceptance, StepFigures

GAIN = 1.03
"""A speed-up below this counts as none."""
GOOD = 1.15
"""One from here on as more than a little."""
_SLOW = 2.0  # a draft whose steps are not even so many times shorter is slow whatever it knows
_WRONG = 0.5  # one that is right less often is wrong often
_NOTHING = 1.005  # tokens a target step: so few of them were drafted that nothing is gained
_UNSTEADY = 1.5  # from this drift on what is simulated with these step times is not trusted
_TYPICAL = 4  # tokens of a verification


@dataclass(frozen=True)
class Figures:
    """What decides.

    Attributes:
        steps: what steps cost.
        acceptance: how often the draft is right.
        expected: speed-up of the mode that is recommended, simulated.
        measured: the same, timed; None: it was not.
        tokens_per_step: M of that mode, measured if the speed-up is.
        needs: what would have to change; None: it was not asked.
        draft_parameters: of the draft.
        drift: how many times as long, or as short, a step of the target took in the texts as while
            loading; 1: not known, or as steady as can be.
    """

    steps: StepFigures
    acceptance: Acceptance
    expected: Interval
    measured: Interval | None
    tokens_per_step: float
    needs: Needs | None
    draft_parameters: int
    drift: float = 1.0


def gain(figures: Figures) -> Verdict | None:
    """`Verdict.HELPS`, ``HELPS_LITTLE``, ``UNCLEAR``, or None: there is no gain.

    What was timed counts, where it was. A gain is one whose whole interval is above 1; or a good
    one that was measured, if all of what is expected, by steady step times, is good, too. There is
    none if nothing that
    was drafted became text, if the simulator, whose step times are less noisy, expects none and
    none was measured, or if the mean is none and the interval ends below a good one. Everything
    else is unclear.
    """
    decisive = figures.measured or figures.expected
    if _unused(figures):
        return None
    mean, low, high = decisive.mean, decisive.low, decisive.high
    if low is not None and low > 1.0 and mean >= GAIN:
        return Verdict.HELPS if mean >= GOOD else Verdict.HELPS_LITTLE
    expected = figures.expected
    steady = figures.drift <= _UNSTEADY
    if steady and mean >= GOOD and expected.low is not None and expected.low >= GOOD:
        return Verdict.HELPS
    if (expected.mean if expected.high is None else expected.high) < GAIN:
        return None
    if mean < GAIN and high is not None and high < GOOD:
        return None
    return Verdict.UNCLEAR


def cause(figures: Figures) -> Verdict:
    """Why there is no gain: what would have to change least, if one change is enough."""
    alpha, ratio = figures.acceptance.alpha.mean, figures.steps.ratio
    needs = figures.needs or Needs(None, None, cheap_verify=False)
    if needs.alpha is not None and needs.ratio is not None:
        # How many times as rare its errors, or as short its steps, would have to be.
        better = (1.0 - alpha) / max(1.0 - needs.alpha, 1e-3)
        faster = needs.ratio / ratio
        return Verdict.DRAFT_WRONG if better <= faster else Verdict.DRAFT_SLOW
    if needs.alpha is not None:
        return Verdict.DRAFT_WRONG
    if needs.ratio is not None or ratio < _SLOW:
        return Verdict.DRAFT_SLOW
    if needs.cheap_verify and alpha >= _WRONG:
        return Verdict.VERIFYING_DEAR
    return Verdict.DRAFT_WRONG if alpha < _WRONG else Verdict.VERIFYING_DEAR


def judge(figures: Figures) -> tuple[Verdict, str]:
    """The verdict, and in a sentence or two the figures that decide it."""
    verdict = gain(figures) or cause(figures)
    if verdict.useless and figures.drift > _UNSTEADY and _depends_on_times(figures):
        verdict = Verdict.UNCLEAR
    facts = _facts(figures)
    if verdict in (Verdict.HELPS, Verdict.HELPS_LITTLE):
        noisy = ""
        if figures.measured is not None and not (figures.measured.low or 0.0) > 1.0:
            noisy = " The times are noisy; what decides is that they agree with what is expected."
        return verdict, f"{_speed(figures)}: {facts}.{noisy}"
    if verdict is Verdict.UNCLEAR:
        return verdict, (
            f"{_speed(figures)}; this sample is too short or too noisy to tell: {facts}. "
            "Try again on a quieter machine, or with more --seconds."
        )
    return verdict, f"{_speed(figures)}: {facts}. {_remedy(figures, verdict)}"


def _unused(figures: Figures) -> bool:
    """It was timed, and decoded as if there were no draft: any difference is noise."""
    return figures.measured is not None and figures.tokens_per_step <= _NOTHING


def _depends_on_times(figures: Figures) -> bool:
    """The draft is neither so often wrong nor so slow that other step times would not matter."""
    return figures.acceptance.alpha.mean >= _WRONG and figures.steps.ratio >= _SLOW


def _speed(figures: Figures) -> str:
    if _unused(figures):
        return "nothing that was drafted became text, so that nothing was gained"
    if figures.measured is None:
        return f"{_times(figures.expected, ' as fast')} is expected"
    measured = f"{_times(figures.measured, ' as fast')} was measured"
    return f"{measured}, {_times(figures.expected)} was expected"


def _times(speed: Interval, as_what: str = "") -> str:
    mean = f"{speed.mean:.2f} times{as_what}"
    if speed.low is None or speed.high is None:
        return mean
    return f"{mean} ({speed.low:.2f} to {speed.high:.2f})"


def _facts(figures: Figures) -> str:
    steps = figures.steps
    words = [
        f"the draft's first choice is right {_percent(figures.acceptance.alpha.mean)} of the time",
        f"a target step takes {steps.ratio:.1f} times as long as one of the draft (c)",
    ]
    if _TYPICAL in steps.verify:
        words.append(
            f"verifying {_TYPICAL} tokens takes {steps.verify[_TYPICAL]:.1f} times as long as "
            "decoding one"
        )
    return ", ".join(words)


def _remedy(figures: Figures, verdict: Verdict) -> str:
    needs = figures.needs or Needs(None, None, cheap_verify=False)
    alpha, ratio = figures.acceptance.alpha.mean, figures.steps.ratio
    percent = f"to gain {_percent(ENOUGH - 1)}"
    no_draft_helps = needs.alpha is None and needs.ratio is None
    parts = []
    if no_draft_helps:
        parts.append(f"neither a better nor a faster draft alone would gain {_percent(ENOUGH - 1)}")
    elif needs.alpha is not None and needs.alpha > alpha:
        parts.append(
            f"at this speed the draft would have to be right about {_percent(needs.alpha)} of the "
            f"time {percent}"
        )
    elif needs.alpha is None:
        parts.append("at this speed no acceptance would make up for it")
    if needs.ratio is not None and needs.ratio > ratio:
        size = count(figures.draft_parameters * ratio / needs.ratio)
        parts.append(
            f"at this acceptance c would have to be about {needs.ratio:.1f} (a draft of some "
            f"{size} parameters) {percent}"
        )
    elif needs.ratio is None and needs.alpha is not None:
        parts.append("at this acceptance no draft is fast enough")
    if verdict is Verdict.VERIFYING_DEAR or (no_draft_helps and needs.cheap_verify):
        parts.append(
            "where several tokens cost little more than one (a GPU, F16 weights, other threads) "
            + ("it would help" if needs.cheap_verify else "it would be worth another look")
        )
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
