"""Small models of many architectures give the text of autoregressive decoding, or are refused.

Every run tests a representative dozen, each in the cells of `QUICK`. With ``SPECBRANCH_MATRIX=all``
all rows and all cells are tested, which takes about 15 minutes.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from tests.python.matrix.cells import (
    QUICK,
    ROLES,
    SETTINGS,
    SEVERAL,
    WINDOWS,
    Cell,
    settings_of,
    write,
)
from tests.python.matrix.report import page, run_row
from tests.python.matrix.table import ARCHITECTURES
from tests.python.support.tiny_gguf import N_VOCAB

from specbranch_cpp import IncompatibleModels, _core

if TYPE_CHECKING:
    from pathlib import Path

    from tests.python.matrix.architecture import Architecture

ALL = os.environ.get("SPECBRANCH_MATRIX") == "all"
ROWS = [one for one in ARCHITECTURES if one.default or ALL]


def has_to_be_refused(architecture: Architecture, cell: Cell) -> bool:
    if cell.settings == SEVERAL:
        return not architecture.several
    return not architecture.drafts and cell.role != "target" and cell.settings != "q8_0, no FA"


@pytest.mark.parametrize("architecture", ROWS, ids=[one.label for one in ROWS])
@pytest.mark.timeout(900 if ALL else 300)
def test_a_row(architecture: Architecture) -> None:
    cells = run_row(architecture.label, quick=not ALL)
    assert [cell for cell in cells if cell.found == "fault"] == []
    wanted = [(role, one) for role in ROLES for one in settings_of(architecture, role)]
    assert [(cell.role, cell.settings) for cell in cells] == [
        one for one in wanted if ALL or one in QUICK
    ]
    for cell in cells:
        if has_to_be_refused(architecture, cell):
            assert cell.found == "refused"
            assert re.search(f"cannot decode several texts of a '{architecture.name}'", cell.words)
        elif cell.found == "refused" and cell.settings == WINDOWS:
            assert re.search("a recurrent or hybrid model must keep", cell.words)
        elif cell.found == "refused":
            assert cell.settings == "q8_0, no FA" or not architecture.flash_attn
            assert re.search("flash.attn|flash attention", cell.words)
    drafted = [cell for cell in cells if cell.found != "refused"]
    if architecture.drafts:
        near = [cell for cell in drafted if cell.role == "near"]
        assert sum(cell.n_hits for cell in near) > 0
        assert all(cell.n_drafted_by_auto > 0 for cell in near)
        assert all(0 < cell.n_rolled_back < cell.n_drafted for cell in near)
    assert sum(cell.n_reused for cell in drafted) > 0


def test_a_draft_that_llama_cpp_would_decode_wrongly_is_refused() -> None:
    """PLaMo-2's states are stored in the wrong places if a batch has several sequences."""
    found = {(cell.role, cell.found) for cell in run_row("plamo2", quick=True)}
    refused = {("itself", "refused"), ("near", "refused"), ("draft", "refused")}
    assert found == {("target", "equal")} | refused


@pytest.mark.parametrize("label", ["rwkv6qwen2", "arwkv7"])
def test_several_texts_that_llama_cpp_would_decode_wrongly_are_refused(label: str) -> None:
    """It stores wrong states of these if several sequences have several tokens each."""
    found = {(cell.settings == SEVERAL, cell.found) for cell in run_row(label, quick=True)}
    assert found == {(True, "refused"), (False, "equal")}


def test_the_check_of_a_pair_refuses_it_too(tmp_path: Path) -> None:
    plamo, llama = (os.fsencode(write(tmp_path, label)) for label in ("plamo2", "llama"))
    assert _core.check_pair(plamo, llama).n_common == N_VOCAB
    with pytest.raises(IncompatibleModels, match="cannot decode several texts of a 'plamo2'"):
        _core.check_pair(llama, plamo)


def test_flash_attention_that_llama_cpp_would_abort_at_is_refused() -> None:
    found = {(cell.settings, cell.found) for cell in run_row("plm", quick=True)}
    assert ("f16, no FA", "equal") in found
    needing = {one for settings, one in found if settings not in {"f16, no FA", SEVERAL}}
    assert needing == {"refused"}


def test_labels_are_unique() -> None:
    labels = [one.label for one in ARCHITECTURES]
    assert len(set(labels)) == len(labels)


def test_the_page_shows_every_cell() -> None:
    cells = [Cell("llama", role, settings) for role in ROLES for settings in SETTINGS]
    cells[1].found, cells[1].gaps = "near-tie", [0.01]
    cells[5].found = "refused"
    del cells[-1]
    text = page([cells])
    assert "| llama | dense | `=~===r` | `======` | `======` | `=====X` | 0 | 0 |" in text
    assert "1 rows, 23 cells: 21 equal, 1 with near-ties, 1 refused, 0 faults" in text
    assert "Of 348 texts, 1 differ at a near-tie" in text
