"""Changes of the metadata of a model file: values, kinds and keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fuzz.gguf_bytes import ARRAY, BOOL, FLOATS, INTEGERS, STRING, Entry
from fuzz.odd_values import odd_bytes, odd_float, odd_integer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from fuzz.gguf_bytes import Gguf

__all__ = ["add_key", "change_alignment", "change_key", "change_kind", "change_setting",
           "change_tokenizer", "rename_architecture"]  # fmt: skip

_WORDS: dict[bytes, tuple[bytes, ...]] = {
    b"tokenizer.ggml.model": (
        b"llama", b"gpt2", b"bert", b"t5", b"rwkv", b"plamo2", b"none", b"no_vocab", b"hybriddna",
        b"gemma4", b"whitespace",
    ),
    b"tokenizer.ggml.pre": (
        b"default", b"llama3", b"llama-bpe", b"deepseek-llm", b"falcon", b"qwen2", b"tekken",
        b"chameleon", b"gpt-4o", b"superbpe", b"kimi-k2", b"grok-2", b"youtu", b"viking",
    ),
    b"rope.scaling.type": (b"none", b"linear", b"yarn", b"longrope"),
    b"general.type": (b"model", b"adapter", b"mmproj", b"imatrix"),
    b"tokenizer.chat_template": (
        b"{% for m in messages %}{{ m.content }}{% endfor %}", b"{{ messages[9].content }}",
        b"{{ 'x' * 100000000 }}", b"{% for i in range(10**9) %}x{% endfor %}", b"{{", b"(" * 5000,
        b"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", b"{{ raise_exception('\x1b[2J') }}",
        b"{{ ''.__class__.__mro__ }}", b"{{ '%1000000000d' % 1 }}", b"{{ messages | tojson }}",
    ),
}  # fmt: skip
"""Texts that a key may have, by the end of the key."""

_TOKENIZER: tuple[tuple[bytes, int, Any], ...] = (
    *((b"tokenizer.ggml." + name, 4, 1) for name in (
        b"bos_token_id", b"eos_token_id", b"eot_token_id", b"eom_token_id", b"unknown_token_id",
        b"padding_token_id", b"seperator_token_id", b"mask_token_id", b"fim_pre_token_id",
        b"fim_suf_token_id", b"token_type_count", b"cls_token_id",
    )),
    *((b"tokenizer.ggml." + name, BOOL, 1) for name in (
        b"add_bos_token", b"add_eos_token", b"add_sep_token", b"add_space_prefix",
        b"remove_extra_whitespaces", b"escape_whitespaces",
    )),
    (b"tokenizer.ggml.precompiled_charsmap", ARRAY, (1, 2, 3, 4)),
    (b"tokenizer.chat_template", STRING, b"{{ messages[0].content }}"),
)  # fmt: skip
_OTHER: tuple[tuple[bytes, int, Any], ...] = (
    (b"general.alignment", 4, 32), (b"general.type", STRING, b"model"), (b"split.count", 2, 2),
    (b"split.no", 2, 0), (b"split.tensors.count", 5, 3), (b"general.name", STRING, b"x"),
    (b"general.file_type", 4, 7), (b"general.quantization_version", 4, 2),
)  # fmt: skip
_SETTINGS: tuple[tuple[str, int, Any], ...] = (
    ("rope.scaling.type", STRING, b"yarn"), ("rope.scaling.factor", 6, 4.0),
    ("rope.scaling.original_context_length", 4, 64), ("rope.scaling.attn_factor", 6, 1.0),
    ("rope.scaling.yarn_log_multiplier", 6, 0.1), ("rope.dimension_count", 4, 32),
    ("rope.freq_base_swa", 6, 1e4), ("rope.dimension_sections", ARRAY, (8, 4, 4, 0)),
    ("attention.sliding_window", 4, 24), ("attention.sliding_window_pattern", 4, 2),
    ("attention.key_length", 4, 32), ("attention.value_length", 4, 32),
    ("attention.causal", BOOL, 0), ("pooling_type", 4, 1), ("attention.scale", 6, 0.2),
    ("attention.temperature_scale", 6, 0.1), ("attention.temperature_length", 4, 8),
    ("attn_logit_softcapping", 6, 30.0), ("final_logit_softcapping", 6, 30.0),
    ("attention.clamp_kqv", 6, 8.0), ("attention.max_alibi_bias", 6, 8.0), ("logit_scale", 6, 0.5),
    ("expert_count", 4, 4), ("expert_used_count", 4, 2), ("expert_group_count", 4, 2),
    ("expert_group_used_count", 4, 1), ("expert_weights_scale", 6, 2.0),
    ("expert_weights_norm", BOOL, 1), ("expert_gating_func", 4, 2), ("vocab_size", 4, 273),
    ("tensor_data_layout", STRING, b"x"), ("nextn_predict_layers", 4, 1),
    ("decoder_start_token_id", 4, 1), ("embedding_length_out", 4, 64),
    ("embedding_length_per_layer_input", 4, 16), ("classifier.output_labels", ARRAY, (1, 2)),
    ("dense_2_feat_in", 4, 64), ("attention.shared_kv_layers", 4, 1), ("residual_scale", 6, 0.5),
    ("swiglu_clamp_exp", 6, 7.0), ("attention.output_scale", 6, 0.5), ("n_deepstack_layers", 4, 1),
)  # fmt: skip
"""Settings that llama.cpp reads for some or all architectures."""


def change_setting(rng: Random, file: Gguf) -> str:
    """Another value of a setting of the architecture."""
    prefix = file.architecture.encode() + b"."
    return _change_value(rng, file, [e for e in file.entries if e.key.startswith(prefix)])


def change_tokenizer(rng: Random, file: Gguf) -> str:
    return _change_value(rng, file, [e for e in file.entries if e.key.startswith(b"tokenizer.")])


def change_key(rng: Random, file: Gguf) -> str:
    """Removes, repeats or renames a key."""
    if not file.entries:
        return ""
    place = rng.randrange(len(file.entries))
    entry = file.entries[place]
    way = rng.choice(("remove", "remove", "remove", "repeat", "rename", "move"))
    if way == "remove":
        del file.entries[place]
    elif way == "repeat":
        file.entries.insert(rng.randrange(len(file.entries)), _changed(rng, entry))
    elif way == "rename":
        file.entries[place] = replace(entry, key=odd_bytes(rng, entry.key))
    else:
        file.entries.append(file.entries.pop(place))
    return f"{way} {entry.key!r}"


def change_kind(rng: Random, file: Gguf) -> str:
    """The same value as another kind: an integer as a float, a number as a text or an array."""
    if not file.entries:
        return ""
    place = rng.randrange(len(file.entries))
    old = file.entries[place]
    kind = rng.choice((*INTEGERS, *FLOATS, BOOL, STRING, ARRAY, 13, 2**32 - 1))
    value = old.value[0] if old.kind == ARRAY and old.value else old.value
    new = Entry(old.key, kind, _as(kind, value))
    if kind == ARRAY:
        inner = rng.choice((*INTEGERS, *FLOATS, BOOL, STRING, ARRAY, 13))
        new = replace(new, inner=inner, value=(_as(inner, value),) * rng.choice((0, 1, 2, 600)))
        if inner not in (*INTEGERS, *FLOATS, BOOL, STRING):
            new = replace(new, value=(), length=rng.choice((0, 1, 2**62)))
    file.entries[place] = new
    return f"{old.key!r} becomes kind {kind}"


def add_key(rng: Random, file: Gguf, pool: Sequence[Entry]) -> str:
    """A key that the file lacks. `pool`: settings of all architectures, as ``.NAME``."""
    arch = file.architecture
    source = rng.random()
    if source < 0.4 and pool:
        new = rng.choice(pool)
        new = replace(new, key=arch.encode() + new.key)
    elif source < 0.75:
        name, kind, value = rng.choice(_SETTINGS)
        new = Entry(f"{arch}.{name}".encode(), kind, value, 4 if kind == ARRAY else 0)
    else:
        key, kind, value = rng.choice(_TOKENIZER if source < 0.9 else _OTHER)
        new = Entry(key, kind, value, 0)
    if rng.random() < 0.6:
        new = _changed(rng, new)
    file.entries = [entry for entry in file.entries if entry.key != new.key]
    file.entries.insert(rng.randrange(len(file.entries) + 1), new)
    return f"add {_shown(new)}"


def change_alignment(rng: Random, file: Gguf) -> str:
    value = rng.choice((0, 1, 2, 8, 16, 24, 31, 33, 48, 64, 96, 128, 4096, 2**31, 2**32 - 1, 2**20))
    file.entries = [entry for entry in file.entries if entry.key != b"general.alignment"]
    file.entries.append(Entry(b"general.alignment", 4, value))
    if 0 < value <= 4096 and rng.random() < 0.6:  # the data lies where the key says
        file.alignment = value
    return f"general.alignment = {value}, data at multiples of {file.alignment}"


def rename_architecture(rng: Random, file: Gguf, names: Sequence[str]) -> str:
    """Calls the file a model of another architecture, with or without its settings."""
    old, new = file.architecture, rng.choice(names)
    along = rng.random() < 0.8

    def renamed(entry: Entry) -> Entry:
        if entry.key == b"general.architecture":
            return Entry(entry.key, STRING, new.encode())
        head = f"{old}.".encode()
        if along and entry.key.startswith(head):
            return replace(entry, key=f"{new}.".encode() + entry.key.removeprefix(head))
        return entry

    file.entries = [renamed(entry) for entry in file.entries]
    return f"{old} becomes {new}{' with its settings' if along else ''}"


def _change_value(rng: Random, file: Gguf, among: list[Entry]) -> str:
    if not among:
        return ""
    old = rng.choice(among)
    new = _changed(rng, old)
    file.entries = [new if entry is old else entry for entry in file.entries]
    return _shown(new)


def _changed(rng: Random, entry: Entry) -> Entry:
    if entry.kind == ARRAY:
        return _changed_array(rng, entry)
    if entry.kind == STRING and rng.random() < 0.05:
        return replace(entry, length=rng.choice((0, 2**20, 2**31, 2**63, 2**64 - 1)))
    return replace(entry, value=_odd(rng, entry.kind, entry.value, entry.key))


def _changed_array(rng: Random, entry: Entry) -> Entry:
    values = entry.value
    way = rng.choice(("one", "one", "one", "some", "cut", "empty", "longer", "double", "length"))
    if way == "length":
        return replace(entry, length=odd_integer(rng, len(values)) % 2**64)
    if way in ("one", "some") and values:
        changed = list(values)
        for _ in range(1 if way == "one" else rng.choice((2, 10, 100))):
            place = rng.randrange(len(changed))
            changed[place] = _odd(rng, entry.inner, changed[place], entry.key)
        return replace(entry, value=tuple(changed))
    if way == "cut":
        return replace(entry, value=values[: rng.randrange(len(values) + 1)])
    if way == "longer":
        return replace(entry, value=values + values[-1:])
    return replace(entry, value=() if way == "empty" else values * 2)


def _odd(rng: Random, kind: int, value: Any, key: bytes) -> Any:
    if kind in FLOATS:
        return odd_float(rng, value)
    if kind == BOOL:
        return rng.choice((1 - (value & 1), 2, 255))
    if kind == STRING:
        known = [words for end, words in _WORDS.items() if key.endswith(end)]
        return odd_bytes(rng, value, known[0] if known else ())
    return odd_integer(rng, value) if kind in INTEGERS else value


def _as(kind: int, value: Any) -> Any:
    """The value as one of this kind, or some value of the kind."""
    if kind == STRING:
        return value if isinstance(value, bytes) else str(value).encode()
    if kind in FLOATS:
        return float(value) if isinstance(value, int | float) else 1.5
    if kind in INTEGERS or kind == BOOL:
        number = isinstance(value, int) or (isinstance(value, float) and abs(value) < 2**60)
        return int(value) if number else 1
    return b"\1\2\3\4" if kind != ARRAY else ()


def _shown(entry: Entry) -> str:
    words = repr(entry.value)
    short = words if len(words) <= 60 else f"{words[:40]} ... of {len(entry.value)}"
    stated = "" if entry.length is None else f" (states a length of {entry.length})"
    return f"{entry.key!r} = {short}{stated}"
