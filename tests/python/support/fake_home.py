"""A home folder with models where programs keep them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gguf import GGUFWriter

from specbranch_cpp.local_models import Catalog, Surroundings, find

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MODEL_LAYER = "application/vnd.ollama.image.model"


@dataclass
class FakeHome:
    """Folders below one folder; nothing of the real home is seen."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def around(self) -> Surroundings:
        here = self.folder / "here"
        here.mkdir(exist_ok=True)
        return Surroundings(self.home, self.environ, here, "linux", self.folder / "root")

    def find(self, *folders: Path, **options: Any) -> Catalog:
        return find(folders, around=self.around, **options)

    def hugging_face(
        self,
        repo: str,
        name: str,
        source: Path,
        revision: str = "1" * 40,
        cache: Path | None = None,
    ) -> Path:
        """A link in a snapshot to a blob with the content of ``source``."""
        cache = cache or self.home / ".cache/huggingface/hub"
        folder = cache / f"models--{repo.replace('/', '--')}"
        data = source.read_bytes()
        blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link = folder / "snapshots" / revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        depth = len(link.relative_to(folder).parts) - 1
        link.symlink_to("/".join([*[".."] * depth, "blobs", blob.name]))
        return link

    def ollama(
        self, name: Sequence[str], source: Path, root: Path | None = None, layer: str = MODEL_LAYER
    ) -> Path:
        """A manifest with these path components, and its blob."""
        root = root or self.home / ".ollama/models"
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        blob = root / "blobs" / f"sha256-{digest}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(source.read_bytes())
        manifest = root.joinpath("manifests", *name)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        layers = [
            {"mediaType": layer, "digest": f"sha256:{digest}", "size": blob.stat().st_size},
            {"mediaType": "application/vnd.ollama.image.params", "digest": "sha256:0", "size": 9},
        ]
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
        return blob


def write_other(path: Path, architecture: str, fill: Callable[[GGUFWriter], None]) -> Path:
    """A GGUF file that is no model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
