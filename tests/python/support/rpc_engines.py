"""A plugin: the target of every engine that a test makes is on a worker of its own.

    pytest -p tests.python.support.rpc_engines tests/python/api

So the tests of the API tell whether such an engine is the same engine. Needs a llama.cpp with its
RPC backend. Models whose weights are in the memory of a test stay in its process.
"""

from __future__ import annotations

import weakref
from typing import Any

from tests.python.support.rpc import Worker

from specbranch_cpp import Engine, Model
from specbranch_cpp._engine.model_options import path_of
from specbranch_cpp._support.tensor_source import source_of

_plain_init = Engine.__init__


def _init(self: Engine, *models: Any, **options: Any) -> None:
    paths = [path_of(each) for each in models if isinstance(each, (str, Model)) or each is not None]
    if all(source_of(path) is None for path in paths):
        worker = Worker()
        weakref.finalize(self, worker.stop)
        options["rpc_servers"] = [worker.address]
    _plain_init(self, *models, **options)


Engine.__init__ = _init  # type: ignore[method-assign]
