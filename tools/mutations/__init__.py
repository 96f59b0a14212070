"""Breaks the core on purpose, one defect at a time: some test must notice each of them.

A mutation is an exact text of a source and what replaces it. The tree is copied to a temporary
folder once for each of ``--jobs``, and built. Then it is built and tested again with each mutation.
The run fails if a mutation survives, if it does not compile, or if its text is no longer in the
source. The test that caught a mutation last runs first (`caught_by.json`, written with
``--remember``); only where it passes do all tests run.

    python tools/mutations              # all of them
    python tools/mutations --list
    python tools/mutations --only stale-sequence target-one-short

There is one module for each part of `cpp/specbranch`.
"""

from __future__ import annotations

from mutations import (
    auto,
    base,
    branches,
    crowd,
    decoder,
    engine,
    lookup,
    planner,
    report,
    sampling,
    tree,
)

PARTS = (decoder, branches, tree, lookup, sampling, planner, auto, crowd, report, engine, base)
MUTATIONS = tuple(mutation for part in PARTS for mutation in part.MUTATIONS)
