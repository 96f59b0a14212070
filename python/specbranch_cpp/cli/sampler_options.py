"""The options of the samplers beyond top-k, top-p and min-p, with llama.cpp's names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from specbranch_cpp._support.sampler_letters import LETTERS, samplers_of
from specbranch_cpp.cli.options import sampling
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.options import SAMPLERS

RepeatLastN = Annotated[
    int | None,
    sampling(
        "--repeat-last-n",
        metavar="N",
        help="Number of last tokens that penalties see; default 64; -1: all; 0: no penalties.",
    ),
]
TypicalP = Annotated[
    float | None,
    sampling("--typical", "--typical-p", help="Locally typical sampling; default 1 (off)."),
]
TopNSigma = Annotated[
    float | None,
    sampling(
        "--top-nsigma",
        "--top-n-sigma",
        help="Keep logits within X standard deviations of the largest; default -1 (off).",
    ),
]
MinKeep = Annotated[
    int | None,
    sampling(
        "--min-keep",
        metavar="N",
        help="Smallest number of tokens that top-p, min-p, typical-p and XTC leave; default 0.",
    ),
]
XtcProbability = Annotated[
    float | None,
    sampling("--xtc-probability", help="Probability that XTC acts; default 0 (off)."),
]
XtcThreshold = Annotated[
    float | None,
    sampling(
        "--xtc-threshold",
        help="XTC drops all but one token above this probability; default 0.1; above 0.5: off.",
    ),
]
DynatempRange = Annotated[
    float | None,
    sampling("--dynatemp-range", help="Range of the dynamic temperature; default 0 (off)."),
]
DynatempExp = Annotated[
    float | None,
    sampling("--dynatemp-exp", help="Exponent of the dynamic temperature; default 1."),
]
DryMultiplier = Annotated[
    float | None,
    sampling("--dry-multiplier", help="Penalty for repeated sequences (DRY); default 0 (off)."),
]
DryBase = Annotated[
    float | None, sampling("--dry-base", help="Base of the penalty of DRY; default 1.75.")
]
DryAllowedLength = Annotated[
    int | None,
    sampling(
        "--dry-allowed-length",
        metavar="N",
        help="Length of repetitions without penalty of DRY; default 2.",
    ),
]
DryPenaltyLastN = Annotated[
    int | None,
    sampling(
        "--dry-penalty-last-n",
        metavar="N",
        help="Number of last tokens that DRY sees; default 64; -1: all; 0: off.",
    ),
]
DrySequenceBreaker = Annotated[
    list[str] | None,
    sampling(
        "--dry-sequence-breaker",
        metavar="TEXT",
        help="Text that ends a repetition of DRY; repeatable; replaces the default (newline, :, "
        '", *); none: no such text.',
    ),
]
Mirostat = Annotated[
    int | None,
    sampling(
        "--mirostat",
        metavar="N",
        help="Version of mirostat, 1 or 2; it replaces all samplers except temperature; default 0 "
        "(off).",
    ),
]
MirostatTau = Annotated[
    float | None, sampling("--mirostat-ent", help="Target surprise of mirostat; default 5.")
]
MirostatEta = Annotated[
    float | None, sampling("--mirostat-lr", help="Learning rate of mirostat; default 0.1.")
]
AdaptiveTarget = Annotated[
    float | None,
    sampling(
        "--adaptive-target",
        help="Choose tokens near this probability (adaptive-p); default -1 (off).",
    ),
]
AdaptiveDecay = Annotated[
    float | None,
    sampling("--adaptive-decay", help="Weight of earlier tokens in adaptive-p; default 0.9."),
]
Samplers = Annotated[
    str | None,
    sampling(
        "--samplers",
        metavar="NAMES",
        help="Samplers that run, in this order, separated by ;. Also infill. Default: "
        f"{'; '.join(name for name in SAMPLERS if name != 'infill')}.",
    ),
]
SamplerSeq = Annotated[
    str | None,
    sampling(
        "--sampler-seq",
        "--sampling-seq",
        metavar="LETTERS",
        help="The same with one letter for each sampler. Default: "
        f"{''.join(letter for letter, name in LETTERS.items() if name != 'infill')}.",
    ),
]

NAMES = {
    "typical_p": "--typical",
    "top_n_sigma": "--top-nsigma",
    "dynatemp_exponent": "--dynatemp-exp",
    "mirostat_mode": "--mirostat",
    "mirostat_tau": "--mirostat-ent",
    "mirostat_eta": "--mirostat-lr",
} | {
    name: "--" + name.replace("_", "-")
    for name in (
        "repeat_last_n", "min_keep", "xtc_probability", "xtc_threshold", "dynatemp_range",
        "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n",
        "adaptive_target", "adaptive_decay",
    )
}  # fmt: skip
"""For `render.reporting`: the option of each argument."""


def sampler_keywords(
    *,
    samplers: str | None,
    sampler_seq: str | None,
    dry_sequence_breaker: list[str] | None,
    **settings: float | None,
) -> dict[str, Any]:
    """The keywords of `Engine.generate` for the options that the user gave."""
    keywords: dict[str, Any] = {
        name: value for name, value in settings.items() if value is not None
    }
    if samplers is not None and sampler_seq is not None:
        raise typer.BadParameter(
            "samplers were given by names and by letters; give only one of them",
            param_hint="--sampler-seq",
        )
    if samplers is not None:
        keywords["samplers"] = [name.strip() for name in samplers.split(";") if name.strip()]
    if sampler_seq is not None:
        try:
            keywords["samplers"] = samplers_of(sampler_seq)
        except InvalidArgument as error:
            raise typer.BadParameter(str(error), param_hint="--sampler-seq") from None
    if dry_sequence_breaker:
        none = dry_sequence_breaker == ["none"]
        keywords["dry_sequence_breakers"] = [] if none else dry_sequence_breaker
    return keywords
