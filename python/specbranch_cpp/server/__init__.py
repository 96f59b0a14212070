"""A server with OpenAI's HTTP interface; needs ``pip install "specbranch_cpp[server]"``.

from specbranch_cpp import Engine
from specbranch_cpp.server import ServerSettings, run

run(Engine("target.gguf", "draft.gguf"), ServerSettings(port=8080))
"""

from __future__ import annotations

from specbranch_cpp.errors import MissingExtra
from specbranch_cpp.server.embeddings.model import EmbeddingModel
from specbranch_cpp.server.settings import ServerSettings

try:
    from specbranch_cpp.server.app import create_app
    from specbranch_cpp.server.run import run
except ModuleNotFoundError as error:
    if (error.name or "").startswith("specbranch_cpp"):
        raise
    raise MissingExtra(
        f'the server needs {error.name}: pip install "specbranch_cpp[server]"'
    ) from error

__all__ = ["EmbeddingModel", "ServerSettings", "create_app", "run"]
