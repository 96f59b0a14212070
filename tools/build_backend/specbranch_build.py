"""The PEP 517 backend: scikit-build-core, linked to the user's own llama-cpp-python.

llama-cpp-python becomes a build requirement only if the user has none: a CUDA build that is
already there is linked to, not built again (and again for the CPU).
"""

from __future__ import annotations

import os
from typing import Any

import scikit_build_core.build as _backend
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

import locate_llama_cpp

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any]


def _llama_requirement() -> list[str]:
    if "SPECBRANCH_LLAMA_PREFIX" in os.environ or locate_llama_cpp.installed_prefix():
        return []
    return [locate_llama_cpp.REQUIREMENT]


def _pass_prefix_to_cmake() -> None:
    if prefix := locate_llama_cpp.prefix():
        os.environ["SPECBRANCH_LLAMA_PREFIX"] = str(prefix)


def get_requires_for_build_wheel(config_settings: Settings | None = None) -> list[str]:
    return [*_backend.get_requires_for_build_wheel(config_settings), *_llama_requirement()]


def get_requires_for_build_editable(config_settings: Settings | None = None) -> list[str]:
    return [*_backend.get_requires_for_build_editable(config_settings), *_llama_requirement()]


def build_wheel(
    wheel_directory: str,
    config_settings: Settings | None = None,
    metadata_directory: str | None = None,
) -> str:
    _pass_prefix_to_cmake()
    return _backend.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str,
    config_settings: Settings | None = None,
    metadata_directory: str | None = None,
) -> str:
    _pass_prefix_to_cmake()
    return _backend.build_editable(wheel_directory, config_settings, metadata_directory)
