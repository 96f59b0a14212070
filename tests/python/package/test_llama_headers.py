"""llama.cpp's headers stay inside the part that wraps llama.cpp."""

from __future__ import annotations

import re

from tests.python.conftest import ROOT

LLAMA_HEADER = re.compile(r'#include [<"](?:llama|ggml|gguf)[\w-]*\.h[>"]')


def test_only_the_llama_part_includes_llama_cpp() -> None:
    wrappers = ROOT / "cpp/specbranch/llama"
    sources = [path for path in (ROOT / "cpp").rglob("*") if path.suffix in {".h", ".cpp"}]
    including = [path for path in sources if LLAMA_HEADER.search(path.read_text())]
    assert [str(path) for path in including if not path.is_relative_to(wrappers)] == []
    assert including, "the search finds nothing at all"
