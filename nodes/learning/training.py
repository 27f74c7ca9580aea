"""The training loop: one step after another, kept now and then, so that it can be taken up again to the same bits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from latentloom.engine import Context, Image
from latentloom.engine.errors import BadValueError, Cancelled
from latentloom.nodes.drawing.plot import plot
from latentloom.nodes.learning.state import State

Schedule = Literal["cosine", "linear", "constant"]
WARM = 20  # steps until the rate is reached; fewer in a short training
KEEP_SECONDS, KEEP_SHARE = 10.0, 20  # least time between two kept states, in seconds and in times of keeping one
DIVERGED = 5.0  # times the mean loss of the first steps
MEAN = 10  # steps that are averaged to judge the loss


@dataclass(frozen=True, slots=True)
class Pace:
    """The length of a training and the rate of its steps."""

    steps: int
    rate: float
    schedule: Schedule = "cosine"

    def rate_at(self, step: int) -> float:
        """Return the rate of a step: a linear warm-up, then the schedule, which ends at a twentieth of the rate."""
        warm = min((step + 1) / max(1, min(WARM, self.steps // 5)), 1.0)
        share = step / self.steps
        fall = {"cosine": 0.5 + 0.5 * math.cos(math.pi * share), "linear": 1 - share, "constant": 1.0}[self.schedule]
        return self.rate * warm * (0.05 + 0.95 * fall)


def run(
    ctx: Context,
    state: State,
    pace: Pace,
    until: int,
    loss_of: Callable[[int], tuple[Tensor, Sequence[Tensor]]],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Make steps until `until` are done. `loss_of` maps a step's number to its loss and the gradients.

    Raises BadValueError if the loss diverges, and Cancelled; the state of the last step is kept then.
    """
    begin, first, kept, cost, shown = clock(), state.step, clock(), 0.0, clock()
    while state.step < until:
        step, rate = state.step, pace.rate_at(state.step)
        loss, gradients = loss_of(step)
        state.measured.losses.append(float(loss))
        _check(state.measured.losses, pace.rate)
        state.descend(gradients, rate)
        now, figures = clock(), {"loss": _mean(state.measured.losses), "rate": rate}
        left = (now - begin) / (state.step - first) * (pace.steps - state.step)
        message = f"loss {figures['loss']:.4f}, rate {rate:.2g}, {_time(left)} left"
        preview = None
        if now - shown > 3:  # a plot takes longer than a small step
            preview, shown = lambda: curve(state), now
        try:
            ctx.progress(state.step, pace.steps, preview, message, figures)
        except Cancelled:
            ctx.keep(state.data())
            raise
        if now - kept > max(KEEP_SECONDS, KEEP_SHARE * cost):
            ctx.keep(state.data())
            kept, cost = clock(), clock() - now


def _check(losses: Sequence[float], rate: float) -> None:
    """Raise BadValueError if the loss is not finite, or has grown far beyond that of the first steps."""
    recent, early = _mean(losses), float(np.mean(losses[:MEAN]))
    if math.isfinite(losses[-1]) and (len(losses) < 2 * MEAN or recent <= DIVERGED * max(early, 0.01)):
        return
    raise BadValueError(
        f"the training diverged at step {len(losses)}: the loss is {losses[-1]:.4g} at the rate {rate:g}",
        expected=f"a loss near {early:.3g}, as at the beginning" if math.isfinite(early) else "a finite loss",
        got=f"{recent:.4g}",
        hint=f"use a lower rate, such as {rate / 10:g}; if the first loss is NaN, try --dtype fp32",
    )


def _mean(losses: Sequence[float]) -> float:
    return float(np.mean(losses[-MEAN:]))


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def curve(state: State) -> Image:
    """Return the plot of the losses: the mean of the last steps, and the held-out loss between its measurements."""
    losses = np.array(state.measured.losses or [0.0])
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    wide = max(MEAN, len(losses) // 20)
    starts = np.maximum(0, np.arange(1, len(losses) + 1) - wide)
    mean = (sums[1:] - sums[starts]) / (np.arange(1, len(losses) + 1) - starts)
    thin = max(1, len(losses) // 100)
    curves = {f"loss (mean of {wide})": mean[::-thin][::-1].tolist()}
    if state.measured.held_out:
        steps, values = zip(*sorted(state.measured.held_out.items()), strict=True)
        curves["held-out loss"] = np.interp(np.arange(len(losses))[::-thin][::-1] + 1, steps, values).tolist()
    x = "step" if thin == 1 else f"step / {thin}"
    return Image(plot(curves, (800, 420), "linear", title=f"Loss of {len(losses)} steps", x=x, y="loss"))


def gradients_of(loss: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients; nothing is written to any tensor. A weight that the loss does not depend on gets zeros."""
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
