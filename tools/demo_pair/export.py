"""Models as GGUF files with Q8_0 weights, written and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import torch

from demo_pair.architectures import make_model, read_shape, write_shape
from demo_pair.model import Decoder, is_matrix
from demo_pair.tokenizer import END_OF_TEXT_ID, make_tokenizer, merges, vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

DESCRIPTION = (
    "Small code model for demonstrations and tests of speculative decoding, "
    "trained on the Python standard library (Python Software Foundation License)"
)


def write_gguf(
    model: Decoder, tokenizer: Tokenizer, path: Path, *, name: str, context_length: int
) -> None:
    """Write ``model`` with its vocabulary; matrices in Q8_0, norms and convolutions in F32."""
    writer = gguf.GGUFWriter(path, model.architecture)
    writer.add_name(name)
    writer.add_description(DESCRIPTION)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(context_length)
    write_shape(model.shape, writer)

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
        if not is_matrix(tensor):
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


def read_gguf(path: Path) -> Decoder:
    """The model in a file that ``write_gguf`` wrote, with the weights as they were rounded."""
    reader = gguf.GGUFReader(path)
    architecture = metadata(reader, "general.architecture")
    model = make_model(read_shape(architecture, lambda key: metadata(reader, key)))
    weights = {
        tensor.name: torch.from_numpy(
            np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        )
        for tensor in reader.tensors
    }
    model.load_state_dict(weights)
    return model.eval()
