"""Models as GGUF files with Q8_0 weights, written and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import torch

from demo_pair.model import Llama, Shape
from demo_pair.tokenizer import END_OF_TEXT_ID, make_tokenizer, merges, vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

DESCRIPTION = (
    "Small code model for demonstrations and tests of speculative decoding, "
    "trained on the Python standard library (Python Software Foundation License)"
)


def write_gguf(
    model: Llama, tokenizer: Tokenizer, path: Path, *, name: str, context_length: int
) -> None:
    """Write ``model`` with its vocabulary; matrices in Q8_0, norms in F32."""
    shape = model.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_description(DESCRIPTION)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(context_length)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_theta)

    tokens = vocabulary(tokenizer)
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    kinds[END_OF_TEXT_ID] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges(tokenizer))
    writer.add_bos_token_id(END_OF_TEXT_ID)
    writer.add_eos_token_id(END_OF_TEXT_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)

    for tensor_name, tensor in model.state_dict().items():
        values = tensor.detach().float().cpu().numpy()
        if values.ndim == 1:
            writer.add_tensor(tensor_name, values)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(tensor_name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    unfinished = path.with_suffix(".tmp")
    writer.write_header_to_file(unfinished)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(path)


def metadata(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ValueError(f"the file has no {key}")
    return field.contents()


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file that ``write_gguf`` wrote."""
    reader = gguf.GGUFReader(path)
    parts = (metadata(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
    return make_tokenizer(*parts)


def read_gguf(path: Path) -> Llama:
    """The model in a file that ``write_gguf`` wrote, with the weights as they were rounded."""
    reader = gguf.GGUFReader(path)
    shape = Shape(
        vocab_size=metadata(reader, "llama.vocab_size"),
        width=metadata(reader, "llama.embedding_length"),
        layers=metadata(reader, "llama.block_count"),
        heads=metadata(reader, "llama.attention.head_count"),
        kv_heads=metadata(reader, "llama.attention.head_count_kv"),
        feed_forward=metadata(reader, "llama.feed_forward_length"),
        rope_theta=metadata(reader, "llama.rope.freq_base"),
        norm_epsilon=metadata(reader, "llama.attention.layer_norm_rms_epsilon"),
    )
    model = Llama(shape)
    weights = {
        tensor.name: torch.from_numpy(
            np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        )
        for tensor in reader.tensors
    }
    model.load_state_dict(weights)
    return model.eval()
