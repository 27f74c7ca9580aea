"""The items of the steps of one run that run once for each item: which have ended, and which have failed."""

from collections.abc import Iterator, Sequence

from latentloom.engine.planning.copies import Part
from latentloom.engine.planning.step import Step


class Items:
    """The parts of mapped steps, by the step's id."""

    def __init__(self) -> None:
        self._parts: dict[str, Sequence[Part]] = {}
        self._places: dict[str, Part] = {}  # `step/number` -> part
        self._keeps: set[str] = set()  # mapped steps that go on after a failed item
        self._left: dict[str, set[str]] = {}  # `step/number` -> ends without a result
        self._waits: dict[str, list[str]] = {}  # end -> the items that it is an end of
        self._done: dict[str, int] = {}
        self._failed: set[str] = set()  # `step/number`

    def add(self, step: Step, parts: Sequence[Part]) -> None:
        """Add a mapped step."""
        self._parts[step.id], self._done[step.id] = parts, 0
        self._keeps |= {step.id} if step.each is not None and step.each.on_error == "keep" else set()
        for part in parts:
            place = _place(part)
            self._places[place] = part
            self._left[place] = set(part.ends)
            for end in part.ends:
                self._waits.setdefault(end, []).append(place)

    def finished(self, id: str) -> list[str]:
        """Record that a step has a result. Return the mapped steps of which an item has ended with it."""
        ended = []
        for place in self._waits.pop(id, ()):
            self._left[place].discard(id)
            if not self._left[place] and place not in self._failed:
                ended.append(self._places[place].parent)
                self._done[ended[-1]] += 1
        return ended

    def failed(self, id: str) -> Part | None:
        """Record that a step failed. Return the innermost item around it that can be left out, or None."""
        for place in self._around(id):
            part = self._places[place]
            if part.parent in self._keeps:
                self._failed.add(place)
                self._done[part.parent] += 1
                return part
        return None

    def dropped(self, id: str) -> bool:
        """Whether a step belongs to an item that was left out."""
        return bool(self._failed) and any(place in self._failed for place in self._around(id))

    def left(self, id: str) -> list[Part]:
        """Return the items of a mapped step that were not left out."""
        return [part for part in self._parts[id] if _place(part) not in self._failed]

    def all_failed(self, id: str) -> bool:
        """Whether a mapped step has items, and all were left out."""
        return bool(self._parts.get(id)) and not self.left(id)

    def done(self, id: str) -> int:
        """Return how many items of a mapped step have ended."""
        return self._done[id]

    def total(self, id: str) -> int:
        """Return how many items a mapped step has."""
        return len(self._parts[id])

    def _around(self, id: str) -> Iterator[str]:
        """Iterate over the items that a step belongs to, from the innermost."""
        while id:
            if id in self._places:
                yield id
            id = id.rpartition("/")[0]


def _place(part: Part) -> str:
    return f"{part.parent}/{part.number}"
