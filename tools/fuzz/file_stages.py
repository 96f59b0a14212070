"""What happens to a model file: our rules, the trial of new files, then a generation.

Each function runs in a forked process. It sends ``[STAGE, RESULT, WORDS]`` for each stage; a stage
that has only begun is the one in which the process ended.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp import (
    ContextOverflow,
    DecodeError,
    Engine,
    IncompatibleModels,
    InvalidArgument,
    ModelLoadError,
    _core,
)
from specbranch_cpp._llama import file_trial, trial_program
from specbranch_cpp._support.gguf_header import HeaderError, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fuzz.forked import Say

__all__ = ["BEGUN", "REFUSED", "SURPRISE", "WORKED", "check_and_try", "generate", "prepare"]

BEGUN, WORKED, REFUSED, SURPRISE = "begun", "worked", "refused", "surprise"

_LOADING = (InvalidArgument, ModelLoadError, IncompatibleModels)
_CALLING = (InvalidArgument, ContextOverflow, DecodeError)
_WORDS = 400
_MODES = ("auto", "speculative", "pearl", "specbranch")
_CONTEXTS = (96, 300, 1000)


def prepare() -> None:
    """Settings of the process that forks: no trials by the engine itself, no debugger."""
    os.environ[file_trial.SWITCH] = "0"
    os.environ["SPECBRANCH_CPU_PROBE"] = "0"
    os.environ["GGML_NO_BACKTRACE"] = "1"
    # What a call imports only then would be imported by every forked process.
    for name in ("openai_api.chat_completions", "openai_api.keywords", "openai_api.templates"):
        importlib.import_module(f"specbranch_cpp.{name}")


def check_and_try(path: Path, say: Say, model: Path | None = None) -> None:
    """The rules. If the file passes them, then the program of the child that tries new files.

    ``model``: the file is a LoRA adapter of this model, whose rules are those of loading.
    """
    with _stage("header", (HeaderError, OSError), say):
        read_header(path)
    passed = model is not None
    if model is None:
        with _stage("rules", (ModelLoadError, InvalidArgument), say):
            _core.inspect_model(os.fsencode(path))
            passed = True
    if passed:
        # The same function as in the real child, which is a new process instead of a forked one.
        with _stage("trial", (Exception,), say):
            most_bytes = file_trial.memory_limit_bytes(path.stat().st_size)
            adapter = "" if model is None else str(path)
            trial_program.load(str(model or path), adapter=adapter, most_bytes=most_bytes)


def generate(path: Path, index: int, say: Say, model: Path | None = None) -> None:
    """Loads the file as a user does and generates: alone or with itself as the draft, and for one
    text after another or for several at once.
    """
    target = model or path
    draft = target if index % 2 else None
    mode = _MODES[index // 2 % len(_MODES)]
    n_ctx = _CONTEXTS[index // 8 % len(_CONTEXTS)]
    options: dict[str, Any] = {
        "n_ctx": n_ctx,
        "n_threads": 1,
        "measure_costs": False,
        "seed": index,
    }
    if draft is not None:
        options |= {"draft_n_threads": 1, "max_branches": 2, "max_draft": 4, "mode": mode}
    if index % 3 == 2:
        options["n_parallel"] = 3
    if model is not None:
        options["lora"] = path
    engines: list[Engine] = []
    with _stage("load", _LOADING, say):
        engines.append(Engine(target, draft, **options))
    for engine in engines:
        _calls(engine, say)
        with _stage("close", (), say):
            engine.close()


def _calls(engine: Engine, say: Say) -> None:
    calls: dict[str, Callable[[], object]] = {
        "greedy": lambda: engine.generate("a b c d", max_tokens=6).result(),
        "tokens": lambda: engine.generate([1, 2, 3, 4, 5], max_tokens=4).result(),
        "sampled": lambda: engine.generate(
            "the end of the", max_tokens=6, temperature=1.0, top_k=20, logprobs=2, seed=1
        ).result(),
        "plain": lambda: engine.generate("a b c", max_tokens=4, mode="autoregressive").result(),
        "chat": lambda: engine.create_chat_completion(
            [{"role": "user", "content": "a b"}], max_tokens=4, stop=["\n\n"]
        ),
        "several": lambda: engine.generate_many(["a b", "a b c d e", [1, 2, 3]], max_tokens=5),
        "facts": lambda: (repr(engine), str(engine.metadata), engine.chat_template),
    }
    for name, call in calls.items():
        with _stage(name, _CALLING, say):
            call()


@contextlib.contextmanager
def _stage(name: str, documented: tuple[type[Exception], ...], say: Say) -> Iterator[None]:
    say([name, BEGUN, ""])
    try:
        yield
    except documented as error:
        say([name, REFUSED, _words(error)])
    except Exception as error:  # noqa: BLE001 - any other exception is a finding
        say([name, SURPRISE, _words(error)])
    else:
        say([name, WORKED, ""])


def _words(error: Exception) -> str:
    return ascii(f"{type(error).__name__}: {error}")[1:-1][:_WORDS]
