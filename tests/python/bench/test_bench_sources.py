"""`specbranch bench` without a draft model, and with texts and the draft apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.bench_clock import virtual_plan
from tests.python.support.bench_runs import measure, small_request, turns

from specbranch_cpp.bench import report, variants
from specbranch_cpp.bench.plan import ModelPair, pair_name
from specbranch_cpp.bench.statistics import summarize
from specbranch_cpp.bench.variants import BASE, Variant, of_modes
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

ABOUT = {"name": "t.gguf", "sha256": "00"}
ALONE = ModelPair(Path("t"), None, ABOUT, None)


def made(modes: Sequence[str], *sources: str) -> list[str]:
    found = of_modes(
        modes, lengths=(4,), epsilons=(0.4,), branch_limits=(2,), sources=sources or ("all",)
    )
    return [variant.name for variant in found]


def test_names_of_variants() -> None:
    assert made(("auto",)) == [BASE, "auto"]
    assert made(("auto", "speculative", "pearl"), "text", "all") == [
        BASE, "speculative (4, fixed, text)", "speculative (4, fixed)", "pearl (4, fixed)",
        "auto (text)", "auto",
    ]  # fmt: skip
    with pytest.raises(InvalidArgument, match="source is 'books'; it must be one of all, draft"):
        made(("auto",), "books")


def test_what_suits_a_target_alone() -> None:
    every = of_modes(
        variants.MODES, lengths=(4,), epsilons=(0.4,), branch_limits=(2,),
        sources=variants.SOURCES,
    )  # fmt: skip
    assert all(variant.suits(has_draft=True) for variant in every)
    assert [variant.name for variant in every if variant.suits(has_draft=False)] == [
        BASE, "speculative (4, fixed)", "speculative (4, fixed, text)", "auto", "auto (text)",
    ]  # fmt: skip
    peers = {
        ("llama-server", 0): True, ("llama-server", 3): False, ("llama-server-ngram", 16): True,
        ("llama-cpp-python-lookup", 5): True,
    }  # fmt: skip
    for (name, length), suits in peers.items():
        assert Variant(name, length, is_peer=True).suits(has_draft=False) is suits
        assert Variant(name, length, is_peer=True).suits(has_draft=True)


def test_a_plan_leaves_out_what_does_not_suit() -> None:
    chosen = (Variant(BASE), Variant("specbranch", 4, "confidence", 0.4), Variant("auto"))
    both = virtual_plan(chosen, 2)
    both = replace(both, pairs=(both.pairs[0], ALONE))
    with_draft, alone = both.groups
    assert {item.variant.name for item in with_draft.rounds[0].items} == {
        each.name for each in chosen
    }
    assert [item.variant.name for item in alone.rounds[0].items] == [BASE, "auto"]
    keys = {item.key for group in both.groups for one in group.rounds for item in one.items}
    assert len(keys) == 2 * (3 + 2)
    assert both.settings()["pairs"][1] == {"target": ABOUT, "draft": None}
    assert (pair_name(both.pairs[0].to_json()), ALONE.name) == ("virtual + virtual", "t.gguf")


def test_a_target_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    request: dict[str, Any] = small_request(pair, tmp_path) | {
        "pairs": ((pair[0], None),), "modes": variants.MODES, "placements": None, "lengths": (2,),
    }  # fmt: skip
    found = measure(tmp_path, request)
    names = {record["variant"] for record in turns(found)}
    assert names == {BASE, "speculative (2, fixed)", "auto"}
    assert next(iter(found[0]["plan"]["placements"])) in ("gpu", "shared")
    summary = summarize(found)
    (group,) = summary.groups
    assert [(row.n_equal, row.n_texts) for row in group.rows] == [(3, 3)] * 3
    text = report.markdown(found, summary)
    assert f"## {pair[0].name}, " in text
    assert all(r["stats"]["n_draft_steps"] == 0 for r in turns(found))


def test_texts_and_the_draft_apart(pair: tuple[Path, Path], tmp_path: Path) -> None:
    request = small_request(pair, tmp_path) | {
        "modes": ("auto",), "sources": ("text", "draft", "all"),
    }  # fmt: skip
    found = measure(tmp_path, request)
    (group,) = summarize(found).groups
    assert [row.name for row in group.rows] == [BASE, "auto (text)", "auto (draft)", "auto"]
    assert [row.mode for row in group.best] == [row.mode for row in group.rows]
    assert set(group.auto) == {BASE, "auto (text)", "auto (draft)"}
    assert [(row.n_equal, row.n_texts) for row in group.rows] == [(3, 3)] * 4
    by_name: dict[str, list[dict[str, Any]]] = {}
    for record in turns(found):
        by_name.setdefault(record["variant"], []).append(record["stats"])
    assert all(stats["n_draft_steps"] == 0 for stats in by_name["auto (text)"])
    assert all(stats["n_lookup_drafted"] == 0 for stats in by_name["auto (draft)"])
