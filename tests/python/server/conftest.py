"""What the tests of the server share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.server_models import chatting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import openai
    from tests.python.support.server_support import Running

    from specbranch_cpp import Engine


@pytest.fixture(scope="module")
def models(pair: tuple[Path, Path]) -> Iterator[Engine]:
    """The bundled pair with a template for chats."""
    with chatting(pair) as engine:
        yield engine


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    """OpenAI's own client at the server of the module."""
    from tests.python.support.openai_clients import openai_client

    with openai_client(server) as client:
        yield client
