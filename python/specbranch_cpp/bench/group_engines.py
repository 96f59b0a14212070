"""The engines of one group: our engine with a pair in a placement, and the other engines.

If texts alone propose tokens in a variant, our engine is loaded once more without the draft model.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from specbranch_cpp.bench import near_ties, peer_access, variants, windows
from specbranch_cpp.engine import Engine
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from specbranch_cpp.bench.near_ties import Difference
    from specbranch_cpp.bench.peers import Peer
    from specbranch_cpp.bench.plan import BenchGroup, BenchPlan, BenchRound
    from specbranch_cpp.bench.turns import Stretch
    from specbranch_cpp.bench.variants import Variant
    from specbranch_cpp.results import Trace

_TRACED_TOKENS = 64


@dataclass(frozen=True)
class MeasuredText:
    """One call: its tokens, without an end token, and its statistics.

    In `stats`, ``decode_ms`` is the time of ``n_timed`` tokens. If ``n_timed`` is missing, it is
    the time of all tokens.
    """

    tokens: tuple[int, ...]
    stats: dict[str, Any]


class GroupEngines:
    """The engines of a group, as a context manager. Each engine is loaded when it is first needed.

    Raises:
        ModelLoadError: the models do not fit into the memory.
    """

    def __init__(self, plan: BenchPlan, group: BenchGroup) -> None:
        self._plan = plan
        self._placement = group.placement
        self._pair = plan.pairs[group.pair]
        self._peers: dict[Variant, Peer] = {}
        self._stack = ExitStack()
        self._alone: Engine | None = None
        self.engine = self._open(self._pair.draft)

    def _open(self, draft: Path | None) -> Engine:
        """Our engine. Earlier answers propose nothing: another variant has given the same one."""
        engine = Engine(
            self._pair.target,
            draft,
            n_ctx=self._plan.n_ctx,
            bit_exact=self._plan.bit_exact,
            prefix_reuse="fast",  # a stretch continues the KV cells of the stretch before it
            seed=self._plan.seed,
            speculation=replace(variants.room(self._plan.variants), lookup_answers=False),
            **self._placement.options,
        )
        return self._stack.enter_context(engine)

    def _engine_of(self, variant: Variant) -> Engine:
        """Our engine, for texts alone the one without the draft model."""
        if variant.sources != "text" or self._pair.draft is None:
            return self.engine
        if self._alone is None:
            self._alone = self._open(None)
        return self._alone

    def tokenize(self, text: str) -> list[int]:
        """The tokens of the prompt, as in `Engine.generate`.

        Raises:
            InvalidArgument: the prompt leaves too little room in the context.
        """
        tokens = self.engine.tokenize(text, special=True)
        if len(tokens) + self._plan.tokens > self.engine.n_ctx:
            raise InvalidArgument(
                f"the prompt {text[:40]!r} has {len(tokens)} tokens; with {self._plan.tokens} "
                f"tokens to generate, this is more than the context of {self.engine.n_ctx}; use a "
                "larger --ctx-size"
            )
        return tokens

    def measure(
        self,
        variant: Variant,
        prompt: list[int],
        temperature: float,
        seed: int,
        stretch: Stretch | None = None,
    ) -> MeasuredText:
        """One call.

        Args:
            variant: the variant that decodes.
            prompt: the tokens of the prompt, and the text before the stretch.
            temperature: temperature of the text.
            seed: seed of the text.
            stretch: the stretch to decode. The call may go on for a few tokens after its end.
                ``None`` (default): the whole text.

        Raises:
            OSError, RuntimeError, ValueError: another engine failed.
        """
        if variant.is_peer:
            return self._measure_peer(variant, prompt)
        begun = 0 if stretch is None else stretch.start
        # The limit is that of the text, not that of the stretch: near a limit the modes draft less.
        generation = self._engine_of(variant).generate(
            prompt,
            max_tokens=self._plan.tokens - begun,
            temperature=temperature,
            seed=seed,
            speculation=variant.speculation(),
            trace=True,
        )
        if stretch is not None and stretch.stop is not None:
            for n, _ in enumerate(generation, 1):
                if n == stretch.stop - begun:
                    generation.cancel()
        done = generation.result()
        stats = asdict(done.stats) | {"finish_reason": done.finish_reason}
        if stretch is not None:
            assert done.trace is not None
            stats = windows.windowed(stats, done.trace, stretch)
        return MeasuredText(tuple(done.tokens), stats)

    def _measure_peer(self, variant: Variant, prompt: list[int]) -> MeasuredText:
        # One process for each draft length, because some engines restart when the length changes,
        # and are then cold.
        if variant not in self._peers:
            opened = peer_access.open_peer(
                variant.mode, self._pair, self._placement, self._plan.n_ctx
            )
            self._peers[variant] = self._stack.enter_context(opened)
        done = self._peers[variant].generate(prompt, self._plan.tokens, variant.draft_length)
        tokens = tuple(done.tokens)
        if tokens and tokens[-1] == self.engine.eos_token:
            tokens = tokens[:-1]
        stats = {
            "n_prompt": len(prompt),
            "n_generated": len(tokens),
            "n_timed": max(0, len(tokens) - 1),  # the first token counts as part of the prompt
            "prefill_ms": done.prefill_ms,
            "decode_ms": done.decode_ms,
            "n_drafted": done.n_drafted,
            "n_accepted": done.n_accepted,
            "finish_reason": "length" if len(tokens) == self._plan.tokens else "stop",
        }
        return MeasuredText(tokens, stats)

    def gap(self, one: BenchRound, text: tuple[int, ...], difference: Difference) -> float | None:
        """The gap of the two scores at a difference: see `near_ties.gap`.

        Args:
            one: the round whose text differs.
            text: one of the two texts.
            difference: the place where the texts diverge.
        """
        return near_ties.gap(
            self.engine,
            self.tokenize(one.text),
            text,
            difference,
            temperature=one.temperature,
            seed=one.seed,
        )

    def trace(self, variant: Variant, one: BenchRound) -> Trace:
        """The trace of a generation that does not count."""
        done = (
            self._engine_of(variant)
            .generate(
                self.tokenize(one.text),
                max_tokens=min(self._plan.tokens, _TRACED_TOKENS),
                temperature=one.temperature,
                seed=one.seed,
                trace=True,
                speculation=variant.speculation(),
            )
            .result()
        )
        assert done.trace is not None
        return done.trace

    def __enter__(self) -> GroupEngines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
