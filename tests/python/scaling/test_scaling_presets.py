"""Presets with the shapes of published pairs."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import Equality, ScaleError, scale_pair  # noqa: E402
from benchmarks.scaling.command import main  # noqa: E402
from benchmarks.scaling.presets import PRESETS, SHAPES, Preset, fit  # noqa: E402
from benchmarks.scaling.scale_file import fit_to_source  # noqa: E402
from tests.python.support.tiny_gguf import write_tiny_gguf  # noqa: E402

from specbranch_cpp._scaling.scaled_model import plan_model  # noqa: E402

if TYPE_CHECKING:
    from tests.python.support.llama_scores import Llama

MODELS = ROOT / "python" / "specbranch_cpp" / "models"


# Vocabulary and parameters (millions) that were published, for models with two matrices for the
# vocabulary and nothing else than these shapes have.
@pytest.mark.parametrize(
    ("name", "n_vocab", "millions"),
    [
        ("Llama-68M", 32_000, 68),
        ("Llama-2-7B", 32_000, 6_738),
        ("Llama-2-13B", 32_000, 13_016),
        ("DeepSeek-Coder-1.3B", 32_256, 1_346),
        ("DeepSeek-Coder-33B", 32_256, 33_343),
        ("Llama-3-8B", 128_256, 8_030),
        ("Llama-3-70B", 128_256, 70_554),
        ("Qwen3-32B", 151_936, 32_762),
    ],
)
def test_shapes_have_the_published_sizes(name: str, n_vocab: int, millions: int) -> None:
    assert round(SHAPES[name].n_parameters(n_vocab) / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "n_vocab", "millions"),
    [("Llama-3.2-1B", 128_256, 1_236), ("Qwen3-0.6B", 151_936, 596)],
)
def test_shapes_with_one_matrix_for_the_vocabulary(name: str, n_vocab: int, millions: int) -> None:
    shape = SHAPES[name]
    assert round((shape.n_parameters(n_vocab) - n_vocab * shape.n_embd) / 1e6) == millions


def test_every_preset_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(sum(line.startswith(f"{name} ") for line in lines) == 2 for name in PRESETS)
    (line,) = [line for line in lines if line.startswith("68m-7b ") and "Llama-2-7B" in line]
    n_parameters = SHAPES["Llama-2-7B"].n_parameters(4096)
    assert f"{n_parameters / 1e6:.0f} M" in line
    assert line.split()[-4] == f"{n_parameters * 34 / 32 / 1e9:.2f}"


def test_the_listed_vocabulary_is_the_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = write_tiny_gguf(tmp_path / "t.gguf", n_vocab=300)
    assert main(["--list-presets", "--target", str(target)]) == 0
    assert "a vocabulary of 300 tokens" in capsys.readouterr().out


def test_published_shapes_keep_the_scores(
    tmp_path: Path, llama: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are small with two blocks."""
    source = write_tiny_gguf(tmp_path / "d.gguf", n_embd=192, n_head=6, n_head_kv=2)
    target = write_tiny_gguf(tmp_path / "t.gguf", n_embd=192, n_head=6, n_head_kv=2)
    pair = Preset(SHAPES["Llama-68M"], SHAPES["Qwen3-0.6B"])
    monkeypatch.setitem(cast("dict[str, Preset]", PRESETS), "two", pair)
    results = scale_pair("two", target, source, tmp_path, n_layer=2, weight_type="Q8_0")
    for result, name in zip(results, ("Llama-68M", "Qwen3-0.6B"), strict=True):
        shape = SHAPES[name]
        assert result.equality is Equality.QUANTIZED
        assert (result.shape.n_embd, result.shape.n_layer) == (shape.n_embd, 2)
        field = GGUFReader(result.path).get_field("llama.attention.key_length")
        assert field is not None
        assert field.contents() == shape.head_size
        before, after = llama.scores(source), llama.scores(result.path)
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.995
    assert results[0].deviations == ()
    assert results[1].deviations == ("n_layer 2, not 28: as asked",)


@pytest.mark.parametrize(
    ("name", "weight_type"), [("68m-7b", "same"), *((name, "Q4_K") for name in PRESETS)]
)
def test_the_bundled_pair_fits_every_preset(name: str, weight_type: str) -> None:
    """Planned only: most of these models are too large to be written here."""
    pair = PRESETS[name]
    for source, shape in (("demo-target", pair.target), ("demo-draft", pair.draft)):
        path = MODELS / f"{source}.gguf"
        fitted, deviations = fit_to_source(path, shape, weight_type, None)
        model = plan_model(path, **asdict(fitted), weight_type=weight_type)
        n_vocab = model.source.n_vocab
        # The bundled models have one matrix for both ends of the vocabulary.
        tied = n_vocab * fitted.n_embd
        assert model.n_parameters == fitted.n_parameters(n_vocab) - tied
        if shape.n_layer < model.source.shape.n_layer:
            assert "n_layer 3, not 2: the source has as many" in deviations
        assert (fitted == replace(shape, head_size=fitted.head_size)) is (not deviations)


def test_too_few_layers_are_refused(tmp_path: Path) -> None:
    models = [write_tiny_gguf(tmp_path / f"{name}.gguf", n_layer=3) for name in "td"]
    with pytest.raises(ScaleError, match="n_layer cannot shrink from 3 to 2"):
        scale_pair("68m-7b", models[0], models[1], tmp_path / "out", n_layer=2)


def test_rows_that_are_no_whole_blocks_grow() -> None:
    shape = SHAPES["DeepSeek-Coder-1.3B"]
    fitted, deviations = fit(shape, GGMLQuantizationType.Q4_K)
    assert (fitted.n_ff, fitted.n_embd) == (5632, 2048)
    assert deviations == ["n_ff 5632, not 5504: Q4_K has blocks of 256"]
    assert fit(shape, GGMLQuantizationType.Q8_0) == (shape, [])
    for name, other in SHAPES.items():
        if name != "DeepSeek-Coder-1.3B":
            assert fit(other, GGMLQuantizationType.Q4_K) == (other, []), name


def test_deviations_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [write_tiny_gguf(tmp_path / f"{name}.gguf", n_embd=192, n_head=6) for name in "td"]
    command = ["--preset", "r12", "--target", str(models[0]), "--draft", str(models[1])]
    command += ["--out-dir", str(tmp_path / "out"), "--layers", "2", "--type", "Q4_K"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "not the preset's: n_layer 2, not 24: as asked" in out
    assert "not the preset's: n_head 16, not 12: Q4_K has blocks of 256" in out
    assert "not the preset's: n_ff 1024, not 896: Q4_K has blocks of 256" in out
    assert "scores changed by quantization" in out
