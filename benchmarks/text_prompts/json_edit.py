"""Change one value of a JSON document of about 80 lines, and repeat the whole document."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

__all__ = ["prompts"]

PLACES = (
    "Harbour", "Old Mill", "North Gate", "Lighthouse", "Orchard", "Quarry", "Meadow", "Station",
    "Bridge", "Town Hall", "Vineyard", "Ferry Pier",
)  # fmt: skip
NAMES = (
    "Ada Winter", "Boris Keller", "Clara Moss", "David Stone", "Elena Marsh", "Felix Brook",
    "Greta Hill", "Henri Lake", "Ida Forest", "Jonas Field",
)  # fmt: skip
DISHES = (
    "lentil soup", "pumpkin risotto", "grilled trout", "mushroom dumplings", "bean stew",
    "apple tart", "plum cake", "herb omelette", "barley salad", "potato gratin",
)  # fmt: skip
SERVICES = ("gateway", "accounts", "search", "billing", "mailer", "reports", "uploads")


def _stations(rng: random.Random) -> dict[str, Any]:
    return {
        "network": "coast and hills",
        "interval_minutes": rng.choice((5, 10, 15)),
        "stations": [
            {
                "name": name,
                "height_m": rng.randrange(3, 900),
                "position": {
                    "lat": round(rng.uniform(46, 55), 4),
                    "lon": round(rng.uniform(6, 15), 4),
                },
                "sensors": rng.sample(["wind", "rain", "pressure", "humidity", "snow"], 3),
                "active": rng.random() < 0.8,
            }
            for name in rng.sample(PLACES, 5)
        ],
    }


def _staff(rng: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "id": 100 + number,
            "name": name,
            "role": rng.choice(("nurse", "driver", "cook", "gardener", "clerk")),
            "hours_per_week": rng.choice((20, 30, 38)),
            "languages": rng.sample(["German", "English", "Polish", "French", "Danish"], 2),
            "since": f"{rng.randrange(1998, 2025)}-{rng.randrange(1, 13):02}-01",
        }
        for number, name in enumerate(rng.sample(NAMES, 7))
    ]


def _menu(rng: random.Random) -> dict[str, Any]:
    return {
        "restaurant": rng.choice(PLACES),
        "currency": "EUR",
        "dishes": [
            {
                "name": name,
                "price": round(rng.uniform(4, 24), 2),
                "vegetarian": name != "grilled trout",
                "allergens": rng.sample(["milk", "egg", "gluten", "celery", "nuts"], 2),
                "minutes": rng.randrange(8, 45),
            }
            for name in rng.sample(DISHES, 8)
        ],
    }


def _services(rng: random.Random) -> dict[str, Any]:
    return {
        "version": 3,
        "services": {
            name: {
                "port": rng.randrange(3000, 9000),
                "replicas": rng.randrange(1, 6),
                "memory_mb": rng.choice((256, 512, 1024, 2048)),
                "log_level": rng.choice(("debug", "info", "warning")),
                "depends_on": rng.sample([each for each in SERVICES if each != name], 2),
                "health": {"path": f"/{name}/health", "timeout_s": rng.randrange(1, 10)},
            }
            for name in rng.sample(SERVICES, 5)
        },
    }


def _loans(rng: random.Random) -> dict[str, Any]:
    return {
        "branch": rng.choice(PLACES),
        "open": {"from": "09:00", "to": "18:30"},
        "loans": [
            {
                "number": f"{rng.randrange(10_000, 99_999)}",
                "reader": name,
                "books": rng.randrange(1, 9),
                "due": f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
                "renewals": rng.randrange(0, 4),
                "fee": round(rng.choice((0, 0, 0.5, 1.2)), 2),
            }
            for name in rng.sample(NAMES, 8)
        ],
    }


def tasks() -> list[tuple[str, Any, Any]]:
    """Ten tasks: the change in words, the document, and the changed document."""
    found = []
    for seed in (1, 2):
        rng = random.Random(seed)
        for number, make in enumerate((_stations, _staff, _menu, _services, _loans)):
            document: Any = make(rng)
            changed = copy.deepcopy(document)
            if number == 0:
                one = changed["stations"][3]
                one["height_m"] += 7
                words = f'Set "height_m" of the station "{one["name"]}" to {one["height_m"]}.'
            elif number == 1:
                one = changed[4]
                one["hours_per_week"] = 25
                words = f'Set "hours_per_week" of {one["name"]} to 25.'
            elif number == 2:
                one = changed["dishes"][5]
                one["price"] = 9.9
                words = f'Set the price of the dish "{one["name"]}" to 9.9.'
            elif number == 3:
                name = list(changed["services"])[2]
                changed["services"][name]["log_level"] = "error"
                words = f'Set "log_level" of the service "{name}" to "error".'
            else:
                one = changed["loans"][6]
                one["renewals"] = 5
                words = f'Set "renewals" of the loan of {one["reader"]} to 5.'
            found.append((words, document, changed))
    return found


def prompts() -> list[str]:
    """Ten prompts."""
    return [
        f"{words} Reply with the whole JSON document, and with nothing else.\n\n"
        f"{json.dumps(document, indent=2)}"
        for words, document, _ in tasks()
    ]
