"""What can be seen of a generation while it runs, and what an engine tells of its models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, demo
from specbranch_cpp.errors import ContextOverflow, EngineClosed, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.python.conftest import MakeFake

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
PROMPT = "import os\n\ndef main():\n"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(*demo.pair(), n_ctx=1024) as made:
        yield made


@pytest.mark.parametrize("mode", MODES)
def test_rounds_arrive_with_their_tokens(engine: Engine, mode: str) -> None:
    generation = engine.generate(PROMPT, max_tokens=48, mode=mode, trace=True, seed=1)
    tokens: list[int] = []
    origins = []
    told: list[int] = []
    expected = []
    n_spans = n_rounds = 0
    for chunk in generation:
        new = generation.trace_since(n_spans, n_rounds)
        n_spans += len(new.spans)
        n_rounds += len(new.rounds)
        for round_ in new.rounds:
            told += round_.committed
            last = "branch" if round_.branch_hit else "target"
            expected += ["draft"] * round_.n_accepted
            expected += [last] * (len(round_.committed) - round_.n_accepted)
        if chunk.token is not None:
            tokens.append(chunk.token)
            origins.append(chunk.origin)
            assert chunk.from_draft == (chunk.origin != "target")
            assert told[: len(tokens)] == tokens
    done = generation.result()
    assert done.trace is not None
    assert tuple(tokens) == tuple(told) == done.tokens
    assert origins == expected
    assert (n_spans, n_rounds) == (len(done.trace.spans), len(done.trace.rounds))
    assert set(origins) <= {"target", "draft", "branch"}
    if mode == "autoregressive":
        assert set(origins) == {"target"}


def test_without_a_trace_there_is_no_record(engine: Engine) -> None:
    generation = engine.generate(PROMPT, max_tokens=4)
    with pytest.raises(InvalidArgument, match="trace=True"):
        generation.trace_since()
    assert len(generation.result().tokens) == 4
    traced = engine.generate(PROMPT, max_tokens=4, trace=True)
    with pytest.raises(InvalidArgument, match="n_spans is -1"):
        traced.trace_since(-1)


def test_the_prompt_is_counted(engine: Engine) -> None:
    first = engine.generate(PROMPT * 40, max_tokens=1)
    waiting = engine.generate(PROMPT, max_tokens=1)
    assert first.n_prompt == first.result().stats.n_prompt == first.n_prefilled
    assert waiting.result().stats.n_prompt == waiting.n_prefilled


def test_alternatives_come_with_the_chunks(engine: Engine) -> None:
    generation = engine.generate(PROMPT, max_tokens=6, logprobs=3)
    chunks = [chunk for chunk in generation if chunk.token is not None]
    entries = generation.result().logprobs
    assert entries is not None
    assert [chunk.top for chunk in chunks] == [entry.top for entry in entries]
    assert all(chunk.top is not None and len(chunk.top) == 3 for chunk in chunks)
    plain = next(iter(engine.generate(PROMPT, max_tokens=1)))
    assert plain.top is None


def test_an_engine_tells_of_its_models(engine: Engine, make_fake: MakeFake) -> None:
    target, draft = demo.pair()
    assert engine.model_paths == (str(target), str(draft))
    assert engine.mode == "auto"
    assert engine.can_speculate
    assert engine.metadata["general.architecture"] == "llama"
    assert engine.metadata["llama.context_length"] == "4096"
    assert engine.chat_template is None
    eos = engine.eos_token
    assert eos is not None
    assert engine.is_end_token(eos)
    assert not engine.is_end_token(300)
    assert engine.detokenize([eos]) == ""
    assert engine.detokenize([eos, *engine.tokenize("hi", add_bos=False)], special=True) == (
        "<|endoftext|>hi"
    )
    with pytest.raises(InvalidArgument, match="token is -1"):
        engine.is_end_token(-1)
    fake = make_fake(draft=False)
    assert not fake.has_draft
    assert fake.can_speculate
    assert fake.metadata == {}


def test_what_cannot_fit_is_refused_before_it_is_read(engine: Engine) -> None:
    longest = max(len(engine.detokenize([i], special=True).encode()) for i in range(4096))
    too_long = " " * (1023 * longest + 1)
    with pytest.raises(
        ContextOverflow, match=f"{len(too_long)} bytes, which are at least 1024 tokens"
    ):
        engine.generate(too_long)
    with pytest.raises(ContextOverflow, match=r"at least \d+ tokens; with the context of 1024"):
        engine.chat(too_long)
    with pytest.raises(ContextOverflow, match=r"the prompt has \d+ tokens"):
        engine.generate("x(" * 2000)  # no token is known to be that long before it is read
    assert engine.complete("def", max_tokens=1).stats.n_generated == 1


def test_the_template_is_the_models_or_the_given_one(tmp_path: Path) -> None:
    template = "{% for m in messages %}" + "ä" * 300 + "{{ m.content }}{% endfor %}"
    path = write_tiny_gguf(tmp_path / "chat.gguf", metadata={"tokenizer.chat_template": template})
    with Engine(path) as engine:
        assert engine.chat_template == template
        assert not engine.has_draft
        assert engine.mode == "auto"
    with Engine(path, chat_template="{{ messages }}") as engine:
        assert engine.chat_template == "{{ messages }}"
    assert engine.chat_template == "{{ messages }}"  # closed
    with pytest.raises(EngineClosed):
        engine.is_end_token(0)
    with pytest.raises(InvalidArgument, match="chat_template is 3"):
        Engine(path, chat_template=3)  # type: ignore[arg-type]
