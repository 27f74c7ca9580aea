"""At which steps a text of a prompt that changes is read, as AUTOMATIC1111 counts them."""

from dataclasses import dataclass


def switch_step(value: float) -> int:
    """The first step, counted from 0, at which what follows a switch is read.

    AUTOMATIC1111 cuts the number to a whole one, n, and reads what comes before up to and including step n: so that
    lasts n + 1 steps. A switch before step 1 has happened at once.
    """
    return int(value) + 1 if value >= 1 else 0


@dataclass(frozen=True, slots=True)
class Times:
    """From one switch to the next: shares of the steps, and whole steps; None is never. All of it must hold.

    Of `period` texts that take turns it is number `turn`. AUTOMATIC1111 reads the first of them at the two first steps.
    """

    start: float = 0.0
    end: float | None = None
    first: int = 0
    last: int | None = None
    turn: int = 0
    period: int = 1

    def span(self, steps: int) -> tuple[int, int]:
        """The first step, and the one after the last, of a run of so many; none where they are not in order."""
        ends = [steps, *([] if self.end is None else [switch_step(self.end * steps)])]
        ends += [] if self.last is None else [switch_step(self.last)]
        return max(switch_step(self.start * steps), switch_step(self.first)), min(ends)

    def active(self, step: int, steps: int) -> bool:
        """Whether the text is read at a step, counted from 0."""
        begin, end = self.span(steps)
        return begin <= step < end and max(0, step - 1) % self.period == self.turn


ALWAYS = Times()
