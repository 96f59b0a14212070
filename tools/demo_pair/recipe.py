"""What is trained, and for how long."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo_pair.lfm2 import Lfm2, Lfm2Shape
from demo_pair.llama import Llama
from demo_pair.model import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGET = Shape(4096, width=256, layers=8, heads=4, kv_heads=2, feed_forward=768)
DRAFT = Shape(4096, width=192, layers=3, heads=6, kv_heads=2, feed_forward=512)

HYBRID_TARGET = Lfm2Shape(
    4096, width=256, layers=6, heads=4, kv_heads=2, feed_forward=512, attention=(2, 5)
)
HYBRID_DRAFT = Lfm2Shape(
    4096, width=192, layers=3, heads=3, kv_heads=1, feed_forward=384, attention=(1,)
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is trained, and for how long."""

    target: Shape = TARGET
    draft: Shape = DRAFT
    seed: int = 20
    #: Optimizer steps of the two phases.
    joint_steps: int = 1400
    distil_steps: int = 600
    #: Limits for both phases together; the joint phase gets the share that its steps have.
    cpu_minutes: float = math.inf
    wall_minutes: float = math.inf
    batch_tokens: int = 8192
    micro_batch_tokens: int = 4096
    window: int = 256
    #: The last part of the joint phase and all of the second use longer windows.
    long_window: int = 1024
    long_from: float = 0.8
    #: Learning rate of matrices (Muon) and of embedding and norms (AdamW).
    matrix_rate: float = 5e-3
    other_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.03
    #: Continuations by the target: how many at once, how long, how often used on average.
    generated: int = 512
    prompt_tokens: int = 64
    generated_window: int = 256
    generated_uses: int = 8

    def joint_share(self) -> float:
        return self.joint_steps / (self.joint_steps + self.distil_steps)


#: By the name of the architecture. The hybrid pair is for measurements: smaller, and trained less.
RECIPES: Mapping[str, Recipe] = {
    Llama.architecture: Recipe(),
    Lfm2.architecture: Recipe(
        target=HYBRID_TARGET,
        draft=HYBRID_DRAFT,
        joint_steps=600,
        distil_steps=300,
        batch_tokens=4096,
        long_window=512,
        generated=256,
        generated_window=192,
    ),
}


#: Tiny target and draft of each architecture.
TOYS: Mapping[str, tuple[Shape, Shape]] = {
    Llama.architecture: (
        Shape(512, width=64, layers=2, heads=2, kv_heads=1, feed_forward=96),
        Shape(512, width=32, layers=1, heads=2, kv_heads=1, feed_forward=64),
    ),
    Lfm2.architecture: (
        Lfm2Shape(512, 64, layers=3, heads=2, kv_heads=1, feed_forward=96, attention=(1,)),
        Lfm2Shape(512, 32, layers=2, heads=2, kv_heads=1, feed_forward=64, attention=(1,)),
    ),
}


def toy(architecture: str, recipe: Recipe) -> Recipe:
    """Tiny models of an architecture, and few steps: to try the tool out."""
    target, draft = TOYS[architecture]
    return dataclasses.replace(
        recipe,
        target=target,
        draft=draft,
        joint_steps=20,
        distil_steps=6,
        batch_tokens=512,
        micro_batch_tokens=256,
        window=64,
        long_window=128,
        generated=8,
        prompt_tokens=16,
        generated_window=48,
    )
