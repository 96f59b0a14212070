"""Arguments of the simulator that are wrong: an error that names them."""

from __future__ import annotations

from typing import Any

import pytest

from specbranch_cpp import InvalidArgument, simulation
from specbranch_cpp.simulation import Client, Machine, Pair, Setting

COSTS = {"target_us": [100.0, 120.0], "draft_us": [10.0, 12.0]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": "x"}, "alpha is 'x' .*must be a number"),
        ({"target_us": "fast"}, "target_us is 'fast' .*must be a number"),
        ({"alpha": (0.5, 0.6)}, r"alpha\[0\] is 0.5; it must be a pair"),
        ({"alpha": ((1.5, 0.5),)}, r"alpha\[0\]\[0\] is 1.5 .*integer"),
        ({"alpha": ((2**40, 0.5),)}, r"alpha\[0\]\[0\] is 1099511627776; it must be in 1 "),
        ({"target_us": ()}, "target_us is empty"),
        ({"draft_us": ()}, "draft_us is empty"),
        ({"text": 5}, "text is 5 .*sequence"),
        ({"prompt": None}, "prompt is None .*sequence"),
        ({"proposals": 5}, "proposals is 5 .*sequence"),
        ({"proposals": ((5, 0),)}, r"proposals\[0\]\[0\] is 5 .*sequence"),
        ({"proposals": (((0.5,), 1.5),)}, r"proposals\[0\]\[1\] is 1.5 .*integer"),
        ({"proposals": (((0.5,), 2**40),)}, r"proposals\[0\]\[1\] is 1099511627776; it must be in"),
    ],
)
def test_pairs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        simulation.simulate(Pair(**options), n_tokens=20)


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        ([], r"machine is \[\]; it must be one of two-gpus"),
        (Machine(target_curve=()), "target_curve is empty"),
        (Machine(draft_curve=1.0), "draft_curve is 1.0 .*sequence"),  # type: ignore[arg-type]
        (Machine(target_curve=("x",)), r"target_curve\[0\] is 'x'"),  # type: ignore[arg-type]
        (Machine(branches="no"), "branches is 'no' .*True or False"),  # type: ignore[arg-type]
    ],
)
def test_machines(machine: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        simulation.simulate(Pair(), machine, n_tokens=20)


@pytest.mark.parametrize("setting", [None, 5, ("pearl", 8)])
def test_settings(setting: Any) -> None:
    for call in (
        lambda: simulation.simulate(Pair(), setting=setting, n_tokens=20),
        lambda: simulation.simulate_clients(Pair(), [Client()], setting=setting),
    ):
        with pytest.raises(InvalidArgument, match="it must be a Setting or a mode"):
            call()


def test_modes_and_lists() -> None:
    any_list: Any = 5
    for call, message in (
        (lambda: simulation.settings("x"), "mode is 'x'; it must be one of autoregressive"),
        (lambda: simulation.compare(Pair(), modes="auto"), "modes is 'auto' .*sequence"),
        (lambda: simulation.sweep(Pair(), "ideal", any_list, [0.5]), "ratios is 5 .*sequence"),
        (lambda: simulation.sweep(Pair(target_us=()), "ideal", [2], [0.5]), "target_us is empty"),
        (lambda: simulation.simulate_clients(Pair(), any_list), "clients is 5 .*sequence"),
        (lambda: simulation.simulate_texts(any_list), "pairs is 5 .*sequence"),
        (lambda: simulation.simulate_texts([]), "there is no text"),
        (lambda: simulation.simulate_texts([Pair()], seed=-1), "seed is -1"),
        (lambda: simulation.simulate_clients(Pair(), ["x"]), r"clients\[0\] is 'x'; it must be a"),  # type: ignore[list-item]
        (lambda: simulation.simulate(Pair(), warm=any_list), "warm is 5 .*True or False"),
        (lambda: simulation.simulate_clients(Pair(), [Client()], warm=any_list), "warm is 5 "),
    ):
        with pytest.raises(InvalidArgument, match=message):
            call()


def test_the_largest_seed_can_be_tuned() -> None:
    found = simulation.tune(Pair(), "ideal", "pearl", n_tokens=20, seed=2**63 - 1)
    assert found.setting.mode == "pearl"
    assert simulation.simulate(Pair(), "ideal", Setting("pearl"), n_tokens=20).speedup > 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (5, "source is 5 .*path"),
        ({**COSTS, "target_us": [float("nan")]}, r"target_us\[0\] is nan; it must be a number"),
        ({**COSTS, "draft_us": [-1.0]}, r"draft_us\[0\] is -1.0; it must be a number"),
        ({**COSTS, "target_slowdown": 0.5}, "target_slowdown is 0.5; .* at least 1"),
        ({"costs": COSTS, "acceptance": 5}, "acceptance is 5 .*sequence"),
        ({"costs": COSTS, "acceptance": [5]}, r"acceptance\[0\] is 5; it must be a table"),
        ({"costs": COSTS, "acceptance": [{"first_count": "x"}]}, r"first_count is 'x' .*number"),
        (
            {"costs": COSTS, "acceptance": [{"first_count": 5, "first_hits": 10}]},
            r"acceptance\[0\]\.first_hits is 10.0; it must be at most first_count, 5.0",
        ),
    ],
)
def test_profiles(source: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        simulation.load_profile(source)
