"""A draft that fails costs no text, and the caller learns of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

MODES = ("speculative", "pearl", "specbranch", "auto")


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings of failed drafts; llama.cpp may have lines left from engines of other tests."""
    return [
        record.getMessage() for record in caplog.records if record.name == "specbranch_cpp.drafts"
    ]


@pytest.mark.parametrize("mode", MODES[:3])  # `auto` may end before its draft comes to a step
@pytest.mark.parametrize("step", [0, 1, 5])
def test_the_text_goes_on_without_the_draft(
    make_fake: MakeFake, caplog: pytest.LogCaptureFixture, mode: str, step: int
) -> None:
    plain = make_fake().generate("abc", max_tokens=60, mode="autoregressive").result()
    engine = make_fake(draft_fail_at_step=step)
    with caplog.at_level(logging.WARNING, "specbranch_cpp"):
        done = engine.generate("abc", max_tokens=60, mode=mode).result()
    assert done.tokens == plain.tokens
    assert done.text == plain.text
    assert done.finish_reason == plain.finish_reason
    assert done.stats.mode_reason.startswith("the draft failed: ")
    assert f"step {step} fails" in done.stats.mode_reason
    [warning] = warnings_in(caplog)
    assert f"step {step} fails" in warning
    # The failure was recoverable.
    assert engine.has_draft
    caplog.clear()
    again = engine.generate("abc", max_tokens=60, mode=mode).result()
    assert again.tokens == plain.tokens
    assert not again.stats.mode_reason.startswith("the draft failed")
    assert warnings_in(caplog) == []


def test_a_lost_draft_is_never_used_again(
    make_fake: MakeFake, caplog: pytest.LogCaptureFixture
) -> None:
    plain = make_fake().generate("abc", max_tokens=60, mode="autoregressive").result()
    engine = make_fake(draft_fail_at_step=3, draft_fail_fatally=True)
    first = engine.generate("abc", max_tokens=60).result()
    assert first.tokens == plain.tokens
    assert "escaped" in first.stats.mode_reason
    assert not engine.has_draft
    assert engine.can_speculate  # texts propose tokens
    caplog.clear()
    for mode in MODES:
        done = engine.generate("abc", max_tokens=60, mode=mode).result()
        assert done.tokens == plain.tokens
        assert done.stats.mode == mode
        assert done.stats.n_draft_steps == 0
        assert done.stats.mode_reason.startswith("the draft failed in an earlier generation: ")
    assert warnings_in(caplog) == []  # once is enough
    done = engine.generate("abc", max_tokens=5, mode="autoregressive").result()
    assert done.stats.mode_reason == ""


@pytest.mark.parametrize("stream", [False, True])
def test_openai_answers_go_on_too(make_fake: MakeFake, stream: bool) -> None:
    def text_of(answer: Any) -> str:
        parts = answer if stream else [answer]
        return "".join(part["choices"][0]["text"] for part in parts if part["choices"])

    plain: Any = make_fake().create_completion("abc", max_tokens=30, seed=1, stream=stream)
    failing: Any = make_fake(draft_fail_at_step=4).create_completion(
        "abc", max_tokens=30, seed=1, stream=stream
    )
    assert text_of(failing) == text_of(plain)
