"""``specbranch simulate``: predicts the gain of a pair on a machine."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text

from specbranch_cpp import simulation
from specbranch_cpp._pair import saved_profile
from specbranch_cpp._plots import speedup
from specbranch_cpp._support.words import several
from specbranch_cpp.cli import options, render
from specbranch_cpp.cli.lists import comma_list
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

PAIR = "Pair"
PLACE = "Machine"

_MOST_CLIENTS = 64
_FEW_POSITIONS = 50  # below this, the acceptance rate of a profile may be far off
# Ranges that a picture shows.
_RATIOS = (3.0, 5.0, 8.0, 12.0, 20.0)
_ALPHAS = (0.4, 0.6, 0.75, 0.85, 0.92)

_CLIENT_COLUMNS = ("mode", "clients", "tokens\n/s", "gain", "first\nms p50", "\np95",
                   "between\nms p50", "\np95", "tokens\n/batch")  # fmt: skip
_COLUMNS = ("mode", "speed-up", "tokens\nper step", "rolled\nback", "drafted\nper token",
            "target\nbusy", "draft\nbusy", "overlap")  # fmt: skip


_NAMES = {
    "alpha": "--alpha",
    "machine": "--machine",
    "target_slowdown": "--slowdown",
    "target_latency_us": "--latency-us",
    "hop_us": "--hop-us",
    "n_tokens": "--tokens",
    "seed": "--seed",
    "profile": "--profile",
    "the picture": "--plot",
}
"""For `render.reporting`: the option of each argument of the simulator."""

_LONGEST_MS = 1e9


@render.reporting(_NAMES)
def simulate(
    alpha: Annotated[
        float | None,
        options.option("--alpha", panel=PAIR, metavar="A",
                       help="Acceptance rate of the draft's first candidate; default 0.7."),
    ] = None,
    ratio: Annotated[
        float | None,
        options.option("--ratio", "-r", panel=PAIR, metavar="C",
                       help="Step ratio c: time of a target step / time of a draft step; "
                       "default 8."),
    ] = None,
    target_ms: Annotated[
        float | None,
        options.option("--target-ms", panel=PAIR, metavar="MS",
                       help="Time of a target step alone, in milliseconds; default 20."),
    ] = None,
    profile: Annotated[
        Path | None,
        options.option("--profile", panel=PAIR, metavar="FILE",
                       help="File with step times, slow-downs and alpha that an engine measured."),
    ] = None,
    machine: Annotated[
        str,
        options.option("--machine", panel=PLACE, metavar="NAME",
                       help=f"Machine: one of {', '.join(simulation.MACHINES)}; default two-gpus."),
    ] = "two-gpus",
    slowdown: Annotated[
        float | None,
        options.option("--slowdown", panel=PLACE, metavar="S",
                       help="Slow-down of both models while both run; 1: no slow-down, 2: the "
                       "models take turns."),
    ] = None,
    latency_us: Annotated[
        float | None,
        options.option("--latency-us", panel=PLACE, metavar="US",
                       help="Time to add to every target step, such as a network round trip, in "
                       "microseconds."),
    ] = None,
    hop_us: Annotated[
        float | None,
        options.option("--hop-us", panel=PLACE, metavar="US",
                       help="Time from the end of a step to the start of the next step, in "
                       "microseconds; default 10."),
    ] = None,
    tokens: Annotated[
        int, options.option("--tokens", "-n", panel=PLACE, metavar="N",
                            help="Number of tokens of the simulated text; default 1000."),
    ] = 1000,
    seed: Annotated[
        int, options.option("--seed", "-s", panel=PLACE, metavar="N",
                            help="Seed of the simulated text and draft; default 1."),
    ] = 1,
    clients: Annotated[
        str | None,
        options.option("--clients", panel=PLACE, metavar="LIST",
                       help="Numbers of clients at once, such as 1,2,4,8: tokens per second of all "
                       "of them, by batches of single tokens and by auto."),
    ] = None,
    plot: Annotated[
        Path | None,
        options.option("--plot", panel=PLACE, metavar="FILE",
                       help="Draw the speed-up over c and alpha into a .png file; "
                       "this takes longer."),
    ] = None,
    json_output: options.Json = False,
) -> None:  # fmt: skip
    """Predict the gain of a pair on a machine, without the models and without the machine.

    The engine's own planners run under a virtual clock, each mode with its best settings.
    """
    if plot is not None:
        speedup.check(plot)
    pair, place = _chosen(alpha, ratio, target_ms, profile, machine, json_output=json_output)
    changes: dict[str, Any] = {
        "target_slowdown": slowdown,
        "draft_slowdown": slowdown,
        "target_latency_us": latency_us,
        "hop_us": hop_us,
    }
    place = replace(
        place, **{name: value for name, value in changes.items() if value is not None}
    )  # fmt: skip
    if clients is not None:
        if plot is not None:
            raise InvalidArgument("--plot draws one client; it does not go with --clients")
        _crowds(pair, place, clients, tokens, seed, json_output=json_output)
        return
    results = simulation.compare(pair, place, n_tokens=tokens, seed=seed)
    if json_output:
        content = {
            "machine": asdict(place),
            "pair": {**asdict(pair), "proposals": len(pair.proposals)},
            "results": [asdict(result) for result in results],
        }
        print(json.dumps(content))
    else:
        _show(results)
    if plot is not None:
        found = simulation.sweep(pair, place, _RATIOS, _ALPHAS, n_tokens=tokens // 2 or 1)
        speedup.draw(found, plot, title=machine)


def _chosen(
    alpha: float | None,
    ratio: float | None,
    target_ms: float | None,
    profile: Path | None,
    machine: str,
    *,
    json_output: bool,
) -> tuple[simulation.Pair, simulation.Machine]:
    place = simulation.find_machine(machine)
    if profile is not None:
        if ratio is not None or target_ms is not None:
            raise InvalidArgument(
                "--profile contains the step times; do not give --ratio or --target-ms"
            )
        content = saved_profile.read(profile)
        pair, place = simulation.with_profile(simulation.Pair(), place, content)
        if alpha is None:
            n = saved_profile.first_choices(content)[0]
            _tell_positions(n, pair.alpha, json_output=json_output)
    else:
        target_us = 1000.0 * (20.0 if target_ms is None else target_ms)
        if not 0 < target_us <= 1000.0 * _LONGEST_MS:
            raise InvalidArgument(
                f"--target-ms is {target_ms:g}; it must be above 0, and at most {_LONGEST_MS:g}"
            )
        c = 8.0 if ratio is None else ratio
        if not 0 < c < math.inf:
            raise InvalidArgument(f"--ratio is {c:g}; it must be above 0 and finite")
        draft_us = target_us / c
        if not 0 < draft_us <= 1000.0 * _LONGEST_MS:
            raise InvalidArgument(
                f"--ratio is {c:g}, so a draft step takes {draft_us / 1000.0:g} ms; it must take "
                f"more than 0 ms, and at most {_LONGEST_MS:g} ms"
            )
        pair = simulation.Pair(target_us=target_us, draft_us=draft_us)
    return (pair if alpha is None else replace(pair, alpha=alpha)), place


def _tell_positions(n: float, alpha: Any, *, json_output: bool) -> None:
    """Says on how many positions the acceptance rate of a profile rests, with a warning if they
    are few."""
    few = n < _FEW_POSITIONS
    if n > 0:
        positions = several(max(1, round(n)), "position")
        basis = f"the acceptance rate of the profile, {alpha:.2f}, is that of about {positions}"
    else:
        basis = f"the profile has no acceptance rate, so {alpha:g} is assumed"
    if few:
        advice = "give another one with --alpha, or let the engine write longer texts"
        render.warn(f"{basis}; {advice}")
    elif not json_output:
        render.stdout().print(f"{basis}\n", style="dim", soft_wrap=True)


def _show(results: Sequence[simulation.Result]) -> None:
    console = render.stdout()
    console.print(
        render.table(
            _COLUMNS,
            [
                [
                    one.setting.mode,
                    f"{one.speedup:.2f}",
                    f"{one.mean_accepted_length:.2f}",
                    render.percent(one.rollback_rate),
                    f"{one.drafted_per_token:.1f}",
                    render.percent(one.target_busy),
                    render.percent(one.draft_busy),
                    render.percent(one.overlap),
                ]
                for one in results
            ],
        )
    )
    tuned = [str(one.setting) for one in results if str(one.setting) != one.setting.mode]
    if tuned:
        console.print(Text(f"\nbest settings: {', '.join(tuned)}", "dim"))
    for one in results:
        if one.mode_reason:
            console.print(f"\n{one.setting.mode}: {one.mode_reason}", soft_wrap=True)


def _crowds(
    pair: simulation.Pair,
    place: simulation.Machine,
    numbers: str,
    n_tokens: int,
    seed: int,
    *,
    json_output: bool,
) -> None:
    found = []
    for n in _numbers(numbers):
        crowd = [simulation.Client(n_tokens=n_tokens)] * n
        for mode in ("autoregressive", "auto"):
            result = simulation.simulate_clients(pair, crowd, place, mode, n_parallel=n, seed=seed)
            found.append((n, mode, result))
    if json_output:
        rows = [{"clients": n, "mode": mode, **asdict(result)} for n, mode, result in found]
        print(json.dumps({"machine": asdict(place), "results": rows}))
        return
    plain = {n: result.tokens_per_s for n, mode, result in found if mode == "autoregressive"}
    console = render.stdout()
    console.print(
        render.table(
            _CLIENT_COLUMNS,
            [
                [
                    mode,
                    str(n),
                    f"{one.tokens_per_s:.0f}",
                    f"{one.tokens_per_s / plain[n]:.2f}",
                    *(f"{ms:.0f}" for ms in (*one.first_token_ms, *one.between_tokens_ms)),
                    f"{one.tokens_per_batch:.1f}",
                ]
                for n, mode, one in found
            ],
        )
    )


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of ``--clients``."""
    numbers = comma_list(text, int, "--clients") or ()
    for number in numbers:
        if not 1 <= number <= _MOST_CLIENTS:
            raise InvalidArgument(f"--clients has {number}; 1 to {_MOST_CLIENTS} are possible")
    return numbers
