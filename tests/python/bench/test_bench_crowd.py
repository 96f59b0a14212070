"""Clients that ask one request after the other."""

from __future__ import annotations

import threading

import pytest

from specbranch_cpp.bench import crowd
from specbranch_cpp.bench.crowd import Answer


def test_every_request_is_sent_once_and_no_more_at_a_time_than_there_are_clients() -> None:
    lock = threading.Lock()
    at_work, most, sent = 0, 0, []
    both = threading.Barrier(3)

    def ask(number: int) -> Answer:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            sent.append(number)
        both.wait(30)  # three at a time, or nobody goes on
        with lock:
            at_work -= 1
        return Answer([1.0, 1.5 + number, 1.75 + number, 2.75 + number], 3, 4, 2)

    found = crowd.ask_all(3, 9, ask)
    assert sorted(sent) == list(range(9))
    assert most == 3
    assert sorted(found.first_s) == [0.5 + number for number in range(9)]
    assert found.between_s == (0.25, 1.0) * 9
    assert found.longest_s == (1.0,) * 9
    assert (found.n_tokens, found.n_drafted, found.n_accepted) == (27, 36, 18)
    assert found.seconds > 0.0


def test_a_text_of_one_token_has_no_wait_between_tokens() -> None:
    found = crowd.ask_all(1, 2, lambda number: Answer([float(number), 3.0], 1, 0, 0))
    assert found.first_s == (3.0, 2.0)
    assert (found.between_s, found.longest_s) == ((), ())


def test_an_error_ends_the_crowd() -> None:
    sent = []

    def ask(number: int) -> Answer:
        sent.append(number)
        if number == 2:
            raise RuntimeError("the line is dead")
        return Answer([0.0, 1.0], 1, 0, 0)

    with pytest.raises(RuntimeError, match="the line is dead"):
        crowd.ask_all(1, 9, ask)
    assert sent == [0, 1, 2]
