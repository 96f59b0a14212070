"""Outlines and lm-format-enforcer with speculation: valid JSON, the same in every mode."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specbranch_cpp import Engine, TokenMask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "pet": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "pet"],
    "additionalProperties": False,
}
ASKED = "Invent a person with a pet. Answer as JSON with the keys name, age and pet."


def format_enforcer(engine: Engine) -> Callable[[], Any]:
    """lm-format-enforcer's own processor for llama-cpp-python."""
    pytest.importorskip("lmformatenforcer")
    from lmformatenforcer import JsonSchemaParser
    from lmformatenforcer.integrations.llamacpp import build_llamacpp_logits_processor

    data = tokenizer_data(engine)
    return lambda: build_llamacpp_logits_processor(data, JsonSchemaParser(SCHEMA))


def tokenizer_data(engine: Engine) -> Any:
    from lmformatenforcer import TokenEnforcerTokenizerData

    pieces = ((t, engine.token_bytes(t)) for t in range(engine.vocab_size))
    words = [(t, piece.decode(errors="replace"), False) for t, piece in pieces if piece]
    return TokenEnforcerTokenizerData(
        words, engine.detokenize, engine.eos_token, False, engine.vocab_size
    )


def enforcer_mask(engine: Engine) -> Callable[[], Any]:
    """The same constraint as a mask."""
    pytest.importorskip("lmformatenforcer")
    from lmformatenforcer import JsonSchemaParser, TokenEnforcer

    data = tokenizer_data(engine)

    class Enforced(TokenMask):
        def __init__(self) -> None:
            self.enforcer = TokenEnforcer(data, JsonSchemaParser(SCHEMA))

        def mask(self, input_ids: NDArray[np.intc]) -> NDArray[Any]:
            allowed = np.zeros(engine.vocab_size, np.bool_)
            found = self.enforcer.get_allowed_tokens(input_ids.tolist())
            allowed[getattr(found, "allowed_tokens", found)] = True
            return allowed

    return Enforced


def outlines_index(engine: Engine) -> Any:
    pytest.importorskip("outlines_core")
    from outlines_core import Index, Vocabulary
    from outlines_core.json_schema import build_regex_from_schema

    tokens: dict[bytes, list[int]] = {}
    for token in range(engine.vocab_size):
        if piece := engine.token_bytes(token):
            tokens.setdefault(piece, []).append(token)
    return Index(build_regex_from_schema(json.dumps(SCHEMA)), Vocabulary(engine.eos_token, tokens))


def outlines_mask(engine: Engine) -> Callable[[], Any]:
    """The index of Outlines as a mask with packed bits."""
    index = outlines_index(engine)
    from outlines_core import Guide

    class Outlined(TokenMask):
        def __init__(self) -> None:
            self.guide = Guide(index)
            self.ids: list[int] = []

        def mask(self, input_ids: NDArray[np.intc]) -> NDArray[Any]:
            ids = input_ids.tolist()
            if self.ids:
                self.guide.rollback_state(len(self.ids) - len(ids) + 1)
                self.guide.advance(ids[-1], return_tokens=False)
            self.ids = ids
            words = np.zeros((1, -(-engine.vocab_size // 32)), np.int32)
            self.guide.write_mask_into(words.ctypes.data, words.size, 4)
            return words

    return Outlined


def outlines(engine: Engine) -> Callable[[], Any]:
    """Outlines' own processor. Its state goes forward by one token with each call."""
    for needed in ("numba", "outlines"):
        try:
            import_module(needed)
        except ImportError:
            pytest.skip("Outlines' own processor needs numba")
    index = outlines_index(engine)
    from outlines.backends.outlines_core import OutlinesCoreLogitsProcessor

    return lambda: OutlinesCoreLogitsProcessor(index, "numpy")


LIBRARIES = {
    "lm-format-enforcer": format_enforcer,
    "lm-format-enforcer as a mask": enforcer_mask,
    "Outlines": outlines,
    "Outlines as a mask": outlines_mask,
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "seed": 2}])
def test_json_in_every_mode(engine: Engine, library: str, sampling: dict[str, Any]) -> None:
    make = LIBRARIES[library](engine)
    texts = {
        mode: engine.chat(ASKED, max_tokens=400, mode=mode, logits_processor=make(), **sampling)
        for mode in MODES
    }
    wanted = texts["autoregressive"]
    check(wanted.text)
    for mode, done in texts.items():
        assert (mode, done.text, done.finish_reason) == (mode, wanted.text, "stop")


def check(text: str) -> None:
    said = json.loads(text)
    assert set(said) == {"name", "age", "pet"}
    assert isinstance(said["age"], int)
    assert said["pet"] in ("cat", "dog")
    assert isinstance(said["name"], str)  # lm-format-enforcer is lax about lengths


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_real_model(real_models: Path, library: str) -> None:
    target = real_models / "qwen2.5-coder-1.5b-instruct-q4_0.gguf"
    draft = real_models / "qwen2.5-coder-0.5b-instruct-q8_0.gguf"
    with Engine(target, draft, n_ctx=512) as engine:
        make = LIBRARIES[library](engine)
        for mode in ("autoregressive", "specbranch"):
            done = engine.chat(ASKED, max_tokens=80, mode=mode, logits_processor=make())
            check(done.text)
            assert done.finish_reason == "stop"
            if mode == "specbranch":
                assert done.stats.n_accepted > 0
