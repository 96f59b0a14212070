"""The architectures that can be trained: their models, and their shapes in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo_pair.lfm2 import Lfm2, Lfm2Shape
from demo_pair.llama import Llama
from demo_pair.model import Decoder, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import gguf

ARCHITECTURES = (Llama.architecture, Lfm2.architecture)


def make_model(shape: Shape) -> Decoder:
    """A model of this shape; its weights are not yet set."""
    return Lfm2(shape) if isinstance(shape, Lfm2Shape) else Llama(shape)


def make_shape(architecture: str, values: Mapping[str, Any]) -> Shape:
    """The shape with these fields."""
    return Lfm2Shape(**values) if architecture == Lfm2.architecture else Shape(**values)


def write_shape(shape: Shape, writer: gguf.GGUFWriter) -> None:
    """Add the shape to the metadata of a file."""
    writer.add_vocab_size(shape.vocab_size)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_theta)
    if isinstance(shape, Lfm2Shape):
        has_attention = [index in shape.attention for index in range(shape.layers)]
        writer.add_head_count_kv([shape.kv_heads * has for has in has_attention])
        writer.add_shortconv_l_cache(shape.kernel)
    else:
        writer.add_head_count_kv(shape.kv_heads)


def read_shape(architecture: str, get: Callable[[str], Any]) -> Shape:
    """The shape in a file; ``get`` gives the value of a key."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r} is none of {', '.join(ARCHITECTURES)}")
    kv_heads = get(f"{architecture}.attention.head_count_kv")
    values = {
        "vocab_size": get(f"{architecture}.vocab_size"),
        "width": get(f"{architecture}.embedding_length"),
        "layers": get(f"{architecture}.block_count"),
        "heads": get(f"{architecture}.attention.head_count"),
        "kv_heads": kv_heads,
        "feed_forward": get(f"{architecture}.feed_forward_length"),
        "rope_theta": get(f"{architecture}.rope.freq_base"),
        "norm_epsilon": get(f"{architecture}.attention.layer_norm_rms_epsilon"),
    }
    if architecture == Lfm2.architecture:
        values["kv_heads"] = max(kv_heads)
        values["attention"] = tuple(index for index, count in enumerate(kv_heads) if count)
        values["kernel"] = get(f"{architecture}.shortconv.l_cache")
    return make_shape(architecture, values)
