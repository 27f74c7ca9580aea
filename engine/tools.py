"""What every run shares."""

from dataclasses import dataclass

from latentloom.engine.cache import Cache, Flights
from latentloom.engine.economy import Economies
from latentloom.engine.plan import Identity
from latentloom.engine.registry import Registry
from latentloom.engine.validate import Files


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts of an engine that its runs work with."""

    registry: Registry
    cache: Cache
    flights: Flights
    identity: Identity
    files: Files
    economies: Economies
