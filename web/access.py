"""Access control: checks host name, origin, token and cookie of every request."""

import base64
import contextlib
import hmac
import ipaddress
import os
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from latentloom.engine.errors import SettingsError, brief
from latentloom.engine.settings import Settings
from latentloom.web.connections import one_client
from latentloom.web.cookies import Cookies
from latentloom.web.http_errors import Forbidden, TooManyAttempts, Unauthorized
from latentloom.web.tokens import LOCAL, NOBODY, Caller, operators_own, tokens_of

SAFE = ("GET", "HEAD")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
ATTEMPTS, ATTEMPT_SECONDS = 20, 60.0  # wrong tokens with the same prefix from one address
ADDRESS_ATTEMPTS = 200  # all wrong tokens from one address
PREFIX, ADDRESSES, HOPS = 4, 10_000, 20
BASIC = "/sdapi/"  # routes whose clients send a token as the password of Basic authentication
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    ),
}


class Access:
    """Decides for each request whether it is let in, and who the caller is."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Raises SettingsError if the host is not a loopback address and no token is set."""
        tokens = tokens_of(settings.tokens)
        self._secrets = {token.name: token.secret for token in tokens}
        self._callers = {token.name: Caller(token.name, token.role) for token in tokens}
        if not self._secrets and not is_loopback(settings.host):
            raise SettingsError(
                f"the server would listen on {settings.host} for everybody",
                expected="a token, or an address of this machine only",
                hint="set LATENTLOOM_TOKENS to a long random text, or use --host 127.0.0.1",
            )
        own = () if settings.host in ("0.0.0.0", "::") else (settings.host,)
        self._origin, name = _origin(settings.public_url)
        self._hosts = {name.lower() for name in (*LOOPBACK, *own, *settings.allow_hosts, *name)}
        https = self._origin.startswith("https:")
        first, key = operators_own(tokens), _key(settings.data / "server.key")
        owner = LOCAL.owner if first is None else first.name
        self.cookies = Cookies(key, self._secrets, owner, https=https, clock=clock)
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._proxies = tuple(_network(text) for text in settings.trusted_proxies)

    @property
    def open(self) -> bool:
        """Whether no token is set: every client that reaches the loopback address may use the server."""
        return not self._secrets

    # The checks, in order

    def check(self, request: web.Request, *, public: bool) -> Caller:
        """Return the caller of a request. Raises Forbidden, Unauthorized, TooManyAttempts."""
        self._check_host(request)
        by_cookie = self.cookies.owner_of(request)
        self._check_site(request, by_cookie is not None)
        if self.open:
            return LOCAL
        owner = self._by_token(request) or by_cookie
        if owner is None and not public:
            raise Unauthorized(
                "this server needs a token", hint="send it as `Authorization: Bearer ...`, or open the one-time address"
            )
        return NOBODY if owner is None else self._callers[owner]

    def _check_host(self, request: web.Request) -> None:
        name = _hostname(request.headers.get("Host", ""))
        if name not in self._hosts:
            raise Forbidden(
                "the server is not known by that name",
                got=name[:100],
                hint="add it with --allow-host if it is yours",
            )

    def _check_site(self, request: web.Request, by_cookie: bool) -> None:
        """Reject requests from pages of other sites. Clients that are not browsers send neither of these headers."""
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        visit = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path == "/"
        if site in ("cross-site", "same-site") and not visit:
            raise Forbidden("a page of another site sent this request", got=f"Sec-Fetch-Site: {site}")
        same = origin is None or _netloc(origin) == request.headers.get("Host", "").lower()
        if not same and (not self._origin or origin != self._origin):
            raise Forbidden("a page of another site sent this request", got=f"Origin: {str(origin)[:100]}")
        changes = request.method not in SAFE or request.headers.get("Upgrade", "").lower() == "websocket"
        if by_cookie and changes and origin is None and site is None:
            raise Forbidden("a request with a cookie must say which page it comes from", expected="an Origin header")

    def _by_token(self, request: web.Request) -> str | None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        scheme, given = scheme.lower(), given.strip()
        if scheme == "basic" and request.path.startswith(BASIC):
            scheme, given = "bearer", _password(given)
        return self.owner_of(given, self.address_of(request)) if scheme == "bearer" else None

    def owner_of(self, given: str, address: str) -> str | None:
        """Return the owner of a token, or None. Raises TooManyAttempts for wrong tokens only."""
        found = None
        for name, secret in self._secrets.items():
            if hmac.compare_digest(secret.encode(), given.encode(errors="replace")):
                found = name
        if found is None:
            often = [self._failed((address, given[:PREFIX]), ATTEMPTS), self._failed((address, ""), ADDRESS_ATTEMPTS)]
            if any(often):
                raise TooManyAttempts("too many wrong tokens came from that address", hint="wait a minute")
        return found

    def _failed(self, key: tuple[str, str], most: int) -> bool:
        """Count a wrong token. Returns whether there were too many before."""
        now, failures = self._clock(), self._failures.setdefault(key, deque(maxlen=most))
        often = len(failures) == most and now - failures[0] < ATTEMPT_SECONDS
        if not often:
            failures.append(now)
        self._failures.move_to_end(key)
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
        return often

    # Proxies

    def trusts(self, address: str) -> bool:
        """Whether an address may stand for many clients: a trusted proxy or this machine."""
        try:
            found = ipaddress.ip_network(address)
        except ValueError:
            return False
        return found.is_loopback or self._is_proxy(address)

    def _is_proxy(self, address: str) -> bool:
        with contextlib.suppress(ValueError):
            found = ipaddress.ip_network(address)
            return any(found.version == one.version and found.subnet_of(one) for one in self._proxies)  # type: ignore[arg-type]
        return False

    def address_of(self, request: web.Request) -> str:
        """Return the client's address: the peer or, behind trusted proxies, the nearest address that is not a proxy."""
        address = one_client(request.remote or "") or ""
        if not self._is_proxy(address):
            return address
        named = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        for text in reversed(named[-HOPS:]):
            found = one_client(text)
            if found is None:
                break
            address = found
            if not self._is_proxy(address):
                break
        return address

    def is_secure(self, request: web.Request) -> bool:
        """Whether the client uses TLS, to the server or to a trusted proxy."""
        by_proxy = self._is_proxy(one_client(request.remote or "") or "")
        return request.secure or (by_proxy and request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https")


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _password(given: str) -> str:
    """Return the password of Basic credentials; empty if they are malformed."""
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _hostname(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def _origin(url: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the origin and the host name of the public URL; empty if it is None. Raises SettingsError."""
    if url is None:
        return "", ()
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme in ("http", "https") and parts.hostname and plain:
            return f"{parts.scheme}://{parts.netloc.lower()}", (parts.hostname,)
    raise SettingsError(
        "the setting 'public_url' cannot be used",
        expected="scheme and host alone, as https://draw.example.org",
        got=brief(url),
    )


def _netloc(origin: str) -> str | None:
    """Return host and port in an Origin header; None if it is not a URL."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise SettingsError(
            "the setting 'trusted_proxies' cannot be used",
            expected="addresses or networks, as 10.0.0.2 or 10.0.0.0/8",
            got=brief(text),
        ) from None


def _key(path: Path) -> bytes:
    """Return the key that signs cookies. It is created once and readable only by this user."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = secrets.token_bytes(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    return key
