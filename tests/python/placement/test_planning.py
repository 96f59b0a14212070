"""Where layers go, with stand-ins for GPUs."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.matrix.cells import write
from tests.python.support.stand_in_gpus import StandInGpus
from tests.python.support.tiny_hybrid import write_tiny_hybrid

from specbranch_cpp import _core
from specbranch_cpp._placement import outcome
from specbranch_cpp._placement.advice import what_fits
from specbranch_cpp._placement.planning import Layout, Placed, Side, plan
from specbranch_cpp.errors import InvalidArgument, ModelLoadError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20
MUCH = 2**40


def make_side(path: Path, role: str = "target", layers: int | None = None, **values: Any) -> Side:
    options = _core.ModelOptions(os.fsencode(path))
    options.n_gpu_layers = layers or 0
    for name, value in values.items():
        setattr(options, name, value)
    return Side(role, options, layers is None, max_draft=16, max_branches=4)


@pytest.fixture
def sides(pair: tuple[Path, Path]) -> tuple[Side, Side]:
    return make_side(pair[0]), make_side(pair[1], "draft")


def on_gpus(side: Side, layers: int = -1) -> int:
    """Bytes on all GPUs with this number of layers."""
    found = side.changed(n_gpu_layers=layers).footprint()
    return sum(share.total for share in found.devices)


def layers(found: Layout) -> tuple[int, int]:
    assert found.target is not None
    assert found.draft is not None
    return found.target.n_gpu_layers, found.draft.n_gpu_layers


def test_everything_goes_on_a_large_gpu(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = StandInGpus(monkeypatch, {"GPU0": MUCH})
    found = plan(*sides)
    assert found.target is not None
    assert found.draft is not None
    assert layers(found) == (found.target.footprint.n_layers, found.draft.footprint.n_layers)
    # All layers are -1 for llama.cpp, as a user would ask for them.
    assert found.target.side.options.n_gpu_layers == found.draft.side.options.n_gpu_layers == -1
    assert gpus.n_measured == 2
    assert sides[0].options.n_gpu_layers == 0  # a copy has changed


def test_more_layers_than_there_are_mean_all(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a model on GPUs gets one thread, and the other one the rest."""
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    found = plan(make_side(pair[0], layers=99), make_side(pair[1], "draft", layers=2))
    assert found.target is not None
    assert found.draft is not None
    assert found.target.side.options.n_gpu_layers == -1
    assert found.draft.side.options.n_gpu_layers == 2


def test_the_target_comes_first_and_gets_as_many_layers_as_fit(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, draft = sides
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    whole = on_gpus(target)
    most = target.footprint().n_layers
    for free in (whole * 3 // 4, whole // 2, whole - 1):
        with monkeypatch.context() as patch:
            StandInGpus(patch, {"GPU0": free}, total={"GPU0": 0})  # no spare memory
            n_layers, n_of_draft = layers(plan(target, draft))
        assert 0 < n_layers < most
        assert on_gpus(target, n_layers) <= free < on_gpus(target, n_layers + 1)
        left = free - on_gpus(target, n_layers)
        assert n_of_draft == 0 or on_gpus(draft, n_of_draft) <= left


def test_the_draft_gets_what_the_target_leaves(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, draft = sides
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    whole = on_gpus(target)
    for extra, expected in ((on_gpus(draft), 4), (on_gpus(draft) - 1, 3), (0, 0)):
        with monkeypatch.context() as patch:
            StandInGpus(patch, {"GPU0": whole + extra}, total={"GPU0": 0})
            assert layers(plan(target, draft)) == (target.footprint().n_layers, expected)


def test_models_that_fit_nowhere_stay_on_the_cpu(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, total in ((4096, 4096), (0, 0), (2**30, 2**40)):  # too little, unknown, spare
        with monkeypatch.context() as patch:
            StandInGpus(patch, {"GPU0": free}, total={"GPU0": total})
            found = plan(*sides)
            assert layers(found) == (0, 0)
            assert found.target is not None
            assert found.target.side.options.n_gpu_layers == 0  # keeps llama.cpp off the GPU
            line = outcome.line(found)
            assert line.startswith("the target runs on the CPU (")
            assert line.endswith("; no layer fits into the free memory of GPU0")


def test_a_given_number_of_layers_comes_first(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    target, draft = make_side(pair[0]), make_side(pair[1], "draft", layers=-1)
    enough = on_gpus(target) + on_gpus(draft)
    for free, expected in ((enough, 9), (enough - 1, 8)):
        with monkeypatch.context() as patch:
            StandInGpus(patch, {"GPU0": free}, total={"GPU0": 0})
            assert layers(plan(target, draft)) == (expected, 4)
    of_target, of_draft = make_side(pair[0], layers=3), make_side(pair[1], "draft")
    assert layers(plan(of_target, of_draft)) == (3, 4)
    assert layers(plan(make_side(pair[0], layers=100), of_draft)) == (9, 4)


def gpus_of(placed: Placed | None) -> list[str]:
    """The GPUs that hold something of a model."""
    assert placed is not None
    return sorted(placed.need.gpus)


def test_each_model_has_a_gpu_of_its_own(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {"GPU0": MUCH, "GPU1": 3 * MUCH, "GPU2": MUCH})
    found = plan(*sides)
    assert found.target is not None
    assert found.draft is not None
    assert layers(found) == (9, 4)
    assert gpus_of(found.target) == found.target.side.options.devices == ["GPU1"]
    assert found.target.side.options.tensor_split == []
    assert gpus_of(found.draft) == ["GPU0"]  # the target is not there
    given = replace(sides[0].changed(n_gpu_layers=4), automatic=False)
    assert gpus_of(plan(given, None).target) == ["GPU1"]
    # A number for the draft alone gives it its place first, but not the best one.
    of_draft = replace(sides[1].changed(n_gpu_layers=-1), automatic=False)
    found = plan(sides[0], of_draft)
    assert gpus_of(found.draft) == ["GPU0"]
    assert gpus_of(found.target) == ["GPU1"]


def test_a_draft_shares_a_gpu_rather_than_being_split(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, draft = sides
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    whole, of_draft = on_gpus(target), on_gpus(draft)
    sizes = {"GPU0": whole + of_draft, "GPU1": of_draft - 1}
    with monkeypatch.context() as patch:
        StandInGpus(patch, sizes, total=dict.fromkeys(sizes, 0))
        found = plan(target, draft)
    assert layers(found) == (9, 4)
    assert gpus_of(found.target) == gpus_of(found.draft) == ["GPU0"]
    sizes["GPU1"] = of_draft
    with monkeypatch.context() as patch:
        StandInGpus(patch, sizes, total=dict.fromkeys(sizes, 0))
        assert gpus_of(plan(target, draft).draft) == ["GPU1"]


def test_what_fits_on_no_gpu_is_split_by_free_memory(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, draft = sides
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    whole = on_gpus(target)
    sizes = {"GPU0": whole * 9 // 10, "GPU1": whole * 8 // 10, "GPU2": 4096}
    with monkeypatch.context() as patch:
        StandInGpus(patch, sizes, total=dict.fromkeys(sizes, 0))
        found = plan(target, draft)
    assert found.target is not None
    assert found.target.n_gpu_layers == 9
    assert found.target.side.options.devices == ["GPU0", "GPU1"]  # the third one is full
    assert found.target.side.options.tensor_split == pytest.approx([0.53, 0.47])
    assert found.memories.shortages() == []


def test_what_the_caller_has_chosen_stays(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _ = sides
    StandInGpus(monkeypatch, {"GPU0": 4 * MUCH, "GPU1": 2 * MUCH})
    over_both = plan(target.changed(devices=["GPU0", "GPU1"]), None).target
    assert gpus_of(over_both) == ["GPU0", "GPU1"]
    assert over_both is not None
    assert over_both.side.options.tensor_split == pytest.approx([0.67, 0.33])
    given = replace(target.changed(n_gpu_layers=4, tensor_split=[0.5, 0.5]), automatic=False)
    fixed = plan(given, None).target
    assert fixed is not None
    assert fixed.side.options.tensor_split == [0.5, 0.5]
    assert fixed.side.options.devices == []


def test_devices_of_a_model_count_alone(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {"GPU0": MIB, "GPU1": MUCH})
    target = make_side(pair[0], devices=["GPU1"])
    draft = make_side(pair[1], "draft", devices=["GPU0"])
    found = plan(target, draft)
    assert layers(found) == (9, 0)
    assert outcome.line(found).endswith(
        "; no layer of the draft fits into the free memory of GPU0, GPU1"
    )
    StandInGpus(monkeypatch, {"GPU0": MIB})
    small = plan(make_side(pair[0], devices=["gpu0"]), None)  # llama.cpp ignores the case, too
    assert outcome.line(small).endswith("no layer of the target fits into the free memory of GPU0")
    on_cpu = make_side(pair[0], devices=["CPU"])
    assert layers(plan(on_cpu, draft)) == (0, 0)
    assert outcome.line(plan(on_cpu, None)).endswith("main memory)")


def test_an_integrated_gpu_takes_main_memory(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _ = sides
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    all_layers = target.changed(n_gpu_layers=-1).footprint()
    needed = all_layers.devices[0].total + all_layers.host.total - all_layers.host.weights
    for main, expected in ((needed, 9), (needed - 1, 8)):
        with monkeypatch.context() as patch:
            StandInGpus(patch, {"GPU0": MUCH}, main=main, total={"GPU0": 0}, integrated=True)
            found = plan(target, None).target
        assert found is not None
        assert found.n_gpu_layers <= expected
        assert (found.n_gpu_layers == 9) == (expected == 9)


def test_without_a_gpu_everything_is_as_before(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "list_devices", list)
    for given in (None, 0, -1, 7):
        found = plan(make_side(pair[0], layers=given), make_side(pair[1], "draft", layers=given))
        assert layers(found) == (0, 0)
        assert found.target is not None
        assert found.target.side.options.n_gpu_layers == (given or 0)
        assert found.memories.shortages() == []


@pytest.mark.parametrize("split_mode", [2, 3])
def test_what_cannot_be_measured_needs_a_number(
    split_mode: int, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {"GPU0": MUCH, "GPU1": MUCH})
    with pytest.raises(InvalidArgument, match=f"split_mode is {split_mode}; then n_gpu_layers"):
        plan(make_side(pair[0], split_mode=split_mode), None)
    with pytest.raises(InvalidArgument, match="then draft_n_gpu_layers must be given"):
        plan(make_side(pair[0]), make_side(pair[1], "draft", split_mode=split_mode))
    found = plan(make_side(pair[0], layers=-1, split_mode=split_mode), make_side(pair[1], "draft"))
    assert found.target is None
    assert outcome.placement_of(found) is None
    assert found.draft is not None
    assert found.draft.n_gpu_layers == 0  # it is not known what the target leaves


def test_a_gpu_that_cannot_hold_the_recurrent_states_gets_fewer_layers(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layout allocates them, and llama.cpp then fails."""
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    dealt = _core.target_footprint

    def allocating(options: _core.ModelOptions, **sizes: Any) -> _core.Footprint:
        if not 0 <= options.n_gpu_layers <= 5:
            raise ModelLoadError("failed to allocate buffer for rs cache")
        return dealt(options, **sizes)

    monkeypatch.setattr(_core, "target_footprint", allocating)
    found = plan(make_side(pair[0]), None).target
    assert found is not None
    assert found.n_gpu_layers == 5
    with pytest.raises(ModelLoadError, match="rs cache"):
        plan(make_side(pair[0], layers=6), None)
    missing = make_side(pair[0].with_name("missing.gguf"))
    with pytest.raises(ModelLoadError, match="no such file"):
        plan(missing, None)


def test_what_does_not_fit_is_refused_with_what_would_fit(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    target = make_side(pair[0], layers=-1, n_ctx=16384)
    draft = make_side(pair[1], "draft", layers=-1, n_ctx=16384)
    StandInGpus(monkeypatch, {"GPU0": on_gpus(target) + on_gpus(draft) - 1}, total={"GPU0": 1})
    found = plan(target, draft)
    with pytest.raises(ModelLoadError, match=r"on GPU0, but only .* are free") as caught:
        outcome.check(found, target, draft)
    message = str(caught.value)
    for words in ("draft_n_gpu_layers=0", "n_gpu_layers=9, draft_n_gpu_layers=3", "n_ctx=8192",
                  "type_k='q8_0', type_v='q8_0'"):  # fmt: skip
        assert words in message
    assert "use_mmap" not in message
    # Each of the settings fits.
    smaller = target.changed(n_ctx=8192), draft.changed(n_ctx=8192)
    quantized = target.changed(type_k=8, type_v=8), draft.changed(type_k=8, type_v=8)
    for changed in (smaller, quantized, (target, draft.changed(n_gpu_layers=0)),
                    (target.changed(n_gpu_layers=9), draft.changed(n_gpu_layers=3))):  # fmt: skip
        outcome.check(plan(*changed), *changed)


def test_advice_names_the_drafts_own_keywords_where_it_has_own_values(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, draft = make_side(pair[0], n_ctx=32768), make_side(pair[1], "draft", n_ctx=16384)
    StandInGpus(monkeypatch, {}, main=30 * MIB)
    fits = what_fits(target, draft, plan(target, draft).memories.shortages())
    (shorter,) = [words for words in fits if words.startswith("n_ctx=")]
    n_ctx = shorter.removeprefix("n_ctx=").split(",")[0]
    assert shorter == f"n_ctx={n_ctx}, draft_n_ctx={n_ctx}"


def test_a_cache_that_is_small_already_or_needs_flash_attention_is_no_advice(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {"GPU0": MUCH})
    for values in ({"type_k": 2, "type_v": 2}, {"flash_attn": False}):
        target = make_side(pair[0], layers=-1, n_ctx=16384, **values)
        with monkeypatch.context() as patch:
            StandInGpus(patch, {"GPU0": on_gpus(target) - 1}, total={"GPU0": 1})
            fits = what_fits(target, None, plan(target, None).memories.shortages())
        assert "n_ctx=8192" in fits
        assert not any("type_k" in words for words in fits)


def test_a_cache_that_the_model_cannot_have_is_no_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of this model's cache are shorter than a block of q8_0."""
    target = make_side(write_tiny_hybrid(tmp_path / "hybrid.gguf"), n_ctx=16384)
    host = target.footprint().host
    StandInGpus(monkeypatch, {}, main=host.total - host.weights - 1)
    with pytest.raises(ModelLoadError, match="these settings would fit: n_ctx=8192") as caught:
        outcome.check(plan(target, None), target, None)
    assert "type_k" not in str(caught.value)


def test_a_cache_of_windows_is_advice_where_the_model_has_windows(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, found in ((write(tmp_path, "gemma2"), True), (pair[0], False)):
        target = make_side(path, n_ctx=16384, n_ubatch=128)
        host = target.footprint().host
        StandInGpus(monkeypatch, {}, main=host.total - host.weights - 1)
        with pytest.raises(ModelLoadError, match="n_ctx=8192") as caught:
            outcome.check(plan(target, None), target, None)
        assert ("swa_full=False, or" in str(caught.value)) == found


def test_main_memory_is_refused_before_loading(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_side(pair[0], n_ctx=65536, use_mmap=False)
    draft = make_side(pair[1], "draft", n_ctx=65536, use_mmap=False)
    host = target.footprint().host
    needed = host.total + draft.footprint().host.total
    StandInGpus(monkeypatch, {}, main=needed)
    outcome.check(plan(target, draft), target, draft)
    StandInGpus(monkeypatch, {}, main=needed - 1)
    with pytest.raises(ModelLoadError, match="of main memory, but only") as caught:
        outcome.check(plan(target, draft), target, draft)
    for words in ("n_ctx=32768", "type_k='q8_0'", "use_mmap=True, use_mlock=False"):
        assert words in str(caught.value)
    assert "n_gpu_layers" not in str(caught.value)
    StandInGpus(monkeypatch, {}, main=4096)
    with pytest.raises(ModelLoadError, match="use smaller models"):
        outcome.check(plan(target, draft), target, draft)


def test_a_draft_with_too_small_batches_is_refused_as_when_loading(
    pair: tuple[Path, Path],
) -> None:
    draft = make_side(pair[1], "draft", n_batch=8)
    with pytest.raises(InvalidArgument, match="draft_n_batch is 8; with max_branches=4"):
        plan(make_side(pair[0]), draft)
