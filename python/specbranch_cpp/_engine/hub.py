"""Model files from the Hugging Face Hub, or from its cache on this machine."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp._support.split_files import PartName
from specbranch_cpp.errors import InvalidArgument, MissingExtra, ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Repository", "fetch_pair"]

_GLOB = frozenset("*?[")
_MOST_NAMES = 20  # names of files in a message


@dataclass(frozen=True)
class Repository:
    """A repository of models, and the place for its files on this machine.

    Attributes:
        repo_id: its name, ``"owner/name"``.
        local_dir: folder for the files. ``None``: the cache.
        cache_dir: folder of the cache. ``None``: the cache of `huggingface_hub`.
    """

    repo_id: str
    local_dir: str | None = None
    cache_dir: str | None = None

    @classmethod
    def checked(
        cls,
        repo_id: str,
        local_dir: str | os.PathLike[str] | None,
        cache_dir: str | os.PathLike[str] | None,
        *,
        argument: str,
    ) -> Repository:
        """The repository with this name.

        Args:
            repo_id: its name.
            local_dir: as the attribute.
            cache_dir: as the attribute.
            argument: the caller's argument with the name, for messages.

        Raises:
            InvalidArgument: the name cannot be the name of a repository, or a folder is no path.
            MissingExtra: `huggingface_hub` is not installed.
        """
        hub = _library()
        checked.text(argument, repo_id)
        try:
            hub.utils.validate_repo_id(repo_id)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise InvalidArgument(f"{argument} is {repo_id!r}: {reason}") from None
        folders = {"local_dir": local_dir, "cache_dir": cache_dir}
        paths = {
            name: None if folder is None else os.fsdecode(checked.path(name, folder))
            for name, folder in folders.items()
        }
        return cls(repo_id, **paths)

    def fetch(self, pattern: str, *, argument: str) -> str:
        """Fetches a model file, with all parts if the model is split.

        Args:
            pattern: the name of the file in the repository, or a glob that only this file, or only
                the parts of one split model, match.
            argument: the caller's argument with the pattern, for messages.

        Returns:
            The path of the file, or of the first part.

        Raises:
            InvalidArgument: no file or several models match; the message has the names.
            ModelLoadError: a file cannot be downloaded, or is not in the cache without a network.
        """
        name = self._chosen(pattern, argument)
        part = PartName.read(name)
        names = [name] if part is None else part.names
        paths = [self._fetch_one(each, argument) for each in names]
        return paths[0]

    def _chosen(self, pattern: str, argument: str) -> str:
        """The name that the pattern means."""
        if not checked.text(argument, pattern):
            raise InvalidArgument(f"{argument} is empty; it must be a file name or a glob")
        if not _GLOB & set(pattern):
            name = PurePosixPath(pattern)
            if name.is_absolute() or ".." in name.parts:
                raise InvalidArgument(
                    f"{argument} is {pattern!r}; it must be a name inside the repository"
                )
            return pattern
        names, source = self._names()
        if pattern in names:
            return pattern
        models = _models(name for name in names if fnmatch.fnmatch(name, pattern))
        if not models:
            raise InvalidArgument(
                f"{argument} is {pattern!r}; no file {source} matches it. {_listed(names)}"
            )
        if len(models) > 1:
            raise InvalidArgument(
                f"{argument} is {pattern!r}; {len(models)} files {source} match it, but it must "
                f"match one: {_joined(models)}"
            )
        return models[0]

    def _fetch_one(self, name: str, argument: str) -> str:
        hub = _library()
        what = f"{self.repo_id}/{name}"
        with _failures(what):
            try:
                return str(
                    hub.hf_hub_download(
                        self.repo_id, name, local_dir=self.local_dir, cache_dir=self.cache_dir
                    )
                )
            except hub.utils.LocalEntryNotFoundError as error:
                reason = _why_no_network(error)
                raise ModelLoadError(
                    f"{what} is not on this machine, and it cannot be downloaded: {reason}"
                ) from error
            except hub.utils.EntryNotFoundError:
                pass
        names, source = self._names()
        raise InvalidArgument(f"{argument} is {name!r}; no such file is {source}. {_listed(names)}")

    def _names(self) -> tuple[Sequence[str], str]:
        """The files of the repository, and where they are: on the hub, or on this machine."""
        hub = _library()
        with _failures(self.repo_id):
            try:
                found = hub.HfApi().list_repo_files(self.repo_id)
            except hub.utils.HfHubHTTPError:
                raise  # the hub answered
            except _failure_classes() as error:
                local = self._local_names()
                if local is None:
                    raise ModelLoadError(
                        f"{self.repo_id} is not on this machine, and it cannot be downloaded: "
                        f"{_why_no_network(error)}"
                    ) from error
                return local, f"of {self.repo_id} on this machine"
        return found, f"of {self.repo_id}"

    def _local_names(self) -> list[str] | None:
        """The files of the repository on this machine. ``None``: there are none."""
        if self.local_dir is not None:
            root = Path(self.local_dir)
            if not root.is_dir():
                return None
            return [path.relative_to(root).as_posix() for path in root.rglob("*.gguf")]
        hub = _library()
        try:
            cache = hub.scan_cache_dir(self.cache_dir)
        except (hub.errors.CacheNotFound, ValueError):
            return None
        for repo in cache.repos:
            if repo.repo_id == self.repo_id and repo.repo_type == "model" and repo.revisions:
                newest = max(
                    repo.revisions, key=lambda each: ("main" in each.refs, each.last_modified)
                )
                root = newest.snapshot_path
                return [file.file_path.relative_to(root).as_posix() for file in newest.files]
        return None


def fetch_pair(
    repo_id: str,
    filename: str,
    draft_repo_id: str | None = None,
    draft_filename: str | None = None,
    *,
    additional_files: Sequence[str] = (),
    local_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[str, str | None]:
    """Fetches a target and, if ``draft_filename`` is given, a draft.

    The arguments and errors are those of `Engine.from_pretrained`.

    Returns:
        The paths of the target and of the draft.
    """
    if draft_filename is None and draft_repo_id is not None:
        raise InvalidArgument(
            f"draft_repo_id is {draft_repo_id!r}, but draft_filename is None; name the file"
        )
    more = checked.texts("additional_files", additional_files)
    of_target = Repository.checked(repo_id, local_dir, cache_dir, argument="repo_id")
    of_draft = of_target
    if draft_repo_id is not None:
        of_draft = Repository.checked(draft_repo_id, local_dir, cache_dir, argument="draft_repo_id")
    target = of_target.fetch(filename, argument="filename")
    for i, name in enumerate(more):
        of_target.fetch(name, argument=f"additional_files[{i}]")
    if draft_filename is None:
        return target, None
    return target, of_draft.fetch(draft_filename, argument="draft_filename")


def _library() -> Any:
    """The package `huggingface_hub`. Its types differ between versions.

    Raises:
        MissingExtra: the package is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise MissingExtra(
            "models of the Hugging Face Hub need huggingface_hub: pip install 'specbranch_cpp[hub]'"
        ) from error
    return huggingface_hub


def _failure_classes() -> tuple[type[Exception], ...]:
    """The exceptions of a download. The HTTP library differs between versions of the package."""
    hub = _library()
    of_http: tuple[type[Exception], ...] = hub.utils.HfHubHTTPError.__bases__
    of_xet: type[Exception] = getattr(hub.errors, "XetDownloadError", RuntimeError)
    return (OSError, RuntimeError, of_xet, *of_http)


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Turns the errors of the hub into `ModelLoadError`."""
    hub = _library()
    try:
        yield
    except ModelLoadError:
        raise
    except hub.utils.GatedRepoError as error:
        raise ModelLoadError(
            f"{what} cannot be downloaded: its owner grants access on request; ask on its page, "
            "and set HF_TOKEN"
        ) from error
    except hub.utils.RepositoryNotFoundError as error:
        raise ModelLoadError(
            f"{what} cannot be downloaded: there is no such repository, or it is private and "
            "HF_TOKEN is not set"
        ) from error
    except _failure_classes() as error:
        raise ModelLoadError(f"{what} cannot be downloaded: {_first_line(error)}") from error


def _why_no_network(error: BaseException) -> str:
    """The reason in one line; the library's own message does not name it."""
    if _library().constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    while error.__cause__ is not None:
        error = error.__cause__
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _models(names: Iterable[str]) -> list[str]:
    """The models among these files: a split model counts as its first part."""
    parts = {name: PartName.read(name) for name in sorted(names)}
    return list(
        dict.fromkeys(name if part is None else part.names[0] for name, part in parts.items())
    )


def _listed(names: Iterable[str]) -> str:
    models = _models(name for name in names if name.lower().endswith(".gguf"))
    return f"The GGUF files are: {_joined(models)}" if models else "There are no GGUF files."


def _joined(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
