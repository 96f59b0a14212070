"""Texts propose tokens: without a draft model, from a prediction, a corpus, or earlier answers."""

from __future__ import annotations

import asyncio
from collections import UserString
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import AsyncEngine, Engine, InvalidArgument, Speculation, _core, policies

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

    from specbranch_cpp._engine.text_sources import CorpusText

SETTINGS: dict[str, Any] = {"n_ctx": 512, "n_threads": 1}
N = 60


def answer(engine: Engine, prompt: str = "abc", **options: Any) -> Any:
    return engine.generate(prompt, max_tokens=N, **options).result()


def test_the_default_without_a_draft(tiny: Path) -> None:
    with Engine(tiny, **SETTINGS) as engine:
        assert engine.mode == "auto"
        assert (engine.can_speculate, engine.has_draft) == (True, False)
        assert (engine.lookup, engine.lookup_answers) == (True, True)
        plain = answer(engine, mode="autoregressive")
        for mode in ("auto", "speculative"):
            done = answer(engine, mode=mode, prediction=plain.tokens)
            assert (done.stats.mode, done.tokens) == (mode, plain.tokens)
            assert done.stats.n_draft_steps == 0


def test_lookup_off(tiny: Path) -> None:
    with Engine(tiny, lookup=False, **SETTINGS) as engine:
        assert engine.mode == "autoregressive"
        assert (engine.can_speculate, engine.lookup, engine.lookup_answers) == (False,) * 3
        plain = answer(engine)
        done = answer(engine, prediction=plain.tokens)
        assert done.tokens == plain.tokens
        assert done.stats.n_drafted == 0


@pytest.mark.parametrize("mode", ["pearl", "specbranch"])
def test_modes_that_need_a_draft(tiny: Path, make_fake: MakeFake, mode: str) -> None:
    with pytest.raises(InvalidArgument, match="without a draft it must be one of auto, specul"):
        Engine(tiny, mode=mode, **SETTINGS)
    with pytest.raises(InvalidArgument, match=r"speculation\.mode is .*without a draft"):
        Engine(tiny, speculation=Speculation(mode=mode), **SETTINGS)
    with pytest.raises(InvalidArgument, match="needs a draft model"):
        make_fake(draft=False).generate("abc", mode=mode)


def test_options_that_need_a_draft(tiny: Path) -> None:
    with pytest.raises(InvalidArgument, match="without a draft and lookup it must be 'autoreg"):
        Engine(tiny, mode="auto", lookup=False, **SETTINGS)
    with pytest.raises(InvalidArgument, match=r"policy is .*the engine has no draft"):
        Engine(tiny, policy=policies.Fixed(4), **SETTINGS)


def test_a_prediction_is_verified_instead_of_decoded(make_fake: MakeFake) -> None:
    engine = make_fake(draft=False)
    plain = answer(engine, mode="autoregressive")
    done = answer(engine, mode="speculative", prediction=plain.text)
    assert done.tokens == plain.tokens
    stats = done.stats
    assert stats.n_prediction_accepted > N // 2
    assert stats.n_lookup_accepted >= stats.n_prediction_accepted
    assert stats.n_target_steps < N // 2
    assert "from texts" in str(stats)
    assert any(chunk.from_draft for chunk in engine.generate(
        "abc", max_tokens=N, mode="speculative", prediction=list(plain.tokens)
    ))  # fmt: skip


def test_a_wrong_prediction_changes_no_token(make_fake: MakeFake) -> None:
    engine = make_fake(draft=False)
    plain = answer(engine, mode="autoregressive")
    wrong = "".join(reversed(plain.text))
    for mode in ("speculative", "auto"):
        done = answer(engine, mode=mode, prediction=wrong)
        assert done.tokens == plain.tokens
    assert done.stats.n_prediction_accepted < N // 2


def test_a_part_of_the_prediction_is_rejected(make_fake: MakeFake) -> None:
    engine = make_fake(draft=False, sources={"lookup_answers": False})
    plain = answer(engine, mode="autoregressive")
    other = "z" if plain.text[N // 2] != "z" else "y"
    changed = plain.text[: N // 2] + other + plain.text[N // 2 + 1 :]
    stats = answer(engine, mode="speculative", prediction=changed).stats
    assert stats.n_prediction_accepted > N // 3
    assert stats.n_prediction_rejected > 0


@pytest.mark.parametrize("as_tokens", [False, True])
def test_a_corpus(make_fake: MakeFake, as_tokens: bool) -> None:
    plain = answer(make_fake(draft=False), mode="autoregressive")
    text = list(plain.tokens) if as_tokens else plain.text.encode()
    engine = make_fake(draft=False, sources={"corpus": [text], "lookup_answers": False})
    stats = answer(engine, mode="speculative").stats
    assert stats.n_lookup_accepted > N // 2
    assert stats.n_prediction_accepted == 0


def test_earlier_answers(make_fake: MakeFake) -> None:
    remembering = make_fake(draft=False)
    forgetful = make_fake(draft=False, sources={"lookup_answers": False})
    found = []
    for engine in (remembering, forgetful):
        first = answer(engine, mode="speculative")
        again = answer(engine, mode="speculative")
        assert first.tokens == again.tokens
        found.append((first.stats.n_lookup_accepted, again.stats.n_lookup_accepted))
    assert found[0][1] > found[0][0] + N // 3
    assert found[1][1] == found[1][0]


def test_switches_of_a_call(make_fake: MakeFake) -> None:
    engine = make_fake(draft=False)
    plain = answer(engine, mode="autoregressive", lookup_answers=False)
    options: dict[str, Any] = {"mode": "speculative", "prediction": plain.tokens}
    refused = answer(engine, **options, lookup=False, lookup_answers=False)
    assert refused.stats.n_drafted == 0
    assert answer(engine, mode="speculative", lookup_answers=False).stats.n_lookup_accepted < N // 3
    first = answer(engine, speculation=Speculation(mode="speculative"))
    assert first.stats.n_lookup_accepted < N // 3, "no answer was kept so far"
    assert answer(engine, mode="speculative").stats.n_lookup_accepted > N // 2


def test_a_call_cannot_want_more_than_the_engine(tiny: Path) -> None:
    with Engine(tiny, speculation=Speculation(lookup_answers=False), **SETTINGS) as engine:
        assert (engine.lookup, engine.lookup_answers) == (True, False)
        with pytest.raises(InvalidArgument, match="lookup_answers is True, but it is False for"):
            engine.generate("a", lookup_answers=True)
    with Engine(tiny, lookup=False, **SETTINGS) as engine:
        with pytest.raises(InvalidArgument, match=r"speculation\.lookup is True"):
            engine.generate("a", speculation=Speculation(lookup=True))
        assert engine.generate("a", lookup=False, max_tokens=1).result().tokens


def test_a_corpus_of_files(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "facts.txt"
    file.write_text("A fact is a fact, and é is a letter.", encoding="utf-8")
    with Engine(tiny, corpus=[file, "a text", [5, 6, 7], ""], **SETTINGS) as engine:
        assert answer(engine).tokens == answer(engine, mode="autoregressive").tokens


def test_a_large_corpus_is_read_in_pieces_to_its_end(pair: tuple[Path, Path]) -> None:
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if share == 1.0:  # the weights are read, and the corpus is tokenized
            raise KeyboardInterrupt

    asked: dict[str, Any] = {"mode": "speculative", "temperature": 1.0, "seed": 5}
    with Engine(pair[0], lookup_answers=False, **SETTINGS) as engine:
        without = answer(engine, "import os\n", **asked)
    text = without.text
    large = "nothing that is asked for\n" * 12_000 + text
    with Engine(pair[0], corpus=[large], lookup_answers=False, **SETTINGS) as engine:
        done = answer(engine, "import os\n", **asked)
        assert done.text == text
        assert done.stats.n_lookup_accepted > without.stats.n_lookup_accepted
    with pytest.raises(KeyboardInterrupt):
        Engine(pair[0], corpus=[large * 20], progress_callback=stop, **SETTINGS)
    assert shares[-1] == 1.0


BAD_CORPORA: list[tuple[Any, str]] = [
    ("a text", "corpus is 'a text'"),
    (Path("file.txt"), "put the path into a list"),
    (5, "corpus is 5"),
    ([5], r"corpus\[0\] is 5"),
    (["good", None], r"corpus\[1\] is None.*it must be a text, the path of a text file"),
    ([b"bytes"], r"corpus\[0\] is b'bytes'"),
    ([UserString("x")], r"corpus\[0\]\[0\]"),
    ([[1, -1]], r"corpus\[0\]\[1\] is -1"),
    ([[1, 2.5]], r"corpus\[0\]\[1\] is 2.5"),
    ([[1, 10**6]], "corpus text 0 token 1 is 1000000"),
    (["lone \ud800"], r"corpus\[0\] has a lone surrogate"),
    ([Path("no/such/file.txt")], r"corpus\[0\]: no/such/file.txt cannot be read"),
]


@pytest.mark.parametrize(("corpus", "message"), BAD_CORPORA)
def test_bad_corpora(tiny: Path, corpus: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Engine(tiny, corpus=corpus, **SETTINGS)


def test_a_corpus_that_is_too_large(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specbranch_cpp._engine.text_sources.MAX_CORPUS", 10)
    file = tmp_path / "large.txt"
    file.write_text("12345678")
    corpora: list[tuple[list[CorpusText], str]] = [
        (["abc", file], r"corpus\[1\], .*large\.txt"),
        (["abc", [1] * 8], r"corpus\[1\]"),
        ([file, "abc"], r"corpus\[1\]"),
    ]
    for corpus, name in corpora:
        with pytest.raises(InvalidArgument, match=f"too much text with {name}; .* at most 10 byt"):
            Engine(tiny, corpus=corpus, **SETTINGS)
    with Engine(tiny, corpus=[file, [1, 2]], **SETTINGS) as engine:
        assert engine.lookup


def test_a_file_that_is_no_text(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "picture.bin"
    file.write_bytes(b"abc\xff")
    with pytest.raises(InvalidArgument, match=r"picture\.bin is not UTF-8 at byte 3"):
        Engine(tiny, corpus=[file], **SETTINGS)


def test_options_that_exclude_each_other(tiny: Path) -> None:
    with pytest.raises(InvalidArgument, match="corpus has 1 texts, but lookup is False"):
        Engine(tiny, lookup=False, corpus=["x"], **SETTINGS)
    with pytest.raises(InvalidArgument, match="lookup_answers is True, but lookup is False"):
        Engine(tiny, lookup=False, lookup_answers=True, **SETTINGS)
    both = Speculation(lookup=False, lookup_answers=True)
    with pytest.raises(InvalidArgument, match=r"speculation\.lookup_answers is True, but spec"):
        Engine(tiny, speculation=both, **SETTINGS)
    wrong: Any = 1
    for name in ("lookup", "lookup_answers"):
        with pytest.raises(InvalidArgument, match=f"{name} is 1"):
            Engine(tiny, **{name: wrong}, **SETTINGS)


BAD_PREDICTIONS: list[tuple[Any, str]] = [
    (5, "prediction is 5"),
    (b"abc", "prediction is b'abc'"),
    ({"type": "content", "content": "abc"}, "prediction is {"),
    ([32], r"prediction\[0\] is 32"),
    ([0, True], r"prediction\[1\] is True"),
    ("lone \ud800", "prediction has a lone surrogate"),
    ("a" * 10_000, "the prediction has at least 10000 tokens; it must have fewer than the context"),
    ([0] * 10_000, "the prediction has 10000 tokens"),
]


@pytest.mark.parametrize(("prediction", "message"), BAD_PREDICTIONS)
def test_bad_predictions(make_fake: MakeFake, prediction: Any, message: str) -> None:
    engine = make_fake()
    with pytest.raises(InvalidArgument, match=message):
        engine.generate("abc", prediction=prediction)
    assert len(engine.generate("abc", max_tokens=3, prediction="").result().tokens) == 3


def test_names_of_control_tokens_in_a_prediction_are_text(engine: Engine) -> None:
    request = _core.Request()  # the tokens of a prediction cannot be seen otherwise
    engine._core.set_prediction(request, b"<s> a")
    assert list(request.prediction) == engine.tokenize("<s> a", add_bos=False)


def test_prompt_lookup_of_llama_cpp_python(tiny: Path) -> None:
    """Its object is no draft model here; the error says what stands for it."""

    class LlamaPromptLookupDecoding:
        num_pred_tokens = 10

    draft: Any = LlamaPromptLookupDecoding()
    with pytest.raises(InvalidArgument, match=r"leave draft out.*max_draft=10"):
        Engine(tiny, draft, **SETTINGS)


def test_other_callers_pass_them_on(make_fake: MakeFake) -> None:
    engine = make_fake(draft=False)
    plain = answer(engine, mode="autoregressive")

    async def run() -> Any:
        same = AsyncEngine.of(engine)
        return await same.complete("abc", max_tokens=N, mode="speculative", prediction=plain.tokens)

    done = asyncio.run(run())
    assert done.stats.n_prediction_accepted > 0
    assert engine.complete("abc", max_tokens=9, prediction=plain.text).tokens == plain.tokens[:9]
