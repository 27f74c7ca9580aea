"""The components that all runs of an engine share."""

from dataclasses import dataclass

from latentloom.engine.cache.cache import Cache, Flights
from latentloom.engine.execution.imports import Imports
from latentloom.engine.execution.memory_retry import Economies
from latentloom.engine.execution.process_state import ProcessState
from latentloom.engine.planning.identity import Identity
from latentloom.engine.planning.step import Files
from latentloom.engine.planning.uses import Uses
from latentloom.engine.types.registry import Registry


@dataclass(frozen=True, slots=True)
class Tools:
    """The components of an engine that its runs use."""

    registry: Registry
    cache: Cache
    flights: Flights
    identity: Identity
    uses: Uses
    files: Files
    economies: Economies
    state: ProcessState
    imports: Imports
