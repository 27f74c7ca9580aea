"""The keys that one run computes while other runs may wait for them."""

from collections.abc import Callable

from latentloom.engine.cache.cache import Flights
from latentloom.engine.execution.inbox import Inbox


class Leads:
    """Which step of a run computes which key. Steps of other runs, and other steps of this one, wait for it."""

    def __init__(self, flights: Flights, inbox: Inbox) -> None:
        self._flights = flights
        self._inbox = inbox
        self._steps: dict[str, str] = {}

    def take(self, key: str, step: str, again: Callable[[], None]) -> bool:
        """Whether a step may look at its key now. Otherwise `again` is called when another is done with it."""
        if self._steps.get(key) == step:
            return True
        if self._flights.take(key, lambda: self._inbox.put(again)):
            self._steps[key] = step
            return True
        self._inbox.expected += 1
        return False

    def land(self, key: str | None) -> None:
        """Be done with a key, if it is one of this run's."""
        if key is not None and self._steps.pop(key, None) is not None:
            self._flights.land(key)

    def close(self) -> None:
        """Be done with all."""
        for key in list(self._steps):
            self.land(key)
