"""llama-server's own interface: ``/completion``, ``/infill``, ``/tokenize``, ``/props``.

llama.vscode and llama.vim use it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from pydantic import Field

from specbranch_cpp import _core
from specbranch_cpp._support import checked
from specbranch_cpp._support.words import in_unicode
from specbranch_cpp.openai_api.completions import fill_in_the_middle
from specbranch_cpp.openai_api.vocabulary import name_of
from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.interfaces.call import (
    Body,
    Items,
    ReplyForm,
    Size,
    call_of,
    n_prompt_tokens,
    prompt_of,
    set_field,
)
from specbranch_cpp.server.other_names import smallest_limit
from specbranch_cpp.server.streams import event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.interfaces.call import InterfaceCall

__all__ = ["applied_template", "completion", "detokenized", "infill", "props", "tokenized"]

_HARMLESS = frozenset(
    {
        "id_slot",
        "n_keep",
        "response_fields",
        "return_progress",
    }
)
# Editors send these with every request, and can do without them.
_IGNORED = ("n_indent", "t_max_predict_ms", "t_max_prompt_ms")
_REPOSITORY, _FILE = "<|repo_name|>", "<|file_sep|>"
_SPARE = 128  # tokens for the answer, if the request names no number


class _Common(Body):
    n_predict: Size | None = None
    max_tokens: Size | None = None
    n_probs: int = 0
    stream: bool = False
    return_tokens: bool = False

    @property
    def limit(self) -> int | None:
        """Tokens to generate; -1: until the context is full. Both names mean the same."""
        given: dict[str, Any] = {"max_tokens": _limit(self.max_tokens)}
        set_field(given, "max_tokens", _limit(self.n_predict), "n_predict")
        limit: int | None = given["max_tokens"]
        return limit


class CompletionFields(_Common):
    """The fields of ``/completion`` that have other names or values than OpenAI's."""

    prompt: Union[str, Items[Union[int, str]]]  # noqa: UP007 (read on Python 3.10, too)


class ExtraFile(Body):
    """A file of the project beside the one that is edited."""

    text: str
    filename: str = ""


class InfillFields(_Common):
    """The fields of ``/infill``."""

    input_prefix: str = ""
    input_suffix: str = ""
    prompt: str = ""
    input_extra: Items[ExtraFile] = Field(default_factory=list)


class TextFields(Body):
    """The body of ``/tokenize``."""

    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class TokenFields(Body):
    """The body of ``/detokenize``."""

    tokens: Items[int]


def _limit(given: int | None) -> int | None:
    return None if given is None else max(-1, given)


def completion(engine: Engine, fields: CompletionFields) -> InterfaceCall:
    """``POST /completion``: continues a text, tokens, or texts and tokens in turn."""
    prompt = fields.prompt
    if isinstance(prompt, list) and len(prompt) > 1 and all(isinstance(p, str) for p in prompt):
        raise BadRequest(
            f"prompt has {len(prompt)} texts; this endpoint continues one text; "
            "/v1/completions continues several",
            "prompt",
            "unsupported_value",
        )
    return _call(engine, fields, prompt if isinstance(prompt, str) else _joined(engine, prompt))


def infill(engine: Engine, fields: InfillFields) -> InterfaceCall:
    """``POST /infill``: the text between two texts, with other files of the project before them."""
    if engine.fim_tokens is None:
        raise BadRequest(
            "the model has no fill-in-the-middle tokens (such as <|fim_prefix|>); use a model that "
            "was trained to fill in the middle",
            code="unsupported_value",
        )
    before = fields.input_prefix + fields.prompt
    tokens = fill_in_the_middle(engine, before, fields.input_suffix)
    limits = {"max_tokens": fields.limit, **(fields.model_extra or {})}
    n_answer = smallest_limit(limits) or _SPARE
    room = engine.n_ctx - len(tokens) - n_answer
    extra = _files(engine, fields.input_extra)[-room:] if room > 0 else []
    n_begin = 1 if tokens[0] == engine.bos_token else 0
    return _call(engine, fields, [*tokens[:n_begin], *extra, *tokens[n_begin:]])


def _call(engine: Engine, fields: _Common, prompt: str | list[int]) -> InterfaceCall:
    if fields.n_probs:
        raise BadRequest(
            f"n_probs is {fields.n_probs}; it must be 0, because this endpoint gives no "
            "probabilities; use logprobs of /v1/completions",
            "n_probs",
            "unsupported_value",
        )
    limit = -1 if fields.limit is None else fields.limit
    data: dict[str, Any] = dict(fields.model_extra or {})
    data |= {"prompt": prompt, "max_tokens": limit or 1, "stream": fields.stream}
    if fields.return_tokens:
        data["return_token_ids"] = True
    written = prompt if isinstance(prompt, str) else engine.detokenize(prompt, special=True)
    # Editors send 0 to have the prompt read before they need it.
    form = _CompletionForm(written, data, silent=limit == 0)
    ignored = [name for name in _IGNORED if data.pop(name, None)]
    call = call_of(data, form, chat=False, harmless=_HARMLESS)
    return replace(call, unknown=[*call.unknown, *ignored])


class _CompletionForm(ReplyForm):
    """Replies of ``/completion``. The last event of a stream has ``"stop": true``."""

    def __init__(self, prompt: str, given: dict[str, Any], *, silent: bool) -> None:
        self._prompt = prompt
        self._silent = silent
        self._settings = {name: value for name, value in given.items() if name != "prompt"}
        self._text = ""

    def whole(self, reply: dict[str, Any]) -> dict[str, Any]:
        (choice,) = reply["choices"]
        self._text = choice["text"]
        return self._last(reply, choice, choice["text"], choice.get("token_ids", []))

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        if not chunk["choices"]:  # of stream_options: the last event has these figures, too
            return b""
        (choice,) = chunk["choices"]
        if choice["finish_reason"] is not None:
            return event(self._last(chunk, choice, "", []))
        if self._silent:
            return b""
        self._text += choice["text"]
        return event(
            {
                "index": 0,
                "content": choice["text"],
                "tokens": choice.get("token_ids", []),
                "stop": False,
                "id_slot": 0,
            }
        )

    def end(self) -> bytes:
        return b""

    def _last(
        self, reply: dict[str, Any], choice: dict[str, Any], content: str, tokens: list[int]
    ) -> dict[str, Any]:
        timings = reply["timings"]
        word = choice["stop_reason"]
        other = "limit" if choice["finish_reason"] == "length" else "eos"
        n_prompt = n_prompt_tokens(timings)
        return {
            "index": 0,
            "content": "" if self._silent else content,
            "tokens": [] if self._silent else tokens,
            "id_slot": 0,
            "stop": True,
            "model": reply["model"],
            "tokens_predicted": timings["predicted_n"],
            "tokens_evaluated": n_prompt,
            "tokens_cached": n_prompt + timings["predicted_n"],
            "generation_settings": {**self._settings, "seed": reply["seed"]},
            "prompt": self._prompt,
            "has_new_line": "\n" in self._text,
            "truncated": False,
            "stop_type": other if word is None else "word",
            "stopping_word": word or "",
            "timings": timings,
        }


def _joined(engine: Engine, parts: Sequence[int | str]) -> list[int]:
    """The tokens of texts and tokens. BOS comes first if a text does and the model asks for it."""
    tokens: list[int] = []
    for index, part in enumerate(parts):
        if isinstance(part, str):
            tokens += engine.tokenize(part, add_bos=index == 0, special=True)
        else:
            tokens.append(part)
    if not tokens:
        raise BadRequest("prompt is empty", "prompt")
    return checked.tokens("prompt", tokens, engine.vocab_size)


def _files(engine: Engine, files: Sequence[ExtraFile]) -> list[int]:
    """The tokens of other files, as models were trained to read them."""
    if not files:
        return []
    marks = [engine.tokenize(name, add_bos=False, special=True) for name in (_REPOSITORY, _FILE)]
    tokens: list[int] = []
    if all(len(mark) == 1 for mark in marks):
        (repository,), (file,) = marks
        tokens += [repository, *engine.tokenize("project\n", add_bos=False)]
        for each in files:
            text = f"{each.filename}\n{each.text}\n"
            tokens += [file, *engine.tokenize(text, add_bos=False)]
        return [*tokens, file]
    for each in files:
        head = f"// {each.filename}\n" if each.filename else ""
        tokens += engine.tokenize(f"{head}{each.text}\n\n", add_bos=False)
    return tokens


def tokenized(engine: Engine, fields: TextFields) -> dict[str, Any]:
    """``POST /tokenize``."""
    tokens = engine.tokenize(
        fields.content, add_bos=fields.add_special, special=fields.parse_special
    )
    if not fields.with_pieces:
        return {"tokens": tokens}
    return {"tokens": [{"id": token, "piece": _piece(engine, token)} for token in tokens]}


def _piece(engine: Engine, token: int) -> str | list[int]:
    """The text of a token, or its bytes if they are not a text alone."""
    piece = name_of(engine, token)
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def applied_template(engine: Engine, data: dict[str, Any]) -> dict[str, str]:
    """``POST /apply-template``: the prompt of a chat, as text, without the BOS that all texts get.

    Raises:
        BadRequest: a field of the body is wrong.
        InvalidArgument: a message or a tool is wrong.
    """
    call = call_of(data, ReplyForm(), chat=True, harmless=frozenset(), custom_tools=True)
    tokens = prompt_of(engine, call)
    n_begin = 1 if tokens[:1] == engine.tokenize("") else 0
    return {"prompt": engine.detokenize(tokens[n_begin:], special=True)}


def detokenized(engine: Engine, fields: TokenFields) -> dict[str, Any]:
    """``POST /detokenize``, with the names of llama-server and of vLLM."""
    text = engine.detokenize(fields.tokens, special=True)
    return {"content": text, "prompt": text}


def props(engine: Engine, model: str) -> dict[str, Any]:
    """``GET /props``."""

    def name(token: int | None) -> str:
        return "" if token is None else engine.detokenize([token], special=True)

    return {
        "default_generation_settings": {
            "id": 0,
            "n_ctx": engine.n_ctx,
            "speculative": engine.can_speculate,
            "params": {
                "n_predict": -1,
                "temperature": 0.8,
                "top_k": 40,
                "top_p": 0.95,
                "min_p": 0.05,
            },
        },
        "total_slots": engine.n_parallel,
        "model_alias": model,
        "model_path": in_unicode(Path(engine.model_paths[0]).name),
        "chat_template": engine.chat_template or "",
        "bos_token": name(engine.bos_token),
        "eos_token": name(engine.eos_token),
        "modalities": {"vision": False, "audio": False},
        "build_info": f"specbranch_cpp {_core.__version__}",
    }
