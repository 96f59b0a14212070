"""The examples, run as a user would run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.conftest import ROOT, run_program
from tests.python.support.server_support import serving

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from pathlib import Path

# What each of them must say, whatever the bundled pair makes of its prompt.
SAYS = {
    "stream.py": "tokens/s",
    "compare.py": "equal texts: True",
    "structured.py": "'typed': ",
    "tools.py": "called with {'part': ",
    "many_requests.py": "left after ",
    "own_policy.py": "KeepPace",
    "logits_processor.py": "equal texts: True",
    "format_enforcer.py": "equal texts: True",
    "outlines_json.py": "equal texts: True",
    "openai_client.py": "equal texts: True",
    "langchain_client.py": "",
}
NEEDS_A_LIBRARY = {"format_enforcer.py": "lmformatenforcer", "outlines_json.py": "outlines_core"}
NEEDS_A_SERVER = {"openai_client.py": "openai", "langchain_client.py": "langchain_openai"}


def run(name: str, *arguments: str) -> str:
    return run_program(ROOT / "examples" / name, *arguments)


def test_every_example_is_here_and_in_the_list() -> None:
    files = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert files == set(SAYS)
    listed = (ROOT / "examples/README.md").read_text()
    assert all(f"[{name}]({name})" in listed for name in files)


@pytest.mark.parametrize("name", sorted(set(SAYS) - set(NEEDS_A_SERVER)))
def test_example(name: str) -> None:
    if name in NEEDS_A_LIBRARY:
        pytest.importorskip(NEEDS_A_LIBRARY[name])
    assert SAYS[name] in run(name)


@pytest.mark.parametrize("name", sorted(NEEDS_A_SERVER))
def test_example_of_a_client(name: str, pair: tuple[Path, Path]) -> None:
    pytest.importorskip(NEEDS_A_SERVER[name])
    with Engine(*pair, n_ctx=1024) as engine, serving(engine) as server:
        assert SAYS[name] in run(name, f"{server.url}/v1")
