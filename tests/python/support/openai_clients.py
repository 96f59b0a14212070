"""OpenAI's own client at a server of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
from tests.python.support.server_support import KEY

if TYPE_CHECKING:
    from tests.python.support.server_support import Running

__all__ = ["openai_client"]


def openai_client(server: Running, **options: Any) -> openai.OpenAI:
    """A client that sends no request twice. A server without keys takes any key.

    Args:
        server: the server.
        **options: arguments of the client in place of these.
    """
    given = {"api_key": KEY, "max_retries": 0, **options}
    return openai.OpenAI(base_url=f"{server.url}/v1", **given)
