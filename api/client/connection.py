"""HTTP requests of a client to one server: retries if it is away, and converts all failures to LoomErrors."""

import asyncio
import contextlib
import hashlib
import io
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from latentloom.engine.errors import LoomError, Problem, brief
from latentloom.engine.files.partial import partial_path

PAUSES = (0.1, 0.3, 1.0, 2.0, 5.0)  # seconds between attempts; the last pause is repeated
LONG = ("explain", "import", "models/facts", "tokenize", "validate")  # these routes run plugin code
LONG_SECONDS = 600.0
AGAIN = (502, 503, 504)  # statuses of a server or a proxy that may answer later
PIECE = 2**20


class ServerError(LoomError):
    """The server refused a request. `problems` are the server's, `status` is the HTTP status."""

    code = "server_refused"

    def __init__(self, status: int, message: str, problems: Collection[Problem]) -> None:
        super().__init__(message)
        self.status = status
        self._problems = tuple(problems) or (self.problem,)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The server's own problems."""
        return self._problems


class UnreachableError(LoomError):
    """No server answers at this address."""

    code = "server_unreachable"


class AddressError(LoomError):
    """A text is not the address of a server."""

    code = "bad_server_address"


class DamagedError(LoomError):
    """The downloaded content is not the requested file."""

    code = "download_damaged"


class Patience:
    """The time limit and pauses of retries."""

    def __init__(self, seconds: float, unreachable: Callable[[], LoomError], since: float | None = None) -> None:
        """`since`: start of the time limit on the loop's clock; None: at the first pause."""
        self._seconds = seconds
        self._unreachable = unreachable
        self._since = since
        self._pauses: Iterator[float] = iter(PAUSES)

    def renew(self) -> None:
        """Reset after an answer."""
        self._since, self._pauses = None, iter(PAUSES)

    async def pause(self, fault: LoomError | None = None, least: float = 0.0) -> None:
        """Wait before the next attempt. Raises `fault`, or UnreachableError, if the time limit is reached."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._seconds:
            raise fault or self._unreachable()
        left = self._seconds - (now - self._since)
        await asyncio.sleep(min(max(next(self._pauses, PAUSES[-1]), least), left))


class Connection:
    """The connection to one server."""

    def __init__(
        self, server: str, token: str | None, patience: float, *, context: ssl.SSLContext | None, proxies: bool
    ) -> None:
        """Raises AddressError."""
        self.server = _address(server)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience = patience
        self._context = context
        self._proxies = proxies
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def patience(self, since: float | None = None) -> Patience:
        """Return a new retry limit."""
        return Patience(self._patience, self.unreachable, since)

    def unreachable(self) -> UnreachableError:
        """Return the error for a server that does not answer."""
        return UnreachableError(f"no server answers at {self.server}", hint="`loom serve` starts one")

    async def json(
        self,
        method: str,
        path: str,
        data: bytes = b"",
        media: str = "application/json",
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Request a route in /api/v1 and return the JSON answer. Raises ServerError, UnreachableError."""
        sent = {**(headers or {}), **({"Content-Type": media} if data else {})}
        if method == "POST":  # the same key for all attempts: a request is not executed twice
            sent["Idempotency-Key"] = key or uuid.uuid4().hex
        return self._parsed(await self._again(path, lambda: self._read(method, path, data, sent)))

    async def content(self, path: str) -> bytes:
        """Request a route in /api/v1 and return the body of the answer. Raises ServerError, UnreachableError."""
        found: bytes = await self._again(path, lambda: self._read("GET", path, b"", {}))
        return found

    def _parsed(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError:
            raise ServerError(200, f"what answers at {self.server} is not a Latentloom server", ()) from None

    async def send(self, path: str, content: Path | bytes, media: str) -> Any:
        """Send a file, as a stream, or bytes, and return the JSON answer. Raises ServerError, UnreachableError."""
        headers = {"Content-Type": media, "Idempotency-Key": uuid.uuid4().hex}

        async def attempt() -> bytes:
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as data:
                return await self._read("POST", path, data, headers)

        return self._parsed(await self._again(path, attempt))

    async def fetch(self, path: str, to: Path, sha256: str) -> None:
        """Download to a file, which appears when it is complete and has this sha256.

        Raises ServerError, UnreachableError, DamagedError.
        """
        await asyncio.to_thread(to.parent.mkdir, parents=True, exist_ok=True)
        partial = partial_path(to.parent)
        try:
            found = await self._again(path, lambda: self._write(path, partial))
            if found != sha256:
                raise DamagedError("what arrived is not the file that was saved", expected=sha256, got=found)
            await asyncio.to_thread(partial.replace, to)
        finally:
            partial.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def socket(self, path: str, parameters: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket in /api/v1."""
        async with self._open().ws_connect(
            f"{self.server}/api/v1/{path}", params=parameters, heartbeat=20, max_msg_size=64 * 2**20
        ) as socket:
            yield socket

    async def _again(self, path: str, attempt: Callable[[], Any]) -> Any:
        """Repeat an attempt until the server answers, and return its result."""
        patience = self.patience(asyncio.get_running_loop().time())
        while True:
            fault, least = None, 0.0
            try:
                return await attempt()
            except _Later as later:
                fault, least = later.fault, later.seconds
            except aiohttp.InvalidURL:
                raise AddressError("that is not a path of a server", got=brief(path)) from None
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError):
                pass
            except aiohttp.ClientError as error:
                raise ServerError(0, f"the answer cannot be read: {error}", ()) from None
            await patience.pause(fault, least)

    @contextlib.asynccontextmanager
    async def _answer(
        self, method: str, path: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        silence = LONG_SECONDS if path.partition("?")[0] in LONG else max(self._patience, 1.0)
        wait = 60.0 if "wait=" in path else 0.0  # a long poll is silent for this long
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=max(self._patience, 1.0), sock_read=silence + wait)
        async with self._open().request(
            method, f"{self.server}/api/v1/{path}", data=data or None, headers=headers, timeout=timeout
        ) as response:
            if response.status >= 400:
                _raise(response.status, response.headers.get("Retry-After"), await response.read())
            yield response

    async def _read(self, method: str, path: str, data: Any, headers: Mapping[str, str]) -> bytes:
        async with self._answer(method, path, data, headers) as response:
            return await response.read()

    async def _write(self, path: str, to: Path) -> str:
        digest = hashlib.sha256()
        async with self._answer("GET", path) as response:
            with to.open("wb") as file:
                async for part in response.content.iter_chunked(PIECE):
                    digest.update(part)
                    await asyncio.to_thread(file.write, part)
        return digest.hexdigest()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._context if self._context is not None else True)
            silence = max(self._patience, 1.0)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=timeout, connector=connector, trust_env=self._proxies
            )
        return self._session


class _Later(Exception):
    """A refusal that may be temporary."""

    def __init__(self, fault: ServerError, seconds: float) -> None:
        super().__init__()
        self.fault = fault
        self.seconds = seconds


def _raise(status: int, retry_after: str | None, content: bytes) -> None:
    """Raise ServerError for a refusal, or _Later if it may be temporary."""
    fault = _fault(status, content)
    seconds = float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0
    if status in AGAIN or (status == 429 and retry_after is not None):
        raise _Later(fault, seconds)
    raise fault


def _fault(status: int, content: bytes) -> ServerError:
    try:
        data = json.loads(content)
        problems = [Problem(**problem) for problem in data["problems"]]
        return ServerError(status, data["message"], problems)
    except (ValueError, KeyError, TypeError):
        return ServerError(status, f"the server answered {status}", ())


def _address(server: str) -> str:
    """Return an address with its scheme; `localhost:8420` is accepted. Raises AddressError."""
    text = server.strip()
    text = (text if "://" in text else f"http://{text}").rstrip("/")
    with contextlib.suppress(ValueError):
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0):
            return text
    raise AddressError("that is not the address of a server", expected="as http://localhost:8420", got=brief(server))
