"""Finds the GGUF models on this machine, and which of them can draft for which.

    from specbranch_cpp import local_models

    catalog = local_models.find()
    for model in catalog.models:
        for pair in catalog.drafts_for(model):
            print(model.name, pair.draft, pair.gain)

`Catalog` contains everything that the command ``specbranch models`` prints.
"""

from __future__ import annotations

from specbranch_cpp.local_models.places import Surroundings
from specbranch_cpp.local_models.report import (
    Assumptions,
    Catalog,
    FoundPlace,
    Gain,
    LocalModel,
    LocalPair,
    OtherFile,
    UnusableFile,
)
from specbranch_cpp.local_models.search import find

__all__ = [
    "Assumptions",
    "Catalog",
    "FoundPlace",
    "Gain",
    "LocalModel",
    "LocalPair",
    "OtherFile",
    "Surroundings",
    "UnusableFile",
    "find",
]
