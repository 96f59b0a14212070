"""H-RAD: what rounds are remembered by, the traces on the disk, the file of weights."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from specbranch_cpp import Engine, InvalidArgument, demo, policies
from specbranch_cpp._support.prompt_file import read_prompts
from specbranch_cpp.cli import app
from specbranch_cpp.cli.hrad import as_json
from specbranch_cpp.hrad import (
    LABELS,
    Classifier,
    TraceSettings,
    collect,
    fate,
    load_traces,
    rounds_of,
)
from specbranch_cpp.hrad.scores import Score, best_epsilon, by_confidence, with_rule

if TYPE_CHECKING:
    from pathlib import Path

    from tests.python.conftest import MakeFake

    from specbranch_cpp import Completion

NONE, SOME, ALL = range(3)


def traced(engine: Engine, *, mode: str = "specbranch", temperature: float = 0.8) -> Completion:
    return engine.generate(
        "a begin", max_tokens=80, mode=mode, temperature=temperature, seed=3, trace=True,
        n_feature_layers=2,
    ).result()  # fmt: skip


@pytest.mark.parametrize(
    ("window", "text", "expected"),
    [
        ((1, 2, 3), (1, 2, 3, 4), ALL),
        ((1, 2, 3), (1, 2, 3), ALL),
        ((1, 2, 3), (1, 2, 9), SOME),
        ((1, 2, 3), (9,), NONE),
        ((1,), (1,), ALL),
        ((1, 2, 3), (1, 2), -1),  # the text ended
        ((1, 2, 3), (), -1),
    ],
)
def test_fate(window: tuple[int, ...], text: tuple[int, ...], expected: int) -> None:
    assert fate(window, text) == expected


@pytest.mark.parametrize("mode", ["speculative", "pearl", "specbranch"])
def test_features_belong_to_the_window_after_them(make_fake: MakeFake, mode: str) -> None:
    engine = make_fake(draft_alignment=0.8, end_every=0)
    done = traced(engine, mode=mode)
    assert done.trace is not None
    text = [*engine.tokenize("a begin"), *done.tokens]
    n_windows = 0
    for number, one in enumerate(done.trace.rounds):
        if number == 0:
            assert one.features is None
            continue
        assert one.features is not None
        assert one.features.shape == (12,)
        assert not one.features.flags.writeable
        # The fake's features: position and token of the last verified place, the layer from the
        # end, a number; then the embedding of the newest token.
        position, token, layer = one.features[:3]
        assert position == one.position - 1
        assert token == text[one.position - 1]
        assert layer == 2
        assert one.features[8] == text[one.position]
        assert len(one.confidence) == len(one.window)
        n_windows += bool(one.window)
        for verified in one.window[: one.n_accepted]:
            assert verified in text
    assert n_windows > 5

    records = rounds_of(done.trace.rounds, temperature=0.8, prompt=4)
    assert len(records) == n_windows
    for row in range(len(records)):
        assert records.features[row, 0] == records.position[row] - 1
        begin = int(records.position[row]) + 1
        window = [int(drafted) for drafted in records.window[row] if drafted >= 0]
        after = text[begin : begin + len(window)]
        label = records.label[row]
        if after == window:
            assert label == ALL
        elif window[: len(after)] == after:
            assert label == -1
        else:
            assert label == (SOME if window[0] == after[0] else NONE)
    assert set(records.label) >= {NONE, SOME}


def test_features_do_not_change_the_text(engine: Engine) -> None:
    for temperature in (0.0, 0.8):
        plain = engine.generate("def read(", max_tokens=60, temperature=temperature, seed=5)
        traced_too = engine.generate(
            "def read(", max_tokens=60, temperature=temperature, seed=5, trace=True,
            n_feature_layers=1,
        )  # fmt: skip
        done = traced_too.result()
        assert done.tokens == plain.result().tokens
        assert done.trace is not None
        assert done.trace.rounds[-1].features is not None
        assert np.isfinite(done.trace.rounds[-1].features).all()


def test_layers_are_checked(make_fake: MakeFake) -> None:
    engine = make_fake()
    assert engine.n_feature_layers == 6
    with pytest.raises(InvalidArgument, match=r"n_feature_layers is 7; .* at most 6"):
        engine.generate("a", trace=True, n_feature_layers=7)
    with pytest.raises(InvalidArgument, match="n_feature_layers is -1"):
        engine.generate("a", trace=True, n_feature_layers=-1)
    with pytest.raises(InvalidArgument, match="n_feature_layers is 1, but trace is False"):
        engine.generate("a", n_feature_layers=1)
    with pytest.raises(InvalidArgument, match="gives no features"):
        make_fake(target_n_feature_layers=0).generate("a", trace=True, n_feature_layers=1)


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Files in the place of models; the engines are fakes."""
    for name in ("target", "draft"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path / "target", tmp_path / "draft"


SETTINGS = TraceSettings(n_layers=2, max_tokens=40)


def test_collecting_goes_on_where_it_was(
    make_fake: MakeFake, models: tuple[Path, Path], tmp_path: Path
) -> None:
    engine = make_fake(draft_alignment=0.8, n_ctx=60)
    folder = tmp_path / "traces"
    calls: list[tuple[int, int, int]] = []

    def run(prompts: list[str]) -> Any:
        return collect(
            engine, *models, prompts, folder, settings=SETTINGS, temperatures=[0.0, 0.8],
            progress=lambda *call: calls.append(call),
        )  # fmt: skip

    first = run(["abc", "hello"])
    assert first.n_texts == 4
    assert calls[-1] == (4, 4, first.n_rounds)
    files = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert len(files) == 4
    # A crash leaves at most a part under another name.
    (folder / ".part.npz.1.part").write_bytes(b"half")
    again = run(["abc", "hello", "more", "more", "x" * 70])
    assert (again.n_texts, again.n_skipped) == (6, 2)
    assert {path: path.stat().st_mtime_ns for path in files} == files

    records, settings, prompts = load_traces([folder])
    assert len(records) == again.n_rounds
    assert len(prompts) == 3
    assert records.features.dtype == np.float16
    assert records.features.shape[1] == 3 * settings["n_embd"]
    assert set(np.round(records.temperature.tolist(), 3)) == {0.0, 0.8}

    # The same settings give the same records.
    other = tmp_path / "other"
    collect(
        engine, *models, ["abc", "hello", "more"], other, settings=SETTINGS,
        temperatures=[0.0, 0.8],
    )  # fmt: skip
    same, _, _ = load_traces([other])
    np.testing.assert_array_equal(same.features, records.features)
    np.testing.assert_array_equal(same.label, records.label)


def test_temperatures_that_are_nearly_the_same_have_files_of_their_own(
    make_fake: MakeFake, models: tuple[Path, Path], tmp_path: Path
) -> None:
    near = [0.8, 0.80000001]
    found = collect(
        make_fake(), *models, ["abc"], tmp_path / "traces", settings=SETTINGS, temperatures=near
    )
    assert found.n_texts == len([*(tmp_path / "traces").glob("*-t0.8*.npz")]) == 2


def test_traces_do_not_mix(make_fake: MakeFake, models: tuple[Path, Path], tmp_path: Path) -> None:
    engine = make_fake()
    folder = tmp_path / "traces"
    collect(engine, *models, ["abc"], folder, settings=SETTINGS)
    with pytest.raises(InvalidArgument, match="another max_tokens: 40, not 41"):
        collect(engine, *models, ["abc"], folder, settings=TraceSettings(n_layers=2, max_tokens=41))
    models[0].write_bytes(b"another model")
    with pytest.raises(InvalidArgument, match="another target_sha256"):
        collect(engine, *models, ["abc"], folder, settings=SETTINGS)
    other = tmp_path / "other"
    collect(engine, *models, ["abc"], other, settings=SETTINGS)
    with pytest.raises(InvalidArgument, match="another target_sha256"):
        load_traces([folder, other])
    with pytest.raises(InvalidArgument, match=r"n_layers is 7; it must be in 1 \.\. 6"):
        collect(engine, *models, ["abc"], tmp_path / "x", settings=TraceSettings(n_layers=7))
    with pytest.raises(InvalidArgument, match="architecture"):
        collect(make_fake(target_n_feature_layers=0), *models, ["abc"], tmp_path / "x")
    with pytest.raises(InvalidArgument, match="has no traces"):
        load_traces([tmp_path / "nowhere"])
    broken = next(folder.glob("*.npz"))
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(InvalidArgument, match="contains no records"):
        load_traces([folder])


def test_a_failed_start_leaves_the_folder_usable(
    make_fake: MakeFake, models: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "traces"
    engine = make_fake()
    too_long = dataclasses.replace(SETTINGS, max_draft=17)
    with pytest.raises(InvalidArgument, match=r"max_draft is 17; it must be in 1 \.\. 16"):
        collect(engine, *models, ["abc"], folder, settings=too_long)
    assert collect(engine, *models, ["abc"], folder, settings=SETTINGS).n_texts == 1
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "settings.json").write_text('{"editor.tabSize": 4}', encoding="utf-8")
    with pytest.raises(InvalidArgument, match="use another folder"):
        collect(engine, *models, ["abc"], foreign, settings=SETTINGS)
    assert "tabSize" in (foreign / "settings.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "auto"}, "mode is 'auto'; it must be one of speculative, pearl, specbranch"),
        ({"mode": "autoregressive"}, "mode is 'autoregressive'; it must be one of speculative"),
        ({"mode": None}, "mode is None; it must be one of"),
        ({"n_layers": "x"}, "n_layers is 'x' .*integer"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be in 1 "),
        ({"seed": -1}, "seed is -1; it must be in 0 "),
        ({"epsilon": float("nan")}, r"epsilon is nan; it must be in 0 \.\. 1"),
        ({"max_draft": True}, "max_draft is True; it must be an integer"),
    ],
)
def test_settings_are_checked_when_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        TraceSettings(**options)


def test_settings_may_be_numbers_of_numpy(
    make_fake: MakeFake, models: tuple[Path, Path], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"n_layers": np.int64(2), "max_tokens": np.int32(9)}
    settings = TraceSettings(**options, epsilon=np.float32(0.5))
    collect(make_fake(), *models, ["abc"], tmp_path / "traces", settings=settings)
    assert load_traces([tmp_path / "traces"])[1]["n_layers"] == 2


@pytest.mark.parametrize(
    ("prompts", "temperatures", "message"),
    [
        ("abc", [0.0], "prompts is 'abc' .*sequence"),
        (["a", ""], [0.0], r"prompts\[1\] is empty"),
        (["a", 5], [0.0], r"prompts\[1\] is 5 .*str"),
        (["a\ud800"], [0.0], r"prompts\[0\] has a lone surrogate"),
        (["a"], ["x"], r"temperatures\[0\] is 'x' .*number"),
        (["a"], 0.5, "temperatures is 0.5 .*sequence"),
        (["a"], [0.0, float("nan")], "temperature is nan"),
    ],
)
def test_prompts_and_temperatures_are_checked_first(
    make_fake: MakeFake,
    models: tuple[Path, Path],
    tmp_path: Path,
    prompts: Any,
    temperatures: Any,
    message: str,
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        collect(make_fake(), *models, prompts, tmp_path / "traces", temperatures=temperatures)
    assert not (tmp_path / "traces").exists()


def test_prompts_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a", "text": "c"}\n\n{"prompt": "b"}\n', encoding="utf-8")
    assert read_prompts(file) == ["a", "b"]
    with pytest.raises(
        InvalidArgument, match="line 3: this is not a JSON object with a text 'text'"
    ):
        read_prompts(file, "text")
    for line in ('{"prompt": 3}', "[]", "nonsense", '{"prompt": ""}'):
        file.write_text(line, encoding="utf-8")
        with pytest.raises(InvalidArgument, match="line 1"):
            read_prompts(file)
    inside = "a\u2028b\x85c"
    file.write_text(json.dumps({"prompt": inside}, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert read_prompts(file) == [inside]
    file.write_text('{"prompt": "a"}\r\n{"prompt": "\ufeffb"}\r\n', encoding="utf-8-sig")
    assert read_prompts(file) == ["a", "\ufeffb"]
    file.write_text('{"prompt": "a"}\n{"prompt": "\\ud800"}\n', encoding="utf-8")
    with pytest.raises(InvalidArgument, match="line 2: the text has a lone surrogate"):
        read_prompts(file)
    file.write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(InvalidArgument, match="is not UTF-8 at byte 12"):
        read_prompts(file)
    file.write_text("", encoding="utf-8")
    with pytest.raises(InvalidArgument, match="has no prompts"):
        read_prompts(file)


def random_file(n_inputs: int = 12) -> Classifier:
    draw = np.random.default_rng(0)
    shapes = {
        "mean": (n_inputs,), "scale": (n_inputs,), "w1": (8, n_inputs), "b1": (8,), "w2": (5, 8),
        "b2": (5,), "w3": (3, 5), "b3": (3,),
    }  # fmt: skip
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return Classifier(
        tensors, {"n_layers": "2", "n_embd": "4", "target_sha256": "ab", "draft_sha256": "cd"}
    )


def test_weights_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "hrad.safetensors"
    file = random_file()
    file.save(path)
    loaded = Classifier.load(path)
    assert loaded.metadata == {**file.metadata, "format": "specbranch-hrad-1"}
    assert policies.HRAD(path)._file.weights.n_embd == 4
    for name, tensor in file.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor)
    chances = loaded.probabilities(np.ones((4, 12)))
    assert chances.shape == (4, len(LABELS))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    # The format is the common one.
    for name, tensor in safetensors.numpy.load_file(path).items():
        np.testing.assert_array_equal(file.tensors[name], tensor)


def test_the_same_weights_are_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        random_file().save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hrad.safetensors"
    with pytest.raises(InvalidArgument, match="No such file"):
        Classifier.load(path)
    random_file().save(path)
    raw = path.read_bytes()
    path.write_bytes(raw[:300])
    with pytest.raises(InvalidArgument, match="is not a usable safetensors file"):
        Classifier.load(path)
    path.write_bytes(raw.replace(b'"b2"', b'"c2"'))
    with pytest.raises(InvalidArgument, match="lacks b2"):
        Classifier.load(path)


def test_scores_by_hand(make_fake: MakeFake) -> None:
    score = Score.of(np.array([0, 0, 1, 2], np.int8), np.array([0, 1, 1, 0]))
    assert score.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert score.accuracy == 0.5
    assert score.recalls == (0.5, 1.0, 0.0)
    assert score.balanced_accuracy == pytest.approx(0.5)

    engine = make_fake(draft_alignment=0.8)
    done = traced(engine)
    assert done.trace is not None
    records = rounds_of(done.trace.rounds)
    foretold = by_confidence(records, 0.4)
    for row, prediction in enumerate(foretold):
        known = records.confidence[row][~np.isnan(records.confidence[row])]
        expected = ALL if known.min() >= 0.4 else NONE if known[0] < 0.4 else SOME
        assert prediction == expected
    assert (by_confidence(records, 0.0) == ALL).all()
    says = np.arange(len(records)) % 3
    acted = with_rule(says, records, 0.4)
    assert (acted[says != SOME] == says[says != SOME]).all()
    assert (acted[says == SOME] == foretold[says == SOME]).all()
    assert 0.0 <= best_epsilon(records) <= 1.0


def test_settings_name_the_models(
    make_fake: MakeFake, models: tuple[Path, Path], tmp_path: Path
) -> None:
    collect(make_fake(), *models, ["abc"], tmp_path / "traces", settings=SETTINGS)
    about = json.loads((tmp_path / "traces" / "settings.json").read_text(encoding="utf-8"))
    assert about["target_name"] == "target"
    assert about["n_embd"] == 4
    assert len(about["draft_sha256"]) == 64


def test_bundled_weights_are_for_the_bundled_pair() -> None:
    target, draft = demo.pair()
    path = target.with_name("demo-hrad.safetensors")
    metadata = Classifier.load(path).metadata
    assert metadata["target_name"] == target.name
    assert int(metadata["trained_rounds"]) > 10_000
    with Engine(target, draft, n_threads=1, draft_n_threads=1, measure_costs=False) as engine:
        texts = [
            engine.generate(
                "def read(path):", max_tokens=40, mode="specbranch", temperature=0.8, seed=2,
                policy=policy,
            ).result().tokens
            for policy in (policies.HRAD(path), policies.Confidence())
        ]  # fmt: skip
    assert texts[0] == texts[1]


def test_collect_tells_scripts(pair: tuple[Path, Path], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"code": "def f(x):\\n", "prompt": 1}\n', encoding="utf-8")
    arguments = ["hrad", "collect", "-m", pair[0], "-md", pair[1], "-t", 1, "-td", 1, "-n", 8]
    arguments += ["--prompts", prompts, "-o", tmp_path / "traces", "--layers", 2, "--json"]
    refused = CliRunner().invoke(app, [str(each) for each in arguments])
    assert refused.exit_code == 2
    assert "prompt" in refused.output
    arguments += ["--field", "code"]
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["folder"] == str(tmp_path / "traces")
    assert (found["n_texts"], found["n_skipped"]) == (1, 0)
    assert found["n_rounds"] > 0


def test_scores_as_json() -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 4]])
    found = json.loads(json.dumps(as_json(Score(confusion))))
    assert found["n"] == 10
    assert found["accuracy"] == 0.7
    assert found["recalls"] == [0.75, None, pytest.approx(2 / 3)]
    assert found["confusion"] == confusion.tolist()
