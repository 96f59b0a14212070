"""llama.cpp's short form of a list of samplers: one letter for each."""

from __future__ import annotations

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.options import SAMPLERS

LETTERS = dict(zip("edskypmxtia", SAMPLERS, strict=True))
"""llama.cpp's letter of each sampler."""


def samplers_of(letters: str) -> list[str]:
    """The names of these samplers: ``"kpt"`` is ``["top_k", "top_p", "temperature"]``.

    Raises:
        InvalidArgument: a letter is not in `LETTERS`.
    """
    for letter in letters:
        if letter not in LETTERS:
            known = ", ".join(f"{each} ({name})" for each, name in LETTERS.items())
            raise InvalidArgument(f"samplers has the letter {letter!r}; it may have {known}")
    return [LETTERS[letter] for letter in letters]
