"""What every run shares."""

from dataclasses import dataclass

from latentloom.engine.cache.cache import Cache, Flights
from latentloom.engine.execution.imports import Imports
from latentloom.engine.execution.memory_retry import Economies
from latentloom.engine.execution.process_state import ProcessState
from latentloom.engine.planning.identity import Identity
from latentloom.engine.planning.uses import Uses
from latentloom.engine.planning.validate import Files
from latentloom.engine.types.registry import Registry


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts of an engine that its runs work with."""

    registry: Registry
    cache: Cache
    flights: Flights
    identity: Identity
    uses: Uses
    files: Files
    economies: Economies
    state: ProcessState
    imports: Imports
