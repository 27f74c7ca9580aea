"""Who may ask: host names, origins, tokens and cookies, in one place that every request passes."""

import contextlib
import hashlib
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
from latentloom.web.http_errors import Forbidden, TooManyAttempts, Unauthorized

COOKIE = "latentloom"
COOKIE_SECONDS = 30 * 86400
CODE_SECONDS = 3600
SAFE = ("GET", "HEAD")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MIN_SECRET = 16
MAX_OWNER = 100
ATTEMPTS, ATTEMPT_SECONDS = 20, 60.0  # wrong tokens with the same first letters from one address
ADDRESS_ATTEMPTS = 200  # wrong tokens of any kind from one address
PREFIX, ADDRESSES, HOPS = 4, 10_000, 20
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
    """Decides of every request whether it may pass, and whose it is."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Raises SettingsError for an address off this machine without a token."""
        self._secrets = dict(_named(token) for token in settings.tokens)
        if not self._secrets and not is_loopback(settings.host):
            raise SettingsError(
                f"the server would listen on {settings.host} for everybody",
                expected="a token, or an address of this machine only",
                hint="set LATENTLOOM_TOKENS to a long random text, or use --host 127.0.0.1",
            )
        own = () if settings.host in ("0.0.0.0", "::") else (settings.host,)
        self._hosts = {name.lower() for name in (*LOOPBACK, *own, *settings.allow_hosts)}
        self._key = _key(settings.data / "server.key")
        self._clock = clock
        self._codes: dict[str, float] = {}
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._proxies = tuple(_network(text) for text in settings.trusted_proxies)

    @property
    def open(self) -> bool:
        """Whether no token is set: whoever reaches the loopback address may use the server."""
        return not self._secrets

    # The checks, in their order

    def check(self, request: web.Request, *, public: bool) -> str:
        """The name of who asks. Raises Forbidden, Unauthorized, TooManyAttempts."""
        self._check_host(request)
        by_cookie = self._by_cookie(request)
        self._check_site(request, by_cookie is not None)
        if self.open:
            return "local"
        owner = self._by_token(request) or by_cookie
        if owner is None and not public:
            raise Unauthorized(
                "this server needs a token", hint="send it as `Authorization: Bearer ...`, or open the one-time address"
            )
        return owner or ""

    def _check_host(self, request: web.Request) -> None:
        name = _hostname(request.headers.get("Host", ""))
        if name not in self._hosts:
            raise Forbidden(
                "the server does not go by that name",
                got=name[:100],
                hint="name it with --allow-host, if it is yours",
            )

    def _check_site(self, request: web.Request, by_cookie: bool) -> None:
        """Refuse what another site's page sends. Programs send neither of these headers."""
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        visit = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path == "/"
        if site in ("cross-site", "same-site") and not visit:
            raise Forbidden("another site's page sent this request", got=f"Sec-Fetch-Site: {site}")
        if origin is not None and _netloc(origin) != request.headers.get("Host", "").lower():
            raise Forbidden("another site's page sent this request", got=f"Origin: {origin[:100]}")
        changes = request.method not in SAFE or request.headers.get("Upgrade", "").lower() == "websocket"
        if by_cookie and changes and origin is None and site is None:
            raise Forbidden("a request with a cookie must say which page it comes from", expected="an Origin header")

    def _by_token(self, request: web.Request) -> str | None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return self.owner_of(given.strip(), self.address_of(request)) if scheme.lower() == "bearer" else None

    def owner_of(self, given: str, address: str) -> str | None:
        """Whose token that is, or None. Raises TooManyAttempts for a wrong one; a right one is never shut out."""
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
        """Note a wrong token; whether there were too many before."""
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
        """Whether many clients may be behind an address: a proxy that the settings name, or this machine."""
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
        """Who asks: the other side of the connection, or whom a trusted proxy names, the nearest that is no proxy."""
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
        """Whether the client speaks TLS, to the server or to a trusted proxy."""
        by_proxy = self._is_proxy(one_client(request.remote or "") or "")
        return request.secure or (by_proxy and request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https")

    def secret_of(self, owner: str) -> str:
        """The secret of an owner's token; empty where there is none."""
        return self._secrets.get(owner, "")

    # Browsers

    def one_time_code(self) -> str:
        """A code that gives one browser a cookie, within the hour."""
        code = secrets.token_urlsafe(24)
        self._codes[_digest(code)] = self._clock() + CODE_SECONDS
        return code

    def redeem(self, code: str) -> str | None:
        """Whose cookie a code is good for, once."""
        until = self._codes.pop(_digest(code), 0.0)
        return next(iter(self._secrets), "local") if self._clock() < until else None

    def give_cookie(self, response: web.StreamResponse, owner: str, *, secure: bool) -> None:
        """Let a browser in from now on, until its token changes."""
        until = int(self._clock()) + COOKIE_SECONDS
        value = f"{owner}.{until}.{self._signature(owner, until)}"
        response.set_cookie(
            COOKIE, value, max_age=COOKIE_SECONDS, httponly=True, samesite="Strict", path="/", secure=secure
        )

    def _by_cookie(self, request: web.Request) -> str | None:
        parts = request.cookies.get(COOKIE, "").rsplit(".", 2)
        if len(parts) != 3 or not parts[1].isascii() or not parts[1].isdigit() or len(parts[1]) > 12:
            return None
        owner, until = parts[0], int(parts[1])
        good = hmac.compare_digest(self._signature(owner, until).encode(), parts[2].encode(errors="replace"))
        return owner if good and self._clock() < until and (self.open or owner in self._secrets) else None

    def _signature(self, owner: str, until: int) -> str:
        """Bound to the secret too: a changed token ends the cookies that it gave."""
        message = f"{owner}\n{until}\n{self._secrets.get(owner, '')}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _named(token: str) -> tuple[str, str]:
    name, colon, secret = token.partition(":")
    name, secret = (name, secret) if colon else ("token", token)
    named = name.replace("-", "").replace("_", "").isalnum() and len(name) <= MAX_OWNER
    if len(secret) < MIN_SECRET or not named or not secret.isprintable():
        raise SettingsError(
            "a token cannot be used",
            expected=f"`name:secret`: letters and digits, at most {MAX_OWNER}, and a secret of at least {MIN_SECRET}",
        )
    return name, secret


def _hostname(host: str) -> str:
    """The name in a Host header, without the port and the brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def _netloc(origin: str) -> str | None:
    """Host and port in an Origin header; None for what is no address."""
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


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode(errors="replace")).hexdigest()


def _key(path: Path) -> bytes:
    """The key that signs cookies: made once, readable by this user alone."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = secrets.token_bytes(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    return key
