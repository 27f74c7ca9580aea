"""`loom mcp`: the workflows of a server as tools for a language model."""

import asyncio
from importlib.util import find_spec

from latentloom.cli.errors import Failure


def mcp(server: str, token: str | None, *, shipped: bool) -> int:
    """Serve tools over stdin and stdout until stdin is closed. Raises LoomError."""
    if find_spec("mcp") is None:
        raise Failure("loom mcp needs the package mcp", hint="pip install 'latentloom[mcp]'")
    from latentloom.api.mcp import serve

    asyncio.run(serve(server, token, shipped=shipped))
    return 0
