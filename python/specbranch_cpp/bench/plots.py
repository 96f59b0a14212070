"""Draws pictures of a run from its records. This needs matplotlib: ``specbranch_cpp[plot]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp import timeline
from specbranch_cpp._plots import style
from specbranch_cpp.bench import traces
from specbranch_cpp.bench.plan import pair_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from specbranch_cpp.bench.records import Record
    from specbranch_cpp.bench.summary import GroupSummary, Row, Summary

_WHAT = "a picture of a report"


def save_all(folder: Path, records: Sequence[Record], summary: Summary) -> dict[str, str]:
    """Draws all pictures. Returns the names of the files and their captions.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    style.figure_class(_WHAT)
    made = {}
    if any(row.speedup for group in summary.groups for row in group.best):
        draw_speedups(summary, folder / "speedup.png")
        made["speedup.png"] = "speed-up of every mode at its best setting, with 95 % intervals"
    if any(sum(row.histogram) for group in summary.groups for row in group.best):
        draw_histograms(summary, folder / "acceptance.png")
        made["acceptance.png"] = "number of tokens that a target step accepted"
    for record in records:
        if record["kind"] == "trace":
            name = f"round-{record['pair']}-{record['placement']}.png"
            if draw_round(record, folder / name):
                names = pair_name(records[0]["plan"]["pairs"][record["pair"]])
                made[name] = f"one round of {record['variant']} with {names}"
    return made


def draw_speedups(summary: Summary, path: Path) -> None:
    """Bars of the speed-up of each mode at its best setting, a cluster for each group.

    The lines are 95 % intervals.
    """
    modes = list(dict.fromkeys(row.mode for group in summary.groups for row in group.best))
    figure = style.figure_class(_WHAT)(
        figsize=(max(5.0, 0.45 * len(modes) * len(summary.groups) + 2.0), 4.0), layout="constrained"
    )
    axes = figure.subplots()
    width = 0.8 / len(modes)
    for i, mode in enumerate(modes):
        places, heights, down, up = [], [], [], []
        for x, group in enumerate(summary.groups):
            row = next((row for row in group.best if row.mode == mode), None)
            if row is not None and row.speedup is not None:
                total, interval = row.speedup.total, row.speedup.interval
                places.append(x + (i - (len(modes) - 1) / 2) * width)
                heights.append(total)
                down.append(total - interval.low if interval else 0.0)
                up.append(interval.high - total if interval else 0.0)
        axes.bar(
            places, heights, 0.9 * width, yerr=(down, up), color=style.MODES.get(mode, style.OTHER),
            label=mode, ecolor="#444444", capsize=2,
        )  # fmt: skip
    axes.axhline(1.0, color="black", lw=0.5)
    axes.set_xticks(range(len(summary.groups)), [_short(group) for group in summary.groups])
    axes.set_ylabel("speed-up over autoregressive")
    figure.legend(loc="outside lower center", frameon=False, ncols=5, fontsize=8)
    style.save(figure, path, dpi=120)


def draw_histograms(summary: Summary, path: Path) -> None:
    """The share of target steps that accepted 0, 1, .. tokens; a panel for each group."""
    groups = [group for group in summary.groups if any(sum(r.histogram) for r in _drafting(group))]
    figure = style.figure_class(_WHAT)(figsize=(4.2 * len(groups), 3.4), layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for panel, group in zip(panels, groups, strict=True):
        rows = [row for row in _drafting(group) if sum(row.histogram)]
        width = 0.8 / len(rows)
        for i, row in enumerate(rows):
            steps = sum(row.histogram)
            panel.bar(
                [n + (i - (len(rows) - 1) / 2) * width for n in range(len(row.histogram))],
                [count / steps for count in row.histogram],
                width, color=style.MODES.get(row.mode, style.OTHER), label=row.name,
            )  # fmt: skip
        panel.set_title(_short(group), fontsize=9)
        panel.set_xlabel("tokens accepted")
        panel.legend(frameon=False, fontsize=7)
    panels[0].set_ylabel("share of target steps")
    style.save(figure, path, dpi=120)


def draw_round(record: Record, path: Path) -> bool:
    """Draws one round of a traced generation. Returns False if the trace has no complete round."""
    trace = traces.from_json(record)
    window = traces.one_round(trace)
    if window is None:
        return False
    timeline.plot(
        trace, path, start_ms=window[0], end_ms=window[1], width=1200, title=record["variant"]
    )
    return True


def _drafting(group: GroupSummary) -> list[Row]:
    return [row for row in group.best if row.mode != "autoregressive" and not row.is_peer]


def _short(group: GroupSummary) -> str:
    return f"pair {group.pair}, {group.placement}\n{group.prompts}, T {group.temperature:g}"
