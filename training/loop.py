"""The training loop that all phases share: time, learning rate, checkpoints, progress."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch

from latentloom.training.team import Team


class Part(Protocol):
    """An object whose state is stored in a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Load a state."""


class Optimizer(Part, Protocol):
    """Changes weights by their gradients, as torch's optimizers do."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The weights "params" and the rate "lr" of each group."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""

    def step(self) -> None:
        """Change the weights."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Prints the output of the training; no other code prints."""

    stream: TextIO

    def line(self, text: str) -> None:
        """Write one line and flush."""
        self.stream.write(text + "\n")
        self.stream.flush()


@dataclass(slots=True)
class Phase:
    """One phase: runs steps until its seconds are spent; it can be interrupted and resumed."""

    name: str
    folder: Path
    seconds: float
    optimizer: Optimizer
    parts: dict[str, Part]
    writer: Writer
    checkpoint_every: float = 120.0
    """Seconds."""
    team: Team = field(default_factory=Team)
    clock: Callable[[], float] = time.monotonic
    warm: int = 200
    """Steps until the learning rate is reached."""
    spent: float = 0.0
    step: int = 0
    seen: int = 0
    _rates: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of the time that is spent, 0..1."""
        return min(self.spent / self.seconds, 1.0)

    @property
    def file(self) -> Path:
        """The path of the checkpoint."""
        return self.folder / f"{self.name}.pt"

    def run(self, take: Callable[[int], tuple[torch.Tensor, int]], show: Callable[[], None] | None = None) -> None:
        """Run steps until the time is spent; `take` maps the number of a batch to its loss and its number of pictures.

        `show` is called with every checkpoint.
        """
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self.resume()
        saved, losses = self.spent, []
        last = self.clock()
        while self.spent < self.seconds:
            loss, count = take(self.step * self.team.size + self.team.rank)
            now = self.clock()
            self.spent, last = self.spent + now - last, now
            self._descend(loss)
            self.step, self.seen = self.step + 1, self.seen + count * self.team.size
            losses.append(loss.detach())
            if len(losses) == 50:
                self._report(torch.stack(losses).mean().item())
                losses = []
            if self.spent - saved >= self.checkpoint_every:
                saved = self.spent
                self._keep(show)
        self._keep(show)
        if self.team.leads:
            self.writer.line(f"{self.name}: done, {self.step} steps, {self.seen} pictures, {self.spent:.0f} s")

    def _keep(self, show: Callable[[], None] | None) -> None:
        if self.team.leads:
            self.save()
            if show:
                show()
        self.team.wait()

    def _descend(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        self.spent = self.team.agree(weights, self.spent)
        self._set_rates()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        self.optimizer.step()

    def _set_rates(self) -> None:
        warm = min((self.step + 1) / self.warm, 1.0)
        fall = 0.5 + 0.5 * math.cos(math.pi * self.share)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * warm * (0.01 + 0.99 * fall)

    def _report(self, loss: float) -> None:
        if not self.team.leads:
            return
        self.writer.line(
            f"{self.name}: step {self.step} loss {loss:.4f} seen {self.seen} "
            f"({self.seen / max(self.spent, 1e-9):.0f}/s) {self.seconds - self.spent:.0f} s left"
        )

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state["optimizer"] = self.optimizer.state_dict()
        state["progress"] = {"spent": self.spent, "step": self.step, "seen": self.seen}
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.file)

    def resume(self) -> None:
        """Resume from the checkpoint if there is one."""
        if not self.file.exists():
            return
        state = torch.load(self.file, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])
        progress = state["progress"]
        self.spent, self.step, self.seen = progress["spent"], progress["step"], progress["seen"]
        self.writer.line(f"{self.name}: resumed at step {self.step}")
