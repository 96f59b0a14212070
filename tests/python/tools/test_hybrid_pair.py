"""The tool that trains pairs, with models of the LFM2 architecture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.python.support.training_tool import (  # noqa: E402
    TOOL,
    metadata,
    needs_training_packages,
    run_python,
    run_tool,
    write_text,
)

#: The begin of each script. Large random weights, so that every part of the model has an effect.
MODEL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
folder = Path(sys.argv[2])
import numpy as np
import torch
from demo_pair import check, export, tokenizer
from demo_pair.generation import generate
from demo_pair.lfm2 import Lfm2, Lfm2Shape
from demo_pair.model import Cache

torch.manual_seed(5)
shape = Lfm2Shape(
    300, width=96, layers=4, heads=6, kv_heads=2, feed_forward=128, rope_theta=500.0,
    norm_epsilon=2.0**-16, attention=(1, 2), kernel=4,
)
model = Lfm2(shape).eval()
with torch.no_grad():
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            weight.uniform_(0.5, 1.5)
        elif name.endswith("conv.weight"):
            weight.normal_(0.0, 0.5)
        else:
            weight.normal_(0.0, 1.2 * weight.shape[1] ** -0.5)
"""

#: Writes the model and compares; in F32, so that only the 16-bit keys and values round.
EXPORT = """
words = " ".join(f"{a}{b}" for a in "abcdefghijkl" for b in "mnopqrstuvwx")
bpe = tokenizer.train_tokenizer([words] * 4, 300)
path = folder / "tiny.gguf"
tokens = torch.randint(0, 300, (60,)).tolist()
export.is_matrix = lambda weight: False
export.write_gguf(model, bpe, path, name="tiny", context_length=128)
read = export.read_gguf(path)
assert read.shape == shape, read.shape
for name, weight in model.state_dict().items():
    assert torch.equal(weight, read.state_dict()[name]), name
found = check.compare(path, tokens)
print(found)
assert found.largest_difference < 0.02, found
assert check.torch_scores(path, tokens).std() > 0.5

# A model that differs in the order of its taps is found out.
with torch.no_grad():
    kernel = model.blk[0].shortconv.conv.weight
    kernel.copy_(kernel.flip(1))
check.torch_scores = lambda path, tokens: model(torch.tensor([tokens]))[0].detach().numpy()
try:
    check.compare(path, tokens)
except ValueError as error:
    assert "other scores" in str(error)
    print("found out")
"""

#: Token by token the model gives the same scores as for the whole text.
CACHE = """
prompts = torch.randint(0, 300, (2, 7))
new = generate(model, prompts, 9, torch.zeros(2), torch.zeros(2, 9, 300))
whole = torch.cat([prompts, new], dim=1)
with torch.no_grad():
    assert torch.equal(model(whole)[:, 6:-1].argmax(-1), new)
    cache = Cache(16)
    parts = [model(whole[:, :7], cache)] + [model(whole[:, i : i + 1], cache) for i in range(7, 16)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(whole), rtol=1e-4, atol=1e-4)
print("equal")
"""

#: Muon gets the matrices, and no taps.
OPTIMIZERS = """
from demo_pair.recipe import RECIPES
from demo_pair.training import optimizers
muon, adam = optimizers(model, RECIPES["lfm2"])
names = {id(weight): name for name, weight in model.named_parameters()}
inside = [sorted(names[id(w)] for w in one.param_groups[0]["params"]) for one in (muon, adam)]
assert sorted(sum(inside, [])) == sorted(names.values())
assert "blk.0.shortconv.in_proj.weight" in inside[0]
assert "blk.0.shortconv.conv.weight" in inside[1]
assert "token_embd.weight" in inside[1]
print("split")
"""


def run_script(script: str, folder: Path) -> str:
    done = run_python("-c", MODEL + script, str(TOOL.parent), str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("script", "answer"), [(EXPORT, "found out"), (CACHE, "equal"), (OPTIMIZERS, "split")]
)
def test_model(tmp_path: Path, script: str, answer: str) -> None:
    needs_training_packages()
    assert run_script(script, tmp_path).splitlines()[-1] == answer


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder after a whole toy run."""
    needs_training_packages()
    folder, text = tmp_path_factory.mktemp("work"), write_text(tmp_path_factory.mktemp("text"))
    options = ["--architecture", "lfm2", "--toy", "--no-compile"]
    done = run_tool(*options, "--text", str(text), "--work", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("llama.cpp and PyTorch: worst correlation") == 2
    return folder


@pytest.mark.parametrize(
    ("role", "heads_kv", "width"), [("target", [0, 1, 0], 64), ("draft", [0, 1], 32)]
)
def test_exported_file(work: Path, role: str, heads_kv: list[int], width: int) -> None:
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(work / f"lfm2-{role}.gguf")
    expected = {
        "general.architecture": "lfm2",
        "lfm2.attention.head_count_kv": heads_kv,
        "lfm2.block_count": len(heads_kv),
        "lfm2.embedding_length": width,
        "lfm2.shortconv.l_cache": 3,
        "tokenizer.ggml.pre": "gpt-2",
    }
    assert {key: metadata(reader, key) for key in expected} == expected
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.shortconv.conv.weight"] == "F32"
    assert kinds["blk.0.shortconv.in_proj.weight"] == "Q8_0"
    assert kinds["blk.1.attn_q_norm.weight"] == "F32"
    assert kinds["token_embd_norm.weight"] == "F32"


def test_a_run_can_be_exported_and_measured_again(work: Path) -> None:
    for stage in ("export", "evaluate"):
        done = run_tool(stage, "--architecture", "lfm2", "--toy", "--work", str(work))
        assert done.returncode == 0, done.stderr


def test_bad_shapes_are_refused() -> None:
    needs_training_packages()
    script = """
for change in ({"attention": ()}, {"attention": (0, 1)}, {"attention": (2,)}, {"kernel": 1}):
    try:
        Lfm2Shape(300, 64, 2, 2, 1, 64, **{"attention": (1,), **change})
    except ValueError as error:
        print(error)
"""
    answer = run_script(script, Path()).splitlines()
    assert len(answer) == 4
    assert all("blocks with attention and others without" in line for line in answer[:3])
    assert "2 taps or more" in answer[3]
