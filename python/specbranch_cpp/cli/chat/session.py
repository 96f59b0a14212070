"""A chat: what was said, what is answered, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from specbranch_cpp._support.words import message
from specbranch_cpp.errors import ContextOverflow, InvalidArgument

if TYPE_CHECKING:
    from specbranch_cpp.engine import Engine
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.results import GenerationStats


class Screen(Protocol):
    """Where things are shown."""

    def answer(self, text: str) -> None:
        """A piece of the model's text, at once."""

    def end(self, text: str) -> None:
        """The answer is complete; all of it."""

    def note(self, text: str) -> None:
        """What the program says."""

    def error(self, text: str) -> None:
        """What did not work."""

    def table(self, stats: GenerationStats) -> None:
        """What a generation cost."""

    def waiting(self, generation: Generation) -> None:
        """The prompt is being read, until `waiting_ended`."""

    def waiting_ended(self) -> None:
        """It has been, or nobody waits any more."""


@dataclass
class Totals:
    """Over all answers of a chat; times in milliseconds."""

    n_answers: int = 0
    n_generated: int = 0
    n_target_steps: int = 0
    n_drafted: int = 0
    n_accepted: int = 0
    decode_ms: float = 0.0
    prefill_ms: float = 0.0

    def add(self, stats: GenerationStats) -> None:
        self.n_answers += 1
        for name in ("n_generated", "n_target_steps", "n_drafted", "n_accepted"):
            setattr(self, name, getattr(self, name) + getattr(stats, name))
        self.decode_ms += stats.decode_ms
        self.prefill_ms += stats.prefill_ms


@dataclass
class Chat:
    """One conversation with one engine.

    Attributes:
        engine: answers.
        screen: shows.
        options: of `Engine.create_chat_completion`.
        system: what the model is told before all; None: nothing.
        messages: what was said so far, the system prompt not among it.
        last: what the last answer cost.
        totals: over all answers.
    """

    engine: Engine
    screen: Screen
    options: dict[str, Any] = field(default_factory=dict)
    system: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    last: GenerationStats | None = None
    totals: Totals = field(default_factory=Totals)
    _good: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._good = dict(self.options)

    def say(self, text: str) -> None:
        """The user says something, and is answered; what cannot be answered is taken back."""
        self.messages.append({"role": "user", "content": text})
        if not self._answer():
            self.messages.pop()

    def retry(self) -> None:
        """The last answer once more; with another seed, unless one is set."""
        if not self.messages:
            self.screen.error("there is nothing to answer yet")
            return
        before = self.messages.pop()
        if not self._answer():
            self.messages.append(before)

    def reset(self) -> None:
        """Forgets what was said; the system prompt and the options stay."""
        self.messages.clear()

    def _answer(self) -> bool:
        """Answers the last message; Ctrl-C ends the answer, and what there is of it stays.

        False: it cannot be answered; nothing has changed but the options, which are those of the
        last answer where they were the reason.
        """
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        try:
            stream: Any = self.engine.create_chat_completion(
                [*system, *self.messages], stream=True, **self.options
            )
        except ContextOverflow as error:
            self.screen.error(f"the context is full ({message(error)}); /reset begins a new chat")
            return False
        except InvalidArgument as error:
            self.screen.error(message(error))
            if self.options != self._good:
                self.options = dict(self._good)
                self.screen.note("the settings are again those of the last answer")
            return False
        self._good = dict(self.options)
        self._read(stream)
        return True

    def _read(self, stream: Any) -> None:
        text, interrupted = "", False
        generation: Generation = stream.generation
        try:
            with stream:
                self.screen.waiting(generation)
                for chunk in stream:
                    self.screen.waiting_ended()
                    for choice in chunk["choices"]:
                        piece = choice["delta"].get("content") or ""
                        if piece:
                            text += piece
                            self.screen.answer(piece)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.screen.waiting_ended()
            generation.cancel()
        self.screen.end(text)
        self.messages.append({"role": "assistant", "content": text})
        completion = generation.result()
        self.last = completion.stats
        self.totals.add(completion.stats)
        if interrupted:
            self.screen.note("stopped")
        elif completion.finish_reason == "length" and self._is_full(completion.stats):
            self.screen.note("the context is full; /reset begins a new chat")

    def _is_full(self, stats: GenerationStats) -> bool:
        return stats.n_prompt + stats.n_generated >= self.engine.n_ctx
