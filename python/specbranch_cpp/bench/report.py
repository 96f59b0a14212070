"""The report of a run as Markdown, from its records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.words import several
from specbranch_cpp.bench.plan import pair_name
from specbranch_cpp.bench.variants import BASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from specbranch_cpp.bench.records import Record
    from specbranch_cpp.bench.summary import (
        Comparison,
        DifferingText,
        GroupSummary,
        Row,
        Summary,
    )

NAME = "report.md"
_SHOWN_DIFFERENCES = 20
_LARGE = 100  # larger ratios are not shown as numbers: they are noise
_DIFFERENT = (
    "After a difference, the next stretch of the text begins with the text of `autoregressive` "
    "again. The time of the stretch with the difference counts."
)
COLUMNS = (
    "variant", "speed-up", "95 % interval", "more texts", "median", "quartiles", "tokens/s", "M",
    "accepted", "RB", "RB per token", "coordination", "equal texts",
)  # fmt: skip


def markdown(
    records: Sequence[Record], summary: Summary, pictures: Mapping[str, str] | None = None
) -> str:
    """The whole report.

    Args:
        records: the records of the run, the header first.
        summary: the summary of these records.
        pictures: captions by the names of the files.
    """
    return joined(sections(records, summary), pictures)


def joined(parts: tuple[str, str], pictures: Mapping[str, str] | None = None) -> str:
    """The whole report: the parts of `sections`, and the pictures between them."""
    before, after = parts
    shown = [f"![{what}]({name})" for name, what in (pictures or {}).items()]
    middle = ["## Pictures", *shown] if shown else []
    return "\n\n".join([before, *middle, after]) + "\n"


def sections(records: Sequence[Record], summary: Summary) -> tuple[str, str]:
    """What comes before and after the pictures, which need time to draw."""
    header = records[0]
    parts = [f"# {title(header)}", _progress(header, records, summary)]
    if len(summary.groups) > 1:
        parts += ["## Every mode at its best, in total", overview(summary, header)]
    for group in summary.groups:
        parts += [f"## {heading(group, header)}", _facts(group), table(group)]
        parts += verdicts(group, summary.precision)
        if group.auto:
            parts.append(_auto(group))
        why = next((row.mode_reason for row in group.rows if row.mode_reason), "")
        if why:
            parts.append(f"Last decision of `auto`: {why}")
    if len(summary.groups) > 1 and summary.auto_means:
        parts += ["## `auto` over the groups", _means(summary)]
    different = [(group, one) for group in summary.groups for one in group.differences]
    if different:
        parts += ["## Texts that differ", _DIFFERENT, _differences(different, header)]
    skipped = list(_skipped(header, records))
    if skipped:
        parts += ["## Not measured", "\n".join(f"- {line}" for line in skipped)]
    return "\n\n".join(parts), f"## Made with\n\n{_setup(header)}"


def title(header: Record) -> str:
    targets = dict.fromkeys(pair["target"]["name"] for pair in header["plan"]["pairs"])
    return f"Speed of {', '.join(targets)}"


def heading(group: GroupSummary, header: Record) -> str:
    pair = header["plan"]["pairs"][group.pair]
    return (
        f"{pair_name(pair)}, {group.placement}, prompts {group.prompts}, temperature "
        f"{group.temperature:g}"
    )


def overview(summary: Summary, header: Record) -> str:
    """One row for each group: the total speed-up of the best setting of every mode and engine."""
    modes = list(dict.fromkeys(row.mode for group in summary.groups for row in group.best))
    lines = [("target + draft", "placement", "prompts", "temperature", "c", *modes)]
    lines.append(("---",) * len(lines[0]))
    for group in summary.groups:
        pair = header["plan"]["pairs"][group.pair]
        found = {row.mode: row.speedup.total for row in group.best if row.speedup}
        lines.append(
            (
                pair_name(pair),
                group.placement,
                group.prompts,
                f"{group.temperature:g}",
                "" if group.step_ratio is None else f"{group.step_ratio:.1f}",
                *(_number(found.get(mode)) for mode in modes),
            )
        )
    return _lines(lines)


def cells(row: Row) -> list[str]:
    """The cells of one variant, in the order of `COLUMNS`."""
    speedup = row.speedup
    shown = speedup is not None and row.mode != BASE
    return [
        row.name,
        _ratio(speedup.total) if speedup else "",
        interval(speedup) if shown else "",
        more_texts(speedup) if shown else "",
        _ratio(speedup.ratios.median) if speedup else "",
        f"{_ratio(speedup.ratios.q1)} .. {_ratio(speedup.ratios.q3)}" if speedup else "",
        f"{row.tokens_per_second:.1f}",
        _number(row.mean_accepted_length),
        _number(row.acceptance),
        _number(row.rollback_rate),
        _number(row.rollback_per_token),
        "" if row.coordination_share is None else f"{row.coordination_share:.1%}",
        f"{row.n_equal} of {row.n_texts}",
    ]


def interval(one: Comparison | None) -> str:
    """The interval of a ratio. A text of one prompt has none."""
    if one is None or one.interval is None:
        return "not known"
    return f"{_ratio(one.interval.low, 3)} .. {_ratio(one.interval.high, 3)}"


def _ratio(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if value < _LARGE else f"over {_LARGE}"


def more_texts(one: Comparison | None) -> str:
    if one is None or one.interval is None:
        return "not known"
    return "over a million" if one.more_texts is None else str(one.more_texts)


def verdicts(group: GroupSummary, precision: float) -> list[str]:
    """Sentences: what the intervals show, and what they do not show."""
    found = []
    compared = [row for row in group.rows if row.speedup is not None and row.mode != BASE]
    even = [row.name for row in compared if row.speedup and not row.speedup.told_apart]
    if even:
        found.append(f"Cannot be told apart from `{BASE}`: {', '.join(even)}.")
    if compared and group.fastest is not None:
        text = f"The fastest: {group.fastest}."
        if group.as_fast:
            text += f" Cannot be told apart from the fastest: {', '.join(group.as_fast)}."
        found.append(text)
    known = [row.speedup for row in compared if row.speedup and row.speedup.interval]
    if known:
        most = [one.more_texts for one in known if one.more_texts is not None]
        wanted = f"for intervals of {precision:.2g} of the speed-up"
        if len(most) < len(known):
            found.append(f"More than a million further texts are needed {wanted}.")
        elif max(most):
            found.append(f"About {max(most)} further texts like these are needed {wanted}.")
        else:
            found.append(f"There are enough texts {wanted}.")
    elif compared:
        found.append("The intervals are not known, because fewer than two prompts are measured.")
    return found


def table(group: GroupSummary) -> str:
    """One row for each variant. The best setting of every mode is bold."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in group.rows:
        found = cells(row)
        alone = sum(other.mode == row.mode for other in group.rows) == 1
        if row.is_best and not alone:
            found[:2] = (f"**{cell}**" for cell in found[:2])
        lines.append(tuple(found))
    return _lines(lines)


def _lines(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _progress(header: Record, records: Sequence[Record], summary: Summary) -> str:
    text = f"{summary.n_items} texts of {header['n_items']} are measured."
    loads = [r["load"] for r in records if r["kind"] == "begin" and r["load"] is not None]
    if loads:
        n_cpus = len(header["machine"]["cpus"])
        text += (
            f" Load of the machine when the run began: {', '.join(f'{load:g}' for load in loads)}"
            f" ({n_cpus} CPUs)."
        )
    return text


def _facts(group: GroupSummary) -> str:
    facts = []
    if group.step_ratio is not None:
        facts.append(f"a target step takes {group.step_ratio:.1f} times as long as a draft step")
    if group.target_slowdown is not None and group.draft_slowdown is not None:
        facts.append(
            f"while both models run, a target step takes {group.target_slowdown:.2f} times as long "
            f"as alone, a draft step {group.draft_slowdown:.2f} times"
        )
    text = "; ".join(facts)
    return f"{text[:1].upper()}{text[1:]}." if text else "The step times are not known."


def _auto(group: GroupSummary) -> str:
    rows = [
        (
            mode,
            next(row.name for row in group.best if row.mode == mode),
            f"{one.total:.3f}",
            interval(one),
            _verdict(one),
            f"{one.ratios.median:.3f}",
            f"{one.ratios.q1:.3f} .. {one.ratios.q3:.3f}",
        )
        for mode, one in group.auto.items()
    ]
    columns = (
        "`auto` over", "at its best", "in total", "95 % interval", "`auto` is", "median",
        "quartiles",
    )  # fmt: skip
    return _lines([columns, ("---",) * len(columns), *rows])


def _verdict(one: Comparison) -> str:
    if not one.told_apart:
        return "not told apart"
    return "faster" if one.total > 1.0 else "slower"


def _means(summary: Summary) -> str:
    rows = [(mode, f"{mean:.3f}", f"{least:.3f}") for mode, (mean, least) in
            summary.auto_means.items()]  # fmt: skip
    columns = ("`auto` over the best of", "geometric mean", "least")
    return _lines([columns, ("---",) * 3, *rows])


def _differences(found: Sequence[tuple[GroupSummary, DifferingText]], header: Record) -> str:
    columns = ("variant", "group", "prompt", "token", "gap of the scores")
    rows = [
        (
            one.variant,
            heading(group, header),
            str(one.prompt),
            str(one.index),
            "not known" if one.gap is None else f"{one.gap:.3g}",
        )
        for group, one in found[:_SHOWN_DIFFERENCES]
    ]
    text = _lines([columns, ("---",) * len(columns), *rows])
    more = len(found) - _SHOWN_DIFFERENCES
    return f"{text}\n\nand {more} more" if more > 0 else text


def _skipped(header: Record, records: Sequence[Record]) -> Iterable[str]:
    for what, reasons in header["skipped"].items():
        yield from (f"{what} {name}: {reason}" for name, reason in reasons.items())
    seen = dict.fromkeys(
        (r["pair"], r["placement"], r["variant"], r["reason"])
        for r in records
        if r["kind"] == "skip"
    )
    for pair, placement, variant, reason in seen:
        names = pair_name(header["plan"]["pairs"][pair])
        yield f"{variant or 'everything'} with {names}, {placement}: {reason}"
    for r in records:
        # A later run with another precision may have measured more.
        if r["kind"] == "enough" and r["n_texts"] == _n_prompts(records, r):
            names = pair_name(header["plan"]["pairs"][r["pair"]])
            yield (
                f"further prompts of {r['prompts']} with {names}, {r['placement']}, temperature "
                f"{r['temperature']:g}: all intervals are as narrow as {r['precision']:.2g} of the "
                f"speed-up after {several(r['n_texts'], 'prompt')}"
            )


def _n_prompts(records: Sequence[Record], place: Record) -> int:
    """The number of measured prompts of a pair, placement, set of prompts and temperature."""
    names = ("pair", "placement", "prompts", "temperature")
    return len(
        {
            r["prompt"]
            for r in records
            if r["kind"] == "turn" and all(r[name] == place[name] for name in names)
        }
    )


def _setup(header: Record) -> str:
    machine, package, plan = header["machine"], header["package"], header["plan"]
    commit = f", commit {package['commit']}" if package["commit"] else ""
    memory = machine["memory_bytes"] / 2**30
    cores = f"{machine['n_usable']} of {len(machine['cores'])} cores"
    sizes = f"{cores}, {len(machine['cpus'])} CPUs, {memory:.1f} GiB"
    lines = [
        f"specbranch {package['version']}{commit}, extension {package['extension_sha256'][:12]}",
        f"{machine['cpu']}, {sizes}; {', '.join(machine['gpus']) or 'no GPU'}",
        ", ".join(f"{name} {version}" for name, version in header["libraries"].items()),
    ]
    for model in _models(plan):
        about = f"{model['bytes']:,} bytes, {model['quantization']}, sha256 {model['sha256'][:12]}"
        lines.append(f"{model['name']}: {about}")
    lines += [
        f"placement {name}: {_options(options)}" for name, options in plan["placements"].items()
    ]
    lines += [
        f"prompts {name}: {len(prompts['numbers'])}, sha256 {prompts['sha256'][:12]}"
        for name, prompts in plan["prompts"].items()
    ]
    runs = several(plan["repeat"], "run")
    turns = f"stretches of {plan['stretch']} tokens" if plan["stretch"] else "whole texts"
    sizes = f"at most {plan['tokens']} tokens per text, {turns}, {runs} of each prompt"
    exact = ", bit-exact" if plan["bit_exact"] else ""
    lines += [
        f"{sizes}, context {plan['ctx_size']}, seed {plan['seed']}{exact}",
        f"began {header['made']}",
        f"`{header['command']}`",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _models(plan: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    models = (pair[side] for pair in plan["pairs"] for side in ("target", "draft"))
    return {model["sha256"]: model for model in models if model is not None}.values()


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
