"""`bit_exact`: the engine finds out which batches agree, and every mode gives the same text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.tiny_gguf import WeightType, write_tiny_gguf

from specbranch_cpp import Engine, ExactRows, InvalidArgument
from specbranch_cpp._pair import exact_rows
from specbranch_cpp.check import examine_rows

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("speculative", "pearl", "specbranch", "auto")
LONG = "a long prompt, " * 30  # more than 512 cells, where ggml splits the attention
REAL = (
    "gemma-3-270m-q4_k_m",
    "smollm2-135m-instruct-q4_1",
    "qwen2.5-coder-0.5b-instruct-q4_k_m",
    "qwen2.5-coder-0.5b-instruct-q8_0",
)

pytestmark = pytest.mark.usefixtures("empty_cache")


def tiny_pair(folder: Path, **options: Any) -> tuple[Path, Path]:
    options = {"n_head": 2, "n_head_kv": 1} | options  # heads of 32, which q8_0 caches need
    target = write_tiny_gguf(folder / "target.gguf", n_layer=3, **options)
    return target, write_tiny_gguf(folder / "draft.gguf", n_layer=2, **options)


def check_texts(engine: Engine, prompts: tuple[str, ...], n_tokens: int) -> None:
    for temperature in (0.0, 0.8):
        settings: dict[str, Any] = {"max_tokens": n_tokens, "temperature": temperature, "seed": 1}
        for prompt in prompts:
            want = engine.generate(prompt, mode="autoregressive", **settings).result()
            for mode in MODES:
                got = engine.generate(prompt, mode=mode, **settings).result()
                assert (mode, got.tokens) == (mode, want.tokens)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    ("weight_type", "options"),
    [
        ("Q8_0", {}),
        ("Q4_0", {}),
        ("Q4_1", {}),
        ("F16", {}),
        ("F32", {}),
        ("Q8_0", {"type_k": "f32", "type_v": "f32"}),
        ("Q8_0", {"type_k": "q8_0", "type_v": "q8_0"}),
        ("Q8_0", {"n_ubatch": 3}),  # it cuts one token off a path of four
        ("Q8_0", {"n_ubatch": 7, "use_extra_bufts": False}),
    ],
)
def test_every_mode_gives_the_same_text(
    tmp_path: Path, weight_type: WeightType, options: dict[str, Any], n_threads: int
) -> None:
    target, draft = tiny_pair(tmp_path, weight_type=weight_type)
    threads: dict[str, Any] = {"n_threads": n_threads, "draft_n_threads": n_threads}
    with Engine(target, draft, n_ctx=1024, bit_exact=True, **threads, **options) as engine:
        found = engine.exact_rows
        assert found is not None
        assert found.max_path >= 2
        check_texts(engine, (LONG, "short"), 60)


@pytest.mark.parametrize("output_type", ["F32", "F16"])
def test_one_matrix_of_floats_among_quantized_ones(tmp_path: Path, output_type: WeightType) -> None:
    # ggml has a kernel of its own for several rows only where it divides the matrix.
    pair = tiny_pair(tmp_path, weight_type="Q8_0", output_type=output_type, n_vocab=320)
    options: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "draft_n_threads": 1}
    with Engine(*pair, bit_exact=True, **options) as engine:
        assert engine.exact_rows is not None
        assert engine.exact_rows.multiple > 1  # Q8_0 alone needs none
        check_texts(engine, ("def fibonacci(n):", "x"), 60)


def test_no_more_is_tested_than_asked_for(pair: tuple[Path, Path], empty_cache: Path) -> None:
    with Engine(*pair, n_ctx=128) as engine:
        assert engine.exact_rows is None
    assert not (empty_cache / "exact_rows.json").exists()


def test_the_result_is_remembered(tmp_path: Path, empty_cache: Path) -> None:
    pair = tiny_pair(tmp_path, weight_type="Q8_0")
    options: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "draft_n_threads": 1}
    options["bit_exact"] = True
    with Engine(*pair, **options) as engine:
        assert engine.exact_rows == ExactRows(1, 34, True)
    file = empty_cache / "exact_rows.json"
    content = json.loads(file.read_text())
    [key] = content["entries"]
    content["entries"][key] = {"multiple": 4, "max_path": 5, "repacked": False}
    file.write_text(json.dumps(content))
    with Engine(*pair, **options) as engine:
        assert engine.exact_rows == ExactRows(4, 5, False)
        check_texts(engine, ("def f(x):",), 40)
    options["n_threads"] = 2  # another question
    with Engine(*pair, **options) as engine:
        assert engine.exact_rows != ExactRows(4, 5, False)
    assert len(json.loads(file.read_text())["entries"]) == 2


@pytest.mark.parametrize("damage", [{"multiple": 10**30}, {"max_path": 2**40}, {"max_path": 0}])
def test_a_damaged_entry_is_none(tmp_path: Path, empty_cache: Path, damage: dict[str, int]) -> None:
    pair = tiny_pair(tmp_path, weight_type="Q8_0")
    options: dict[str, Any] = {"n_ctx": 64, "n_threads": 1, "bit_exact": True}
    Engine(*pair, **options).close()
    file = empty_cache / "exact_rows.json"
    content = json.loads(file.read_text())
    [entry] = content["entries"].values()
    entry |= damage
    file.write_text(json.dumps(content))
    with Engine(*pair, **options) as engine:
        assert engine.exact_rows == ExactRows(1, 34, True)


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"format": "other", "entries": {}}', '{"format": 1}']
)
def test_a_damaged_memory_is_none(tmp_path: Path, empty_cache: Path, damage: str) -> None:
    pair = tiny_pair(tmp_path, weight_type="Q8_0")
    file = empty_cache / "exact_rows.json"
    file.parent.mkdir(parents=True)
    file.write_text(damage)
    with Engine(*pair, n_ctx=64, n_threads=1, bit_exact=True) as engine:
        assert engine.exact_rows == ExactRows(1, 34, True)
    assert json.loads(file.read_text())["format"] == exact_rows.FORMAT


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    pair = tiny_pair(tmp_path, weight_type="Q8_0")
    with Engine(*pair, n_ctx=64, bit_exact=True) as engine:
        assert engine.exact_rows is not None


def test_the_user_can_stop_the_test(tmp_path: Path) -> None:
    pair = tiny_pair(tmp_path, weight_type="Q8_0", n_embd=256, n_ff=1024)

    class StopError(Exception):
        pass

    def stop(share: float) -> None:
        if share == 1.0:
            raise StopError

    with pytest.raises(StopError):
        Engine(*pair, n_ctx=1024, bit_exact=True, progress_callback=stop)


def test_the_table_names_what_an_engine_uses(tmp_path: Path) -> None:
    target, draft = tiny_pair(tmp_path, weight_type="F16")
    report = examine_rows(target, max_draft=8, n_ctx=512, n_threads=1)
    assert {(trial.multiple, trial.repacked) for trial in report.trials} == {
        (multiple, repacked) for multiple in (1, 2, 4, 8) for repacked in (True, False)
    }
    assert report.wanted == 18
    assert all(0 <= trial.max_path <= 18 for trial in report.trials)
    assert all(trial.single_ms > 0 and trial.path_ms > 0 for trial in report.trials)
    assert report.chosen is not None
    assert report.chosen.multiple > 1
    assert report.price is not None
    assert report.price >= 1.0
    with Engine(target, draft, n_ctx=512, n_threads=1, bit_exact=True) as engine:
        assert engine.exact_rows is not None
        assert engine.exact_rows.multiple > 1


def test_the_table_needs_a_sensible_length(tmp_path: Path) -> None:
    target, _ = tiny_pair(tmp_path)
    with pytest.raises(InvalidArgument, match="max_draft is 0"):
        examine_rows(target, max_draft=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_real_models(real_models: Path, name: str, n_threads: int) -> None:
    target = real_models / f"{name}.gguf"
    small = real_models / "qwen2.5-coder-0.5b-instruct-q4_0.gguf"
    draft = small if "qwen" in name else target
    with Engine(target, draft, n_ctx=1024, n_threads=n_threads, bit_exact=True) as engine:
        assert engine.exact_rows is not None
        prompts = ("def quicksort(items):\n", "In a small village by the sea,", LONG)
        check_texts(engine, prompts, 40)
