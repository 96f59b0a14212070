"""What `specbranch bench` measures, where, and in which order."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.python.support.stand_in_gpus import StandInGpus

from specbranch_cpp import Speculation, _core, policies
from specbranch_cpp.bench import machine, placements, prompts, variants
from specbranch_cpp.bench.machine import Hardware
from specbranch_cpp.bench.placements import Placement
from specbranch_cpp.bench.plan import BenchPlan, ModelPair
from specbranch_cpp.bench.prompts import PromptSet
from specbranch_cpp.bench.turns import rotated
from specbranch_cpp.errors import InvalidArgument

USUAL: dict[str, Any] = {"lengths": (4, 7), "epsilons": (0.2, 0.4), "branch_limits": (1, 2)}
PEERS = variants.of_peers({"other-engine": (0, 3)})


def about(name: str) -> dict[str, object]:
    return {"name": name, "bytes": 1, "sha256": name}


def plan(**changes: object) -> BenchPlan:
    own = variants.of_modes(("speculative", "auto"), lengths=(4,), epsilons=(), branch_limits=())
    made = BenchPlan(
        pairs=(ModelPair(Path("t"), Path("d"), about("t"), about("d")),),
        prompt_sets=(PromptSet("one", {0: "a", 3: "b", 5: "c"}, "00"),),
        variants=(*own, *PEERS),
        placements=(Placement("shared", {"n_threads": 2}, {"n_threads": 2, "cpus": None}),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def cpus(
    *cores: tuple[int, ...], gpus: tuple[str, ...] = (), n_usable: int | None = None
) -> Hardware:
    numbers = tuple(cpu for core in cores for cpu in core)
    return Hardware("a CPU", numbers, cores, n_usable or len(cores), 1, gpus)


def test_every_setting_is_a_variant_of_its_own() -> None:
    names = [each.name for each in variants.of_modes(variants.MODES, **USUAL)]
    assert names[0] == "autoregressive"
    assert names[-1] == "auto"
    assert [name for name in names if name.startswith(("speculative", "pearl"))] == [
        "speculative (4, fixed)", "speculative (7, fixed)", "pearl (4, fixed)", "pearl (7, fixed)",
    ]  # fmt: skip
    assert sum(name.startswith("specbranch") for name in names) == 8
    assert "specbranch (7, confidence 0.2, k 2)" in names
    assert len(set(names)) == len(names)


def test_the_baseline_is_always_there() -> None:
    found = variants.of_modes(("auto",), **USUAL)
    assert [each.mode for each in found] == ["autoregressive", "auto"]


def test_named_policies_hold_for_every_mode_that_drafts() -> None:
    found = variants.of_modes(
        ("pearl", "specbranch"), lengths=(4,), epsilons=(0.3,), branch_limits=(2,),
        policy_names=("fixed", "adaedl", "hrad"), hrad="weights",
    )  # fmt: skip
    assert [each.name for each in found[1:]] == [
        "pearl (4, fixed)", "pearl (4, adaedl)", "pearl (4, hrad 0.3)",
        "specbranch (4, fixed, k 2)", "specbranch (4, adaedl, k 2)",
        "specbranch (4, hrad 0.3, k 2)",
    ]  # fmt: skip
    assert found[1].speculation() == Speculation(
        "pearl", policies.Fixed(4), max_branches=1, max_draft=4
    )
    assert found[4].speculation().max_branches == 2
    assert found[5].speculation().policy == policies.AdaEDL()


def test_room_is_what_any_variant_may_ask_for() -> None:
    found = variants.of_modes(variants.MODES, lengths=(20,), epsilons=(0.4,), branch_limits=(6,))
    assert variants.room(found) == Speculation(max_draft=20, max_branches=6)
    assert variants.room(PEERS) == Speculation(max_draft=16, max_branches=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modes": ("fast",)}, "mode is 'fast'; it must be one of autoregressive"),
        ({"policy_names": ("wild",)}, "policy is 'wild'"),
        ({"lengths": (0,)}, "draft length is 0; it must be in 1 .. 64"),
        ({"branch_limits": (33,)}, "max_branches is 33; it must be in 1 .. 32"),
        ({"epsilons": (1.5,)}, "epsilon is 1.5; it must be in 0 .. 1"),
        ({"policy_names": ("hrad",)}, "--hrad"),
    ],
)
def test_bad_settings(change: dict[str, object], message: str) -> None:
    arguments: dict[str, Any] = {"modes": variants.MODES, **USUAL, **change}
    with pytest.raises(InvalidArgument, match=message):
        variants.of_modes(**arguments)


def test_orders_rotate() -> None:
    found = variants.of_modes(variants.MODES, **USUAL)
    n = len(found)
    orders = [rotated(found, number, 3) for number in range(2 * n)]
    for order in orders:
        assert Counter(order) == Counter(found)
    for each in found:  # nobody is first, or at any place, more often than others
        places = Counter(order.index(each) for order in orders)
        assert places == dict.fromkeys(range(n), 2)
    follows = Counter(order[order.index(found[0]) - 1] for order in orders if order[0] != found[0])
    assert len(follows) > 1
    assert orders == [rotated(found, number, 3) for number in range(2 * n)]
    assert orders != [rotated(found, number, 4) for number in range(2 * n)]


def test_a_plan_is_the_product_of_everything() -> None:
    made = plan(temperatures=(0.0, 0.8), repeat=2)
    (group,) = made.groups
    assert len(group.rounds) == 3 * 2 * 2
    greedy = [one for one in group.rounds if one.temperature == 0.0]
    assert {len(one.items) for one in greedy} == {5}
    # Other engines take part at temperature 0 only.
    assert {len(one.items) for one in group.rounds if one not in greedy} == {3}
    assert len(made.items) == 6 * 5 + 6 * 3
    assert len({item.key for item in made.items}) == len(made.items)


def test_peers_stay_away_from_placements_that_are_not_theirs() -> None:
    made = plan(placements=(Placement("draft-cpu", {"n_gpu_layers": -1}),))
    assert not any(item.variant.is_peer for item in made.items)


def test_seeds_are_those_of_the_prompt() -> None:
    (group,) = plan(repeat=2).groups
    seeds = {(one.prompt, one.repeat): one.seed for one in group.rounds}
    assert len(set(seeds.values())) == 6
    (other,) = plan(repeat=2, temperatures=(0.8,)).groups
    assert {(one.prompt, one.repeat): one.seed for one in other.rounds} == seeds


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 9},
        {"seed": 2},
        {"n_ctx": 77},
        {"bit_exact": True},
        {"stretch": 64},
        {"temperatures": (0.1,)},
        {"placements": (Placement("shared", {"n_threads": 3}),)},
        {"prompt_sets": (PromptSet("one", {0: "other"}, "00"),)},
        {"pairs": (ModelPair(Path("t"), Path("d"), about("t"), about("new")),)},
        {"variants": (variants.Variant("auto", max_branches=9),)},
    ],
)  # fmt: skip
def test_keys_depend_on_all_that_decides(change: dict[str, object]) -> None:
    keys = {item.key for item in plan().items}
    assert keys == {item.key for item in plan().items}
    assert not keys & {item.key for item in plan(**change).items}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, "tokens is 0; it must be in 1 .."),
        ({"repeat": 0}, "repeat is 0"),
        ({"temperatures": (-0.5,)}, r"temperature is -0.5; it must be in 0 .. 100"),
        ({"seed": -1}, "seed is -1"),
        ({"stretch": 15}, r"stretch is 15; it must be 0 \(whole texts\) or at least 16"),
        ({"stretch": -1}, "stretch is -1"),
    ],
)
def test_bad_plans(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        plan(**change)


ON_CPU = {"n_gpu_layers": 0, "draft_n_gpu_layers": 0}


def test_split_gives_each_model_cores_of_its_own() -> None:
    (placement,), skipped = placements.place(["split"], cpus((0,), (1,)))
    assert placement.options == {
        "cpus": [0], "n_threads": 1, "draft_cpus": [1], "draft_n_threads": 1, **ON_CPU,
    }  # fmt: skip
    assert placement.peer == {"cpus": (0,), "n_threads": 1}
    assert not skipped
    # Eight cores with two threads each: a quarter for the draft, one thread a core.
    cores = tuple((n, n + 8) for n in range(8))
    (placement,), _ = placements.place(["split"], cpus(*cores))
    assert placement.options["cpus"] == [0, 1, 2, 3, 4, 5]
    assert placement.options["draft_cpus"] == [6, 7]


def test_a_quota_leaves_fewer_cores() -> None:
    cores = tuple((n,) for n in range(64))
    found, _ = placements.place(["split", "shared"], cpus(*cores, n_usable=4))
    assert (found[0].options["cpus"], found[0].options["draft_cpus"]) == ([0, 1, 2], [3])
    assert found[1].options == {"n_threads": 4, "draft_n_threads": 4, **ON_CPU}


def test_impossible_placements_are_skipped_with_the_reason() -> None:
    found, skipped = placements.place(["split", "shared", "draft-cpu"], cpus((0, 1)))
    assert [each.name for each in found] == ["shared"]
    assert found[0].options == {"n_threads": 1, "draft_n_threads": 1, **ON_CPU}
    assert "one core (CPU 0, 1)" in skipped["split"]
    assert skipped["draft-cpu"] == "llama.cpp finds no GPU"
    with pytest.raises(InvalidArgument, match="this machine has none of the placements: gpu: "):
        placements.place(["gpu"], cpus((0,)))
    with pytest.raises(InvalidArgument, match="placement is 'moon'; it must be one of all, split"):
        placements.place(["moon"], cpus((0,)))


def test_placements_on_a_gpu() -> None:
    here = cpus((0,), (1,), gpus=("CUDA0: a GPU",))
    found, skipped = placements.place([placements.ALL], here)
    assert {each.name: each.options for each in found[2:]} == {
        "gpu": {"n_gpu_layers": -1, "draft_n_gpu_layers": -1},
        "draft-cpu": {"n_gpu_layers": -1, "draft_n_gpu_layers": 0},
        "target-cpu": {"n_gpu_layers": 0, "draft_n_gpu_layers": -1},
    }
    assert [each.name for each in found[:2]] == ["split", "shared"]
    assert skipped == dict.fromkeys(
        ("two-gpus", "gpus", "gpus-draft-cpu"), "the only GPU is CUDA0"
    )  # fmt: skip
    assert [each.name for each in found if each.peer is None] == ["draft-cpu", "target-cpu"]
    assert found[2].peer == {
        "cpus": None, "n_threads": 1, "n_gpu_layers": -1, "draft_n_gpu_layers": -1,
    }  # fmt: skip


def test_placements_on_several_gpus() -> None:
    here = cpus((0,), (1,), gpus=("CUDA0: a GPU", "CUDA1: a GPU: the second", "CUDA2: a GPU"))
    found, skipped = placements.place([placements.ALL], here)
    assert not skipped
    devices = {
        each.name: (each.options["devices"], each.options["draft_devices"])
        for each in found
        if "devices" in each.options
    }
    assert devices == {
        "gpu": (["CUDA0"], ["CUDA0"]),
        "two-gpus": (["CUDA0"], ["CUDA1"]),
        "gpus": (["CUDA0", "CUDA1", "CUDA2"], ["CUDA2"]),
        "draft-cpu": (["CUDA0"], ["CPU"]),
        "gpus-draft-cpu": (["CUDA0", "CUDA1", "CUDA2"], ["CPU"]),
        "target-cpu": (["CPU"], ["CUDA0"]),
    }
    # Other engines take all GPUs.
    assert [each.name for each in found if each.peer] == ["split", "shared", "gpus"]


def test_integrated_gpus_count_only_where_there_are_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    StandInGpus(monkeypatch, {"I0": 1, "I1": 1}, integrated=True)
    assert machine.describe().gpu_names == ("I0", "I1")
    integrated = _core.list_devices()
    StandInGpus(monkeypatch, {"G0": 1})
    others = _core.list_devices()
    monkeypatch.setattr(_core, "list_devices", lambda: [*integrated, *others])
    assert machine.describe().gpu_names == ("G0",)


def test_the_placement_of_who_names_none() -> None:
    def chosen(here: Hardware) -> list[str]:
        found, skipped = placements.place(None, here)
        assert not skipped
        return [each.name for each in found]

    assert chosen(cpus((0,), (1,), gpus=("CUDA0: a GPU",))) == ["gpu"]
    assert chosen(cpus((0,), (1,), gpus=("CUDA0: a GPU", "CUDA1: a GPU"))) == ["gpus"]
    assert chosen(cpus((0,), (1,))) == ["split"]
    assert chosen(cpus((0, 1))) == ["shared"]


def test_cores_are_read_from_the_system(tmp_path: Path) -> None:
    here = machine.describe()
    for cpu in here.cpus:
        topology = tmp_path / f"cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text("0-99\n")
    assert machine.describe(tmp_path).cores == (here.cpus,)
    assert machine.describe(tmp_path / "none").cores == tuple((cpu,) for cpu in here.cpus)
    assert 1 <= here.n_usable <= len(here.cores)


def test_a_commit_is_told_only_of_files_that_git_tracks(tmp_path: Path) -> None:
    assert machine._commit(tmp_path) is None


def test_the_bundled_prompts() -> None:
    (found,) = prompts.load([], None, 1)
    lines = prompts.BUNDLED.read_text(encoding="utf-8").splitlines()
    kinds = Counter(json.loads(line)["kind"] for line in lines)
    assert kinds["python"] >= 60
    assert kinds["english"] >= 12
    assert len(set(found.texts.values())) == len(lines)
    assert all(len(text.splitlines()) <= 12 for text in found.texts.values())


def test_prompts_are_drawn_by_the_seed() -> None:
    (few,) = prompts.load([], 10, 1)
    (other,) = prompts.load([], 10, 2)
    (all_of_them,) = prompts.load([], 1000, 2)
    assert len(few.texts) == 10
    assert few.texts != other.texts
    assert few.texts == {number: all_of_them.texts[number] for number in few.texts}
    assert few.sha256 == other.sha256


def test_prompts_of_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "a", "more": 1}\n\n{"prompt": "b"}\n')
    (found,) = prompts.load([file], None, 1)
    assert (found.name, found.texts) == ("mine", {0: "a", 1: "b"})
    with pytest.raises(InvalidArgument, match="another prompt set has the name 'mine'"):
        prompts.load([file, file], None, 1)
    file.write_text('{"text": "a"}\n')
    with pytest.raises(InvalidArgument, match="line 1"):
        prompts.load([file], None, 1)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        prompts.load([tmp_path / "none.jsonl"], None, 1)
