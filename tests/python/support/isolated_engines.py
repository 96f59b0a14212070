"""A plugin: every engine that a test makes has a process of its own.

    pytest -p tests.python.support.isolated_engines tests/python/api

So the tests of the API tell whether an isolated engine is the same engine.
"""

from __future__ import annotations

from specbranch_cpp import Engine

Engine.__init__.__kwdefaults__["isolate"] = True  # type: ignore[index]
