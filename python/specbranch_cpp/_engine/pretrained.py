"""`Engine.from_pretrained`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

from specbranch_cpp._engine.hub import fetch_pair
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

__all__ = ["FromPretrained"]


class FromPretrained:
    """The part of `Engine` that gets model files from the Hugging Face Hub."""

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str,
        additional_files: Sequence[str] | None = None,
        local_dir: str | os.PathLike[str] | None = None,
        local_dir_use_symlinks: bool | Literal["auto"] = "auto",  # noqa: ARG003
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        draft_repo_id: str | None = None,
        draft_filename: str | None = None,
        **options: Any,
    ) -> Self:
        """An engine with models from the Hugging Face Hub.

        The first call downloads the files; later calls use the cache. Without a network, or with
        ``HF_HUB_OFFLINE=1``, the files must be in the cache. ``HF_TOKEN`` gives access to private
        repositories, and ``HF_ENDPOINT`` names another hub. The extra ``hub`` installs the package
        that this method needs: ``pip install 'specbranch_cpp[hub]'``.

        The arguments before ``draft_repo_id`` are those of llama-cpp-python.

        Args:
            repo_id: the repository of the target, such as ``"Qwen/Qwen2.5-Coder-1.5B-GGUF"``.
            filename: the name of the target's file in the repository, or a glob that matches this
                file only, such as ``"*q8_0.gguf"``. All parts of a split model are fetched, whether
                the glob matches one part or all.
            additional_files: names or globs of more files to fetch from ``repo_id``, each for one
                file or one split model. ``None`` (default): no more files.
            local_dir: folder for the files. ``None`` (default): the cache.
            local_dir_use_symlinks: has no effect; current versions of `huggingface_hub` write
                files, not links, to ``local_dir``.
            cache_dir: folder of the cache. ``None`` (default): the cache of `huggingface_hub`.
            draft_repo_id: the repository of the draft. ``None`` (default): ``repo_id``.
            draft_filename: the name or glob of the draft's file. ``None`` (default): no draft, or
                the local file of the keyword ``draft``.
            **options: keywords of `Engine`.

        Raises:
            MissingExtra: `huggingface_hub` is not installed.
            InvalidArgument: no file, or several models, match a name or glob; or the draft is given
                twice or without a name. Others as in `Engine`.
            ModelLoadError: a file cannot be downloaded, or, without a network, is not in the cache.
                Others as in `Engine`.
        """
        inspect.signature(cls).bind("", **options)  # reports a wrong keyword before the download
        if draft_filename is not None and options.get("draft") is not None:
            raise InvalidArgument(
                f"draft_filename is {draft_filename!r}, but draft is {options['draft']!r}; give one"
            )
        target, draft = fetch_pair(
            repo_id,
            filename,
            draft_repo_id,
            draft_filename,
            additional_files=additional_files or (),
            local_dir=local_dir,
            cache_dir=cache_dir,
        )
        if draft is not None:
            options["draft"] = draft
        make: Callable[..., Self] = cls
        return make(target, **options)
