"""The correct files that the fuzzer of files changes: small models of many architectures.

llama.cpp itself says which tensors an architecture wants, so that these models are written by
programs of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fuzz.gguf_bytes import STRING, Entry, Gguf

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LABELS", "QUICK_LABELS", "base_adapters", "base_files"]

_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_BYTE = 6
_PLAIN = ("tiny-q8_0", "tiny-spm", "tiny-biases", "tiny-q4_0")

QUICK_LABELS = (
    "tiny-q8_0", "tiny-spm", "llama", "llama-moe", "qwen2", "gemma3", "gpt2", "falcon", "mamba",
    "lfm2", "granitehybrid", "deepseek2", "qwen3next",
)  # fmt: skip
"""A dozen architectures for short runs."""

LABELS = (
    *_PLAIN, "llama", "llama-tied", "llama-moe", "qwen", "qwen2", "qwen3", "phi2", "phi3", "gpt2",
    "gptneox", "falcon", "bloom", "mpt", "baichuan", "starcoder2", "stablelm", "internlm2",
    "minicpm", "minicpm3", "gemma", "smollm3", "command-r", "olmo2", "openelm", "chatglm", "glm4",
    "bitnet", "granite", "plamo", "ernie4_5", "apertus", "deci", "qwen2moe", "qwen3moe", "phimoe",
    "dbrx", "grok", "deepseek", "granitemoe", "glm4moe", "dots1", "ernie4_5-moe", "grovemoe",
    "deepseek2", "gemma2", "gemma3", "gemma3n", "gemma4", "gpt-oss", "cohere2", "exaone4", "mamba",
    "mamba2", "rwkv6", "rwkv7", "arwkv7", "jamba", "jamba-moe", "granitehybrid", "falcon-h1",
    "nemotron_h", "qwen3next", "qwen35", "kimi-linear", "plamo2", "lfm2", "lfm2moe", "bailingmoe3",
    "deepseek4",
)  # fmt: skip
"""More than 60 architectures, by their labels in the matrix of the tests."""


def base_files(folder: Path, labels: Iterable[str] = LABELS) -> dict[str, Gguf]:
    """The files of these labels, which are written to the folder first."""
    labels = list(labels)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tools.fuzz.base_files", str(folder), *labels]
    search = os.pathsep.join([str(root / "tools"), str(root), *sys.path])
    subprocess.run(
        command, cwd=root, env=os.environ | {"PYTHONPATH": search}, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return {label: Gguf.read((folder / f"{label}.gguf").read_bytes()) for label in labels}


def base_adapters(folder: Path) -> tuple[Path, dict[str, Gguf]]:
    """A model, and LoRA adapters of it with matrices of several types."""
    from tests.python.support.tiny_gguf import write_tiny_gguf
    from tests.python.support.tiny_lora import write_lora

    model = write_tiny_gguf(folder / "model.gguf", weight_type="F16")
    bases = {}
    for weight_type, rank in (("F16", 4), ("F32", 3), ("Q8_0", 32)):
        path = folder / f"{weight_type}.gguf"
        write_lora(path, model, weight_type=weight_type, rank=rank)
        bases[f"adapter-{weight_type}"] = Gguf.read(path.read_bytes())
    return model, bases


def _write(path: Path, label: str) -> None:
    from tests.python.matrix.random_model import write_random_model
    from tests.python.matrix.table import ARCHITECTURES
    from tests.python.support.tiny_gguf import write_tiny_gguf

    if label == "tiny-q8_0":
        write_tiny_gguf(path, weight_type="Q8_0", metadata={"tokenizer.chat_template": _TEMPLATE})
    elif label == "tiny-spm":
        bytes_ = {1 + byte: f"<0x{byte:02X}>" for byte in range(256)}
        write_tiny_gguf(path, sentencepiece=True, token_text=bytes_)
        file = Gguf.read(path.read_bytes())
        types = b"tokenizer.ggml.token_type"
        file.entries = [_with_bytes(one) if one.key == types else one for one in file.entries]
        path.write_bytes(file.packed())
    elif label == "tiny-biases":
        write_tiny_gguf(path, weight_type="F16", biases=True, tied=True)
    elif label == "tiny-q4_0":
        write_tiny_gguf(path, weight_type="Q4_0", control_tokens=("<|im_start|>", "<|im_end|>"))
    else:
        write_random_model(path, next(one for one in ARCHITECTURES if one.label == label))
        file = Gguf.read(path.read_bytes())
        file.entries.append(Entry(b"tokenizer.chat_template", STRING, _TEMPLATE.encode()))
        path.write_bytes(file.packed())


def _with_bytes(types: Entry) -> Entry:
    """The kinds of tokens, where tokens 1 to 256 stand for bytes."""
    return replace(types, value=(types.value[0], *[_BYTE] * 256, *types.value[257:]))


def _main() -> None:
    """Writes each file in a forked process, so that the imports take time once."""
    import llama_cpp  # noqa: F401
    from tests.python.matrix import random_model  # noqa: F401

    folder = Path(sys.argv[1])
    for label in sys.argv[2:]:
        pid = os.fork()
        if pid == 0:
            _write(folder / f"{label}.gguf", label)
            os._exit(0)
        if os.waitpid(pid, 0)[1] != 0:
            sys.exit(f"llama.cpp made no {label}")


if __name__ == "__main__":
    _main()
