"""Writes the models of the matrix to a folder, where the C++ tests find them.

python -m tests.python.matrix.models FOLDER
SPECBRANCH_MATRIX_MODELS=FOLDER build/full/tests/cpp/specbranch_llama_tests -tc="*architectures*"
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.python.matrix.cells import write
from tests.python.matrix.table import ARCHITECTURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for architecture in ARCHITECTURES:
        write(folder, architecture.label)
        write(folder, architecture.label, "--other")
        print(architecture.label, flush=True)


if __name__ == "__main__":
    main()
