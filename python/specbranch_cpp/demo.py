"""The bundled pair of small code models: for a first try, for tests and for examples.

    from specbranch_cpp import Engine, demo

    with Engine(*demo.pair()) as engine:
        print(engine.generate("def add(a, b):", max_tokens=64).result().text)

What they are and how they were trained is in ``models/README.md`` next to this file.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["pair"]

_MODELS = Path(__file__).resolve().parent / "models"


def pair() -> tuple[Path, Path]:
    """Paths of the bundled ``(target, draft)`` models.

    Raises:
        FileNotFoundError: the package was installed without its models.
    """
    target, draft = _MODELS / "demo-target.gguf", _MODELS / "demo-draft.gguf"
    for path in (target, draft):
        if not path.is_file():
            raise FileNotFoundError(
                f"the bundled model {path} is missing; tools/train_demo_pair.py makes a new pair"
            )
    return target, draft
