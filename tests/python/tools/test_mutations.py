"""The seeded defects of `tools/mutations` fit the sources that they break."""

from __future__ import annotations

import pytest
from tests.python.conftest import ROOT

from mutations import MUTATIONS
from mutations.mutation import Mutation, StaleMutationError


def test_names_are_unique() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_a_mutation_fits_its_source(mutation: Mutation) -> None:
    assert mutation.new != mutation.old
    assert mutation.old in mutation.read(ROOT)


def test_a_text_that_is_gone_is_an_error() -> None:
    stale = Mutation("stale", "nothing", "tree/tree.cpp", "this text is in no source", "")
    with pytest.raises(StaleMutationError, match="stands 0 times"):
        stale.read(ROOT)
