"""A chat: its messages, its answers and their statistics."""

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
    """The output of a chat."""

    def answer(self, text: str) -> None:
        """Shows a piece of the model's text at once."""

    def thought(self, text: str) -> None:
        """Shows a piece of the model's thoughts, which come before its text."""

    def end(self, text: str) -> None:
        """Ends an answer. ``text`` is the whole answer."""

    def note(self, text: str) -> None:
        """Shows a message of the program."""

    def error(self, text: str) -> None:
        """Shows an error."""

    def table(self, stats: GenerationStats) -> None:
        """Shows the statistics of a generation."""

    def waiting(self, generation: Generation) -> None:
        """Shows, until `waiting_ended`, that the engine reads the prompt."""

    def waiting_ended(self) -> None:
        """Ends `waiting`: the engine has read the prompt, or the wait was cancelled."""


@dataclass
class Totals:
    """Totals over all answers of a chat. Times are in milliseconds."""

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
        engine: the engine that answers.
        screen: the output.
        options: keywords of `Engine.create_chat_completion`.
        system: the system prompt. ``None`` (default): no system prompt.
        messages: the messages so far, without the system prompt.
        last: the statistics of the last answer.
        totals: the totals over all answers.
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
        """Adds a message of the user and answers it.

        If the engine cannot answer, the message is removed.
        """
        self.messages.append({"role": "user", "content": text})
        if not self._answer():
            self.messages.pop()

    def retry(self) -> None:
        """Answers the last message again, with another seed unless a seed is set."""
        if not self.messages:
            self.screen.error("there is no message to answer yet")
            return
        before = self.messages.pop()
        if not self._answer():
            self.messages.append(before)

    def reset(self) -> None:
        """Removes all messages. The system prompt and the options stay."""
        self.messages.clear()

    def _answer(self) -> bool:
        """Answers the last message. After Ctrl-C, the text so far stays as the answer.

        Returns False if the engine cannot answer. If an option was the reason, the options of the
        last answer are restored; nothing else changes.
        """
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        try:
            stream: Any = self.engine.create_chat_completion(
                [*system, *self.messages], stream=True, **self.options
            )
        except ContextOverflow as error:
            self.screen.error(
                f"the context is full ({message(error)}); type /reset to begin a new chat"
            )
            return False
        except InvalidArgument as error:
            self.screen.error(message(error))
            if self.options != self._good:
                self.options = dict(self._good)
                self.screen.note("the settings of the last answer are restored")
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
                        if thought := choice["delta"].get("reasoning_content"):
                            self.screen.thought(thought)
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
            self.screen.note("the context is full; type /reset to begin a new chat")

    def _is_full(self, stats: GenerationStats) -> bool:
        return stats.n_prompt + stats.n_generated >= self.engine.n_ctx
