"""Engines whose weights come from Python instead of a file."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specbranch_cpp import Engine, ModelLoadError
from specbranch_cpp._support.tensor_source import TensorSource

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import scale  # noqa: E402
from tests.python.support.tiny_gguf import write_tiny_gguf  # noqa: E402

from specbranch_cpp._scaling.in_memory import InMemoryModel  # noqa: E402
from specbranch_cpp._scaling.scaled_model import plan_model  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

MODELS = ROOT / "python" / "specbranch_cpp" / "models"
PROMPT = "def add(first, second):\n    return"


def generated(target: Any, draft: Any = None, **options: Any) -> list[Any]:
    """Tokens and their log-probabilities."""
    if draft is None:
        options["mode"] = "autoregressive"  # texts would change the last bits with the batches
    with Engine(target, draft, n_ctx=256, n_threads=1, measure_costs=False, **options) as engine:
        result = engine.generate(PROMPT, max_tokens=24, logprobs=0).result()
        return [result.tokens, result.logprobs]


@pytest.mark.parametrize(
    ("source", "growth"),
    [
        ({"weight_type": "F32"}, {"n_embd": 256, "n_layer": 4}),
        ({"weight_type": "Q8_0"}, {"n_ff": 512, "n_head": 8, "n_head_kv": 4}),
        ({"weight_type": "Q4_0", "tied": True}, {"n_embd": 256}),
        ({"weight_type": "F32", "biases": True}, {"weight_type": "BF16"}),
        ({"weight_type": "F16", "head_size": 32}, {"head_size": 64, "weight_type": "Q8_0"}),
        ({"weight_type": "F32", "n_embd": 256, "n_ff": 256}, {"weight_type": "Q4_K"}),
    ],
    ids=str,
)
def test_tokens_are_those_of_the_file(
    tmp_path: Path, source: dict[str, Any], growth: dict[str, Any]
) -> None:
    small = write_tiny_gguf(tmp_path / "small.gguf", **source)
    file = scale(small, tmp_path / "big.gguf", **growth).path
    # Weights in memory are never repacked, so those of the file must not be either.
    expected = generated(file, use_extra_bufts=False)
    with InMemoryModel(plan_model(small, **growth)) as model:
        assert generated(model) == expected
    assert len(expected[0]) == 24


def test_a_pair_may_be_in_memory() -> None:
    files = [MODELS / f"demo-{name}.gguf" for name in ("target", "draft")]
    expected = generated(*files, use_extra_bufts=False, mode="speculative")
    with (
        InMemoryModel(plan_model(files[0], n_layer=9)) as target,
        InMemoryModel(plan_model(files[1], n_layer=4)) as draft,
    ):
        assert generated(target, draft, mode="speculative") == expected
        assert generated(target, files[1], use_extra_bufts=False, mode="speculative") == expected


class Custom(TensorSource):
    """Metadata of a tiny model, and any function for its weights."""

    def __init__(self, path: Path, fill: Callable[[str], Any], **options: Any) -> None:
        self._path = path
        self._fill = fill
        write_tiny_gguf(path, **options)

    def __fspath__(self) -> str:
        return str(self._path)

    def fill(self, name: str) -> npt.NDArray[np.generic]:
        array: npt.NDArray[np.generic] = self._fill(name)
        return array


def failing(name: str) -> npt.NDArray[np.generic]:
    raise LookupError(f"no weights for {name}")


class Lazy:
    """Fails when it is to become an array."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __array__(self, *_: object, **__: object) -> npt.NDArray[np.generic]:
        raise self._error


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (failing, "the source failed: LookupError: no weights for .*weight"),
        (lambda _: np.zeros(3, np.float32), "the source gave 12 bytes; .* are needed"),
        (lambda _: object(), "the source gave 8 bytes; .* are needed"),
        (lambda _: [[1], [2, 3]], "the source failed: ValueError: .* inhomogeneous"),
        (lambda _: Lazy(LookupError("no \udc80")), r"the source failed: LookupError: no \\udc80"),
    ],
    ids=["raises", "wrong size", "no array", "no shape", "raises late"],
)
def test_a_source_that_fails_is_a_load_error(
    tmp_path: Path, fill: Callable[[str], Any], message: str
) -> None:
    with pytest.raises(ModelLoadError, match=message):
        Engine(Custom(tmp_path / "m.gguf", fill), n_ctx=64)
    draft = Custom(tmp_path / "d.gguf", fill)
    with pytest.raises(ModelLoadError, match=message):
        Engine(write_tiny_gguf(tmp_path / "target.gguf"), draft, n_ctx=64)


def test_an_interrupt_within_a_source_comes_out(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Engine(Custom(tmp_path / "m.gguf", lambda _: Lazy(KeyboardInterrupt())), n_ctx=64)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    small = write_tiny_gguf(tmp_path / "small.gguf")
    with InMemoryModel(plan_model(small)) as model:

        class Broken(TensorSource):
            def __fspath__(self) -> str:
                return model.__fspath__()

            def fill(self, name: str) -> npt.NDArray[np.generic]:
                data = model.fill(name)
                if name == "blk.1.ffn_up.weight":
                    data[:] = 255
                return data

        with pytest.raises(ModelLoadError, match=r"blk\.1\.ffn_up\.weight.* NaN or infinite"):
            Engine(Broken(), n_ctx=64)


def test_an_interrupt_in_the_source_comes_out(tmp_path: Path) -> None:
    before = set(threading.enumerate())

    def interrupted(_: str) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Engine(Custom(tmp_path / "m.gguf", interrupted), n_ctx=64)
    assert set(threading.enumerate()) <= before  # those of earlier tests may end meanwhile


def test_progress_is_told_and_may_stop_the_loading(tmp_path: Path) -> None:
    small = write_tiny_gguf(tmp_path / "small.gguf", n_layer=4)
    shares: list[float] = []
    with InMemoryModel(plan_model(small)) as model:
        Engine(model, n_ctx=64, progress_callback=shares.append).close()
        assert shares == sorted(shares)
        assert shares[-1] == 1.0

        def stop(_: float) -> None:
            raise InterruptedError("enough")

        with pytest.raises(InterruptedError, match="enough"):
            Engine(model, n_ctx=64, progress_callback=stop)


def test_other_python_threads_run_meanwhile(tmp_path: Path) -> None:
    """What the source waits for is done by another thread."""
    small = write_tiny_gguf(tmp_path / "small.gguf")
    wanted, given = threading.Event(), threading.Event()

    def other() -> None:
        assert wanted.wait(120)
        given.set()

    with InMemoryModel(plan_model(small)) as model:

        class Slow(TensorSource):
            def __fspath__(self) -> str:
                return model.__fspath__()

            def fill(self, name: str) -> npt.NDArray[np.generic]:
                wanted.set()
                assert given.wait(120)
                return model.fill(name)

        thread = threading.Thread(target=other)
        thread.start()
        Engine(Slow(), n_ctx=64).close()
        thread.join()


def test_metadata_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """llama.cpp would abort the process, or read weights that are not there."""
    small = write_tiny_gguf(tmp_path / "small.gguf")
    model = plan_model(small)
    missing = [tensor for tensor in model.plan if tensor.name != "blk.1.attn_norm.weight"]
    object.__setattr__(model, "plan", missing)
    with (
        InMemoryModel(model) as source,
        pytest.raises(
            ModelLoadError, match=r"the metadata lack tensor 'blk\.1\.attn_norm\.weight'"
        ),
    ):
        Engine(source, n_ctx=64)

    model = plan_model(small)
    object.__setattr__(model.shape, "n_ff", 100)
    with (
        InMemoryModel(model) as source,
        pytest.raises(ModelLoadError, match="64 x 128 weights; 64 x 100 are needed"),
    ):
        Engine(source, n_ctx=64)


def test_a_file_without_weights_is_still_no_model(tmp_path: Path) -> None:
    with InMemoryModel(plan_model(write_tiny_gguf(tmp_path / "small.gguf"))) as source:
        path = shutil.copy(source, tmp_path / "metadata.gguf")
    with pytest.raises(ModelLoadError, match="truncated"):
        Engine(path, n_ctx=64)
