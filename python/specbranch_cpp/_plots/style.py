"""What all pictures have in common: matplotlib, where it is installed, and the colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODES = {
    "autoregressive": "#bbbbbb",
    "speculative": "#7f7f7f",
    "pearl": "#1f77b4",
    "specbranch": "#ff7f0e",
    "auto": "#2ca02c",
}
"""Of the modes of decoding."""

OTHER = "#9467bd"
"""Of whatever is none of them, such as another engine."""

SPANS = {"prefill": "#8da0cb", "verify": "#fc8d62", "draft": "#66c2a5"}
"""Of what a model does, by the kind of a span."""

GOOD = "#1b7837"
BAD = "#b2182b"


def figure_class(what: str) -> type[Figure]:
    """The class of figures: without pyplot there is no state that others share.

    A figure without a window system of its own is drawn by Agg.

    Args:
        what: is to be drawn, for the message.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(
            f"{what} needs matplotlib: pip install 'specbranch_cpp[plot]'"
        ) from error
    return Figure
