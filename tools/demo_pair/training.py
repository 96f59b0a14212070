"""Training in two phases.

*Joint*: the target learns the text; on the same batches the draft learns the target's
distribution (Kullback-Leibler), which costs no extra target forward.
*Distil*: the target is finished; the draft goes on learning from it, on the text and on the
target's own continuations, which is what it will have to predict.

Every batch is a function of the seed and the step, and the state is saved regularly, so that an
interrupted run can be resumed. The learning rate follows the progress, which is the greatest of
the shares of the steps, of the processor time and of the wall time that are used up: a run
that reaches a limit still ends with a finished schedule.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from demo_pair.architectures import make_model, make_shape
from demo_pair.data import Tokens, even_windows, random_windows
from demo_pair.generation import generate, gumbel
from demo_pair.model import Decoder, is_matrix

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from demo_pair.recipe import Recipe

JOINT, DISTIL, DONE = "joint", "distil", "done"


@dataclass
class Progress:
    """Where a run stands; saved with the weights."""

    phase: str = JOINT
    step: int = 0
    text_tokens: int = 0
    generated_tokens: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    #: cpu_seconds and wall_seconds when this phase began.
    phase_cpu: float = 0.0
    phase_wall: float = 0.0
    history: list[dict[str, float | str]] = field(default_factory=list)


class Clock:
    """Adds the time of this process to the progress."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.cpu, self.wall = time.process_time(), time.monotonic()

    def tick(self) -> None:
        cpu, wall = time.process_time(), time.monotonic()
        self.progress.cpu_seconds += cpu - self.cpu
        self.progress.wall_seconds += wall - self.wall
        self.cpu, self.wall = cpu, wall


def optimizers(model: Decoder, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the rest."""
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"needs PyTorch 2.9 or newer, this is {torch.__version__}")
    matrices = [p for p in model.blk.parameters() if is_matrix(p)]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    made: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices,
            lr=recipe.matrix_rate,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return made


def set_rate(steppers: list[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in steppers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def divergence(draft_scores: Tensor, target_scores: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of the draft's distribution from the target's."""
    wanted = functional.log_softmax(target_scores, dim=-1)
    given = functional.log_softmax(draft_scores, dim=-1)
    return (wanted.exp() * (wanted - given)).sum(dim=-1).mean()


class Trainer:
    """Holds the pair, its optimizers and its progress."""

    def __init__(
        self,
        recipe: Recipe,
        train: Tokens,
        held_out: Tokens,
        folder: Path,
        *,
        device: torch.device,
        compile_step: bool = True,
        report: Callable[[str], None] = print,
    ) -> None:
        self.recipe, self.train, self.held_out = recipe, train, held_out
        self.folder, self.device, self.report = folder, device, report
        generator = torch.Generator().manual_seed(recipe.seed)
        self.target, self.draft = make_model(recipe.target), make_model(recipe.draft)
        for model in (self.target, self.draft):
            model.initialize(generator)
            model.to(device)
        self.target_steppers = optimizers(self.target, recipe)
        self.draft_steppers = optimizers(self.draft, recipe)
        self.progress = Progress()
        self.pool: Tokens | None = None
        self.pool_number = -1
        self.joint_losses: Callable[[Tensor], tuple[Tensor, Tensor]] = self._joint_losses
        self.distil_loss: Callable[[Tensor], Tensor] = self._distil_loss
        if compile_step:
            self.joint_losses = torch.compile(self._joint_losses, dynamic=False)
            self.distil_loss = torch.compile(self._distil_loss, dynamic=False)

    def keep_target(self, target: Decoder, draft: Decoder | None) -> None:
        """Go straight to the second phase, with a finished target, and a draft to begin with."""
        self.target.load_state_dict(target.state_dict())
        if draft is not None:
            self.draft.load_state_dict(draft.state_dict())
        self.progress.phase = DISTIL

    # Losses. Matrix products in bfloat16, softmax in float32.

    def _scores(self, model: Decoder, tokens: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            scores: Tensor = model(tokens)
        return scores.float()

    def _joint_losses(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        inputs, labels = tokens[:, :-1], tokens[:, 1:]
        target_scores = self._scores(self.target, inputs)
        draft_scores = self._scores(self.draft, inputs)
        text = functional.cross_entropy(target_scores.flatten(0, 1), labels.flatten())
        return text, divergence(draft_scores, target_scores.detach())

    def _distil_loss(self, tokens: Tensor) -> Tensor:
        inputs = tokens[:, :-1]
        with torch.no_grad():
            target_scores = self._scores(self.target, inputs)
        return divergence(self._scores(self.draft, inputs), target_scores)

    # Steps.

    def to_device(self, windows: Tokens) -> Tensor:
        return torch.from_numpy(windows.astype(np.int64)).to(self.device)

    def text_batches(self, window: int) -> list[Tensor]:
        """The micro batches of this step, from the text."""
        rows = max(1, self.recipe.micro_batch_tokens // window)
        count = max(1, self.recipe.batch_tokens // (rows * window))
        phase = 0 if self.progress.phase == JOINT else 1
        seed = (self.recipe.seed, phase, self.progress.step)
        windows = random_windows(self.train, rows * count, window, seed)
        self.progress.text_tokens += windows[:, 1:].size
        return list(torch.split(self.to_device(windows), rows))

    def generated_batches(self) -> list[Tensor]:
        """The micro batches of this step, from the target's own continuations."""
        recipe, step = self.recipe, self.progress.step
        rows = max(1, recipe.micro_batch_tokens // recipe.generated_window)
        count = max(1, recipe.batch_tokens // (rows * recipe.generated_window))
        # Every other step comes here.
        lifetime = max(1, recipe.generated * recipe.generated_uses // (rows * count))
        if self.pool is None or self.pool_number != step // 2 // lifetime:
            self.pool_number = step // 2 // lifetime
            self.pool = self.continuations(self.pool_number)
        picks = np.random.default_rng([recipe.seed, 2, step]).integers(
            0, len(self.pool), size=rows * count
        )
        windows = self.pool[picks]
        self.progress.generated_tokens += windows[:, 1:].size
        return list(torch.split(self.to_device(windows), rows))

    def continuations(self, number: int) -> Tokens:
        """The target continues pieces of the text, a third of them at temperature 0."""
        recipe = self.recipe
        seed = (recipe.seed, 3, number)
        prompts = random_windows(self.train, recipe.generated, recipe.prompt_tokens, seed)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        count = recipe.generated_window - recipe.prompt_tokens
        made: list[Tensor] = []
        for rows in torch.split(self.to_device(prompts), 128):
            size = (len(rows), count, recipe.target.vocab_size)
            noise = gumbel(size, generator, self.device)
            hot = torch.tensor([0.0, 0.7, 1.0], device=self.device)
            temperature = hot[torch.arange(len(rows), device=self.device) % 3]
            new = generate(self.target, rows, count, temperature, noise)
            made.append(torch.cat([rows, new], dim=1))
        return torch.cat(made).cpu().numpy().astype(np.uint16)

    def update(self, model: Decoder, steppers: list[torch.optim.Optimizer]) -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in steppers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def joint_step(self, done: float) -> dict[str, float]:
        recipe = self.recipe
        warm = min(1.0, (self.progress.step + 1) / max(1.0, recipe.warmup * recipe.joint_steps))
        set_rate(self.target_steppers, min(warm, 1.0 - done))
        set_rate(self.draft_steppers, warm)
        window = recipe.long_window if done >= recipe.long_from else recipe.window
        batches = self.text_batches(window)
        totals = torch.zeros(2)
        for tokens in batches:
            text, apart = self.joint_losses(tokens)
            torch.autograd.backward((text + apart) / len(batches))
            totals += torch.tensor([text.item(), apart.item()]) / len(batches)
        self.update(self.target, self.target_steppers)
        self.update(self.draft, self.draft_steppers)
        return {"target_loss": float(totals[0]), "divergence": float(totals[1])}

    def distil_step(self, done: float) -> dict[str, float]:
        recipe = self.recipe
        warm = 1.0
        if not recipe.joint_steps:  # the optimizers are new
            warm = (self.progress.step + 1) / max(1.0, recipe.warmup * recipe.distil_steps)
        set_rate(self.draft_steppers, min(warm, 1.0 - done))
        from_text = self.progress.step % 2 == 1
        batches = self.text_batches(self.recipe.long_window) if from_text else []
        batches = batches or self.generated_batches()
        total = 0.0
        for tokens in batches:
            apart = self.distil_loss(tokens)
            torch.autograd.backward(apart / len(batches))
            total += apart.item() / len(batches)
        self.update(self.draft, self.draft_steppers)
        return {"divergence_text" if from_text else "divergence_generated": total}

    # The run.

    def done(self) -> float:
        """The share of the current phase that is done."""
        recipe, progress = self.recipe, self.progress
        joint = progress.phase == JOINT
        steps = recipe.joint_steps if joint else recipe.distil_steps
        # The second phase has all that is left.
        share = recipe.joint_share() if joint else 1.0
        shares = [progress.step / max(1, steps)]
        for used, start, minutes in (
            (progress.cpu_seconds, progress.phase_cpu, recipe.cpu_minutes),
            (progress.wall_seconds, progress.phase_wall, recipe.wall_minutes),
        ):
            allowed = minutes * 60.0 * share - start
            shares.append((used - start) / allowed if allowed > 0.0 else 1.0)
        return min(1.0, max(shares))

    def run(self, *, save_every: int = 100, print_every: int = 10) -> None:
        """Train from the current state to the end of both phases."""
        clock = Clock(self.progress)
        progress = self.progress
        while progress.phase != DONE:
            done = self.done()
            if done >= 1.0:
                self.record(clock)
                progress.phase = DISTIL if progress.phase == JOINT else DONE
                progress.step = 0
                progress.phase_cpu = progress.cpu_seconds
                progress.phase_wall = progress.wall_seconds
                self.save()
                continue
            losses = (self.joint_step if progress.phase == JOINT else self.distil_step)(done)
            progress.step += 1
            clock.tick()
            if progress.step % print_every in (0, 1):
                figures = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
                self.report(
                    f"{progress.phase} {progress.step:5d}  {done:4.0%}  {figures}  "
                    f"{progress.wall_seconds / 60:.1f} min"
                )
            if progress.step % save_every == 0:
                self.record(clock)
                self.save()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses on held-out text."""
        window = min(self.recipe.long_window, 512)
        windows = self.to_device(even_windows(self.held_out, 32, window))
        totals = torch.zeros(3)
        for tokens in torch.split(windows, 4):
            target_scores = self._scores(self.target, tokens[:, :-1])
            draft_scores = self._scores(self.draft, tokens[:, :-1])
            labels = tokens[:, 1:].flatten()
            same = draft_scores.argmax(-1) == target_scores.argmax(-1)
            totals += torch.tensor(
                [
                    functional.cross_entropy(target_scores.flatten(0, 1), labels).item(),
                    functional.cross_entropy(draft_scores.flatten(0, 1), labels).item(),
                    same.float().mean().item(),
                ]
            ) * (len(tokens) / len(windows))
        target_loss, draft_loss, agreement = totals.tolist()
        return {"target": target_loss, "draft": draft_loss, "agreement": agreement}

    def record(self, clock: Clock) -> None:
        figures = self.validate()
        clock.tick()
        progress = self.progress
        progress.history.append(
            {
                "phase": progress.phase,
                "step": progress.step,
                "text_tokens": progress.text_tokens,
                "generated_tokens": progress.generated_tokens,
                "wall_minutes": round(progress.wall_seconds / 60, 2),
                **{name: round(value, 4) for name, value in figures.items()},
            }
        )
        self.report(
            f"held out: target {figures['target']:.3f}  draft {figures['draft']:.3f}  "
            f"same best token {figures['agreement']:.3f}"
        )

    # State.

    def save(self) -> None:
        """Write the checkpoint; a reader sees the old one or the new one, never half of it."""
        state: dict[str, Any] = {
            "recipe": dataclasses.asdict(self.recipe),
            "architectures": {
                "target": self.target.architecture,
                "draft": self.draft.architecture,
            },
            "progress": dataclasses.asdict(self.progress),
            "target": self.target.state_dict(),
            "draft": self.draft.state_dict(),
            "target_steppers": [optimizer.state_dict() for optimizer in self.target_steppers],
            "draft_steppers": [optimizer.state_dict() for optimizer in self.draft_steppers],
        }
        unfinished = self.folder / "checkpoint.tmp"
        torch.save(state, unfinished)
        unfinished.replace(self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the checkpoint in the folder."""
        state = load_checkpoint(self.folder)
        shapes = (state["recipe"]["target"], state["recipe"]["draft"])
        if shapes != (
            dataclasses.asdict(self.recipe.target),
            dataclasses.asdict(self.recipe.draft),
        ):
            raise ValueError("the checkpoint belongs to models of another shape")
        self.target.load_state_dict(state["target"])
        self.draft.load_state_dict(state["draft"])
        for name in ("target_steppers", "draft_steppers"):
            for optimizer, saved in zip(getattr(self, name), state[name], strict=True):
                optimizer.load_state_dict(saved)
        self.progress = Progress(**state["progress"])


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """The saved state of a run."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}: train first")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_pair(folder: Path) -> tuple[Decoder, Decoder, Progress]:
    """Target, draft and progress from the checkpoint in ``folder``."""
    state = load_checkpoint(folder)
    models: list[Decoder] = []
    for role in ("target", "draft"):
        model = make_model(make_shape(state["architectures"][role], state["recipe"][role]))
        model.load_state_dict(state[role])
        models.append(model)
    return models[0], models[1], Progress(**state["progress"])
