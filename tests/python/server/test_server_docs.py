"""The snippets of docs/server.md run against the server, and its tables are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.conftest import ROOT
from tests.python.support.server_support import Running, serving

from specbranch_cpp import Engine
from specbranch_cpp.server.metrics import COUNTERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = (ROOT / "docs/server.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def server(pair: tuple[Path, Path]) -> Iterator[Running]:
    template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    options: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1, "measure_costs": False}
    with (
        Engine(*pair, n_ctx=512, chat_template=template, **options) as engine,
        serving(engine) as running,
    ):
        yield running


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_snippet_runs(server: Running, number: int) -> None:
    language, code = BLOCKS[number]
    assert "http://127.0.0.1:8080" in code
    code = code.replace("http://127.0.0.1:8080", server.url)
    command = ["sh", "-ec", code] if language == "sh" else [sys.executable, "-c", code]
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 20


def test_every_counter_is_told_of() -> None:
    for name in COUNTERS:
        assert f"{name.partition(':')[2]}_total" in TEXT, name


def test_every_option_is_told_of() -> None:
    from typer.main import get_command

    from specbranch_cpp.cli import app

    command = get_command(app).loaded("serve")  # type: ignore[attr-defined]
    panel = [option for option in command.params if option.rich_help_panel == "Server"]
    assert len(panel) > 10
    for option in panel:
        names = [*option.opts, *option.secondary_opts]
        assert any(f"`{name}`" in TEXT for name in names), names
