"""Methods for the server itself."""

from latentloom.api.client.requests import Requests
from latentloom.api.wire import System


class SystemMethods(Requests):
    """The routes for the server itself."""

    async def system(self) -> System:
        """Return version, workers, memory and disk space of the server. Raises ServerError."""
        return await self._ask(System, "GET", "system")
