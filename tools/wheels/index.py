"""A folder that pip takes for a package index."""

from __future__ import annotations

import hashlib
import html
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "specbranch-cpp"
"""As an index spells it."""


def write(folder: Path, wheels: list[Path]) -> Path:
    """Writes the pages of a simple index (PEP 503) that link these files; returns the package's."""
    links = []
    page = folder / NAME / "index.html"
    for wheel in wheels:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        place = html.escape(os.path.relpath(wheel, page.parent))
        links.append(f'<a href="{place}#sha256={digest}">{wheel.name}</a><br>')
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(["<!DOCTYPE html>", *links, ""]))
    (folder / "index.html").write_text(f'<!DOCTYPE html>\n<a href="{NAME}/">{NAME}</a>\n')
    return page
