"""Requests to the routes of a server, with answers as data models. The base of all groups of methods."""

import json
import ssl
from collections.abc import Mapping
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

from latentloom.api.client.connection import Connection
from latentloom.api.session import Source
from latentloom.api.wire import Answer
from latentloom.api.workflow_files import load_workflow
from latentloom.engine.document.writing import to_json

A = TypeVar("A", bound=Answer)
DEFAULT_SERVER = "http://localhost:8420"


class Requests:
    """Requests to one server."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        patience: float = 60.0,
        ssl_context: ssl.SSLContext | None = None,
        proxies: bool = False,
    ) -> None:
        """`patience` is how long, in seconds, requests are retried if the server does not answer. Use `ssl_context` for
        your own certificate authority. With `proxies`, HTTPS_PROXY and NO_PROXY are used.

        Raises AddressError.
        """
        self._connection = Connection(server, token, patience, context=ssl_context, proxies=proxies)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. The next call opens a new one."""
        await self._connection.close()

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, data: bytes = b"", media: str = ""
    ) -> Any:
        """Request a route in /api/v1 and return the JSON answer. Retried if the server does not answer.

        Raises ServerError, UnreachableError.
        """
        text = json.dumps(body).encode() if body is not None else data
        return await self._connection.json(method, path, text, "application/json" if body is not None else media)

    async def _ask(
        self,
        answer: type[A],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> A:
        """Request a route and return its answer as a data model. Raises ServerError, UnreachableError."""
        data = b"" if body is None else json.dumps(body).encode()
        return answer.model_validate(await self._connection.json(method, path, data, key=key, headers=headers))


def path_of(*parts: str, **query: Any) -> str:
    """Return the path of a route from its parts, with the query parameters that are not None."""
    given = {name: value for name, value in query.items() if value is not None}
    return "/".join(quote(part, safe="") for part in parts) + (f"?{urlencode(given)}" if given else "")


def document(workflow: Source) -> dict[str, Any]:
    """Return a workflow as the JSON that a server takes. Raises LoomError if it cannot be read."""
    return to_json(load_workflow(workflow))


def condition(version: int | None) -> dict[str, str]:
    """Return the headers of a change that is based on a version; 0: there is none yet; None: whatever there is."""
    if version == 0:
        return {"If-None-Match": "*"}
    return {"If-Match": "*" if version is None else f'"{version}"'}
