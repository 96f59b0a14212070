"""The simulator from Python: under the virtual clock no wall time decides anything."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import geometric_mean

import numpy as np
import pytest
from tests.python.conftest import MakeFake

from specbranch_cpp import demo, simulation
from specbranch_cpp._engine.request import Defaults
from specbranch_cpp._plots import speedup
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.simulation import Machine, Pair, Setting

DRAFTING = ("speculative", "pearl", "specbranch")


def test_autoregressive_is_the_unit() -> None:
    for name in simulation.MACHINES:
        result = simulation.simulate(Pair(), name, "autoregressive", n_tokens=50)
        assert result.speedup == pytest.approx(1.0, abs=1e-3)
        assert result.draft_busy == 0.0
        assert result.mean_accepted_length == 1.0


@pytest.mark.parametrize("alpha", [0.4, 0.7, 0.9])
@pytest.mark.parametrize("gamma", [1, 4, 8])
def test_a_chain_gains_what_the_formula_says(alpha: float, gamma: int) -> None:
    pair = Pair(alpha=alpha, target_us=10_000, draft_us=1_000, concentration=1e6)
    result = simulation.simulate(
        pair, "ideal", Setting("speculative", gamma), n_tokens=10_000, seed=3
    )
    tokens = (1 - alpha ** (gamma + 1)) / (1 - alpha)
    assert result.mean_accepted_length == pytest.approx(tokens, rel=0.03)
    assert result.speedup == pytest.approx(tokens / (1 + gamma / 10), rel=0.03)


def test_it_is_deterministic_and_depends_on_the_seed() -> None:
    setting = Setting("specbranch", 6, 0.4, 4)
    first = simulation.simulate(Pair(), "two-gpus", setting, n_tokens=200)
    assert simulation.simulate(Pair(), "two-gpus", setting, n_tokens=200) == first
    assert simulation.simulate(Pair(), "two-gpus", setting, n_tokens=200, seed=2) != first


def test_texts_one_after_another() -> None:
    good, bad = Pair(alpha=0.9), Pair(alpha=0.1)
    pairs = [good, bad, good]
    for setting in ("autoregressive", Setting("speculative", 4)):
        found = simulation.simulate_texts(pairs, "two-gpus", setting, n_tokens=100, seed=5)
        alone = [
            simulation.simulate(pair, "two-gpus", setting, n_tokens=100, seed=5 + i)
            for i, pair in enumerate(pairs)
        ]
        assert found == alone
    first, *_, last = simulation.simulate_texts([good] * 6, n_tokens=100, warm=False)
    assert first == simulation.simulate(good, n_tokens=100, warm=False)
    # By then it knows what steps cost, and how often the draft is right.
    assert last.speedup > first.speedup
    n = 2**63 - 1
    assert len(simulation.simulate_texts([good, bad], n_tokens=5, seed=n)) == 2


def test_overlap_stops_paying_where_models_share_a_device() -> None:
    setting = Setting("pearl", 8)
    gains = [
        simulation.simulate(
            Pair(alpha=0.85), Machine(target_slowdown=s, draft_slowdown=s), setting
        ).speedup
        for s in (1.0, 1.4, 2.0)
    ]
    assert gains[0] > gains[1] > gains[2]
    serial = Setting("speculative", 5)
    apart = simulation.simulate(Pair(), "two-gpus", serial)
    shared = simulation.simulate(Pair(), "one-gpu", serial)
    assert shared.speedup == pytest.approx(apart.speedup, rel=1e-4)


def test_a_networks_latency_makes_long_drafts_pay() -> None:
    pair = Pair(alpha=0.8, target_us=5_000, draft_us=1_000)
    near = simulation.tune(pair, "two-gpus", "speculative", n_tokens=400)
    far = simulation.tune(
        pair, Machine(target_latency_us=20_000), "speculative", n_tokens=400
    )  # fmt: skip
    assert far.setting.gamma > near.setting.gamma
    assert far.speedup > near.speedup


def test_specbranch_over_pearl_at_the_papers_settings() -> None:
    """The paper: 1.09 to 1.19 times PEARL, 1.8 to 4.5 times autoregressive decoding."""
    gains = []
    for alpha, c in itertools.product((0.5, 0.7, 0.85), (5.0, 10.0)):
        pair = Pair(alpha=alpha, target_us=20_000, draft_us=20_000 / c)
        pearl = simulation.tune(pair, "ideal", "pearl", n_tokens=700)
        branch = simulation.tune(pair, "ideal", "specbranch", n_tokens=700)
        gains.append(branch.speedup / pearl.speedup)
        assert 0.98 < gains[-1] < 1.3
        assert branch.speedup > 1.3
    assert 1.03 < geometric_mean(gains) < 1.2


def test_a_draft_that_changes_along_the_text() -> None:
    setting = Setting("speculative", 4)
    both = Pair(alpha=((1000, 0.9), (1000, 0.3)))
    mixed = simulation.simulate(both, "ideal", setting, n_tokens=2000)
    times = [
        simulation.simulate(Pair(alpha=alpha), "ideal", setting, n_tokens=1000).us_per_token
        for alpha in (0.9, 0.3)
    ]
    assert mixed.us_per_token == pytest.approx(sum(times) / 2, rel=0.05)


def test_compare_and_sweep_tell_every_mode() -> None:
    results = simulation.compare(Pair(), "two-cores", n_tokens=60)
    assert [one.setting.mode for one in results] == list(simulation.MODES)
    found = simulation.sweep(
        Pair(), "two-gpus", (4.0, 8.0), (0.5, 0.9), ("pearl",), n_tokens=60
    )  # fmt: skip
    assert list(found) == [(4.0, 0.5), (4.0, 0.9), (8.0, 0.5), (8.0, 0.9)]
    assert found[8.0, 0.9][0].speedup > found[8.0, 0.5][0].speedup


def test_curves_go_through_what_was_measured() -> None:
    q4 = simulation.CURVES["cpu-q4"]
    assert len(q4) == 16
    assert (q4[0], q4[3], q4[7], q4[15]) == (1.0, 1.18, 2.13, 3.01)
    assert q4[6] == pytest.approx((1.99 + 2.13) / 2)  # between 6 and 8


PROFILE = {
    "format": "specbranch-profile-2",
    "costs": {
        "target_us": [100.0, 120.0],
        "draft_us": [10.0, 12.0],
        "target_slowdown": 1.1,
        "draft_slowdown": 1.5,
    },
    "acceptance": [
        {"first_hits": 0.0, "first_count": 0.0},
        {"first_hits": 60.0, "first_count": 80.0},
    ],
}


def test_a_profile_brings_costs_and_alpha(tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    path.write_text(json.dumps(PROFILE))
    for source in (path, PROFILE):
        pair, machine = simulation.with_profile(Pair(), Machine(), source)
        assert pair.target_us == (100.0, 120.0)
        assert pair.alpha == 0.75
        assert (machine.target_slowdown, machine.draft_slowdown) == (1.1, 1.5)
    pair, _ = simulation.with_profile(Pair(alpha=0.3), Machine(), PROFILE["costs"])  # type: ignore[arg-type]
    assert pair.alpha == 0.3
    assert simulation.simulate(pair, machine, "autoregressive", n_tokens=9).speedup == 1.0
    for bad in (tmp_path / "none.json", {"costs": None}, {}):
        with pytest.raises(InvalidArgument, match="profile"):
            simulation.load_profile(bad)


@pytest.mark.parametrize("mode", DRAFTING)
def test_a_recorded_generation_is_replayed(make_fake: MakeFake, mode: str) -> None:
    with make_fake(draft_alignment=0.7) as engine:
        done = engine.generate("abc", max_tokens=200, mode=mode, seed=5, trace=True).result()
    assert done.trace is not None
    proposals = [p for one in done.trace.rounds for p in one.proposals]
    assert len(proposals) == done.stats.n_generated
    for confidences, rank in proposals:
        assert -1 <= rank < len(confidences) or not confidences
        assert list(confidences) == sorted(confidences, reverse=True)
    again = simulation.simulate(
        Pair().with_trace(done.trace),
        "ideal",
        Setting(mode, 8, 0.4, 4),
        n_tokens=done.stats.n_generated,
    )
    assert again.mean_accepted_length == pytest.approx(
        done.stats.mean_accepted_length, rel=0.05
    )  # fmt: skip
    assert again.rollback_rate == pytest.approx(done.stats.rollback_rate, abs=0.1)


def test_a_trace_without_a_draft_says_nothing(make_fake: MakeFake) -> None:
    with make_fake() as engine:
        done = engine.generate("abc", max_tokens=5, mode="autoregressive", trace=True).result()
    assert done.trace is not None
    with pytest.raises(InvalidArgument, match="the generation used no draft"):
        Pair().with_trace(done.trace)


@pytest.mark.parametrize(
    ("pair", "machine", "setting", "message"),
    [
        (Pair(alpha=1.5), Machine(), "pearl", "alpha is 1.5"),
        (Pair(target_us=0.0), Machine(), "pearl", "target_us"),
        (Pair(draft_us=()), Machine(), "pearl", "draft_us is empty"),
        (Pair(rank_hits=(0.2, 0.4)), Machine(), "pearl", "rank_hits"),
        (Pair(), Machine(target_slowdown=0.5), "pearl", "target_slowdown is 0.5"),
        (Pair(), Machine(hop_us=-1.0), "pearl", "hop_us"),
        (Pair(), Machine(rebuild_us=-1.0), "pearl", "rebuild_us"),
        (Pair(), Machine(draft_curve="none"), "pearl", "the curve is 'none'"),
        (Pair(), "none", "pearl", "machine is 'none'"),
        (Pair(), Machine(), "none", "mode is 'none'"),
        (Pair(), Machine(), Setting("pearl", gamma=0), "gamma is 0"),
        (Pair(), Machine(), Setting("specbranch", max_branches=99), "max_branches is 99"),
        (Pair(), Machine(), Setting("speculative", epsilon=2.0), "epsilon"),
    ],
)
def test_what_is_out_of_range_is_named(
    pair: Pair, machine: Machine | str, setting: Setting | str, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        simulation.simulate(pair, machine, setting, n_tokens=10)


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = simulation.sweep(
        Pair(), "two-gpus", (4.0, 8.0), (0.5, 0.9), ("speculative", "pearl"), n_tokens=40
    )
    path = tmp_path / "speed.png"
    speedup.draw(found, path, title="two GPUs")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidArgument, match="nothing to draw"):
        speedup.draw({}, path)
    with pytest.raises(InvalidArgument, match=r"\.png"):
        speedup.draw(found, tmp_path / "speed.svg")


def test_settings_are_readable() -> None:
    assert str(Setting("auto", 16, None, 4)) == "auto"
    assert str(Setting("pearl", 4)) == "pearl (gamma 4)"
    assert str(Setting("specbranch", 4, 0.2, 3)) == "specbranch (gamma 4, epsilon 0.2, k 3)"
    assert replace(Setting("pearl", 4), gamma=5) in simulation.settings("pearl")


def test_auto_has_the_limits_of_an_engine() -> None:
    engine = Defaults("auto")
    setting = Setting("auto", engine.draft_of("auto"), None, engine.max_branches)
    assert simulation.settings("auto") == [setting]


def test_the_bundled_pair_is_predicted() -> None:
    """The counters of real generations, from their traces: what does not depend on the clock."""
    from specbranch_cpp import Engine, policies

    with Engine(*demo.pair(), n_ctx=256) as engine:
        for mode in DRAFTING:
            done = engine.generate(
                "def fib(n):",
                max_tokens=96,
                mode=mode,
                policy=policies.Confidence(0.3),
                max_draft=6,
                trace=True,
            ).result()
            assert done.trace is not None
            result = simulation.simulate(
                Pair().with_trace(done.trace),
                "two-gpus",
                Setting(mode, 6, 0.3, 4),
                n_tokens=done.stats.n_generated,
            )
            real = done.stats.mean_accepted_length
            assert result.mean_accepted_length == pytest.approx(real, rel=0.08)


@pytest.mark.parametrize("mode", ["auto", "speculative"])
def test_without_a_draft_model_repetitions_are_what_drafts(mode: str) -> None:
    gains = [
        simulation.simulate(Pair(copy_rate=rate), "two-gpus", Setting(mode, 16), draft=False)
        for rate in (0.0, 0.5, 0.9)
    ]
    assert gains[0].speedup == pytest.approx(1.0, abs=1e-3)
    assert 1.3 < gains[1].speedup < gains[2].speedup
    assert all(gain.draft_busy == 0 for gain in gains)
    with pytest.raises(InvalidArgument, match=r"copy_rate is 1\.5"):
        simulation.simulate(Pair(copy_rate=1.5), draft=False)
    with pytest.raises(InvalidArgument, match="copy_length is 0"):
        simulation.simulate(Pair(copy_rate=0.5, copy_length=0), draft=False)


def test_branches_of_a_verification_gain_where_rows_cost_nothing() -> None:
    setting = Setting("auto", 8, max_branches=4)
    path, tree = (
        simulation.simulate(Pair(alpha=0.3, verified_branches=n), "ideal", setting) for n in (0, 4)
    )
    assert tree.speedup > 1.05 * path.speedup
    assert simulation.simulate(Pair(alpha=0.3), "ideal", setting) == tree  # as an engine's
    with pytest.raises(InvalidArgument, match="verified_branches is 9"):
        simulation.simulate(Pair(verified_branches=9))


@pytest.mark.parametrize("name", ["rpc", "two-cores", "shared-cores"])
def test_branches_change_nothing_where_rows_are_dear_or_the_target_is_elsewhere(name: str) -> None:
    path, tree = (
        simulation.simulate(Pair(alpha=0.3, verified_branches=n), name, n_tokens=400)
        for n in (0, 4)
    )
    assert tree == path


def test_texts_draft_from_a_recorded_text() -> None:
    line = (11, 12, 13, 14, 15, 16, 17, 18, 19, 150_000)
    steps = tuple(10_000.0 + 200.0 * n for n in range(32))
    gains = {
        name: simulation.simulate(
            Pair(target_us=steps, text=text, prompt=(1, *line)), n_tokens=200, draft=False
        ).speedup
        for name, text in (("copies", line * 20), ("new", tuple(range(1000, 1200))))
    }
    assert gains["copies"] > 2.0
    assert 0.98 < gains["new"] <= 1.01
    for wrong in (-1, "a", True):
        with pytest.raises(InvalidArgument, match=r"text\[1\] is"):
            simulation.simulate(Pair(text=(1, wrong)))  # type: ignore[arg-type]


def test_clients_at_once_share_batches() -> None:
    clients = [simulation.Client(n_tokens=100)] * 4
    plain = simulation.simulate_clients(Pair(), clients, "two-gpus", "autoregressive")
    queue = simulation.simulate_clients(Pair(), clients, "two-gpus", "autoregressive", n_parallel=1)
    auto = simulation.simulate_clients(Pair(alpha=0.8), clients, "two-gpus")
    assert plain.tokens_per_batch == pytest.approx(4.0, rel=0.05)
    assert queue.tokens_per_batch == pytest.approx(1.0)
    assert plain.tokens_per_s > 3 * queue.tokens_per_s
    assert auto.tokens_per_s > plain.tokens_per_s
    assert auto.tokens_per_batch > plain.tokens_per_batch
    assert auto.acceptance_rate > 0.3
    assert plain.acceptance_rate == plain.draft_busy == 0.0
    # A batch of four takes 1.135 steps of 20 ms on this curve.
    assert plain.between_tokens_ms[0] == pytest.approx(22.7, rel=0.02)
    # The last one in the queue waits for the three texts before it.
    assert queue.first_token_ms[1] > 3 * 100 * 20


def test_clients_that_come_later_wait_for_less() -> None:
    clients = [simulation.Client(), simulation.Client(arrival_us=2e6, n_prompt=1000, n_tokens=10)]
    found = simulation.simulate_clients(Pair(), clients, n_parallel=2)
    # 1,000 tokens of a prompt take 1000 / 64 steps of 20 ms; a batch comes after each of 8 chunks.
    assert 312 < found.first_token_ms[1] < 312 + 9 * 60
    assert simulation.simulate_clients(Pair(), clients, n_parallel=2) == found
    assert simulation.simulate_clients(Pair(), clients, n_parallel=2, seed=2) != found


@pytest.mark.parametrize(
    ("clients", "n_parallel", "message"),
    [
        ([], 4, "there are 0 clients; 1 to 1000"),
        ([simulation.Client()], 0, "n_parallel is 0"),
        ([simulation.Client()], 65, "n_parallel is 65"),
        ([simulation.Client(n_prompt=0)], 1, "clients[0].n_prompt is 0"),
        ([simulation.Client(), simulation.Client(n_tokens=0)], 1, "clients[1].n_tokens is 0"),
        ([simulation.Client(arrival_us=-1.0)], 1, "arrival_us is -1"),
    ],
)
def test_clients_that_cannot_be(
    clients: list[simulation.Client], n_parallel: int, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        simulation.simulate_clients(Pair(), clients, n_parallel=n_parallel)


def test_drafting_hides_a_network() -> None:
    """The farther the target, the more a draft on this host gains, and the longer its drafts."""
    pair = Pair(alpha=0.8, target_us=6500.0, draft_us=600.0)
    near = simulation.MACHINES["rpc"]
    assert near.target_latency_us > 1000.0  # a round trip, and what the messages take
    found = [
        simulation.tune(pair, replace(near, target_latency_us=us), "speculative", n_tokens=400)
        for us in (150.0, near.target_latency_us, 20_150.0)
    ]
    assert [one.speedup for one in found] == sorted(one.speedup for one in found)
    assert found[0].setting.gamma < found[-1].setting.gamma
    alone = simulation.simulate(pair, near, "autoregressive", n_tokens=400)
    assert alone.us_per_token == pytest.approx(6500.0 + near.target_latency_us + near.hop_us, 0.01)


@pytest.mark.parametrize("mode", ["pearl", "specbranch"])
def test_modes_that_need_a_draft(mode: str) -> None:
    pair = Pair(copy_rate=0.5)
    with pytest.raises(InvalidArgument, match=f"mode '{mode}' needs a draft model"):
        simulation.simulate(pair, "two-gpus", mode, n_tokens=20, draft=False)
    with pytest.raises(InvalidArgument, match=r"draft is 'no' .*; it must be True or False"):
        simulation.simulate(pair, "two-gpus", mode, draft="no")  # type: ignore[arg-type]


def test_numbers_of_numpy() -> None:
    mine = Pair(alpha=0.5, target_us=20_000.0, text=tuple(range(100)))
    its = Pair(alpha=np.float32(0.5), target_us=np.float32(20_000), text=np.arange(100))  # type: ignore[arg-type]
    assert simulation.simulate(its, n_tokens=50) == simulation.simulate(mine, n_tokens=50)
    table = simulation.sweep(its, "ideal", [2], [0.5], ["auto"], n_tokens=50)
    assert table == simulation.sweep(mine, "ideal", [2], [0.5], ["auto"], n_tokens=50)
