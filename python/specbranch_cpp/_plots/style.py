"""The common parts of all pictures: the optional matplotlib and the colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._support.files import replacing
from specbranch_cpp.errors import MissingExtra

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

MODES = {
    "autoregressive": "#bbbbbb",
    "speculative": "#7f7f7f",
    "pearl": "#1f77b4",
    "specbranch": "#ff7f0e",
    "auto": "#2ca02c",
}
"""The colours of the modes of decoding."""

OTHER = "#9467bd"
"""The colour of everything else, such as another engine."""

SPANS = {"prefill": "#8da0cb", "verify": "#fc8d62", "draft": "#66c2a5"}
"""The colours of commands, by the kind of the span."""

GOOD = "#1b7837"
BAD = "#b2182b"


def figure_class(what: str) -> type[Figure]:
    """The class of figures, without pyplot and so without shared state.

    Agg draws a figure that has no window system.

    Args:
        what: name of the picture, for the message.

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


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int) -> None:
    """Writes a figure as a PNG file in one piece.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=dpi)
