"""The steps at which each text of a changing prompt is used, counted as in AUTOMATIC1111."""

from dataclasses import dataclass


def switch_step(value: float) -> int:
    """Return the first step, counted from 0, that uses the text after a switch.

    AUTOMATIC1111 truncates the number to an integer n and uses the text before the switch up to and including step n,
    for n + 1 steps. A switch before step 1 takes effect immediately.
    """
    return int(value) + 1 if value >= 1 else 0


@dataclass(frozen=True, slots=True)
class Times:
    """The interval between two switches, in shares of the steps and in steps; both must hold, and None means no end.

    The text is number `turn` of `period` alternating texts. AUTOMATIC1111 uses the first of them for the first two
    steps.
    """

    start: float = 0.0
    end: float | None = None
    first: int = 0
    last: int | None = None
    turn: int = 0
    period: int = 1

    def span(self, steps: int) -> tuple[int, int]:
        """Return the first step and the one after the last, in a run of `steps`. The span is empty if first >= last."""
        ends = [steps, *([] if self.end is None else [switch_step(self.end * steps)])]
        ends += [] if self.last is None else [switch_step(self.last)]
        return max(switch_step(self.start * steps), switch_step(self.first)), min(ends)

    def active(self, step: int, steps: int) -> bool:
        """Whether the text is used at a step, counted from 0."""
        begin, end = self.span(steps)
        return begin <= step < end and max(0, step - 1) % self.period == self.turn


ALWAYS = Times()
