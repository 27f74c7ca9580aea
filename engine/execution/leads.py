"""The cache keys that a run is computing, so that other steps with the same key wait."""

from collections.abc import Callable

from latentloom.engine.cache.cache import Flights
from latentloom.engine.execution.inbox import Inbox


class Leads:
    """Maps each key to the step of this run that computes it. All other steps with that key, of any run, wait."""

    def __init__(self, flights: Flights, inbox: Inbox) -> None:
        self._flights = flights
        self._inbox = inbox
        self._steps: dict[str, str] = {}

    def take(self, key: str, step: str, again: Callable[[], None]) -> bool:
        """Whether a step holds its key now. If another step holds it, `again` is called when the key is released."""
        if self._steps.get(key) == step:
            return True
        if self._flights.take(key, lambda: self._inbox.put(again)):
            self._steps[key] = step
            return True
        self._inbox.expected += 1
        return False

    def land(self, key: str | None) -> None:
        """Release a key if this run holds it."""
        if key is not None and self._steps.pop(key, None) is not None:
            self._flights.land(key)

    def give_up(self, step: str) -> None:
        """Release the keys that a failed step holds."""
        for key in [key for key, holder in self._steps.items() if holder == step]:
            self.land(key)

    def close(self) -> None:
        """Release all keys of this run."""
        for key in list(self._steps):
            self.land(key)
