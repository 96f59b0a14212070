"""A request of the core that remembers how it was made, so that it can be made elsewhere."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core
from specbranch_cpp._isolated.plain_values import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specbranch_cpp._isolated.remote_channel import RemoteChannel

__all__ = ["RecordedRequest", "Step", "replayed"]

Step = tuple[str, str, Any]
"""``"set"``, a field and its value; or ``"call"``, a method and its arguments."""

_TOKENS = ("prompt", "prediction")


class RecordedRequest(_core.Request):
    """A request whose fields are checked here, and used in another process.

    Attributes:
        steps: what was done to it, in order.
        channel: asks the functions of the caller. ``None``: there are none.
    """

    steps: list[Step]
    channel: RemoteChannel | None

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "steps", [])
        object.__setattr__(self, "channel", None)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        kept = array("i", value).tobytes() if name in _TOKENS else plain(value)
        self.steps.append(("set", name, kept))

    def use_fixed(self, *arguments: Any) -> None:
        super().use_fixed(*arguments)
        self.steps.append(("call", "use_fixed", plain(arguments)))

    def use_confidence(self, *arguments: Any) -> None:
        super().use_confidence(*arguments)
        self.steps.append(("call", "use_confidence", plain(arguments)))

    def use_ada_edl(self, *arguments: Any) -> None:
        super().use_ada_edl(*arguments)
        self.steps.append(("call", "use_ada_edl", plain(arguments)))

    def use_hrad(self, *arguments: Any) -> None:
        super().use_hrad(*arguments)
        self.steps.append(("call", "use_hrad", plain(arguments)))

    def use_hook(self, *arguments: Any) -> None:
        super().use_hook(*arguments)
        self.steps.append(("call", "use_hook", plain(arguments)))

    def new_channel(self, *, masks: bool, rows: bool) -> RemoteChannel:  # type: ignore[override]
        """See `_core.Request.new_channel`. The channel of the core is in the other process."""
        from specbranch_cpp._isolated.remote_channel import RemoteChannel

        channel = RemoteChannel(masks=masks, rows=rows)
        object.__setattr__(self, "channel", channel)
        return channel


def replayed(steps: Iterable[Step], request: _core.Request) -> None:
    """Does the same to another request."""
    for kind, name, what in steps:
        if kind == "call":
            getattr(request, name)(*what)
        elif name in _TOKENS:
            setattr(request, name, _tokens(what))
        else:
            if name == "lark":
                # This loads the functions of llguidance into this process.
                from specbranch_cpp._grammar import library

                library.require("this grammar")
            setattr(request, name, what)


def _tokens(data: bytes) -> list[int]:
    tokens = array("i")
    tokens.frombytes(data)
    return tokens.tolist()
