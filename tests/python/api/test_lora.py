"""LoRA adapters of the target: equal texts in every mode, nothing reused across sets of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tiny_hybrid import write_tiny_hybrid
from tests.python.support.tiny_lora import PROJECTIONS, write_lora

from specbranch_cpp import Engine, InvalidArgument, Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.python.conftest import MakeFake

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
PROMPT = "def fibonacci(n):\n    "
LONG = "def add(a, b):\n    return a + b\n\n" * 16  # several chunks of 128 tokens
THREADS: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1, "measure_costs": False}
SETTINGS: tuple[dict[str, Any], ...] = ({}, {"temperature": 0.8, "seed": 5})


@pytest.fixture(scope="module")
def adapters(
    tmp_path_factory: pytest.TempPathFactory, pair: tuple[Path, Path]
) -> tuple[Path, Path]:
    """Two adapters of the bundled target, of different ranks and types."""
    folder = tmp_path_factory.mktemp("lora")
    return (
        write_lora(folder / "first.gguf", pair[0], strength=0.5, seed=1),
        write_lora(folder / "second.gguf", pair[0], rank=8, weight_type="F32", strength=0.5,
                   only=("attn_q.weight", "ffn_down.weight"), seed=2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapted(pair: tuple[Path, Path], adapters: tuple[Path, Path]) -> Iterator[Engine]:
    """An engine with both adapters loaded, the first one on.

    Texts would make long batches, in which matrices of floats round otherwise.
    """
    lora: list[Any] = [adapters[0], (adapters[1], 0.0)]
    with Engine(pair[0], pair[1], lora=lora, n_ctx=2048, lookup=False, **THREADS) as engine:
        yield engine


def tokens(engine: Engine, prompt: str = PROMPT, **options: Any) -> tuple[int, ...]:
    # Texts would make long batches, in which matrices of floats round otherwise.
    settings: dict[str, Any] = {"max_tokens": 40, "lookup": False} | options
    return tuple(engine.generate(prompt, **settings).result().tokens)


@pytest.mark.parametrize("lora", [None, [], ["second"], [("first", -0.7), (1, 0.5)]])
def test_every_mode_gives_the_same_text(adapted: Engine, lora: Any) -> None:
    for settings in SETTINGS:
        want = tokens(adapted, mode="autoregressive", lora=lora, **settings)
        for mode in MODES[1:]:
            assert (mode, tokens(adapted, mode=mode, lora=lora, **settings)) == (mode, want)


def test_texts_propose_tokens_with_bit_exact(
    pair: tuple[Path, Path], adapters: tuple[Path, Path]
) -> None:
    options: dict[str, Any] = {"bit_exact": True, "lookup_answers": False, "n_ctx": 1024}
    lora: list[Any] = [adapters[0], (adapters[1], 0.5)]
    with Engine(pair[0], pair[1], lora=lora, **options, **THREADS) as engine:
        wanted = [tokens(engine, mode="autoregressive", **settings) for settings in SETTINGS]
    # Whether `auto` drafts depends on the clock; `speculative` needs to be without a draft model.
    for mode, draft in (("auto", pair[1]), ("speculative", None)):
        n_accepted = 0
        with Engine(pair[0], draft, lora=lora, **options, **THREADS) as engine:
            for plain, settings in zip(wanted, SETTINGS, strict=True):
                for prediction in (None, list(plain)):
                    done = engine.generate(
                        PROMPT, mode=mode, prediction=prediction, max_tokens=40, **settings
                    ).result()
                    assert done.tokens == plain
                    n_accepted += done.stats.n_lookup_accepted
        assert mode == "auto" or n_accepted > 0


def test_an_adapter_changes_the_text_by_its_scale(adapted: Engine, engine: Engine) -> None:
    texts = [tokens(adapted, lora=[(0, scale)]) for scale in (0.0, 0.5, 1.0, -1.0)]
    assert len(set(texts)) == len(texts)
    assert texts[0] == tokens(adapted, lora=[]) == tokens(engine)
    assert texts[2] == tokens(adapted) == tokens(adapted, lora="first")


def test_the_scale_is_multiplied_by_alpha_over_rank(
    pair: tuple[Path, Path], tmp_path: Path, adapted: Engine
) -> None:
    """As PEFT and llama.cpp define it. Powers of two keep the bits."""
    path = write_lora(tmp_path / "half.gguf", pair[0], strength=0.5, seed=1, alpha=2.0)
    with Engine(pair[0], lora=[(path, 2.0)], n_ctx=512, n_threads=1) as engine:
        (adapter,) = engine.lora_adapters
        assert (adapter.alpha, adapter.rank, adapter.scale) == (2.0, 4, 2.0)
        assert tokens(engine) == tokens(adapted, mode="autoregressive", lora=["first"])


def test_switching_gives_the_texts_of_fresh_engines(
    pair: tuple[Path, Path], adapters: tuple[Path, Path], adapted: Engine
) -> None:
    """The long prompt would be reused, if cells knew only their tokens."""
    sets: tuple[list[tuple[int, float]], ...] = ([(0, 1.0)], [], [(1, 1.0)], [(0, 1.0), (1, 1.0)])
    fresh = []
    for lora in sets:
        files = [(adapters[index], scale) for index, scale in lora]
        with Engine(*pair, lora=files, n_ctx=2048, **THREADS) as engine:
            fresh.append(tokens(engine, LONG, lookup=False))
    assert len(set(fresh)) == len(fresh)
    for i in (0, 1, 2, 0, 3, 3, 1, 0):
        for mode in ("specbranch", "autoregressive"):
            assert tokens(adapted, LONG, lora=sets[i], mode=mode) == fresh[i]


def test_texts_of_several_sets_in_turn_reuse_their_own_prefixes(
    pair: tuple[Path, Path], adapters: tuple[Path, Path]
) -> None:
    """They begin alike, and each set has a sequence."""
    with Engine(
        pair[0], lora=list(adapters), n_parallel=2, n_ctx=2048, n_threads=1, measure_costs=False
    ) as engine:
        for turn in range(3):
            for lora in ([0], [1]):
                done = engine.complete(LONG, lora=lora, max_tokens=4)
                assert (done.stats.n_reused >= 128) == (turn > 0)


@pytest.mark.parametrize("prefix_reuse", ["exact", "fast"])
def test_only_the_same_set_reuses_a_prefix(
    pair: tuple[Path, Path], adapters: tuple[Path, Path], prefix_reuse: str
) -> None:
    def reused(**options: Any) -> int:
        done = engine.generate(LONG, max_tokens=4, **options).result()
        return done.stats.n_reused

    options: dict[str, Any] = {
        "lora": list(adapters), "prefix_reuse": prefix_reuse, "n_ctx": 2048, **THREADS,
    }  # fmt: skip
    with Engine(*pair, **options) as engine:  # each set has a copy of its own
        assert [reused(lora=lora) for lora in ([0, 1], [0], [], [1])] == [0] * 4
        assert min(reused(lora=lora) for lora in ([0, 1], [0], [], [1])) >= 128
        assert reused(lora=[(0, 0.5)]) == 0
    with Engine(*pair, cache_ram=0, **options) as engine:
        assert reused() == 0
        again = reused()
        assert again >= 128
        assert reused(lora=[]) == 0
        assert reused(lora=[(0, 0.0)]) == again  # nothing acts either
        assert reused(lora=[0, 1]) == 0
        assert reused(lora=[(1, 1.0), (0, 1.0)]) == again  # the order says nothing
        assert reused() == again
        assert reused(lora=[(0, 0.5), 1]) == 0


def test_states_of_prompts_are_not_reused_across_sets(tmp_path: Path) -> None:
    """A hybrid model keeps states at the borders of chunks."""
    model = write_tiny_hybrid(tmp_path / "hybrid.gguf", sharpness=2.0)
    path = write_lora(tmp_path / "lora.gguf", model, only=(*PROJECTIONS, "in_proj.weight"))
    other = LONG[:300] + "x = 1\n"
    options: dict[str, Any] = {"n_ctx": 1024, **THREADS}
    fresh = {}
    for scale in (0.0, 1.0):
        with Engine(model, model, lora=[(path, scale)], **options) as engine:
            for prompt in (LONG, other):
                fresh[prompt, scale] = tokens(engine, prompt, mode="autoregressive")
    assert fresh[LONG, 0.0] != fresh[LONG, 1.0]
    with Engine(model, model, lora=path, **options) as engine:
        for prompt, scale in ((LONG, 1.0), (LONG, 0.0), (other, 1.0), (other, 0.0), (LONG, 0.0),
                              (LONG, 1.0), (other, 1.0)):  # fmt: skip
            for mode in ("autoregressive", "specbranch"):
                got = tokens(engine, prompt, mode=mode, lora=[(0, scale)])
                assert got == fresh[prompt, scale]


@pytest.mark.parametrize("weight_type", ["F32", "F16", "BF16", "Q8_0"])
def test_bit_exact_holds_with_and_without_adapters(
    tmp_path: Path, empty_cache: Path, weight_type: str
) -> None:
    """The rows of Q8_0 agree as they are; those of an adapter do not, which Q8_0 mostly hides."""
    assert not empty_cache.exists()
    model = write_tiny_gguf(tmp_path / "t.gguf", weight_type="Q8_0", context_length=1024)
    draft = write_tiny_gguf(tmp_path / "d.gguf", weight_type="Q8_0", n_layer=1)
    rank = 32 if weight_type == "Q8_0" else 4
    path = write_lora(tmp_path / "lora.gguf", model, rank=rank, weight_type=weight_type)
    options: dict[str, Any] = {"n_ctx": 1024, "bit_exact": True, **THREADS}
    logprobs: dict[str, Any] = {"max_tokens": 40, "logprobs": 1, "temperature": 0.8, "seed": 3}
    found = set()
    for _ in range(2):  # the second time from the cache
        with Engine(model, draft, lora=[(path, 0.0)], **options) as engine:
            assert engine.exact_rows is not None
            found.add(engine.exact_rows)
            assert (engine.exact_rows.multiple > 1) == (weight_type != "Q8_0")
            for lora in ([], [0], [(0, 3.0)]):
                want = engine.generate(LONG, mode="autoregressive", lora=lora, **logprobs).result()
                for mode in MODES[1:]:
                    got = engine.generate(LONG, mode=mode, lora=lora, **logprobs).result()
                    assert got.logprobs == want.logprobs
    assert len(found) == 1


def test_bit_exact_finds_rows_for_each_set_of_files(
    tmp_path: Path, empty_cache: Path, tiny: Path
) -> None:
    """What was found without adapters says nothing of them."""
    path = write_lora(tmp_path / "lora.gguf", tiny, weight_type="F32")
    n_entries = []
    for lora in (None, path, [(path, 2.0)], path, None):
        with Engine(tiny, lora=lora, n_ctx=256, n_threads=1, bit_exact=True):
            entries = json.loads((empty_cache / "exact_rows.json").read_text())["entries"]
            n_entries.append(len(entries))
    assert n_entries == [1, 2, 3, 3, 3]


def test_an_embedding_and_an_output_can_be_adapted(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "t.gguf")
    with Engine(model, model, n_ctx=256, **THREADS) as engine:
        plain = tokens(engine)
    for name in ("token_embd.weight", "output.weight"):
        path = write_lora(tmp_path / "lora.gguf", model, only=[name], strength=4.0)
        with Engine(model, model, lora=path, n_ctx=256, **THREADS) as engine:
            want = tokens(engine, mode="autoregressive")
            assert want != plain
            assert all(tokens(engine, mode=mode) == want for mode in MODES[1:])


def test_adapters_have_names_and_facts(adapted: Engine, adapters: tuple[Path, Path]) -> None:
    first, second = adapted.lora_adapters
    assert [first.name, second.name] == ["first", "second"]
    assert [first.path, second.path] == [str(path) for path in adapters]
    assert [first.scale, second.scale] == [1.0, 0.0]
    assert [first.rank, second.rank] == [4, 8]
    size = adapters[0].stat().st_size
    assert size / 2 < first.n_bytes < size


def test_adapters_can_be_named_by_their_paths(adapted: Engine, adapters: tuple[Path, Path]) -> None:
    assert tokens(adapted, lora=str(adapters[1])) == tokens(adapted, lora=1)
    assert tokens(adapted, lora=np.int64(1)) == tokens(adapted, lora=1)


def test_one_adapter_needs_no_list(pair: tuple[Path, Path], adapters: tuple[Path, Path]) -> None:
    texts = []
    for options in (
        {"lora": adapters[0]},
        {"lora": str(adapters[0])},
        {"lora": [str(adapters[0])]},
        {"lora": [(adapters[0], 1.0)]},
        {"lora_path": str(adapters[0])},
        {"lora_path": adapters[0], "lora_scale": 1.0},
    ):
        arguments: dict[str, Any] = options
        with Engine(Model(pair[0], n_ctx=512, n_threads=1), **arguments) as engine:
            texts.append(tokens(engine))
    assert len(set(texts)) == 1


def test_the_openai_calls_take_adapters(adapted: Engine) -> None:
    def text(lora: Any) -> str:
        done: Any = adapted.create_completion(PROMPT, max_tokens=30, temperature=0.0, lora=lora)
        return str(done["choices"][0]["text"])

    def answer(lora: Any) -> str:
        done: Any = adapted.create_chat_completion(
            [{"role": "user", "content": "hello"}], max_tokens=30, temperature=0.0, lora=lora
        )
        return str(done["choices"][0]["message"]["content"])

    for call in (text, answer):
        assert call(None) == call([0]) != call([])
        assert call([1]) == call([(1, 1.0)]) != call([])


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ("third", "lora[0] is 'third'; it must be one of 'first', 'second', or an index"),
        ([2], "lora[0] is 2; it must be in 0 .. 1"),
        ([-1], "lora[0] is -1; it must be in 0 .. 1"),
        ([0, 0], "the index of an adapter is 0; it is given twice"),
        ([("first", 1.0), (0, 0.0)], "the index of an adapter is 0; it is given twice"),
        ([(0, float("nan"))], "the scale of adapter 0 is nan; it must be a finite number"),
        ([(0, float("inf"))], "the scale of adapter 0 is inf; it must be a finite number"),
        ([(0, "1")], "lora[0][1] is '1' (str); it must be a number"),
        ([(0, 1e39)], "lora[0][1] is 1e+39; it must fit into a 32-bit floating point number"),
        ([(0, 1.0, 2.0)], "lora[0] is (0, 1.0, 2.0); it must have two elements"),
        ([0.5], "lora[0] is 0.5 (float); it must be an integer"),
        (0.5, "lora is 0.5; it must be a sequence of names, indexes, or pairs with a scale"),
    ],
)
def test_wrong_choices_are_refused(adapted: Engine, lora: Any, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        adapted.generate(PROMPT, lora=lora)
    assert words in str(caught.value)


def test_an_engine_without_adapters_says_so(make_fake: MakeFake) -> None:
    engine = make_fake()
    assert engine.lora_adapters == ()
    with pytest.raises(InvalidArgument, match="created without adapters"):
        engine.generate("abc", lora=[0])
    assert engine.generate("abc", lora=[], max_tokens=3).result().tokens


def test_a_name_of_two_adapters_is_no_name(
    pair: tuple[Path, Path], adapters: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = tmp_path / adapters[0].name
    copy.write_bytes(adapters[1].read_bytes())
    with Engine(pair[0], lora=[adapters[0], copy], n_ctx=256, n_threads=1) as engine:
        with pytest.raises(InvalidArgument, match="2 adapters have this name; give an index"):
            engine.generate(PROMPT, lora="first")
        assert tokens(engine, lora=str(copy)) == tokens(engine, lora=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lora": "a.gguf", "lora_path": "a.gguf"}, "lora_path is 'a.gguf', but lora is given too"),
        ({"lora_scale": 2.0}, "lora_scale is 2.0, but there is no lora_path"),
        ({"lora": 5}, "lora is 5; it must be a path, or a sequence of paths or (path, scale)"),
        ({"lora": [5]}, "lora[0] is 5 (int); it must be a path"),
        ({"lora": [("a.gguf", None)]}, "lora[0][1] is None (NoneType); it must be a number"),
        ({"lora": [("a.gguf", float("inf"))]}, "the scale of an adapter is not finite; inf"),
        ({"lora": [""]}, "the path of an adapter is empty"),
        ({"lora": ["a\0b"]}, "a path must have no zero byte"),
    ],
)
def test_wrong_files_are_refused(tiny: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Engine(tiny, n_ctx=64, **options)
    assert words in str(caught.value)


def test_a_profile_belongs_to_its_adapters(
    tiny: Path, tiny_draft: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_lora(tmp_path / "lora.gguf", tiny)
    profile = tmp_path / "profile.json"
    options: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "draft_n_threads": 1}
    for scale, ignored in ((1.0, False), (1.0, False), (0.5, True)):
        caplog.clear()
        with Engine(tiny, tiny_draft, lora=[(path, scale)], profile=profile, **options) as engine:
            tokens(engine)
        assert ("from other models" in caplog.text) == ignored


def test_the_memory_counts_adapters(tiny: Path, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "lora.gguf", tiny, weight_type="F32")
    needed = []
    for n in range(3):
        with Engine(tiny, lora=[path] * n, n_ctx=256, n_threads=1) as engine:
            assert engine.placement is not None
            needed.append(engine.placement.target.memory["CPU"])
            n_bytes = [each.n_bytes for each in engine.lora_adapters]
    assert needed[1] > needed[0] + n_bytes[0]  # a pass needs more, too
    assert needed[2] == needed[1] + n_bytes[0]


@pytest.mark.timeout(900)
def test_real_models_keep_their_texts(real_models: Path, tmp_path: Path) -> None:
    target = real_models / "qwen2.5-coder-0.5b-instruct-q8_0.gguf"
    draft = real_models / "qwen2.5-coder-0.5b-instruct-q4_0.gguf"
    path = write_lora(tmp_path / "lora.gguf", target, strength=0.05)
    options: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "draft_n_threads": 1}
    texts: dict[tuple[int, int], tuple[int, ...]] = {}
    with Engine(target, draft, lora=path, bit_exact=True, **options) as engine:
        for scale, modes in ((1, MODES), (0, MODES), (1, ("specbranch",))):
            for i, settings in enumerate(SETTINGS):
                for mode in modes:
                    got = tokens(engine, mode=mode, lora=[(0, scale)], max_tokens=16, **settings)
                    assert (mode, got) == (mode, texts.setdefault((scale, i), got))
    assert texts[0, 0] != texts[1, 0]
    assert texts[0, 1] != texts[1, 1]


def test_texts_with_different_adapters_run_at_once(
    pair: tuple[Path, Path], adapters: tuple[Path, Path], adapted: Engine
) -> None:
    """They share no batch: llama.cpp has one set of adapters for all rows of one."""
    sets: list[Any] = [None, [], ["second"], [("first", -0.7), (1, 0.5)], [], None]
    alone = [tokens(adapted, lora=lora, mode="autoregressive", max_tokens=12) for lora in sets]
    assert len(set(alone)) == 4
    lora: list[Any] = [adapters[0], (adapters[1], 0.0)]
    with Engine(
        pair[0], pair[1], lora=lora, n_ctx=512, lookup=False, n_parallel=4, **THREADS
    ) as engine:
        for mode in ("autoregressive", "specbranch"):
            running = [
                engine.generate(PROMPT, lora=lora, mode=mode, max_tokens=12) for lora in sets
            ]
            found = [tuple(generation.result().tokens) for generation in running]
            assert all(len(text) == 12 for text in found)
            # One or two may have met a near-tie (docs/exactness.md).
            assert sum(a == b for a, b in zip(found, alone, strict=True)) >= 4


def test_one_adapter_and_its_scale(adapted: Engine) -> None:
    name = adapted.lora_adapters[0].name
    options: dict[str, Any] = {"max_tokens": 12}
    expected = str(adapted.complete(PROMPT, lora=[(name, 0.5)], **options))
    pair: Any = (name, 0.5)
    assert str(adapted.complete(PROMPT, lora=pair, **options)) == expected
    pair = (name, 1)  # and not adapter 1, too
    only = str(adapted.complete(PROMPT, lora=[name], **options))
    assert str(adapted.complete(PROMPT, lora=pair, **options)) == only
