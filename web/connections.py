"""Limits on connections: their number, the time for a header, and which connection is closed for a new one."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

from latentloom.web.http_errors import TooManyConnections

HEADER_SECONDS = 15.0  # from the start of a connection or request to the end of its header
WRITE_SECONDS = 60.0  # maximum time in which a client reads nothing of an answer
SETTLE_SECONDS = 1.0  # after a request, for sending its answer
KEPT_FREE = 32  # connections reserved for health checks and clients with a token
DESCRIPTORS = 128  # file descriptors for files, databases and workers
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 2\r\n\r\n"
Exempt = Callable[[str], bool]


class Connections:
    """The open connections of a server. Creates a protocol for each, which wraps aiohttp's."""

    def __init__(self, server: Callable[[], asyncio.Protocol], most: int, most_of_one: int, exempt: Exempt) -> None:
        """`most`: maximum number; `most_of_one`: per address, unless `exempt` says it stands for many clients."""
        self._server = server
        self.most = min(most, max(KEPT_FREE * 2, descriptors() - DESCRIPTORS))
        self._most_of_one = most_of_one
        self._exempt = exempt
        self._open: dict[Connection, None] = {}  # oldest first
        self._of: Counter[str] = Counter()
        self._known = 0
        self.refused = 0

    def __call__(self) -> "Connection":
        """Create the protocol of a new connection."""
        return Connection(self, self._server())

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: "Connection") -> bool:
        """Add a connection, if necessary in place of another one. Returns False if there is no room."""
        counted = connection.address and not self._exempt(connection.address)
        if counted and self._of[connection.address] >= self._most_of_one:
            return self._replaced(connection, connection.address)
        if len(self._open) >= self.most:
            return self._replaced(connection, None)
        self._keep(connection)
        return True

    def _keep(self, connection: "Connection") -> None:
        self._open[connection] = None
        self._of[connection.address] += 1

    def _replaced(self, new: "Connection", address: str | None) -> bool:
        """Close the oldest connection without a token, else the oldest idle one, and add the new one."""
        others = [one for one in self._open if address in (None, one.address)]
        old = next((one for one in others if not one.known), None) or next((one for one in others if one.idle), None)
        self.refused += 1
        if old is None:
            return False
        old.abort()
        self._keep(new)
        return True

    def make_room(self) -> None:
        """Close connections without a token, because no file descriptors are left."""
        strangers = [connection for connection in self._open if not connection.known]
        for connection in strangers[:KEPT_FREE]:
            connection.abort()

    def welcome(self, connection: "Connection") -> None:
        """Mark a connection of an authorised client. Raises TooManyConnections if the share for them is used up."""
        if connection.known or connection not in self._open:
            return
        if self._known >= self.most - KEPT_FREE:
            idle = next((one for one in self._open if one.known and one.idle), None)
            if idle is None:
                raise TooManyConnections("too many connections are open", hint="close some, or try again in a moment")
            idle.abort()
        connection.known = True
        self._known += 1

    def drop(self, connection: "Connection") -> None:
        """Remove a closed connection."""
        if self._open.pop(connection, connection) is None:
            self._known -= connection.known
            self._of[connection.address] -= 1
            if self._of[connection.address] == 0:
                del self._of[connection.address]


class Connection(asyncio.Protocol):
    """One connection: wraps aiohttp's protocol and enforces time limits."""

    def __init__(self, all: Connections, inner: Any) -> None:
        self._all = all
        self._inner = inner
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._requests = 0  # number of running requests
        self._begun = False  # whether part of a header has arrived
        self._ended = 0.0
        self._accepted = False
        self.address = ""
        self.known = False

    @property
    def idle(self) -> bool:
        """Whether no request is running and the last answer was sent."""
        return self._requests == 0 and asyncio.get_running_loop().time() - self._ended >= SETTLE_SECONDS

    # Callbacks of asyncio

    def connection_made(self, transport: Any) -> None:
        """Accept or refuse the connection."""
        self._transport = transport
        self.address = client(transport.get_extra_info("peername"))
        self._accepted = self._all.add(self)
        if not self._accepted:
            transport.write(REFUSAL)
            transport.close()
            return
        self._inner.connection_made(transport)
        self._expect(HEADER_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to aiohttp. The first bytes of a header start its time limit."""
        if self._accepted:
            if self._requests == 0 and not self._begun:
                self._begun = True
                self._expect(HEADER_SECONDS)
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client has closed its sending side."""
        return bool(self._inner.eof_received()) if self._accepted else None

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        self._expect(None)
        self._all.drop(self)
        if self._accepted:
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        """The write buffer is full: start the time limit for the client to read."""
        self._inner.pause_writing()
        self._expect(WRITE_SECONDS)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._expect(None)
        self._inner.resume_writing()

    def abort(self) -> None:
        """Close the connection at once. Handlers that wait for the client are notified."""
        self._all.drop(self)
        if self._transport is not None:
            self._transport.abort()

    # Calls of the middleware

    def begin(self) -> None:
        """Note that a request's header is complete."""
        self._requests += 1
        self._expect(None)

    def end(self) -> None:
        """Note that a request was answered."""
        self._requests -= 1
        self._ended = asyncio.get_running_loop().time()
        self._begun = False  # aiohttp closes idle connections itself

    def welcome(self) -> None:
        """See `Connections.welcome`."""
        self._all.welcome(self)

    def _expect(self, seconds: float | None) -> None:
        """Set the time limit for the next event in seconds; None removes it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)


def descriptors() -> int:
    """Return the maximum number of open files and sockets of this process."""
    try:
        import resource
    except ImportError:  # Windows, where sockets do not count
        return 2**31
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connection_of(request: web.Request) -> Connection | None:
    """Return the connection of a request; None if it is lost or has another protocol."""
    found = request.transport.get_protocol() if request.transport is not None else None
    return found if isinstance(found, Connection) else None


def client(peer: Any) -> str:
    """Return the identity of a client: its address, or the /64 network for IPv6, which belongs to one site."""
    if not isinstance(peer, tuple):
        return ""
    return one_client(str(peer[0])) or ""


def one_client(text: str) -> str | None:
    """Return the identity for an address as text; None if it is not an address."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
