"""Listeners that hear of the end of every generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from specbranch_cpp import DecodeError, InvalidArgument

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

    from specbranch_cpp import GenerationStats


def test_every_end_that_is_read_is_told_once(make_fake: MakeFake) -> None:
    engine = make_fake(step_us=500)
    heard: list[GenerationStats] = []
    also: list[GenerationStats] = []
    engine.on_end(heard.append)
    engine.on_end(also.append)
    first = engine.generate("abc", max_tokens=5)
    assert heard == []
    done = first.result()
    assert first.result() is done
    assert list(first) == []
    assert heard == [done.stats]
    stopped = engine.generate("abc", max_tokens=200)
    next(stopped)
    stopped.cancel()
    assert heard[1:] == []
    whole = stopped.result()
    assert heard[1:] == [whole.stats]
    assert [stats.n_generated for stats in heard] == [5, len(whole.tokens)]
    assert also == heard


def test_a_failure_is_no_end(make_fake: MakeFake) -> None:
    engine = make_fake(target_fail_at_step=4)
    heard: list[GenerationStats] = []
    engine.on_end(heard.append)
    with pytest.raises(DecodeError):
        engine.generate("abc", max_tokens=50, mode="autoregressive").result()
    assert heard == []


@pytest.mark.parametrize("listener", [None, 1, "print", []])
def test_a_listener_can_be_called(make_fake: MakeFake, listener: object) -> None:
    engine = make_fake()
    with pytest.raises(InvalidArgument, match=r"listener is .*; it must be callable"):
        engine.on_end(listener)  # type: ignore[arg-type]
    assert len(engine.generate("abc", max_tokens=2).result().tokens) == 2
