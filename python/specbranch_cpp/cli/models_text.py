"""The result of `local_models.find` as text."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from specbranch_cpp._support.split_files import PartName
from specbranch_cpp._support.words import one_line, readable, several
from specbranch_cpp.check.predicted_speedup import ENOUGH
from specbranch_cpp.cli import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console, JustifyMethod

    from specbranch_cpp.local_models import Catalog, LocalModel, LocalPair

_FEW = 3  # drafts to show for a target
_GAP = 2  # blanks between columns
_NARROWEST = 16  # characters of a name
_COLUMNS: tuple[tuple[str, JustifyMethod], ...] = (
    ("archi-\ntecture", "left"),
    ("para-\nmeters", "right"),
    ("quanti-\nzation", "left"),
    ("con-\ntext", "right"),
    ("chat\ntemplate", "left"),
    ("size", "right"),
)


def show(console: Console, catalog: Catalog, *, everything: bool) -> None:
    """Prints the models, their drafts, and the files that are no models.

    Args:
        console: where to print.
        catalog: the result of the search.
        everything: print all drafts that fit and all other files, instead of the best drafts and
            the numbers of other files.
    """
    if catalog.models:
        labels = _labels(catalog.models)
        numbers = {model.path: i for i, model in enumerate(catalog.models, 1)}
        _show_models(console, catalog, labels)
        _show_memory(console, catalog, numbers)
        console.print()
        _show_drafts(console, catalog, labels, numbers, everything=everything)
    else:
        console.print("no models were found; these folders were searched:")
        for place in catalog.places:
            console.print(f"  {place.source}: {one_line(place.path)}", soft_wrap=True)
        if not catalog.places:
            console.print("  (no known folder exists)")
    _show_rest(console, catalog, everything=everything)


def _labels(models: Iterable[LocalModel]) -> dict[str, str]:
    """A short name for each path, otherwise the whole name, otherwise the path."""
    choices = [(_short_name(model.name), model.name, model.path) for model in models]
    counts = Counter(name for names in choices for name in dict.fromkeys(names))
    return {
        names[2]: one_line(next((name for name in names if counts[name] == 1), names[2]))
        for names in choices
    }


def _short_name(name: str) -> str:
    """The name of the file, with its folder if only the folder names the model."""
    *folders, file = name.split("/")
    part = PartName.read(file)
    if part is not None:
        file = part.stem
    elif file.lower().endswith(".gguf"):
        file = file[:-5]
    words = re.findall(r"[a-z0-9]+", folders[-1].lower()) if folders else []
    return f"{folders[-1]}/{file}" if words and words[0] not in file.lower() else file


def _show_models(console: Console, catalog: Catalog, labels: Mapping[str, str]) -> None:
    rows = [_facts(model) for model in catalog.models]
    widths = [
        max(map(cell_len, [*heading.split("\n"), *cells]))
        for (heading, _), cells in zip(_COLUMNS, zip(*rows, strict=True), strict=True)
    ]
    number = len(str(len(rows)))
    taken = number + sum(widths) + _GAP * (1 + len(widths) + 1)
    width = max(_NARROWEST, console.width - taken)
    table = render.WholeTable(
        taken + width, box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim"
    )
    table.add_column("", justify="right", width=number)
    table.add_column("model", max_width=width, overflow="fold")
    for (heading, justify), each in zip(_COLUMNS, widths, strict=True):
        table.add_column(heading, justify=justify, width=each, no_wrap=True)
    source = None
    for i, (model, facts) in enumerate(zip(catalog.models, rows, strict=True), 1):
        if model.source != source:
            source = model.source
            table.add_row("", Text(source, style="bold"))
        table.add_row(str(i), _wrapped(labels[model.path], width), *facts)
    console.print(table)


def _facts(model: LocalModel) -> list[str]:
    """The cells of `_COLUMNS`."""
    return [
        one_line(model.architecture),
        _short(model.n_parameters, 1000, ("", "K", "M", "B", "T")),
        one_line(model.quantization),
        _short(model.n_ctx_train, 1024, ("", "k", "M")),
        "yes" if model.chat_template else "no",
        readable(model.size),
    ]


def _wrapped(label: str, width: int) -> str:
    """The label in lines of this width, which end after a punctuation mark where possible."""
    lines = [""]
    for piece in re.findall(r"[^-_./:]*[-_./:]?", label):
        if cell_len(lines[-1] + piece) > width and lines[-1]:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _short(number: int, base: int, units: tuple[str, ...]) -> str:
    """A number with three digits at most, such as ``1.8B`` and ``32k``."""
    value, power = float(number), 0
    while value >= base * 0.9995 and power + 1 < len(units):
        value, power = value / base, power + 1
    digits = 1 if power and value < 9.95 and round(value, 1) % 1 else 0
    return f"{value:.{digits}f}{units[power]}"


def _show_memory(console: Console, catalog: Catalog, numbers: Mapping[str, int]) -> None:
    free = catalog.memory_available
    large = [] if free is None else [model for model in catalog.models if model.memory > free]
    if large and free is not None:
        which = ", ".join(str(numbers[model.path]) for model in large)
        console.print()
        console.print(
            f"larger than the free main memory ({readable(free)}): {which}", style="yellow"
        )


def _show_drafts(
    console: Console,
    catalog: Catalog,
    labels: Mapping[str, str],
    numbers: Mapping[str, int],
    *,
    everything: bool,
) -> None:
    without = []
    best = None
    for model in catalog.models:
        pairs = catalog.drafts_for(model)
        chosen = pairs if everything else [pair for pair in pairs if _gains(pair)][:_FEW]
        if not chosen:
            without.append(model)
            continue
        best = max(best or chosen[0], chosen[0], key=_expected)
        console.print(f"drafts for {numbers[model.path]} {labels[model.path]}:", style="bold")
        for pair in chosen:
            console.print(f"  {numbers[pair.draft]} {labels[pair.draft]}: {_words(pair)}")
        if len(pairs) > len(chosen):
            more = several(len(pairs) - len(chosen), "more draft")
            console.print(f"  {more} with less or no gain (--all)", style="dim")
    if without:
        which = ", ".join(str(numbers[model.path]) for model in without)
        console.print(f"no draft here gains speed for {which}")
    if best is not None:
        _show_basis(console, catalog, best)


def _gains(pair: LocalPair) -> bool:
    return _expected(pair) >= ENOUGH


def _expected(pair: LocalPair) -> float:
    return pair.gain.expected


def _words(pair: LocalPair) -> str:
    gain = pair.gain
    return f"about {gain.expected:.1f} times as fast ({gain.low:.1f} to {gain.high:.1f})"


def _show_basis(console: Console, catalog: Catalog, best: LocalPair) -> None:
    basis = catalog.assumptions
    console.print()
    console.print(
        "These figures are estimates: the simulator's, from the sizes of the files, on the machine "
        f"{basis.machine}, for a draft that is right at {render.percent(basis.alpha)} of the "
        f"positions (in brackets: {render.percent(basis.alpha_low)} and "
        f"{render.percent(basis.alpha_high)}). Measure a pair before you trust it:",
        style="dim",
    )
    target, draft = (shlex.quote(one_line(path)) for path in (best.target, best.draft))
    console.print(f"specbranch check {target} {draft}", soft_wrap=True)


def _show_rest(console: Console, catalog: Catalog, *, everything: bool) -> None:
    if catalog.others or catalog.unusable:
        console.print()
    kinds = Counter(other.kind for other in catalog.others)
    if everything:
        for other in catalog.others:
            console.print(f"{other.kind}: {one_line(other.path)}", style="dim", soft_wrap=True)
    elif kinds:
        words = ", ".join(f"{kind} ({n})" for kind, n in sorted(kinds.items()))
        console.print(f"left out, because they are no text models: {words} (--all)", style="dim")
    for each in catalog.unusable:
        # Ollama's files have digests in place of names.
        told = Path(each.path).name == Path(each.name).name or not each.name
        name = "" if told else f" ({one_line(each.name)})"
        console.print(
            f"{one_line(each.path)}{name}: {one_line(each.reason)}", style="yellow", soft_wrap=True
        )
