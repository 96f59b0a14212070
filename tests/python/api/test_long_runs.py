"""Texts and positions for which llama.cpp would end the process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.python.matrix.random_model import write_random_model
from tests.python.matrix.table import ARCHITECTURES
from tests.python.support.rewrite_gguf import with_text

from specbranch_cpp import ContextOverflow, Engine, InvalidArgument, demo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNS = ("a" * 30_000, "." * 100_000, " " * 200_000, "\u4e2d" * 30_000, "x" * 500_000)


@pytest.fixture(scope="module", params=["gpt-4o", "tekken", "qwen2"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
           ) -> Iterator[Engine]:  # fmt: skip
    """A model whose texts are split as the tokenizer of that name does; the first two do it with a
    regular expression that recurses for each letter."""
    path = tmp_path_factory.mktemp("runs") / "draft.gguf"
    with_text(demo.pair()[1], path, "tokenizer.ggml.pre", request.param)
    with Engine(path, n_ctx=256, n_threads=1) as made:
        yield made


def test_long_runs_are_tokenized(engine: Engine) -> None:
    for text in RUNS:
        tokens = engine.tokenize(text, add_bos=False)
        assert engine.detokenize(tokens) == text
    assert len(engine.tokenize("a" * 2048 + "." * 2048)) > 2


def test_long_runs_on_another_thread(engine: Engine) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(engine.tokenize(RUNS[0]))))
    thread.start()
    thread.join()
    assert found == [len(engine.tokenize(RUNS[0]))]


def test_a_run_of_half_a_megabyte_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match=r"a run of 600000 .* at most 524288"):
        engine.tokenize("a" * 600_000)
    assert len(engine.tokenize("def f():")) > 0


def test_a_context_ends_where_the_model_has_learned_no_positions(tmp_path: Path) -> None:
    path = tmp_path / "gpt2.gguf"
    (gpt2,) = (one for one in ARCHITECTURES if one.name == "gpt2")
    write_random_model(path, gpt2)
    with Engine(path, n_threads=1) as engine:
        n_positions = engine.n_ctx
        assert n_positions < 4096  # the default
    with Engine(path, path, n_ctx=2 * n_positions, n_threads=1) as engine:
        assert engine.n_ctx == n_positions
        prompt = [5 + i % 100 for i in range(n_positions + 100)]
        with pytest.raises(ContextOverflow):
            engine.generate(prompt, max_tokens=4)
        for mode in ("autoregressive", "specbranch"):
            text = engine.generate(prompt[: n_positions - 20], max_tokens=40, mode=mode).result()
            assert len(text.tokens) <= 20
