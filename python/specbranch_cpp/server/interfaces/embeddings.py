"""Embeddings with the names of OpenAI, of llama-server and of Ollama.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from specbranch_cpp.server.errors import ApiError, BadRequest
from specbranch_cpp.server.interfaces.call import Body

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp.server.embeddings.model import EmbeddingModel

__all__ = [
    "NOTHING", "LlamaServerFields", "OllamaFields", "OllamaPromptFields", "OpenAIFields", "needed",
    "of_llama_server", "of_ollama", "of_ollama_prompt", "of_openai", "texts_of",
]  # fmt: skip

MAX_TEXTS = 2048  # as in OpenAI's interface

Reply = dict[str, Any]

NOTHING: Reply = {"vectors": [], "n_tokens": 0, "seconds": 0.0}
"""The vectors of no texts."""


class OpenAIFields(Body):
    """The body of ``/v1/embeddings``."""

    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class LlamaServerFields(Body):
    """The body of ``/embedding`` and ``/embeddings``."""

    content: Any = None
    input: Any = None


class OllamaFields(Body):
    """The body of ``/api/embed``."""

    input: Any = ""
    truncate: bool = True
    dimensions: int | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether the client only loads the model."""
        return self.input in ("", [])


class OllamaPromptFields(Body):
    """The body of ``/api/embeddings``, Ollama's older endpoint."""

    prompt: str = ""


def needed(model: EmbeddingModel | None) -> EmbeddingModel:
    """The model for embeddings.

    Raises:
        ApiError: there is none.
    """
    if model is None:
        raise ApiError(
            501,
            "this server has no model for embeddings; start it with --embedding-model FILE",
            code="unsupported_endpoint",
        )
    return model


def texts_of(value: Any, field: str) -> list[str]:
    """The texts of a request: one text, or a list of texts.

    Token ids are refused. Clients make them with the tokenizer of another model, which this server
    could not notice.

    Raises:
        BadRequest: the field holds something else.
    """
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise BadRequest(f"{field} is empty; it must have at least one text", field)
    if len(texts) > MAX_TEXTS:
        raise BadRequest(f"{field} has {len(texts)} texts; it may have at most {MAX_TEXTS}", field)
    for index, text in enumerate(texts):
        where = f"{field}[{index}]" if isinstance(value, list) else field
        if isinstance(text, (int, list)) and not isinstance(text, bool):
            raise BadRequest(
                f"{where} is tokens; send text, because a client may have another tokenizer than "
                "the model (LangChain: check_embedding_ctx_length=False)",
                where,
                "unsupported_value",
            )
        if not isinstance(text, str):
            raise BadRequest(f"{where} is {text!r:.60}; it must be a text", where)
        if not text:
            raise BadRequest(f"{where} is an empty text; it must have at least one character",
                             where)  # fmt: skip
    return texts


def check_dimensions(wanted: int | None, model: EmbeddingModel) -> None:
    """Refuses shorter vectors: only some models are trained so that they may be cut.

    Raises:
        BadRequest: the model has another number of dimensions.
    """
    if wanted is not None and wanted != model.n_dimensions:
        raise BadRequest(
            f"dimensions is {wanted}; this model has {model.n_dimensions}, and a file does not say "
            "whether its vectors may be cut",
            "dimensions",
            "unsupported_value",
        )


def of_openai(model: EmbeddingModel, encoding: str) -> Callable[[Reply], Reply]:
    """Writes the reply of ``/v1/embeddings``."""

    def written(vector: Any) -> Any:
        if encoding == "base64":
            return base64.b64encode(vector.astype("<f4").tobytes()).decode()
        return vector.tolist()

    def form(reply: Reply) -> Reply:
        data = [
            {"object": "embedding", "index": index, "embedding": written(vector)}
            for index, vector in enumerate(reply["vectors"])
        ]
        usage = dict.fromkeys(("prompt_tokens", "total_tokens"), reply["n_tokens"])
        return {"object": "list", "data": data, "model": model.id, "usage": usage}

    return form


def of_llama_server(reply: Reply) -> list[Reply]:
    """Writes the reply of ``/embedding``: a list of vectors for each text, here one."""
    return [
        {"index": index, "embedding": [vector.tolist()]}
        for index, vector in enumerate(reply["vectors"])
    ]


def of_ollama(model: EmbeddingModel) -> Callable[[Reply], Reply]:
    """Writes the reply of ``/api/embed``. Times are in nanoseconds."""

    def form(reply: Reply) -> Reply:
        return {
            "model": model.id,
            "embeddings": np.asarray(reply["vectors"]).tolist(),
            "total_duration": round(1e9 * reply["seconds"]),
            "load_duration": 0,
            "prompt_eval_count": reply["n_tokens"],
        }

    return form


def of_ollama_prompt(reply: Reply) -> Reply:
    """Writes the reply of ``/api/embeddings``."""
    (vector,) = reply["vectors"]
    return {"embedding": vector.tolist()}
