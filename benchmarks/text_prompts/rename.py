"""Rename one symbol in a file of about 150 lines, and repeat the whole file.

Each of the files in `code` gives two prompts: the file as it is, and the same file about another
subject, with another symbol.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["prompts"]

CODE = Path(__file__).with_name("code")


@dataclass(frozen=True)
class Task:
    """A file and the symbol to rename.

    Attributes:
        file: name of the file in `CODE`, without ``.txt``.
        old: the symbol.
        new: its new name.
        subject: words of the file and the words that take their places; longer words first.
    """

    file: str
    old: str
    new: str
    subject: dict[str, str] = field(default_factory=dict)


TASKS = (
    Task("stock.py", "quantities", "counts"),
    Task("timetable.ts", "departuresFrom", "leavingFrom"),
    Task("sensor.go", "limits", "bounds"),
    Task("playlist.c", "copy_text", "store_text"),
    Task("ledger.rs", "balance", "total"),
    Task(
        "stock.py", "movements", "changes",
        {
            "small shop": "large kitchen", "supplier": "grower", "price_cents": "cost_cents",
            "Article": "Ingredient", "article": "ingredient", "Stock": "Pantry", "stock": "pantry",
            "shop": "kitchen",
        },
    ),
    Task(
        "timetable.ts", "delay", "lateness",
        {
            "small ferry company": "mountain club", "passenger": "guest", "seats": "tickets",
            "Timetable": "Program", "timetable": "program", "Departure": "Hike",
            "departure": "hike", "Route": "Trail", "route": "trail",
        },
    ),
    Task(
        "sensor.go", "Summarize", "Describe",
        {
            "boiler": "harbour", "Reading": "Sample", "reading": "sample", "Sensor": "Station",
            "sensor": "station", "Collector": "Archive", "collector": "archive",
        },
    ),
    Task(
        "playlist.c", "count", "entries",
        {
            "playlist": "queue", "Playlist": "Queue", "Track": "Episode", "track": "episode",
            "artist": "speaker",
        },
    ),
    Task(
        "ledger.rs", "entries", "records",
        {
            "An amount of money in cents": "A volume of water in centilitres",
            "Ledger": "Reservoir", "ledger": "reservoir", "Account": "Tank", "account": "tank",
            "Amount": "Volume", "amount": "volume",
        },
    ),
)  # fmt: skip


def source(task: Task) -> str:
    """The file of a task, about its subject."""
    text = (CODE / f"{task.file}.txt").read_text(encoding="utf-8")
    for word, other in task.subject.items():
        text = text.replace(word, other)
    return text


def renamed(task: Task) -> str:
    """The right answer: the file with the new name."""
    return re.sub(rf"\b{task.old}\b", task.new, source(task))


def prompts() -> list[str]:
    """Ten prompts."""
    return [
        f"Rename `{task.old}` to `{task.new}` everywhere in this file. Reply with the whole file "
        f"in one code block, and with nothing else.\n\n```\n{source(task)}```"
        for task in TASKS
    ]
