"""Draws the speed-up of every mode over c and alpha."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from specbranch_cpp._plots import style
from specbranch_cpp._support.files import check_output
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from specbranch_cpp.simulation import Result

_WHAT = "a picture of speed-ups"


def check(path: str | os.PathLike[str]) -> None:
    """Checks the name and the packages before a long simulation.

    Raises:
        InvalidArgument: the name does not end in ``.png``, or something else than a regular file
            has it.
        OSError: the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    check_output(path)
    if not os.fspath(path).endswith(".png"):
        raise InvalidArgument(f"the picture is {os.fspath(path)!r}; its name must end in .png")
    style.figure_class(_WHAT)


def draw(
    found: Mapping[tuple[float, float], Sequence[Result]],
    path: str | os.PathLike[str],
    *,
    title: str = "",
) -> None:
    """Draws a panel for each alpha: the speed-up over `autoregressive` against c.

    Each mode has a line.

    Args:
        found: the result of `simulation.sweep`.
        path: path of the picture; an existing file is overwritten.
        title: a title above the picture.

    Raises:
        InvalidArgument: the name does not end in ``.png``, or ``found`` is empty.
        MissingExtra: matplotlib is not installed.
    """
    check(path)
    if not found:
        raise InvalidArgument("there is nothing to draw")
    ratios = sorted({c for c, _ in found})
    alphas = sorted({alpha for _, alpha in found})
    figure = style.figure_class(_WHAT)(figsize=(3.2 * len(alphas), 3.6), layout="constrained")
    axes = figure.subplots(1, len(alphas), sharey=True, squeeze=False)[0]
    for panel, alpha in zip(axes, alphas, strict=True):
        for i, one in enumerate(found[ratios[0], alpha]):
            mode = one.setting.mode
            speedups = [found[c, alpha][i].speedup for c in ratios]
            panel.plot(ratios, speedups, "o-", ms=3, color=style.MODES.get(mode), label=mode)
        panel.axhline(1.0, color="black", lw=0.5)
        panel.set_xscale("log")
        panel.set_xticks(ratios, [f"{c:g}" for c in ratios])
        panel.minorticks_off()
        panel.set_title(f"alpha {alpha:g}")
        panel.set_xlabel("c = target step / draft step")
    axes[0].set_ylabel("speed-up over autoregressive")
    axes[0].legend(frameon=False)
    if title:
        figure.suptitle(title)
    style.save(figure, path, dpi=120)
