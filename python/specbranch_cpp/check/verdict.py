"""Derives the verdict from figures, without models or clocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp._support.words import count
from specbranch_cpp.check.predicted_speedup import ENOUGH
from specbranch_cpp.check.report import Interval, Needs, Verdict

if TYPE_CHECKING:
    from specbranch_cpp.check.report import Acceptance, StepFigures

GAIN = 1.03
"""A speed-up below this value counts as no gain."""
GOOD = 1.15
"""A speed-up from this value on counts as good."""
_SLOW = 2.0  # a draft with a step ratio below this is too slow, whatever its acceptance rate
_WRONG = 0.5  # an acceptance rate below this counts as low
_NOTHING = 1.005  # tokens per target step up to which drafting cannot have gained anything
_UNSTEADY = 1.5  # from this drift of the step times on, the simulation is not trusted
_TYPICAL = 4  # number of tokens of a typical verification


@dataclass(frozen=True)
class Figures:
    """The figures that decide.

    Attributes:
        steps: step costs.
        acceptance: acceptance rate of the draft.
        expected: simulated speed-up of the recommended mode.
        measured: measured speed-up of that mode. ``None``: it was not measured.
        tokens_per_step: mean accepted length M of that mode, measured if the speed-up is measured.
        needs: the changes that would give a gain. ``None``: they were not computed.
        draft_parameters: number of parameters of the draft.
        drift: factor by which the target's step time in the texts differs from that during loading,
            at least 1; 1: no difference, or not known.
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
    """`Verdict.HELPS`, ``HELPS_LITTLE``, ``UNCLEAR``, or ``None`` for no gain.

    A measured speed-up counts before a simulated one. There is a gain if the whole interval is
    above 1, or if the measured mean is good, the whole expected interval is good, and the step
    times are steady. There is no gain in three cases: no drafted token became text; the simulator,
    whose step times are less noisy, expects no gain and none was measured; or the mean is no gain
    and the interval ends below a good speed-up. All other cases are unclear.
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
    """The cause of no gain: the quantity that has to change least, if one change is enough."""
    alpha, ratio = figures.acceptance.alpha.mean, figures.steps.ratio
    needs = figures.needs or Needs(None, None, cheap_verify=False)
    if needs.alpha is not None and needs.ratio is not None:
        # The factor by which the draft's errors, or its step time, would have to shrink.
        better = (1.0 - alpha) / max(1.0 - needs.alpha, 1e-3)
        faster = needs.ratio / ratio
        return Verdict.DRAFT_WRONG if better <= faster else Verdict.DRAFT_SLOW
    if needs.alpha is not None:
        return Verdict.DRAFT_WRONG
    if needs.ratio is not None or ratio < _SLOW:
        return Verdict.DRAFT_SLOW
    if needs.cheap_verify and alpha >= _WRONG:
        return Verdict.VERIFICATION_SLOW
    return Verdict.DRAFT_WRONG if alpha < _WRONG else Verdict.VERIFICATION_SLOW


def judge(figures: Figures) -> tuple[Verdict, str]:
    """The verdict, and one or two sentences with the figures behind it."""
    verdict = gain(figures) or cause(figures)
    contradicted = verdict.useless and _contradicted(figures)
    unsteady = figures.drift > _UNSTEADY and _depends_on_times(figures)
    if contradicted or (verdict.useless and unsteady):
        verdict = Verdict.UNCLEAR
    facts = _facts(figures)
    if contradicted:
        return verdict, (
            f"{_speed(figures)}: {facts}. By these figures the draft would gain at least "
            f"{_percent(ENOUGH - 1)}, but the texts do not show a gain, so other work on this "
            "machine is likely. Try again on a quieter machine."
        )
    if verdict in (Verdict.HELPS, Verdict.HELPS_LITTLE):
        noisy = ""
        if figures.measured is not None and not (figures.measured.low or 0.0) > 1.0:
            noisy = " The times are noisy, but they agree with the expected speed-up."
        return verdict, f"{_speed(figures)}: {facts}.{noisy}"
    if verdict is Verdict.UNCLEAR:
        return verdict, (
            f"{_speed(figures)}; the sample is too short or too noisy for a verdict: {facts}. Try "
            "again on a quieter machine, or with more --seconds."
        )
    return verdict, f"{_speed(figures)}: {facts}. {_remedy(figures, verdict)}"


def _unused(figures: Figures) -> bool:
    """The mode was measured and used no drafted token, so any difference is noise."""
    return figures.measured is not None and figures.tokens_per_step <= _NOTHING


def _contradicted(figures: Figures) -> bool:
    """The measured texts show no gain, but nothing would have to change for a gain."""
    needs = figures.needs
    return needs is not None and needs.nothing and not _unused(figures)


def _depends_on_times(figures: Figures) -> bool:
    """Whether other step times could change the verdict.

    They could if the acceptance rate is not low and the draft is not too slow.
    """
    return figures.acceptance.alpha.mean >= _WRONG and figures.steps.ratio >= _SLOW


def _speed(figures: Figures) -> str:
    if _unused(figures):
        return "no drafted token became text, so there was no gain"
    if figures.measured is None:
        return f"the expected speed-up is {_times(figures.expected)}"
    measured = f"the measured speed-up is {_times(figures.measured)}"
    return f"{measured}, the expected speed-up was {_times(figures.expected)}"


def _times(speed: Interval) -> str:
    mean = f"{speed.mean:.2f} times"
    if speed.low is None or speed.high is None:
        return mean
    return f"{mean} ({speed.low:.2f} to {speed.high:.2f})"


def _facts(figures: Figures) -> str:
    steps = figures.steps
    accepted = _percent(figures.acceptance.alpha.mean)
    words = [
        f"the target accepts the draft's first choice {accepted} of the time",
        f"a target step takes {steps.ratio:.1f} times as long as a draft step (c)",
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
    elif needs.alpha is not None and _percent(needs.alpha) != _percent(alpha):
        parts.append(
            f"at this speed the acceptance rate would have to be about {_percent(needs.alpha)} "
            f"{percent}"
        )
    elif needs.alpha is None:
        parts.append("at this speed no acceptance rate would be high enough")
    if needs.ratio is not None and f"{needs.ratio:.1f}" != f"{ratio:.1f}":
        size = count(figures.draft_parameters * ratio / needs.ratio)
        parts.append(
            f"at this acceptance rate c would have to be about {needs.ratio:.1f} (a draft of about "
            f"{size} parameters) {percent}"
        )
    elif needs.ratio is None and needs.alpha is not None:
        parts.append("at this acceptance rate no draft would be fast enough")
    if verdict is Verdict.VERIFICATION_SLOW or (no_draft_helps and needs.cheap_verify):
        parts.append(
            "if several tokens cost little more than one token (on a GPU, with F16 weights, or "
            "with other threads), the draft "
            + ("would help" if needs.cheap_verify else "could help; measure again there")
        )
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
