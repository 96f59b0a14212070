"""lm-evaluation-harness against the server: the scores that llama-cpp-python gives on the file."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.harness_tasks import (
    CHOICE,
    HARNESS,
    QUESTIONS,
    TEXT,
    llama_cpp_python,
    said,
    write_tasks,
)
from tests.python.support.server_support import Running, serving

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# An interpreter with lm_eval, which brings much and may have an environment of its own.
PYTHON = os.environ.get("SPECBRANCH_LM_EVAL", sys.executable)
ROUNDING = 0.001
"""Of the log-likelihood of a choice. Seen: 0.000003."""


@pytest.fixture(scope="module", autouse=True)
def harness() -> None:
    if sys.executable == PYTHON and importlib.util.find_spec("lm_eval") is None:
        pytest.skip("this test needs lm_eval")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    write_tasks(folder)
    return folder


@pytest.fixture(scope="module", params=["bundled", "smollm2-135m-instruct-q4_1.gguf"])
def file(request: pytest.FixtureRequest, pair: tuple[Path, Path]) -> Path:
    if request.param == "bundled":
        return pair[0]
    models: Path = request.getfixturevalue("real_models")
    return models / str(request.param)


@pytest.fixture(scope="module")
def server(file: Path, pair: tuple[Path, Path]) -> Iterator[Running]:
    draft = pair[1] if file == pair[0] else file
    with (
        Engine(file, draft, n_ctx=1024, n_threads=1, draft_n_threads=1) as engine,
        serving(engine, request_timeout_s=120) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def reference(file: Path) -> tuple[list[list[float]], list[int], list[str]]:
    return llama_cpp_python(file)


def evaluated(server: Running, folder: Path, *, batch_size: int = 1, **options: Any) -> Any:
    arguments = {"base_url": f"{server.url}/v1/completions", "model": "any", "max_length": 1024}
    asked = {
        "model": "local-completions",
        "model_args": arguments | options,
        "tasks": [CHOICE, TEXT],
        "folder": str(folder),
        "batch_size": batch_size,
    }
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    return said(HARNESS, PYTHON, argument=asked, **(os.environ | offline))


def check(done: Any, reference: tuple[list[list[float]], list[int], list[str]]) -> None:
    rows, best, texts = reference
    samples = sorted(done["samples"][CHOICE], key=lambda one: one["doc_id"])
    assert len(samples) == len(QUESTIONS)
    for sample, row in zip(samples, rows, strict=True):
        found = [float(answers[0][0]) for answers in sample["resps"]]
        assert found == pytest.approx(row, abs=ROUNDING)
    right = [choice == answer for choice, (_, _, answer) in zip(best, QUESTIONS, strict=True)]
    assert done["results"][CHOICE]["acc,none"] == pytest.approx(sum(right) / len(right))
    written = sorted(done["samples"][TEXT], key=lambda one: one["doc_id"])
    assert [sample["resps"][0][0] for sample in written] == texts


def test_the_harness_finds_the_tokenizer_at_the_server(
    server: Running, folder: Path, reference: tuple[list[list[float]], list[int], list[str]]
) -> None:
    check(evaluated(server, folder), reference)


def test_several_prompts_in_one_request(
    server: Running, folder: Path, reference: tuple[list[list[float]], list[int], list[str]]
) -> None:
    check(evaluated(server, folder, batch_size=4, num_concurrent=1), reference)


def test_prompts_as_texts(server: Running, folder: Path, file: Path) -> None:
    """The server puts BOS before a text, if the model wants it."""
    reference = llama_cpp_python(file, add_bos=True)
    check(evaluated(server, folder, tokenized_requests=False), reference)
