"""An engine that writes a given text, with control tokens where the text names them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine
from specbranch_cpp._grammar.regex import literal_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from specbranch_cpp._engine.request import TextRequest

__all__ = ["make_engine", "script"]

_BIAS = 1000.0


def template_with(marks: Sequence[str]) -> str:
    """A chat template that names these marks, so that answers are looked through for them."""
    return (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if tools %}{{ tools | tojson }}{% endif %}assistant:"
        "{# " + " ".join(marks) + " #}"
    )


def make_engine(
    folder: Path, template: str | None, tokens: Sequence[str] = (), **options: Any
) -> Engine:
    """An engine of random weights with these control tokens."""
    path = write_tiny_gguf(
        folder / "target.gguf",
        weight_type="Q8_0",
        sharpness=1.0,
        control_tokens=tokens,
        context_length=4096,
    )
    return Engine(path, n_ctx=4096, n_threads=1, chat_template=template, **options)


def script(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, text: str, tokens: Sequence[str] = ()
) -> list[TextRequest]:
    """Makes every answer this text. Returns the requests that the engine would have got."""
    asked: list[TextRequest] = []
    submit = engine._submit
    bias = {
        token: _BIAS
        for name in tokens
        for token in engine.tokenize(name, add_bos=False, special=True)
    }

    def scripted(request: TextRequest) -> Any:
        asked.append(request)
        sampling = replace(
            request.sampling.value,
            grammar=f"root ::= {literal_of(text)}",
            logit_bias=bias,
            temperature=0.0,
        )
        return submit(replace(request, sampling=replace(request.sampling, value=sampling)))

    monkeypatch.setattr(engine, "_submit", scripted)
    return asked
