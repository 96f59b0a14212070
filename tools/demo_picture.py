#!/usr/bin/env python3
"""Draws the demo for the docs: runs `specbranch demo` and saves what its terminal shows.

    python tools/demo_picture.py docs/images/demo.svg

The race is drawn at the moment at which the text with speculation was done. Everything else is
what the command prints, up to the last line about the speed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from specbranch_cpp import Chunk
from specbranch_cpp.cli.demo import page, race, session
from specbranch_cpp.cli.demo.command import PROMPTS

WIDTH = 100
HEIGHT = 24  # of the terminal in which the race is drawn
NOTE = "the moment at which the text with speculation was done"
REQUEST = {"max_tokens": 64, "temperature": 0.7, "seed": 1}

# Rich's own, without the font that it would load from the net.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
    font-variant-east-asian: full-width;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def draw_race(
    console: Console, prompt: str, start: Sequence[Callable[[], Iterable[Chunk]]]
) -> None:
    """The race as it looked when the faster text was done."""
    plain, fast = race.Recording(), race.Recording()
    for recording, begin in zip((plain, fast), start, strict=True):
        recording.read(begin())
    ms = fast.ended_ms or 0.0
    lanes = [
        race.Lane(title, style, recording, ms)
        for title, style, recording in zip(
            race.TITLES, ("yellow", "green"), (plain, fast), strict=True
        )
    ]
    console.print(race.frame(prompt, lanes, NOTE, WIDTH, HEIGHT))


def capture() -> Console:
    """A console that has recorded the demo."""
    with Path(os.devnull).open("w") as nowhere, ExitStack() as stack:
        console = Console(
            file=nowhere, record=True, width=WIDTH, force_terminal=True, color_system="truecolor",
            highlight=False, markup=False, emoji=False,
        )  # fmt: skip
        page.OWN_FILES = ""
        pair = session.load_grown(stack, None, {})
        session.show(console, pair, PROMPTS, REQUEST, "specbranch", draw_race)
    return console


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the SVG file")
    options = parser.parse_args()
    picture = capture().export_svg(
        title="specbranch demo", theme=DIMMED_MONOKAI, code_format=FORMAT, unique_id="demo"
    )
    # Empty text and trailing spaces are not seen.
    options.output.write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")
    print(options.output)


if __name__ == "__main__":
    main()
