"""What `bit_exact` found out about a target, remembered for each file, build and machine."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core
from specbranch_cpp._llama import cpu_flags, cpu_probe
from specbranch_cpp._pair.pair_profile import (
    MODEL_OPTIONS,
    adapter_fingerprints,
    fingerprint,
)
from specbranch_cpp._support import logs
from specbranch_cpp._support.files import from_json, read_file, replace_file

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "specbranch-exact-rows-1"

_KEPT = 256  # entries of the file; the oldest go first
_LONG_TEXT = 1024  # longer contexts change nothing for the test
_MOST_ROWS = 1 << 16
"""No batch has so many tokens."""


def make_key(target: str, options: _core.ModelOptions, max_path: int) -> str:
    """A key that changes with everything that the kernels of a target depend on.

    Args:
        target: path of the target's file.
        options: its options, with the threads planned.
        max_path: the longest path that the engine wants to verify.

    Raises:
        OSError: the file cannot be read.
    """
    library = _core.library_info()
    facts: dict[str, Any] = {
        "model": fingerprint(target),
        "cpu": cpu_flags.cpu_model(cpu_flags.read_cpuinfo()),
        "llama.cpp": f"{library.llama_version} ({library.ggml_commit}) {library.system}",
        "options": {name: getattr(options, name) for name in MODEL_OPTIONS},
        "n_batch": options.n_batch,
        "n_ctx": min(options.n_ctx, _LONG_TEXT),
        "max_path": max_path,
    }
    if options.adapters:
        facts["adapters"] = adapter_fingerprints(options)
    if options.n_gpu_layers != 0:
        gpus = (device for device in _core.list_devices() if device.is_gpu)
        facts["gpus"] = [f"{device.name}: {device.description}" for device in gpus]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def file() -> Path:
    """The file in the user's cache."""
    return cpu_probe.cache_folder() / "exact_rows.json"


def recall(key: str) -> tuple[_core.RowPadding, bool] | None:
    """The padding under a key, and whether the weights are repacked. A damaged file is empty."""
    match _read().get(key):
        case {"multiple": int(multiple), "max_path": int(max_path), "repacked": bool(repacked)}:
            if 1 <= multiple <= _MOST_ROWS and 1 <= max_path <= _MOST_ROWS:
                return _core.RowPadding(multiple, max_path), repacked
    return None


def remember(key: str, found: _core.ExactRows) -> None:
    """Adds an entry. If the file cannot be written, the next engine runs the test again."""
    entries = _read()
    entries.pop(key, None)
    entries[key] = {
        "multiple": found.padding.multiple,
        "max_path": found.padding.max_path,
        "repacked": found.repacked,
    }
    kept = dict(list(entries.items())[-_KEPT:])
    try:
        file().parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, "entries": kept}, indent=1)
        replace_file(file(), (text + "\n").encode())
    except OSError as error:
        logs.LOGGER.debug("%s was not written: %s", file(), error)


def _read() -> dict[str, Any]:
    try:
        content = from_json(read_file(file()))
    except (OSError, ValueError):
        return {}
    match content:
        case {"format": str(name), "entries": dict(entries)} if name == FORMAT:
            return entries
    return {}
