"""The program of a peer's process: answers lines of JSON with one backend.

    python _child.py BACKEND.py [ARGUMENT...]

A backend is a Python file with a function ``open_backend(pair, draft_length, *arguments)`` that
returns an object with ``describe()`` and ``generate(tokens, max_tokens, draft_length)``, each
returning JSON values. This file is a script on purpose: a module of the package would load our own
llama.cpp into the process that measures another one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


def serve(backend_path: str, arguments: list[str]) -> None:
    # Output of libraries to stdout must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    backend: Any = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if question["do"] == "open":
                if question["cpus"] is not None and hasattr(os, "sched_setaffinity"):
                    os.sched_setaffinity(0, question["cpus"])
                opener = _load(backend_path).open_backend
                backend = opener(question["pair"], question["draft_length"], *arguments)
                answer = {"result": backend.describe()}
            else:
                answer = {"result": backend.generate(**question["with"])}
        except Exception as error:  # noqa: BLE001 - the parent raises this error
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("specbranch_peer_backend", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    # Remove this folder from the path, so that its files are not found as top-level modules.
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != folder]
    try:
        import resource
    except ImportError:  # Windows, which leaves no file of a crash
        pass
    else:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.argv[1], sys.argv[2:])
