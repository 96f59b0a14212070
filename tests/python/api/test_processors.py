"""Logits processors, masks and stopping criteria: exact in every mode, in order."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specbranch_cpp import AsyncEngine, Engine, LogitsProcessorList, TokenMask
from specbranch_cpp.grammars import Lark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from tests.python.conftest import MakeFake

    Ids = NDArray[np.intc]
    Scores = NDArray[np.single]

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
PROMPT = "def fibonacci(n):\n    "


def banned(ids: Ids, n_vocab: int) -> NDArray[np.bool_]:
    """Tokens that depend on the whole history: about a fifth of the vocabulary."""
    key = int(np.dot(ids.astype(np.int64), np.arange(1, len(ids) + 1)) % 10007)
    return np.asarray((np.arange(n_vocab) * 7919 + key) % 5 == 0, np.bool_)


def ban_and_boost(ids: Ids, scores: Scores) -> Scores:
    scores[banned(ids, len(scores))] = -np.inf
    scores[int(ids[-1])] -= 1.0
    return scores


def flatten(ids: Ids, scores: Scores) -> Scores:
    """Returns an array of its own, of another type."""
    result: Any = scores.astype(np.float64) * (0.5 + 0.5 * (len(ids) % 2))
    return result  # type: ignore[no-any-return]


class Mask(TokenMask):
    def __init__(self, n_vocab: int, *, packed: bool = False, batch: bool = False) -> None:
        self.n_vocab = n_vocab
        self.packed = packed
        self.batch = batch
        self.asked: list[tuple[int, ...]] = []

    def mask(self, input_ids: Ids) -> NDArray[Any]:
        self.asked.append(tuple(input_ids.tolist()))
        allowed = ~banned(input_ids, self.n_vocab)
        input_ids[:] = -1  # it is its own
        if not self.packed:
            return allowed[None] if self.batch else allowed
        padded = np.resize(allowed, -(-self.n_vocab // 32) * 32)
        words = np.packbits(padded, bitorder="little").view(np.int32)
        return words[None] if self.batch else words


class Recorder:
    """Keeps all that it gets."""

    def __init__(self) -> None:
        self.ids: list[Ids] = []
        self.scores: list[Scores] = []

    def __call__(self, ids: Ids, scores: Scores) -> Scores:
        self.ids.append(ids)
        self.scores.append(scores)
        return scores


def ends_after(n: int) -> Callable[[Ids, Scores], bool]:
    return lambda ids, _: len(ids) >= n


KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "one function": lambda _: {"logits_processor": ban_and_boost},
    "a list": lambda _: {"logits_processor": LogitsProcessorList([flatten, ban_and_boost])},
    "a mask": lambda n: {"logits_processor": Mask(n)},
    "packed masks": lambda n: {"logits_processor": [Mask(n, packed=True), Mask(n)]},
    "batches of one mask": lambda n: {
        "logits_processor": [Mask(n, packed=True, batch=True), Mask(n, batch=True)]
    },
    "both": lambda n: {"logits_processor": [flatten, Mask(n), ban_and_boost]},
    "criteria": lambda _: {"stopping_criteria": [ends_after(40), ends_after(31)]},
    "all": lambda n: {"logits_processor": [Mask(n)], "stopping_criteria": ends_after(33)},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "top_k": 40, "seed": 3}])
def test_every_mode_gives_the_same_text(
    engine: Engine, kind: str, sampling: dict[str, Any]
) -> None:
    settings = {"max_tokens": 30, "logprobs": 2, **sampling}
    plain = engine.complete(PROMPT, mode="autoregressive", **settings)
    wanted = engine.complete(
        PROMPT, mode="autoregressive", **settings, **KINDS[kind](engine.vocab_size)
    )
    assert wanted.tokens != plain.tokens
    for mode in MODES:
        done = engine.complete(PROMPT, mode=mode, **settings, **KINDS[kind](engine.vocab_size))
        assert (mode, done.tokens, done.text) == (mode, wanted.tokens, wanted.text)
        assert done.finish_reason == wanted.finish_reason
        assert done.logprobs == wanted.logprobs
        assert done.stats.n_processor_calls >= len(done.tokens)
        assert done.stats.processor_ms > 0


@pytest.mark.parametrize("mode", MODES)
def test_the_text_is_what_the_functions_say(engine: Engine, mode: str) -> None:
    """Chosen by hand, token by token, from the logits of a plain text."""
    seen = Recorder()

    def edited(ids: Ids, scores: Scores) -> Scores:
        return ban_and_boost(ids, scores.copy())

    done = engine.complete(PROMPT, max_tokens=24, mode=mode, logits_processor=[seen, edited])
    for ids, scores, token in zip(seen.ids, seen.scores, done.tokens, strict=False):
        assert int(np.argmax(ban_and_boost(ids, scores.copy()))) == token


@pytest.mark.parametrize("mode", MODES)
def test_calls_come_in_order_and_none_is_taken_back(engine: Engine, mode: str) -> None:
    seen, criterion = Recorder(), Recorder()

    def never(ids: Ids, logits: Scores) -> bool:
        criterion(ids, logits)
        return False

    generation = engine.generate(
        PROMPT, max_tokens=40, mode=mode, logits_processor=[seen, ban_and_boost],
        stopping_criteria=[never], logprobs=1,
    )  # fmt: skip
    done = generation.result()
    prompt = engine.tokenize(PROMPT, special=True)
    text = [*prompt, *done.tokens]
    ended = done.finish_reason == "stop"
    assert len(seen.ids) == len(done.tokens) + ended
    for n, (ids, other) in enumerate(zip(seen.ids, criterion.ids, strict=True)):
        assert ids.dtype == np.intc
        assert ids.tolist() == other.tolist() == text[: len(prompt) + n]
    # The criteria see the logits before the functions, as the log-probabilities do.
    assert done.logprobs is not None
    for logits, entry in zip(criterion.scores, done.logprobs, strict=False):
        assert logits.dtype == np.single
        assert logits.shape == (engine.vocab_size,)
        assert np.isfinite(logits).all()
        normal = logits.astype(np.float64) - logits.max()
        normal -= np.log(np.exp(normal).sum())
        assert entry.logprob == pytest.approx(float(normal[entry.token]), abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_masks_are_asked_along_paths(engine: Engine, mode: str) -> None:
    mask = Mask(engine.vocab_size)
    done = engine.complete(PROMPT, max_tokens=40, mode=mode, logits_processor=mask)
    prompt = tuple(engine.tokenize(PROMPT, special=True))
    known = set()
    for asked in mask.asked:
        if asked != prompt:
            assert asked[:-1] in known
            before = np.array(asked[:-1], np.intc)
            assert not banned(before, engine.vocab_size)[asked[-1]]
        known.add(asked)
    for n in range(len(done.tokens)):
        assert prompt + done.tokens[:n] in known


def test_masks_are_evaluated_ahead(make_fake: MakeFake) -> None:
    """While the target verifies a drafted path, masks beyond its first token are asked."""
    engine = make_fake(target_step_us=20_000, draft_alignment=0.7)
    mask = Mask(engine.vocab_size)
    done = engine.complete("abc", max_tokens=30, mode="speculative", logits_processor=mask)
    text = (*engine.tokenize("abc"), *done.tokens)
    assert [asked for asked in mask.asked if asked != text[: len(asked)]]
    assert done.stats.n_processor_calls == len(mask.asked)
    assert done.stats.processor_wait_ms < done.stats.decode_ms


@pytest.mark.parametrize("mode", MODES)
def test_nothing_beyond_a_stop_string_is_asked(engine: Engine, mode: str) -> None:
    whole = engine.complete(PROMPT, max_tokens=40, mode="autoregressive")
    stop = engine.detokenize(whole.tokens[9:12])
    wanted, seen = Recorder(), Recorder()
    first = engine.complete(
        PROMPT, max_tokens=40, mode="autoregressive", stop=stop, logits_processor=wanted
    )
    assert first.finish_reason == "stop"
    done = engine.complete(PROMPT, max_tokens=40, mode=mode, stop=stop, logits_processor=seen)
    assert done.text == first.text
    assert [ids.tolist() for ids in seen.ids] == [ids.tolist() for ids in wanted.ids]


@pytest.mark.parametrize("mode", MODES)
def test_no_mask_is_asked_behind_a_drafted_end(engine: Engine, mode: str) -> None:
    """Neither behind an end token nor behind a stop string, drafted or not."""
    whole = engine.complete(PROMPT, max_tokens=40, mode="autoregressive")
    stop = engine.detokenize(whole.tokens[20:22])
    n_prompt = len(engine.tokenize(PROMPT, special=True))
    eos = engine.eos_token
    assert eos is not None
    for bias in ({}, {eos: 8.0}):
        mask = Mask(engine.vocab_size)
        engine.complete(
            PROMPT, max_tokens=60, mode=mode, stop=stop, logit_bias=bias,
            logits_processor=mask, temperature=1.0, seed=4,
        )  # fmt: skip
        for asked in mask.asked:
            assert len(asked) < n_prompt + 60
            assert stop not in engine.detokenize(asked[n_prompt:])
            assert not any(map(engine.is_end_token, asked[n_prompt:]))


GBNF = 'root ::= line+\nline ::= " "* [a-z_]+ ("(" [a-z_, ]* ")")? "\\n"\n'
LARK = Lark('start: line+\nline: " "* /[a-z_]/+ ("(" /[a-z_, ]/* ")")? "\\n"')


@pytest.mark.parametrize("grammar", [GBNF, LARK], ids=["gbnf", "lark"])
@pytest.mark.parametrize("mode", MODES)
def test_with_a_grammar(engine: Engine, mode: str, grammar: str | Lark) -> None:
    settings: dict[str, Any] = {
        "max_tokens": 30, "temperature": 0.7, "seed": 5, "grammar": grammar,
    }  # fmt: skip
    wanted = engine.complete(
        PROMPT, mode="autoregressive", logits_processor=ban_and_boost, **settings
    )
    done = engine.complete(PROMPT, mode=mode, logits_processor=ban_and_boost, **settings)
    assert done.tokens == wanted.tokens
    assert done.tokens != engine.complete(PROMPT, mode=mode, **settings).tokens


@pytest.mark.parametrize("mode", MODES)
def test_a_mask_that_allows_nothing_ends_the_text(engine: Engine, mode: str) -> None:
    n_prompt = len(engine.tokenize(PROMPT, special=True))

    class Short(TokenMask):
        def mask(self, input_ids: Ids) -> NDArray[Any]:
            return np.full(engine.vocab_size, len(input_ids) < n_prompt + 5)

    done = engine.complete(PROMPT, max_tokens=30, mode=mode, logits_processor=Short())
    assert (len(done.tokens), done.finish_reason) == (5, "stop")


def test_criteria_may_end_the_text_before_it_begins(engine: Engine) -> None:
    done = engine.complete(PROMPT, max_tokens=9, stopping_criteria=lambda *_: True)
    assert (done.tokens, done.finish_reason) == ((), "stop")


def test_eight_threads_with_functions_of_their_own(engine: Engine) -> None:
    def without(rest: int) -> Callable[[Ids, Scores], Scores]:
        def forbid(ids: Ids, scores: Scores) -> Scores:
            scores[(rest + len(ids)) % 8 :: 8] = -np.inf
            return scores

        return forbid

    def text(rest: int, mode: str) -> tuple[int, ...]:
        return engine.complete(
            PROMPT, max_tokens=16, mode=mode, logits_processor=without(rest)
        ).tokens

    wanted = [text(rest, "autoregressive") for rest in range(8)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda rest: text(rest, "specbranch"), range(8)))
    assert got == wanted
    assert len(set(wanted)) > 1


def test_async_engine(pair: tuple[Path, Path]) -> None:
    async def run() -> list[tuple[int, ...]]:
        async with AsyncEngine(*pair, n_ctx=512, n_threads=1, draft_n_threads=1) as engine:
            settings: dict[str, Any] = {"max_tokens": 20, "logits_processor": ban_and_boost}
            texts = await asyncio.gather(
                *(engine.complete(PROMPT, mode=mode, **settings) for mode in MODES)
            )
            answer = await engine.create_completion(
                PROMPT, stopping_criteria=lambda ids, _: len(ids) > 12, temperature=0.0
            )
            assert answer["choices"][0]["finish_reason"] == "stop"  # type: ignore[index]
            return [text.tokens for text in texts]

    texts = asyncio.run(run())
    assert len(set(texts)) == 1


def test_the_calls_of_llama_cpp_python_take_both(engine: Engine) -> None:
    settings: dict[str, Any] = {"temperature": 0.0, "logits_processor": [ban_and_boost]}
    n_prompt = len(engine.tokenize(PROMPT, special=True))
    done = engine.complete(PROMPT, max_tokens=20, logits_processor=ban_and_boost)
    answer = engine.create_completion(
        PROMPT, max_tokens=40, stopping_criteria=[ends_after(n_prompt + 20)], **settings
    )
    assert answer["choices"][0] == {  # type: ignore[index]
        "text": done.text, "index": 0, "logprobs": None, "finish_reason": "stop",
        "stop_reason": None,
    }  # fmt: skip
    said = [{"role": "user", "content": "hi"}]
    wanted = engine.chat(said, max_tokens=12, logits_processor=ban_and_boost)
    chat = engine.create_chat_completion(said, max_tokens=12, **settings)
    assert chat["choices"][0]["message"]["content"] == wanted.text  # type: ignore[index]
    short = engine.create_chat_completion(
        said, max_tokens=12, stopping_criteria=lambda *_: True, stream=True, **settings
    )
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in short]  # type: ignore[index]
    assert reasons[-1] == "stop"


LLAMA_CPP = """
import json, sys
import llama_cpp, numpy as np
from llama_cpp import Llama, LogitsProcessorList, StoppingCriteriaList

given = json.loads(sys.argv[1])

def banned(ids, n_vocab):
    key = int(np.dot(ids.astype(np.int64), np.arange(1, len(ids) + 1)) % 10007)
    return (np.arange(n_vocab) * 7919 + key) % 5 == 0

def ban_and_boost(ids, scores):
    scores[banned(ids, len(scores))] = -np.inf
    scores[int(ids[-1])] -= 1.0
    return scores

prompt = given["prompt"]
llm = Llama(
    given["path"], n_ctx=512, n_threads=1, n_threads_batch=1, flash_attn=True, verbose=False
)
processors = LogitsProcessorList([ban_and_boost])
tokens = []
for token in llm.generate(prompt, temp=0.0, repeat_penalty=1.0, logits_processor=processors):
    tokens.append(token)
    if len(tokens) == 40:
        break
seen = []
def criterion(ids, logits):
    seen.append(len(ids))
    return len(ids) >= len(prompt) + 7
stopped = list(llm.generate(
    prompt, temp=0.0, repeat_penalty=1.0, logits_processor=processors,
    stopping_criteria=StoppingCriteriaList([criterion]),
))
text = llm.create_completion(
    prompt, max_tokens=40, temperature=0.0, logits_processor=processors,
    stopping_criteria=StoppingCriteriaList([lambda ids, logits: len(ids) >= len(prompt) + 7]),
)["choices"][0]
print(json.dumps([tokens, stopped, seen, text["text"], text["finish_reason"]]))
"""


def test_llama_cpp_python_gives_the_same_text(engine: Engine, pair: tuple[Path, Path]) -> None:
    prompt = engine.tokenize(PROMPT)
    given = json.dumps({"path": str(pair[0]), "prompt": prompt})
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LLAMA_CPP), given],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tokens, stopped, seen, text, reason = json.loads(done.stdout.splitlines()[-1])
    lengths: list[int] = []

    def criterion(ids: Ids, _: Scores) -> bool:
        lengths.append(len(ids))
        return len(ids) >= len(prompt) + 7

    for mode in MODES:
        own = engine.complete(
            prompt, max_tokens=40, mode=mode, logits_processor=LogitsProcessorList([ban_and_boost])
        )
        assert own.tokens == tuple(tokens[: len(own.tokens)])
        assert len(own.tokens) == 40 or engine.is_end_token(tokens[len(own.tokens)])
        lengths.clear()
        short = engine.complete(
            prompt, max_tokens=40, mode=mode, logits_processor=ban_and_boost,
            stopping_criteria=criterion,
        )  # fmt: skip
        assert (list(short.tokens), lengths) == (stopped, seen)
        assert (short.text, short.finish_reason) == (text, reason)
