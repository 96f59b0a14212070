"""The tool that trains the bundled pair: the whole pipeline, at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.python.support.training_tool import (  # noqa: E402
    TOOL,
    metadata,
    needs_training_packages,
    run_tool,
    write_text,
)

#: The toy models: width, layers, kv width, feed-forward width, head width.
TOY = {"target": (64, 2, 32, 96, 32), "draft": (32, 1, 16, 64, 16)}
TOY_VOCAB = 512


def test_help_needs_no_optional_package() -> None:
    done = run_tool("--help", python=["-S"])
    assert done.returncode == 0
    assert "--wall-minutes" in done.stdout


def test_missing_packages_are_named(tmp_path: Path) -> None:
    done = run_tool("--work", str(tmp_path), python=["-S", "-E"])
    assert done.returncode == 2
    assert "torch" in done.stderr
    assert 'pip install "specbranch_cpp[train]"' in done.stderr


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_text(tmp_path_factory.mktemp("text"))
    (folder / "test").mkdir()
    (folder / "test" / "excluded.py").write_text("\N{SNOWMAN}" * 5000, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """The work folder after a whole toy run."""
    needs_training_packages()
    folder = tmp_path_factory.mktemp("work")
    done = run_tool("--toy", "--no-compile", "--text", str(text), "--work", str(folder))
    assert done.returncode == 0, done.stderr
    assert "target: 94,528 parameters; draft: 25,696" in done.stdout
    return folder


@pytest.mark.parametrize("role", ["target", "draft"])
def test_exported_file(work: Path, role: str) -> None:
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(work / f"demo-{role}.gguf")
    width, layers, kv_width, feed_forward, head_width = TOY[role]
    expected = {
        "general.architecture": "llama",
        "llama.vocab_size": TOY_VOCAB,
        "llama.context_length": 4096,
        "llama.embedding_length": width,
        "llama.block_count": layers,
        "llama.feed_forward_length": feed_forward,
        "llama.attention.head_count": width // head_width,
        "llama.attention.head_count_kv": kv_width // head_width,
        "llama.rope.dimension_count": head_width,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    assert {key: metadata(reader, key) for key in expected} == expected

    shapes = {"token_embd.weight": [width, TOY_VOCAB], "output_norm.weight": [width]}
    for layer in range(layers):
        for name, shape in {
            "attn_norm": [width],
            "attn_q": [width, width],
            "attn_k": [width, kv_width],
            "attn_v": [width, kv_width],
            "attn_output": [width, width],
            "ffn_norm": [width],
            "ffn_gate": [width, feed_forward],
            "ffn_up": [width, feed_forward],
            "ffn_down": [feed_forward, width],
        }.items():
            shapes[f"blk.{layer}.{name}.weight"] = shape
    assert {tensor.name: tensor.shape.tolist() for tensor in reader.tensors} == shapes
    for tensor in reader.tensors:
        kind = "F32" if len(tensor.shape) == 1 else "Q8_0"
        assert tensor.tensor_type.name == kind, tensor.name


def test_both_files_have_one_vocabulary(work: Path) -> None:
    gguf = pytest.importorskip("gguf")
    target, draft = (gguf.GGUFReader(work / f"demo-{role}.gguf") for role in TOY)
    for name in ("tokens", "token_type", "merges"):
        key = f"tokenizer.ggml.{name}"
        assert metadata(target, key) == metadata(draft, key)
    tokens = metadata(target, "tokenizer.ggml.tokens")
    assert len(set(tokens)) == TOY_VOCAB
    assert tokens[0] == "<|endoftext|>"
    assert metadata(target, "tokenizer.ggml.token_type")[:2] == [3, 1]
    assert len(metadata(target, "tokenizer.ggml.merges")) == TOY_VOCAB - 257


def test_figures(work: Path) -> None:
    figures = json.loads((work / "figures.json").read_text(encoding="utf-8"))
    assert figures["training"]["phase"] == "done"
    last = figures["training"]["history"][-1]
    assert last["text_tokens"] > 0
    assert last["generated_tokens"] > 0
    for row in figures["acceptance"]["held out"]:
        assert 0.0 <= row["top1"] <= row["top3"] <= 1.0
        assert row["positions"] > 0


def test_a_draft_is_trained_for_a_target_that_is_kept(
    work: Path, text: Path, tmp_path: Path
) -> None:
    """It begins with a given one, whose shape and vocabulary it has."""
    gguf = pytest.importorskip("gguf")
    options = ["--toy", "--no-compile", "--text", str(text), "--work", str(tmp_path)]
    options += ["--keep-target", str(work / "demo-target.gguf")]
    options += ["--start-draft", str(work / "demo-draft.gguf")]
    done = run_tool(*options)
    assert done.returncode == 0, done.stderr
    assert "joint" not in done.stdout
    before, after = (
        {tensor.name: tensor.data.copy() for tensor in gguf.GGUFReader(path).tensors}
        for path in (work / "demo-target.gguf", tmp_path / "demo-target.gguf")
    )
    assert all((after[name] == data).all() for name, data in before.items())
    old, new = (gguf.GGUFReader(folder / "demo-draft.gguf") for folder in (work, tmp_path))
    assert [t.shape.tolist() for t in old.tensors] == [t.shape.tolist() for t in new.tensors]
    assert any((a.data != b.data).any() for a, b in zip(old.tensors, new.tensors, strict=True))
    for name in ("tokens", "merges"):
        key = f"tokenizer.ggml.{name}"
        assert metadata(old, key) == metadata(new, key)
    done = run_tool("--toy", "--start-draft", str(work / "demo-draft.gguf"))
    assert done.returncode == 1
    assert "--start-draft needs --keep-target" in done.stderr


def test_excluded_folders_are_not_read(work: Path) -> None:
    tokenizer = (work / "tokenizer.json").read_text(encoding="utf-8")
    # The first byte of the snowman, in GPT-2's spelling, followed by its second.
    assert "\u00e2\u013a" not in json.loads(tokenizer)["model"]["vocab"]


#: Trains the same models twice, the second time interrupted in both phases, and compares them.
RESUME = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import torch
from tokenizers import Tokenizer
from demo_pair import data, pipeline, training
import train_demo_pair

folder, text = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
recipe = pipeline.chosen_recipe(train_demo_pair.parser().parse_args(["--toy"]))
corpus = data.read_corpus(text)
bpe = Tokenizer.from_file(sys.argv[4])
streams = [data.encode(bpe, part) for part in (corpus.train, corpus.held_out)]

def trainer(name, stop=None):
    def report(line):
        if stop and line.startswith(stop):
            raise KeyboardInterrupt
    (folder / name).mkdir(exist_ok=True)
    device = torch.device("cpu")
    return training.Trainer(
        recipe, *streams, folder / name, device=device, compile_step=False, report=report
    )

trainer("straight").run(save_every=3, print_every=1)
for number, stop in enumerate(["joint     8", "distil     5", None]):
    made = trainer("interrupted", stop)
    if number:
        made.resume()
    try:
        made.run(save_every=3, print_every=1)
        assert stop is None
    except KeyboardInterrupt:
        assert stop is not None
straight, interrupted = (
    training.load_checkpoint(folder / name) for name in ("straight", "interrupted")
)
for role in ("target", "draft"):
    for name, weight in straight[role].items():
        torch.testing.assert_close(weight, interrupted[role][name], msg=f"{role} {name}")
assert straight["progress"]["text_tokens"] == interrupted["progress"]["text_tokens"]
print("equal")
"""


def test_resumed_run_gives_the_same_models(work: Path, text: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", RESUME, str(TOOL.parent), str(tmp_path), str(text)),
            str(work / "tokenizer.json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "equal"


def test_bundled_pair() -> None:
    """The committed files are a pair of the promised sizes with one vocabulary."""
    gguf = pytest.importorskip("gguf")
    package = TOOL.parents[1] / "python" / "specbranch_cpp"
    paths = [package / "models" / f"demo-{role}.gguf" for role in TOY]
    assert sum(path.stat().st_size for path in paths) <= 16_000_000
    target, draft = (gguf.GGUFReader(path) for path in paths)
    sizes = [sum(int(t.n_elements) for t in reader.tensors) for reader in (target, draft)]
    assert 6_000_000 <= sizes[0] <= 12_000_000
    assert 500_000 <= sizes[1] <= 2_600_000
    assert len(metadata(target, "tokenizer.ggml.tokens")) == 4096
    for name in ("tokens", "token_type", "merges", "add_bos_token"):
        key = f"tokenizer.ggml.{name}"
        assert metadata(target, key) == metadata(draft, key)


def test_error_is_one_line(tmp_path: Path) -> None:
    needs_training_packages()
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run_tool("--toy", "--text", str(empty), "--work", str(tmp_path / "work"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
