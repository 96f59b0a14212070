"""Options as objects and as keywords: both say the same, and nothing is said twice."""

from __future__ import annotations

import inspect
import os
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, InvalidArgument, Model, Sampling, Speculation, policies
from specbranch_cpp._engine.keywords import model_argument
from specbranch_cpp._engine.text_engine import GenerateKeywords

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

    from specbranch_cpp._core import ModelOptions

DEFAULTS: dict[str, Any] = {
    "n_ctx": 4096,
    "n_batch": 512,
    "n_ctx_total": 0,
    "cache_ram": None,
    "n_ubatch": 512,
    "flash_attn": True,
    "type_k": 1,
    "type_v": 1,
    "n_gpu_layers": 0,
    "main_gpu": 0,
    "devices": [],
    "split_mode": 1,
    "tensor_split": [],
    "n_threads": 0,
    "n_threads_batch": 0,
    "cpus": [],
    "offload_kqv": True,
    "swa_full": True,
    "use_mmap": True,
    "use_mlock": False,
    "check_tensors": True,
    "use_extra_bufts": True,
}
OTHERS: dict[str, Any] = {
    "n_ctx": 300,
    "n_batch": 64,
    "n_ctx_total": 600,
    "cache_ram": 7,
    "n_ubatch": 32,
    "flash_attn": False,
    "type_k": 8,
    "type_v": 30,
    "n_gpu_layers": -1,
    "main_gpu": 1,
    "devices": ["CUDA0"],
    "split_mode": 2,
    "tensor_split": [0.5, 0.25],
    "n_threads": 3,
    "n_threads_batch": 4,
    "cpus": [0, 1],
    "offload_kqv": False,
    "swa_full": False,
    "use_mmap": False,
    "use_mlock": True,
    "check_tensors": False,
    "use_extra_bufts": False,
}
OWN = {"n_threads", "n_threads_batch", "cpus", "n_gpu_layers", "swa_full"}
OF_TARGET = {"swa_full", "n_ctx_total", "cache_ram"}


def names_of(kind: type) -> list[str]:
    return [field.name for field in fields(kind) if field.name != "path"]


def core_options(role: str, model: Model, target: Model | None = None) -> ModelOptions:
    argument = model_argument(role, model, Model(model.path), f"{role}_")
    return (argument if target is None else argument.inheriting(target)).core_options()


def as_dict(options: ModelOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names_of(Model)}


def test_every_field_has_its_keywords() -> None:
    """Names, types and defaults, so that a reader who knows one way knows the other."""
    of_engine = inspect.signature(Engine).parameters
    of_generate = inspect.signature(Engine.generate).parameters
    for kind, keywords, prefix in (
        (Model, of_engine, ""),
        (Model, of_engine, "draft_"),
        (Speculation, of_engine, ""),
        (Speculation, of_generate, ""),
        (Sampling, of_generate, ""),
    ):
        for field in fields(kind):
            if field.name == "path":
                continue
            if prefix and field.name in OF_TARGET:
                assert f"{prefix}{field.name}" not in keywords
                continue
            keyword = keywords[f"{prefix}{field.name}"]
            assert keyword.default is None
            optional = str(field.type).removesuffix(" | None") + " | None"
            assert keyword.annotation == optional, field.name


def test_calls_that_pass_keywords_on_know_all_of_them() -> None:
    parameters = inspect.signature(Engine.generate).parameters
    known = GenerateKeywords.__annotations__
    assert [*known] == [name for name in parameters if name not in {"self", "prompt"}]
    for name, annotation in known.items():
        assert annotation.__forward_arg__ == parameters[name].annotation


def test_nothing_is_decided_by_python_that_the_core_decides(tiny: Path) -> None:
    assert as_dict(core_options("target", Model(tiny))) == DEFAULTS
    assert as_dict(core_options("target", Model(tiny, **OTHERS))) == OTHERS


def test_a_draft_takes_the_targets_values_but_for_its_cpus(tiny: Path) -> None:
    target = Model(tiny, **OTHERS)
    own = {name: DEFAULTS[name] for name in OWN}
    assert as_dict(core_options("draft", Model(tiny), target)) == {**OTHERS, **own}
    assert as_dict(core_options("draft", Model(tiny, **DEFAULTS | {"n_threads": 1,
        "n_threads_batch": 1, "cpus": [5]}), target)) == {**DEFAULTS, "n_threads": 1,
        "n_threads_batch": 1, "cpus": [5], "cache_ram": 7}  # fmt: skip


@pytest.mark.parametrize("devices", [["CPU"], ["cpu", "CPU"]])
def test_the_cpu_as_a_device_takes_no_layers(tiny: Path, devices: list[str]) -> None:
    """Else threads, checks of memory and keys of profiles would count a model on a GPU."""
    target = Model(tiny, n_gpu_layers=-1, devices=devices)
    assert core_options("target", target).n_gpu_layers == 0
    assert core_options("draft", Model(tiny, n_gpu_layers=3), target).n_gpu_layers == 0
    elsewhere = Model(tiny, n_gpu_layers=3, devices=["CUDA0"])
    assert core_options("draft", elsewhere, target).n_gpu_layers == 3
    both = Model(tiny, n_gpu_layers=-1, devices=["CPU", "CUDA0"])
    assert core_options("target", both).n_gpu_layers == -1


def test_a_draft_stays_off_the_gpu_where_the_target_must(tiny: Path) -> None:
    """A number of layers of the target is no number for the draft, but 0 says: no GPU."""
    for of_target, of_draft, expected in (
        (None, None, None), (-1, None, None), (5, None, None), (0, None, 0), (0, 3, 3), (5, 0, 0),
    ):  # fmt: skip
        target = Model(tiny, n_gpu_layers=of_target)
        draft = model_argument("draft", Model(tiny, n_gpu_layers=of_draft), Model(tiny), "draft_")
        assert draft.inheriting(target).model.n_gpu_layers == expected


def test_objects_and_keywords_make_the_same_engine(tiny: Path, tiny_draft: Path) -> None:
    sampling: dict[str, Any] = {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "seed": 5}
    with (
        Engine(tiny, tiny_draft, n_ctx=300, n_threads=1, draft_n_ctx=200, draft_n_threads=1,
               mode="pearl", policy=policies.Fixed(3), max_branches=2, max_draft=4) as by_keywords,
        Engine(Model(tiny, n_ctx=300, n_threads=1), Model(tiny_draft, n_ctx=200, n_threads=1),
               speculation=Speculation("pearl", policies.Fixed(3), 2, 4)) as by_objects,
    ):  # fmt: skip
        assert by_objects.n_ctx == by_keywords.n_ctx == 300
        assert by_objects.mode == by_keywords.mode == "pearl"
        assert repr(by_objects) == repr(by_keywords)
        want = by_keywords.generate("abc", max_tokens=30, mode="speculative", **sampling).result()
        done = by_objects.generate(
            "abc",
            max_tokens=30,
            sampling=Sampling(**sampling),
            speculation=Speculation(mode="speculative"),
        ).result()
    assert done.tokens == want.tokens
    assert (done.stats.mode, done.stats.seed) == ("speculative", 5)
    assert done.stats.n_drafted == want.stats.n_drafted


def test_options_may_be_iterators(tiny: Path, tiny_draft: Path) -> None:
    """They are read when they are checked, when the models are loaded, and for the draft."""
    once: Any = iter([0])
    with Engine(tiny, n_ctx=128, cpus=once, measure_costs=False) as engine:
        assert engine.complete("a", max_tokens=2).tokens
    once = iter(["CUDA0"])
    target = model_argument("target", Model(tiny, devices=once), Model(tiny), "")
    draft = model_argument("draft", tiny_draft, Model(tiny_draft), "draft_")
    for each in (target, draft.inheriting(target.model)) * 2:
        assert each.core_options().devices == ["CUDA0"]


def test_a_path_and_an_object_go_together(tiny: Path, tiny_draft: Path) -> None:
    with Engine(tiny, Model(tiny_draft, n_threads=1), n_ctx=256, n_threads=1) as engine:
        assert engine.n_ctx == 256
        assert engine.can_speculate
    with Engine(Model(tiny, n_ctx=256), str(tiny_draft), draft_n_threads=1) as engine:
        assert engine.model_paths == (os.fspath(tiny), os.fspath(tiny_draft))


TARGET, DRAFT = Model("target.gguf", n_ctx=64), Model("draft.gguf")
TWICE: list[tuple[Any, Any, dict[str, Any], str]] = [
    (TARGET, DRAFT, {"n_ctx": 64}, "n_ctx is 64, but target is a Model"),
    (TARGET, None, {"use_mmap": False}, "use_mmap is False, but target is a Model"),
    ("target.gguf", DRAFT, {"draft_cpus": [1]}, r"draft_cpus is \[1\], but draft is a Model"),
    (TARGET, DRAFT, {"speculation": Speculation(), "max_branches": 4},
     "max_branches is 4, but speculation is a Speculation"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "draft", "keywords", "message"), TWICE)
def test_an_engine_is_told_things_once(
    target: Any, draft: Any, keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Engine(target, draft, **keywords)


@pytest.mark.parametrize("name", names_of(Sampling))
def test_sampling_is_told_once(make_fake: MakeFake, name: str) -> None:
    engine = make_fake()
    value = {"logit_bias": {}, "grammar": "x", "top_k": 0, "seed": 0}.get(name, 0.0)
    keywords: dict[str, Any] = {name: value}
    with pytest.raises(InvalidArgument, match=f"{name} is .*, but sampling is a .*replace"):
        engine.generate("abc", sampling=Sampling(), **keywords)
    keywords[name] = None  # was not said
    engine.generate("abc", sampling=Sampling(), max_tokens=1, **keywords).result()


@pytest.mark.parametrize("name", names_of(Speculation))
def test_speculation_is_told_once(make_fake: MakeFake, name: str) -> None:
    engine = make_fake()
    values = {
        "mode": "pearl", "policy": policies.Fixed(2), "max_branches": 1, "max_draft": 1,
        "lookup": False, "lookup_answers": False,
    }  # fmt: skip
    keywords: dict[str, Any] = {name: values[name]}
    with pytest.raises(InvalidArgument, match=f"{name} is .*, but speculation is a"):
        engine.generate("abc", speculation=Speculation(), **keywords)


WRONG: list[tuple[Any, str]] = [
    (Sampling(temperature="hot"), "sampling.temperature is 'hot'"),  # type: ignore[arg-type]
    (Sampling(temperature=None), "sampling.temperature is None"),  # type: ignore[arg-type]
    (Sampling(logit_bias={99: 1.0}), "sampling.logit_bias token is 99"),
    (Sampling(grammar=""), "sampling.grammar is empty"),
    (Sampling(seed=-1), "sampling.seed is -1"),
    (Speculation(mode=3), "speculation.mode is 3"),  # type: ignore[arg-type]
    (Speculation(max_branches=5), "speculation.max_branches is 5; it must be in 1 .. 4"),
    (Speculation(max_draft=17), "speculation.max_draft is 17"),
    (Speculation("auto", policies.Fixed(2)), "speculation.policy is Fixed"),
    (Speculation("pearl", 3), r"speculation.policy is 3 \("),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_wrong_field_is_named(make_fake: MakeFake, options: Any, message: str) -> None:
    engine = make_fake()
    argument = {type(options).__name__.lower(): options}
    with pytest.raises(InvalidArgument, match=message):
        engine.generate("abc", **argument)
    for name in argument:
        with pytest.raises(InvalidArgument, match=f"{name} is 5; it must be a"):
            engine.generate("abc", **{name: 5})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "draft", "keywords", "message"),
    [
        (Model("t.gguf", n_ctx=1.5), None, {}, "target.n_ctx is 1.5"),  # type: ignore[arg-type]
        (Model("t.gguf"), Model("d.gguf", cpus=[]), {}, "draft.cpus is empty"),
        ("t.gguf", "d.gguf", {"draft_n_threads": 0}, "draft_n_threads is 0"),
        ("t.gguf", "d.gguf", {"type_k": "q3"}, "type_k is 'q3'"),
        (Model(5), None, {}, "target is 5"),  # type: ignore[arg-type]
        ("t.gguf", Model(None), {}, "draft is None"),  # type: ignore[arg-type]
        (
            "t.gguf",
            None,
            {"speculation": Speculation(max_branches=33)},
            "speculation.max_branches is 33",
        ),
        ("t.gguf", None, {"speculation": Speculation("pearl")}, "speculation.mode is 'pearl'"),
        ("t.gguf", None, {"speculation": "pearl"}, "must be a Speculation or None"),
    ],
)
def test_a_wrong_option_of_an_engine_is_named(
    target: Any, draft: Any, keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Engine(target, draft, **keywords)


def test_objects_are_values() -> None:
    one = Sampling(temperature=0.5)
    assert replace(one, seed=1) == Sampling(temperature=0.5, seed=1)
    with pytest.raises(FrozenInstanceError):
        one.seed = 2  # type: ignore[misc]
    assert Model("a", n_ctx=5) == Model("a", n_ctx=5)
    assert len({Speculation("auto"), Speculation("auto"), Speculation("pearl")}) == 2


def test_every_field_is_documented() -> None:
    """By the text behind it, which editors and the reference show."""
    text = Path(inspect.getfile(Model)).read_text()
    for kind in (Model, Speculation, Sampling):
        for field in fields(kind):
            assert f"\n    {field.name}: {field.type}" in text
            behind = text.partition(f"\n    {field.name}: {field.type}")[2].partition("\n")[2]
            assert behind.startswith('    """')
