"""Pairs whose vocabularies are not quite the same."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, IncompatibleModels, _core, policies

if TYPE_CHECKING:
    from specbranch_cpp.policies import RoundOutcome, RoundState

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
N_VOCAB = 320
LONG = "y" * 60_000


def write_pair(folder: Path, **draft: Any) -> tuple[Path, Path]:
    """A target, and a draft that has the same weights and these differences."""
    target = write_tiny_gguf(folder / "target.gguf", n_vocab=N_VOCAB)
    return target, write_tiny_gguf(folder / "draft.gguf", n_vocab=N_VOCAB, **draft)


def texts(engine: Engine, temperature: float = 1.0) -> list[Any]:
    return [
        engine.complete("def ", max_tokens=60, temperature=temperature, seed=3, mode=mode)
        for mode in MODES
    ]


@pytest.mark.parametrize(
    ("draft", "note"),
    [
        ({"eos": 300}, "the draft has another EOS token"),
        ({"bos": 300}, "the draft has another BOS token"),
        ({"add_bos": False}, "the target adds a BOS token to a prompt and the draft does not"),
        ({"add_eos": True}, "the draft adds an EOS token to a prompt and the target does not"),
    ],
)
def test_only_the_target_reads_and_ends_the_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, draft: dict[str, Any], note: str
) -> None:
    caplog.set_level(logging.INFO, "specbranch_cpp")
    target, other = write_pair(tmp_path, **draft)
    with Engine(target, other, n_ctx=256, measure_costs=False) as engine:
        results = texts(engine)
    assert all(result.tokens == results[0].tokens for result in results)
    assert results[1].stats.n_accepted > 0
    assert note in caplog.text
    assert _core.check_pair(bytes(target), bytes(other)).notes[0].startswith(note)


@pytest.mark.parametrize("text", ["x\n\n", "x\x01y", LONG, "   ", ""])
def test_one_token_with_another_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level(logging.INFO, "specbranch_cpp")
    target, draft = write_pair(tmp_path, token_text={139: text})
    with Engine(target, draft, n_ctx=256, measure_costs=False) as engine:
        results = texts(engine)
    assert all(result.tokens == results[0].tokens for result in results)
    assert "token 139 is" in caplog.text
    assert LONG not in caplog.text
    assert "\x01" not in caplog.text


class Watch:
    """Drafts always, and keeps what was drafted."""

    def __init__(self) -> None:
        self.drafted: set[int] = set()

    def plan(self, state: RoundState) -> policies.Plan:
        for node in state.nodes:
            self.drafted |= {token for token, _confidence in node.candidates}
            if node.parent >= 0:  # the root is the text's newest token
                self.drafted.add(node.token)
        return policies.Plan(draft_length=4)

    def observe(self, outcome: RoundOutcome) -> None:
        pass


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_such_tokens_are_read_but_never_drafted(tmp_path: Path, temperature: float) -> None:
    """The draft has the target's weights, so that it would draft every token of the text."""
    target, same = write_pair(tmp_path)
    options: dict[str, Any] = {"max_tokens": 80, "temperature": temperature, "seed": 5}
    watch = Watch()
    with Engine(target, same, n_ctx=256, measure_costs=False) as engine:
        done = engine.complete("def ", mode="pearl", policy=watch, **options)
    odd = [token for token in dict.fromkeys(done.tokens) if token in watch.drafted][:6]
    assert odd
    watch = Watch()
    _, draft = write_pair(tmp_path, token_text={token: f"<odd {token}>" for token in odd})
    with Engine(target, draft, n_ctx=256, measure_costs=False) as engine:
        again = engine.complete("def ", mode="pearl", policy=watch, **options)
        prompt = engine.complete([*odd, *done.tokens], mode="pearl", policy=watch, **options)
    assert again.tokens == done.tokens
    assert prompt.stats.n_drafted > 0
    assert watch.drafted
    assert not watch.drafted & set(odd)


def test_other_tokenizers_are_refused_with_advice(tmp_path: Path) -> None:
    token_text = {100 + i: LONG + str(i) for i in range(17)}
    target, draft = write_pair(tmp_path, token_text=token_text)
    with pytest.raises(IncompatibleModels) as error:
        Engine(target, draft, n_ctx=256)
    message = str(error.value)
    assert "differ in 17 of 320 tokens, more than 5 %" in message
    assert "token 100 is" in message
    assert "the target's own family" in message
    assert len(message) < 1000
    spm = write_tiny_gguf(tmp_path / "spm.gguf", n_vocab=N_VOCAB, sentencepiece=True)
    with pytest.raises(IncompatibleModels, match=r"byte-level BPE, draft SentencePiece BPE"):
        Engine(target, spm, n_ctx=256)


def test_a_base_model_drafts_for_its_chat_model(real_models: Path, tmp_path: Path) -> None:
    """Base files of Qwen2.5 end texts with another token than the chat models."""
    from gguf import GGUFReader

    target, draft = (real_models / f"qwen2.5-coder-{size}-instruct-q4_0.gguf"
                     for size in ("1.5b", "0.5b"))  # fmt: skip
    base = tmp_path / "base.gguf"
    base.write_bytes(draft.read_bytes())
    eos = GGUFReader(base, "r+").get_field("tokenizer.ggml.eos_token_id")
    assert eos is not None
    assert eos.parts[-1][0] == 151645
    eos.parts[-1][0] = 151643
    with Engine(target, base, n_ctx=256, measure_costs=False) as engine:
        results = [
            engine.complete("def add(a, b):\n", max_tokens=16, temperature=0.0, mode=mode)
            for mode in ("autoregressive", "speculative")
        ]
    assert results[0].text == results[1].text
    assert results[1].stats.n_accepted > 0


def test_real_models_of_two_families(real_models: Path) -> None:
    names = ("qwen2.5-coder-0.5b-instruct-q4_0.gguf", "smollm2-135m-instruct-q4_1.gguf")
    with pytest.raises(IncompatibleModels, match="sizes of the vocabularies"):
        _core.check_pair(*(bytes(real_models / name) for name in names))
