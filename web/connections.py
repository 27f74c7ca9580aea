"""Connections: how many there may be, how long a header may take, and who makes room for whom."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

from latentloom.web.http_errors import TooManyConnections

HEADER_SECONDS = 15.0  # from a connection's or a request's first moment to the end of its header
WRITE_SECONDS = 60.0  # that a client may take nothing of an answer
SETTLE_SECONDS = 1.0  # after a request, for its answer to go out
KEPT_FREE = 32  # connections for health and for who has a token, however many others have one
DESCRIPTORS = 128  # that the server needs for its files, databases and workers
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 2\r\n\r\n"
Exempt = Callable[[str], bool]


class Connections:
    """The open connections of a server. It makes a protocol for each, around aiohttp's."""

    def __init__(self, server: Callable[[], asyncio.Protocol], most: int, most_of_one: int, exempt: Exempt) -> None:
        """At most so many, and so many of one address unless `exempt` says that many people are behind it."""
        self._server = server
        self.most = min(most, max(KEPT_FREE * 2, descriptors() - DESCRIPTORS))
        self._most_of_one = most_of_one
        self._exempt = exempt
        self._open: dict[Connection, None] = {}  # the oldest first
        self._of: Counter[str] = Counter()
        self._known = 0
        self.refused = 0

    def __call__(self) -> "Connection":
        """A protocol for a new connection."""
        return Connection(self, self._server())

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: "Connection") -> bool:
        """Whether there is room for one more, after a stranger's has made it if need be."""
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
        """Close the oldest connection that nobody has shown a token on, else the oldest that waits for a request."""
        others = [one for one in self._open if address in (None, one.address)]
        old = next((one for one in others if not one.known), None) or next((one for one in others if one.idle), None)
        self.refused += 1
        if old is None:
            return False
        old.abort()
        self._keep(new)
        return True

    def make_room(self) -> None:
        """Close connections of strangers: there are no descriptors left."""
        strangers = [connection for connection in self._open if not connection.known]
        for connection in strangers[:KEPT_FREE]:
            connection.abort()

    def welcome(self, connection: "Connection") -> None:
        """Somebody who may use the server asks. Raises TooManyConnections when their share is used up."""
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
        """A connection is closed."""
        if self._open.pop(connection, connection) is None:
            self._known -= connection.known
            self._of[connection.address] -= 1
            if self._of[connection.address] == 0:
                del self._of[connection.address]


class Connection(asyncio.Protocol):
    """One connection: aiohttp's protocol, with a limit on how long it may be slow."""

    def __init__(self, all: Connections, inner: Any) -> None:
        self._all = all
        self._inner = inner
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._requests = 0  # under way
        self._begun = False  # whether bytes of a header have come
        self._ended = 0.0
        self._accepted = False
        self.address = ""
        self.known = False

    @property
    def idle(self) -> bool:
        """Whether no request is under way, and the last answer has gone out."""
        return self._requests == 0 and asyncio.get_running_loop().time() - self._ended >= SETTLE_SECONDS

    # What asyncio calls

    def connection_made(self, transport: Any) -> None:
        """Take the connection in, or refuse it."""
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
        """Pass bytes on; with the first of a header its time begins."""
        if self._accepted:
            if self._requests == 0 and not self._begun:
                self._begun = True
                self._expect(HEADER_SECONDS)
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The other side sends nothing more."""
        return bool(self._inner.eof_received()) if self._accepted else None

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        self._expect(None)
        self._all.drop(self)
        if self._accepted:
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self._inner.pause_writing()
        self._expect(WRITE_SECONDS)

    def resume_writing(self) -> None:
        """The client goes on taking."""
        self._expect(None)
        self._inner.resume_writing()

    def abort(self) -> None:
        """Close at once; whoever waits for the other side learns of it."""
        self._all.drop(self)
        if self._transport is not None:
            self._transport.abort()

    # What the middleware tells

    def begin(self) -> None:
        """A request's header is complete."""
        self._requests += 1
        self._expect(None)

    def end(self) -> None:
        """A request was answered."""
        self._requests -= 1
        self._ended = asyncio.get_running_loop().time()
        self._begun = False  # aiohttp itself closes a connection on which no other request begins

    def welcome(self) -> None:
        """See `Connections.welcome`."""
        self._all.welcome(self)

    def _expect(self, seconds: float | None) -> None:
        """The next thing must happen within so many seconds."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)


def descriptors() -> int:
    """How many files and sockets this process may have open."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are not counted
        return 2**31
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connection_of(request: web.Request) -> Connection | None:
    """The connection that a request came over; None where it is none of ours, or lost."""
    found = request.transport.get_protocol() if request.transport is not None else None
    return found if isinstance(found, Connection) else None


def client(peer: Any) -> str:
    """What stands for a client: its address, for IPv6 the network of 64 bits, which is one household's."""
    if not isinstance(peer, tuple):
        return ""
    return one_client(str(peer[0])) or ""


def one_client(text: str) -> str | None:
    """The same for an address as text; None for what is no address."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
