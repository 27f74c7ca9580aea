"""Clients of a server: its whole HTTP API as methods, and the events of its jobs.

In: the address of a server and a token. Out: the data models of `latentloom.api.wire`, files, and events. Clients retry
while the server is away, and miss no event.
"""

from latentloom.api.client.asynchronous import AsyncClient
from latentloom.api.client.blocking import Client
from latentloom.api.client.connection import AddressError, DamagedError, ServerError, UnreachableError
from latentloom.api.client.webhooks import WebhookError, read_webhook

__all__ = [
    "AddressError",
    "AsyncClient",
    "Client",
    "DamagedError",
    "ServerError",
    "UnreachableError",
    "WebhookError",
    "read_webhook",
]
