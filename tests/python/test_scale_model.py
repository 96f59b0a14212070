"""The scaling tool: a scaled model gives the scores of its source."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import scale_model  # noqa: E402
from benchmarks.scale_model import PRESETS, Preset, ScaleError, Shape, scale  # noqa: E402
from tests.python.tiny_gguf import WeightType, write_tiny_gguf  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

Scores = npt.NDArray[np.float32]

BUNDLED_DRAFT = ROOT / "python" / "specbranch_cpp" / "models" / "demo-draft.gguf"

# Reads "model<TAB>output" lines and saves the scores of every position of one token sequence,
# decoded as a long prompt, a short batch and single tokens. A process of its own, because a bad
# model may abort it. "model<TAB>output<TAB>type" quantizes the model instead.
WORKER = """
import ctypes, sys
import llama_cpp as api
import numpy as np

api.llama_backend_init()
TOKENS = np.random.default_rng(7).integers(1, 257, 80).tolist()
BATCHES = [70, 6, 1, 1, 1, 1]

def scores(path):
    model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
    assert model, path
    params = api.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 256, 1, 1
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = api.llama_init_from_model(model, params)
    assert context, path
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    batch = api.llama_batch_init(max(BATCHES), 0, 1)
    rows, start = [], 0
    for size in BATCHES:
        batch.n_tokens = size
        for i in range(size):
            batch.token[i], batch.pos[i] = TOKENS[start + i], start + i
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
        assert api.llama_decode(context, batch) == 0
        for i in range(size):
            row = api.llama_get_logits_ith(context, i)
            rows.append(np.ctypeslib.as_array(row, (n_vocab,)).copy())
        start += size
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(model)
    return np.stack(rows)

def quantize(path, output, kind):
    params = api.llama_model_quantize_default_params()
    params.ftype, params.nthread = int(kind), 1
    assert api.llama_model_quantize(path.encode(), output.encode(), ctypes.byref(params)) == 0

for line in sys.stdin:
    path, output, *kind = line.rstrip("\\n").split("\\t")
    if kind:
        quantize(path, output, kind[0])
    else:
        np.save(output, scores(path))
    print("done", flush=True)
"""


class Llama:
    """llama.cpp in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "llama.log"
        self._count = 0
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"GGML_NO_BACKTRACE": "1"},
            )

    def _ask(self, *words: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*words, sep="\t", file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer == "done\n", self._log.read_text()[-3000:]

    def scores(self, model: Path) -> Scores:
        """The scores of a fixed token sequence, [position][token]."""
        output = self._log.with_name(f"scores{self._count}.npy")
        self._count += 1
        self._ask(model, output)
        scores: Scores = np.load(output)
        assert np.isfinite(scores).all()
        assert scores.std() > 0.1
        return scores

    def quantize(self, model: Path, output: Path, file_type: int) -> Path:
        self._ask(model, output, file_type)
        return output

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    llama = Llama(tmp_path_factory.mktemp("llama"))
    yield llama
    llama.close()


def assert_same_bits(first: Scores, second: Scores) -> None:
    np.testing.assert_array_equal(first.view(np.uint32), second.view(np.uint32))


BIGGER: dict[str, dict[str, Any]] = {
    "deeper": {"n_layer": 5},
    "wider": {"n_embd": 256},
    "more heads": {"n_head": 8, "n_head_kv": 4},
    "single-query groups": {"n_head": 8, "n_head_kv": 8},
    "more feed-forward": {"n_ff": 320},
    "everything": {"n_embd": 256, "n_layer": 7, "n_head": 12, "n_head_kv": 6, "n_ff": 512},
}


@pytest.mark.parametrize("growth", BIGGER)
@pytest.mark.parametrize("weight_type", ["F32", "Q8_0"])
def test_scores_are_equal_to_the_last_bit(
    tmp_path: Path, llama: Llama, weight_type: WeightType, growth: str
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type=weight_type)
    result = scale(source, tmp_path / "big.gguf", **BIGGER[growth])
    assert result.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(result.path))


@pytest.mark.parametrize(
    "options",
    [
        {"weight_type": "F16"},
        {"weight_type": "BF16"},
        {"weight_type": "Q4_0"},
        {"weight_type": "Q5_1"},
        {"weight_type": "Q8_0", "tied": True},
        {"weight_type": "Q8_0", "head_size": 32},
        {"weight_type": "F32", "biases": True},
        {"weight_type": "F32", "n_layer": 1},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_kind_of_source_keeps_its_bits(
    tmp_path: Path, llama: Llama, options: dict[str, Any]
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", **options)
    result = scale(source, tmp_path / "big.gguf", **BIGGER["everything"])
    assert result.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(result.path))


# llama_ftype: the mixtures of 256-value blocks that most published models come in.
@pytest.mark.parametrize(("name", "file_type"), [("Q4_K_M", 15), ("Q6_K", 18), ("IQ4_XS", 30)])
def test_k_quants_keep_their_bits(tmp_path: Path, llama: Llama, name: str, file_type: int) -> None:
    plain = write_tiny_gguf(tmp_path / "f32.gguf", n_embd=256, n_ff=512, head_size=64)
    source = llama.quantize(plain, tmp_path / f"{name}.gguf", file_type)
    kinds = {tensor.tensor_type.name for tensor in GGUFReader(source).tensors}
    assert kinds & {"Q4_K", "Q6_K", "IQ4_XS"}
    result = scale(
        source, tmp_path / "big.gguf", n_embd=1024, n_layer=3, n_head=8, n_head_kv=4, n_ff=1024
    )
    assert result.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(result.path))


@pytest.mark.parametrize(
    "growth",
    [
        pytest.param({"n_embd": 128}, id="width times 2"),
        pytest.param({"n_embd": 224}, id="width times 3.5"),
        pytest.param({"n_head": 8, "n_head_kv": 2}, id="larger groups"),
        pytest.param({"n_head": 12, "n_head_kv": 4}, id="groups of 2 in groups of 3"),
    ],
)
def test_other_shapes_keep_the_scores_up_to_rounding(
    tmp_path: Path, llama: Llama, growth: dict[str, Any]
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    result = scale(source, tmp_path / "big.gguf", **growth)
    assert not result.bit_exact
    # The key-value cache holds 16-bit floats: one of them may round the other way.
    np.testing.assert_allclose(llama.scores(source), llama.scores(result.path), atol=0.02)


def test_groups_of_three_keep_their_heads(tmp_path: Path, llama: Llama) -> None:
    source = write_tiny_gguf(
        tmp_path / "small.gguf", n_embd=192, n_head=6, n_head_kv=2, weight_type="Q8_0"
    )
    exact = scale(source, tmp_path / "exact.gguf", n_head=12, n_head_kv=4)
    assert exact.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(exact.path))
    split = scale(source, tmp_path / "split.gguf", n_head=16, n_head_kv=8)
    assert not split.bit_exact
    np.testing.assert_allclose(llama.scores(source), llama.scores(split.path), atol=0.02)


def test_a_preset_keeps_the_bits_of_the_bundled_draft(tmp_path: Path, llama: Llama) -> None:
    result = scale(BUNDLED_DRAFT, tmp_path / "big.gguf", **asdict(PRESETS["r8"].draft))
    assert result.bit_exact
    assert_same_bits(llama.scores(BUNDLED_DRAFT), llama.scores(result.path))


def test_rows_may_come_in_many_chunks(
    tmp_path: Path, llama: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type="Q8_0")
    monkeypatch.setattr(scale_model, "CHUNK_BYTES", 1000)
    result = scale(source, tmp_path / "big.gguf", **BIGGER["everything"])
    assert_same_bits(llama.scores(source), llama.scores(result.path))


def test_the_metadata_describe_the_new_shape(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", norm_epsilon=2.0**-16)
    result = scale(source, tmp_path / "big.gguf", **BIGGER["everything"])
    old, new = GGUFReader(source), GGUFReader(result.path)
    changed = {
        "llama.embedding_length": 256,
        "llama.block_count": 7,
        "llama.attention.head_count": 12,
        "llama.attention.head_count_kv": 6,
        "llama.feed_forward_length": 512,
        "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.attention.layer_norm_rms_epsilon": 2.0**-18,
    }
    for key, value in changed.items():
        field = new.get_field(key)
        assert field is not None
        assert field.contents() == value, key
    kept = [key for key in old.fields if not key.startswith("GGUF.") and key not in changed]
    assert "tokenizer.ggml.merges" in kept
    for key in kept:
        assert new.fields[key].contents() == old.fields[key].contents(), key
    assert result.n_bytes == result.path.stat().st_size
    assert result.n_parameters == sum(int(tensor.n_elements) for tensor in new.tensors)


def test_extra_blocks_write_nothing_and_the_rest_is_random(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", n_layer=2)
    result = scale(source, tmp_path / "big.gguf", n_embd=256, n_layer=3, n_ff=256)
    old = {tensor.name: tensor.data for tensor in GGUFReader(source).tensors}
    new = {tensor.name: tensor.data for tensor in GGUFReader(result.path).tensors}
    for name in ("attn_output", "ffn_down"):
        assert not new[f"blk.1.{name}.weight"].any()
        assert not new[f"blk.2.{name}.weight"][64:].any()
    assert (new["blk.1.ffn_up.weight"] != 0).all()
    up = new["blk.2.ffn_up.weight"]
    np.testing.assert_array_equal(up[:128, :64], old["blk.1.ffn_up.weight"])
    assert (up != 0).all()
    assert not new["token_embd.weight"][:, 64:].any()
    np.testing.assert_array_equal(
        new["blk.2.attn_norm.weight"][:64], old["blk.1.attn_norm.weight"] / 2
    )


def test_the_seed_decides_the_file(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    files = [
        scale(source, tmp_path / f"{index}.gguf", seed=seed, **BIGGER["everything"]).path
        for index, seed in enumerate((1, 1, 2))
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        ({"n_embd": 32}, "n_embd cannot shrink from 64 to 32"),
        ({"n_layer": 1}, "n_layer cannot shrink"),
        ({"n_head": 2}, "n_head cannot shrink"),
        ({"n_head_kv": 1}, "n_head_kv cannot shrink"),
        ({"n_ff": 0}, "n_ff cannot shrink"),
        ({"n_embd": 100}, "do not divide into Q8_0 blocks of 32"),
        ({"n_ff": 150}, "do not divide into Q8_0 blocks of 32"),
        ({"n_head": 5}, "n_head 5 is not a multiple of n_head_kv 2"),
        ({"n_head": 6, "n_head_kv": 3, "n_embd": 64}, "do not divide into Q8_0 blocks of 32"),
        ({"n_head": 4, "n_head_kv": 4, "n_layer": 0}, "n_layer cannot shrink"),
    ],
)
def test_bad_shapes_are_refused(tmp_path: Path, growth: dict[str, Any], message: str) -> None:
    # Heads of 48 values: two of them, but not one, fill blocks of 32.
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type="Q8_0", head_size=24)
    with pytest.raises(ScaleError, match=message):
        scale(source, tmp_path / "big.gguf", **growth)
    assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]


def test_too_few_key_value_heads_are_refused(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", n_head=8, n_head_kv=2)
    with pytest.raises(ScaleError, match="n_head_kv must be at least 4"):
        scale(source, tmp_path / "big.gguf", n_head=9, n_head_kv=3)


def _write_other(path: Path, architecture: str, tensor: str, kind: GGMLQuantizationType) -> None:
    """A model whose metadata are complete, with one matrix."""
    writer = GGUFWriter(path, architecture)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor(tensor, np.zeros((64, 64), np.float32), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("architecture", "tensor", "kind", "message"),
    [
        ("qwen2", "token_embd.weight", "F32", "architecture 'qwen2'; only 'llama'"),
        ("llama", "token_embd.weight", "I32", "unsupported weight type I32"),
        ("llama", "blk.0.ffn_gate_exps.weight", "F32", "no rule for scaling"),
        ("llama", "blk.1.attn_q.weight", "F32", "no rule for scaling"),
        ("llama", "rope_freqs.weight", "Q8_1", "unsupported weight type Q8_1"),
    ],
)
def test_other_models_are_refused(
    tmp_path: Path, architecture: str, tensor: str, kind: str, message: str
) -> None:
    source = tmp_path / "other.gguf"
    _write_other(source, architecture, tensor, GGMLQuantizationType[kind])
    with pytest.raises(ScaleError, match=message):
        scale(source, tmp_path / "big.gguf")


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScaleError, match="no such file"):
        scale(tmp_path / "none.gguf", tmp_path / "big.gguf")
    text = tmp_path / "text.gguf"
    for content in (b"", b"just text, not a model"):
        text.write_bytes(content)
        with pytest.raises(ScaleError, match="not a GGUF file"):
            scale(text, tmp_path / "big.gguf")
    with pytest.raises(ScaleError, match="no such directory"):
        scale(text, tmp_path / "none" / "big.gguf")


def test_an_existing_destination_is_kept_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    destination = tmp_path / "big.gguf"
    destination.write_text("precious")
    with pytest.raises(ScaleError, match="exists"):
        scale(source, destination)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(scale_model, "_write_weights", fail)
        with pytest.raises(OSError, match="disk full"):
            scale(source, destination, force=True)
    assert destination.read_text() == "precious"
    scale(source, destination, force=True)
    assert destination.stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.gguf", "small.gguf"]


def test_zero_bytes_are_zeros_in_every_weight_type() -> None:
    """What the tool relies on to write zeros without a quantizer."""
    n_checked = 0
    for kind in GGMLQuantizationType:
        block, block_bytes = GGML_QUANT_SIZES[kind]
        try:
            values = dequantize(np.zeros((1, 256 // block * block_bytes), np.uint8), kind)
        except NotImplementedError:
            continue
        assert not values.any(), kind
        n_checked += 1
    assert n_checked > 20


@pytest.mark.parametrize(
    ("n_old", "n_new", "places"),
    [(1, 4, [0]), (2, 5, [0, 4]), (3, 3, [0, 1, 2]), (4, 9, [0, 3, 5, 8]), (8, 24, None)],
)
def test_real_blocks_are_spread(n_old: int, n_new: int, places: list[int] | None) -> None:
    placed = scale_model.place_blocks(n_old, n_new)
    assert places is None or placed == places
    assert len(set(placed)) == n_old
    assert sorted(placed) == placed
    assert placed[-1] < n_new
    gaps = np.diff(placed)
    assert n_old == 1 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((4, 2), (4, 2)),
        ((4, 2), (16, 8)),
        ((6, 2), (12, 4)),
        ((6, 2), (12, 6)),
        ((4, 2), (9, 3)),
        ((8, 1), (16, 8)),
        ((4, 4), (8, 4)),
    ],
)
def test_every_query_head_reads_its_own_key_value_head(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    shapes = [Shape(64, 1, n_head, n_head_kv, 64) for n_head, n_head_kv in (old, new)]
    query, key_value = scale_model.place_heads(*shapes)
    assert len(query) == new[0]
    assert len(key_value) == new[1]
    assert sorted(head for head in query if head is not None) == list(range(old[0]))
    for place, head in enumerate(query):
        if head is not None:
            assert key_value[place // (new[0] // new[1])] == head // (old[0] // old[1])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_bit_exact_for_their_widths(name: str) -> None:
    target, draft = PRESETS[name].target, PRESETS[name].draft
    assert (target.n_embd, draft.n_embd) == (4 * 256, 4 * 192)
    assert target.n_head // target.n_head_kv == 4 // 2
    assert draft.n_head // draft.n_head_kv == 6 // 2
    assert all(shape.n_ff % 64 == 0 for shape in (target, draft))


def test_the_command_scales_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    big = Shape(n_embd=256, n_layer=3, n_head=8, n_head_kv=4, n_ff=256)
    small = Shape(n_embd=64, n_layer=3, n_head=4, n_head_kv=2, n_ff=192)
    monkeypatch.setitem(scale_model.PRESETS, "r8", Preset(big, small, 1 / 8))
    for name in ("t", "d"):
        write_tiny_gguf(tmp_path / f"{name}.gguf")
    command = ["--preset", "r8", "--target", str(tmp_path / "t.gguf")]
    command += ["--draft", str(tmp_path / "d.gguf"), "--out-dir", str(tmp_path / "out")]
    assert scale_model.main(command) == 0
    assert "n_embd 256, n_layer 3" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["d-r8.gguf", "t-r8.gguf"]

    assert scale_model.main(command) == 1
    assert "--force" in capsys.readouterr().err
    assert scale_model.main([*command, "--force"]) == 0

    command[5] = command[3]
    assert scale_model.main([*command, "--force"]) == 1
    assert "both be written" in capsys.readouterr().err


def test_the_command_scales_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    assert scale_model.main([str(source), str(tmp_path / "big.gguf"), "--n-embd", "128"]) == 0
    assert "equal up to rounding" in capsys.readouterr().out
    assert scale_model.main([str(source), str(tmp_path / "b.gguf"), "--n-layer", "1"]) == 1
    assert "cannot shrink" in capsys.readouterr().err


def test_step_times_are_measured(tmp_path: Path) -> None:
    pair = [
        str(write_tiny_gguf(tmp_path / f"{name}.gguf", n_layer=n_layer))
        for name, n_layer in (("target", 8), ("draft", 1))
    ]
    code = (
        "import sys; from pathlib import Path; from benchmarks.scale_model import *\n"
        "times = measure_step_times(*map(Path, sys.argv[1:]), n_steps=20, n_prompt=8)\n"
        "print(times); assert 0 < times.draft < times.target\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *pair], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "both at work: target" in done.stdout


@pytest.mark.parametrize(
    "command",
    [[], ["one.gguf"], ["--preset", "r8"], ["--preset", "nonsense"], ["a", "b", "--measure"]],
)
def test_incomplete_commands_are_refused(command: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        scale_model.main(command)
