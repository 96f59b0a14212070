"""Which messages a template shows to the model, found by rendering short conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.openai_api.templates import ChatTemplate

__all__ = ["Abilities"]

# Digits between characters of private use, which no template changes.
_MARK = "\ue0001723901846\ue001"
_ASKED: dict[str, Any] = {"role": "user", "content": "?"}
_ANSWERED: dict[str, Any] = {"role": "assistant", "content": "!"}
_CALL: dict[str, Any] = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "probe", "arguments": {}},
}
_CALLED: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_BESIDE = 8  # characters before a result, which say how a template shows it


class Abilities:
    """What one template does with messages that many templates refuse or leave out.

    Every answer compares two conversations with the same text. A template lacks an ability only if
    it loses the text in the first conversation and shows the text in the second. So a template that
    shows one message only, whichever this is, lacks nothing.

    Args:
        template: the template.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._known: dict[str, bool] = {}
        self.knows_developer = "developer" in template.source

    def takes_first(self, role: str) -> bool:
        """Whether the first message may have this role, ``system`` or ``developer``."""
        return self._shows(
            f"first {role}",
            [{"role": role, "content": _MARK}, _ASKED],
            [{"role": "user", "content": f"{_MARK}\n\n?"}],
        )

    def takes_second(self, role: str) -> bool:
        """Whether a second message of this role may follow the first message."""
        return self._shows(
            f"second {role}",
            [{"role": role, "content": "."}, {"role": role, "content": _MARK}, _ASKED],
            [{"role": role, "content": f".\n\n{_MARK}"}, _ASKED],
        )

    def takes_later(self, role: str) -> bool:
        """Whether this role may have a message after an answer."""
        return self._shows(
            f"later {role}",
            [_ASKED, _ANSWERED, {"role": role, "content": _MARK}, _ASKED],
            [_ASKED, _ANSWERED, {"role": "user", "content": f"{_MARK}\n\n?"}],
        )

    @property
    def takes_text(self) -> bool:
        """Whether a content may be text. If not, the template wants a list of parts."""
        return self._shows(
            "text",
            [{"role": "user", "content": _MARK}],
            [{"role": "user", "content": [{"type": "text", "text": _MARK}]}],
        )

    @property
    def wants_responses(self) -> bool:
        """Whether results of calls must be ``tool_responses`` of the message with the calls.

        Templates of Gemma 4 show such results between marks. The first ones show messages with the
        role ``tool`` as turns, which the model was not trained on; later ones know both.
        """
        if "tool_responses" not in self._template.source:
            return False
        if "responses" not in self._known:
            result = {"role": "tool", "tool_call_id": _CALL["id"], "content": _MARK}
            response = {"name": "probe", "response": _MARK}
            as_turn = self._before_mark([_ASKED, _CALLED, result])
            as_part = self._before_mark([_ASKED, {**_CALLED, "tool_responses": [response]}])
            self._known["responses"] = as_part is not None and as_turn != as_part
        return self._known["responses"]

    def _shows(
        self, what: str, given: Sequence[dict[str, Any]], instead: Sequence[dict[str, Any]]
    ) -> bool:
        if what not in self._known:
            self._known[what] = self._is_shown(given) or not self._is_shown(instead)
        return self._known[what]

    def _is_shown(self, messages: Sequence[dict[str, Any]]) -> bool:
        return self._before_mark(messages) is not None

    def _before_mark(self, messages: Sequence[dict[str, Any]]) -> str | None:
        """What the template writes before the text. ``None``: it does not show the text."""
        try:
            before, shown, _ = self._template.render(messages).partition(_MARK)
        except InvalidArgument:
            return None
        return before[-_BESIDE:] if shown else None
