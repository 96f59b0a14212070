"""Functions of the caller that fail, hang or return nonsense: a clear error, nothing is lost."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.python.matrix.cells import write
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tiny_hybrid import write_tiny_hybrid

from specbranch_cpp import Engine, InvalidArgument, SpecBranchError, TokenMask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from tests.python.conftest import MakeFake, RunPython

    Ids = NDArray[np.intc]
    Scores = NDArray[np.single]

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
PROMPT = "def fibonacci(n):\n    "
WAIT_S = 60.0


def after(n: int, engine: Engine, then: Callable[[Scores], Any]) -> Callable[[Ids, Scores], Any]:
    """Changes nothing for the first `n` tokens of the text."""
    n_prompt = len(engine.tokenize(PROMPT, special=True))

    def process(ids: Ids, scores: Scores) -> Any:
        return then(scores) if len(ids) >= n_prompt + n else scores

    return process


def with_value(scores: Scores, value: float) -> Scores:
    scores[7] = value
    return scores


WRONG: dict[str, tuple[Callable[[Scores], Any], str]] = {
    "nothing": (lambda _: None, r"logits_processor\[0\] \(process\) returned None"),
    "too short": (lambda s: s[:3], r"of shape \(3,\); it must return an array of numbers of shape"),
    "two rows": (lambda s: np.stack([s, s]), r"of shape \(2, "),
    "words": (lambda s: s.astype(str), "must return an array of numbers"),
    "uneven rows": (lambda _: [[1.0], [1.0, 2.0]], r"\[0\] \(process\) returned what is no array"),
    "NaN": (
        lambda s: with_value(s, np.nan),
        r"\(process\) returned the score nan of token 7",
    ),
    "infinity": (lambda s: with_value(s, np.inf), r"\(process\) returned the score inf of token 7"),
    "too large": (lambda s: s.astype(np.float64) + 1e300, r"\) returned the score inf of token 0"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("mode", MODES)
def test_wrong_scores(engine: Engine, wrong: str, mode: str) -> None:
    function, message = WRONG[wrong]
    whole = engine.complete(PROMPT, max_tokens=12, mode="autoregressive")
    generation = engine.generate(
        PROMPT, max_tokens=12, mode=mode, logits_processor=after(6, engine, function)
    )
    with pytest.raises(InvalidArgument, match=message):
        list(generation)
    with pytest.raises(InvalidArgument, match=message):
        generation.result()
    assert engine.complete(PROMPT, max_tokens=12, mode=mode).tokens == whole.tokens


@pytest.mark.parametrize("mode", MODES)
def test_the_tokens_before_a_failure_arrive(engine: Engine, mode: str) -> None:
    whole = engine.complete(PROMPT, max_tokens=12, mode="autoregressive")
    raised = ZeroDivisionError("mine")

    def fail(_: Scores) -> Any:
        raise raised

    generation = engine.generate(
        PROMPT, max_tokens=12, mode=mode, logits_processor=after(6, engine, fail)
    )
    tokens = tuple(next(generation).token for _ in range(6))
    assert tokens == whole.tokens[:6]
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        next(generation)
    assert caught.value is raised
    for read in (generation.result, lambda: next(generation)):
        with pytest.raises(ZeroDivisionError) as again:
            read()
        assert again.value is raised
    assert engine.complete(PROMPT, max_tokens=12, mode=mode).tokens == whole.tokens


@pytest.mark.parametrize("mode", MODES)
def test_criteria_and_masks_that_fail(engine: Engine, mode: str) -> None:
    def criterion(ids: Ids, _: Scores) -> bool:
        raise KeyError(len(ids))

    class Bad(TokenMask):
        def mask(self, input_ids: Ids) -> NDArray[Any]:
            return np.ones_like(input_ids[:3], np.bool_)

    with pytest.raises(KeyError):
        engine.complete(PROMPT, max_tokens=12, mode=mode, stopping_criteria=criterion)
    both: list[list[Any]] = [[Bad()], [Bad(), lambda _, scores: scores]]
    for functions in both:
        with pytest.raises(InvalidArgument, match=r"Bad\.mask returned an array of bool of shape"):
            engine.complete(PROMPT, max_tokens=12, mode=mode, logits_processor=functions)
    assert len(engine.complete(PROMPT, max_tokens=5).tokens) == 5


def test_the_function_at_fault_is_named(engine: Engine) -> None:
    def good(_: Ids, scores: Scores) -> Scores:
        return scores

    def bad(_: Ids, scores: Scores) -> Scores:
        return with_value(scores, np.nan)

    with pytest.raises(InvalidArgument, match=r"logits_processor\[1\] \(bad\) returned the score"):
        engine.complete(PROMPT, max_tokens=5, logits_processor=[good, bad, good])


def test_a_criterion_that_returns_several_values(engine: Engine) -> None:
    def several(ids: Ids, _: Scores) -> Any:
        return ids > 0

    with pytest.raises(InvalidArgument, match=r"stopping_criteria\[0\] \(several\) returned array"):
        engine.complete(PROMPT, max_tokens=5, stopping_criteria=several)


@pytest.mark.parametrize("name", ["logits_processor", "stopping_criteria"])
def test_a_class_is_no_function(engine: Engine, name: str) -> None:
    class Twenty:
        def __init__(self, *_: object) -> None:
            pass

        def __call__(self, ids: Ids, _: Scores) -> bool:
            return len(ids) > 20

    options: dict[str, Any] = {name: Twenty}
    with pytest.raises(InvalidArgument, match=rf"{name}\[0\] is the class Twenty; it must be an"):
        engine.generate(PROMPT, **options)


@pytest.mark.parametrize("mode", MODES)
def test_a_mask_that_fails_beyond_the_text_is_no_failure(make_fake: MakeFake, mode: str) -> None:
    """Masks are asked ahead. Only a position that the text reaches counts."""
    engine = make_fake(target_step_us=10_000, draft_alignment=0.7)
    whole = engine.complete("abc", max_tokens=30, mode="autoregressive")
    text = [*engine.tokenize("abc"), *whole.tokens]

    class Picky(TokenMask):
        n_refused = 0

        def mask(self, input_ids: Ids) -> NDArray[Any]:
            if input_ids.tolist() != text[: len(input_ids)]:
                self.n_refused += 1
                raise ValueError("this is not the text")
            return np.ones(engine.vocab_size, np.bool_)

    picky = Picky()
    done = engine.complete("abc", max_tokens=30, mode=mode, logits_processor=picky)
    assert done.tokens == whole.tokens
    if mode == "speculative":
        assert picky.n_refused > 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("logits_processor", 5, "logits_processor is 5; it must be a function, or a list"),
        ("logits_processor", [abs, "x"], r"logits_processor\[1\] is 'x'; it must be a function"),
        ("logits_processor", {}, "must be a function, or a list of functions"),
        ("stopping_criteria", [3], r"stopping_criteria\[0\] is 3; it must be a function"),
        ("stopping_criteria", "never", "must be a function, or a list of functions"),
    ],
)
def test_what_is_no_function_is_refused(
    engine: Engine, name: str, value: object, message: str
) -> None:
    options: dict[str, Any] = {name: value}
    for call in (engine.generate, engine.create_completion):
        with pytest.raises(InvalidArgument, match=message):
            call(PROMPT, **options)


def test_empty_lists_are_no_functions(engine: Engine) -> None:
    done = engine.complete(PROMPT, max_tokens=5, logits_processor=[], stopping_criteria=())
    assert done.stats.n_processor_calls == 0


class Sleeper:
    """Stops at its fourth call until the test lets it go on."""

    def __init__(self) -> None:
        self.n_calls = 0
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self, _: Ids, scores: Scores) -> Scores:
        self.n_calls += 1
        if self.n_calls == 4:
            self.reached.set()
            assert self.released.wait(WAIT_S)
        return scores


@pytest.mark.parametrize("mode", MODES)
def test_cancel_while_a_function_sleeps(engine: Engine, mode: str) -> None:
    sleeper = Sleeper()
    generation = engine.generate(PROMPT, max_tokens=40, mode=mode, logits_processor=sleeper)
    assert sleeper.reached.wait(WAIT_S)
    generation.cancel()
    done = generation.result()
    assert done.finish_reason == "cancelled"
    # The function still sleeps.
    assert len(engine.complete(PROMPT, max_tokens=5, mode=mode).tokens) == 5
    sleeper.released.set()
    whole = engine.complete(PROMPT, max_tokens=5, mode="autoregressive")
    assert whole.tokens[: len(done.tokens)] == done.tokens


@pytest.mark.parametrize("kind", ["recurrent states", "windows"])
def test_a_target_that_cannot_be_cut(kind: str, tmp_path: Path) -> None:
    """A cancel while a function sleeps leaves no wrong state behind."""
    settings: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "draft_n_threads": 1}
    if kind == "windows":
        target = draft = write(tmp_path, "gemma2")
        settings["swa_full"] = False
    else:
        target = write_tiny_hybrid(tmp_path / "hybrid.gguf")
        draft = write_tiny_gguf(tmp_path / "draft.gguf", n_layer=1, seed=3)
    with Engine(target, draft, **settings) as engine:
        whole = engine.complete(PROMPT, max_tokens=20, mode="autoregressive")
        for mode in ("autoregressive", "speculative", "specbranch"):
            sleeper = Sleeper()
            generation = engine.generate(PROMPT, mode=mode, logits_processor=sleeper)
            assert sleeper.reached.wait(WAIT_S)
            generation.cancel()
            assert generation.result().finish_reason == "cancelled"
            sleeper.released.set()
            assert engine.complete(PROMPT, max_tokens=20, mode=mode).tokens == whole.tokens


def test_dropping_and_closing_while_a_function_sleeps(pair: tuple[Path, Path]) -> None:
    with Engine(*pair, n_ctx=512, n_threads=1, draft_n_threads=1) as engine:
        sleepers = [Sleeper(), Sleeper()]
        generation: Any = engine.generate(PROMPT, logits_processor=sleepers[0])
        assert sleepers[0].reached.wait(WAIT_S)
        gone = weakref.ref(generation)
        del generation
        gc.collect()
        assert gone() is None
        assert len(engine.complete(PROMPT, max_tokens=5).tokens) == 5
        generation = engine.generate(PROMPT, logits_processor=sleepers[1])
        assert sleepers[1].reached.wait(WAIT_S)
        engine.close()
        assert generation.result().finish_reason == "cancelled"
        for sleeper in sleepers:
            sleeper.released.set()


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "specbranch-processors"]


def test_the_thread_ends_with_the_text_also_if_nobody_reads(engine: Engine) -> None:
    before = threads()
    unread = engine.generate(PROMPT, max_tokens=5, logits_processor=lambda _, scores: scores)
    for thread in set(threads()) - set(before):
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert len(unread.result().tokens) == 5


def test_ctrl_c_while_a_function_sleeps(pair: tuple[Path, Path], python: RunPython) -> None:
    code = f"""
import os, signal, threading, time
from specbranch_cpp import Engine
engine = Engine({str(pair[0])!r}, {str(pair[1])!r}, n_ctx=512, n_threads=1)
reached, returned = threading.Event(), threading.Event()
def sleep(ids, scores):
    reached.set()
    time.sleep(5)
    return scores
def interrupt():
    reached.wait()
    returned.wait()  # within `generate` there is no generation yet
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
generation = engine.generate("x", logits_processor=sleep)
try:
    returned.set()
    generation.result()
except KeyboardInterrupt:
    print(generation.result().finish_reason, len(engine.complete("x", max_tokens=3).tokens))
"""
    assert python(code) == "cancelled 3"


def test_a_program_may_end_while_a_function_sleeps(
    pair: tuple[Path, Path], python: RunPython
) -> None:
    code = f"""
import threading
from specbranch_cpp import Engine
engine = Engine({str(pair[0])!r}, {str(pair[1])!r}, n_ctx=512, n_threads=1)
reached = threading.Event()
def sleep(ids, scores):
    reached.set()
    threading.Event().wait()
generation = engine.generate("x", logits_processor=sleep)
reached.wait()
print("left")
"""
    assert python(code) == "left"


def test_a_function_must_not_read_its_own_engine(make_fake: MakeFake) -> None:
    engine = make_fake()

    def greedy(_: Ids, scores: Scores) -> Scores:
        engine.complete("abc", max_tokens=1)
        return scores

    with pytest.raises(SpecBranchError, match="must not read a generation of the engine"):
        engine.complete("abc", max_tokens=4, logits_processor=greedy)
    assert len(engine.complete("abc", max_tokens=10).tokens) == 10


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_a_function_cannot_end_a_loop_without_a_word(
    engine: Engine, kind: type[BaseException]
) -> None:
    def stop(*_: object) -> Scores:
        raise kind("mine")

    generation = engine.generate(PROMPT, max_tokens=9, logits_processor=stop)
    with pytest.raises(RuntimeError, match=f"raised {kind.__name__}") as caught:
        list(generation)
    assert isinstance(caught.value.__cause__, kind)


def test_an_exception_keeps_its_cause(engine: Engine) -> None:
    def fail(*_: object) -> Scores:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first

    generation = engine.generate(PROMPT, max_tokens=9, logits_processor=fail)
    for read in (generation.result, generation.result):
        with pytest.raises(ValueError, match="second") as caught:
            read()
        assert isinstance(caught.value.__cause__, KeyError)
        assert caught.value.__context__ is caught.value.__cause__


def test_a_stream_that_is_left_in_the_middle(engine: Engine) -> None:
    whole = engine.complete(PROMPT, max_tokens=5, mode="autoregressive")
    said = [{"role": "user", "content": "hi"}]
    settings: dict[str, Any] = {"stream": True, "max_tokens": 200}
    for _ in range(3):
        before = set(threads())
        for stream in (
            engine.create_completion(PROMPT, **settings, logits_processor=lambda _, s: s),
            engine.create_chat_completion(said, **settings, stopping_criteria=lambda *_: False),
        ):
            chunks: Any = iter(stream)
            next(chunks)
            chunks.close()
        for thread in set(threads()) - before:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        assert engine.complete(PROMPT, max_tokens=5).tokens == whole.tokens


def test_a_failure_in_a_stream_of_llama_cpp_python(engine: Engine) -> None:
    def fail(ids: Ids, _: Scores) -> Scores:
        raise ZeroDivisionError(len(ids))

    said = [{"role": "user", "content": "hi"}]
    for stream in (True, False):
        settings: dict[str, Any] = {"stream": stream, "logits_processor": fail}
        with pytest.raises(ZeroDivisionError):
            list(engine.create_completion(PROMPT, **settings))
        with pytest.raises(ZeroDivisionError):
            list(engine.create_chat_completion(said, **settings))
    assert len(engine.complete(PROMPT, max_tokens=5).tokens) == 5


@pytest.mark.parametrize("masks", [False, True])
def test_a_program_may_end_in_the_middle_of_a_text(
    pair: tuple[Path, Path], python: RunPython, masks: bool
) -> None:
    code = f"""
import numpy as np
from specbranch_cpp import Engine, TokenMask
engine = Engine({str(pair[0])!r}, {str(pair[1])!r}, n_ctx=2048, n_threads=1)
class All(TokenMask):
    def mask(self, input_ids):
        return np.ones(engine.vocab_size, bool)
function = All() if {masks} else lambda ids, scores: scores
generations = [engine.generate("x", max_tokens=1000, logits_processor=function) for _ in range(4)]
next(generations[0])
print("left")
"""
    assert python(code) == "left"


@pytest.mark.parametrize("kind", ["next", "result", "scores"])
def test_a_function_must_not_read_its_own_generation(engine: Engine, kind: str) -> None:
    is_queued = threading.Event()

    def greedy(_: Ids, scores: Scores) -> Scores:
        assert is_queued.wait(WAIT_S)
        reads[kind]()
        return scores

    generation = engine.generate(
        PROMPT, max_tokens=4, logits_processor=greedy, prompt_logprobs=0, mode="autoregressive"
    )
    reads: dict[str, Callable[[], object]] = {
        "next": generation.__next__,
        "result": generation.result,
        "scores": generation.prompt_logprobs,
    }
    is_queued.set()
    with pytest.raises(SpecBranchError, match="must not read a generation of the engine"):
        generation.result()
    assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
