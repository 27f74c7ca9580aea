"""How a browser is let in: one-time codes, and a signed cookie whose name is this server's own."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping

from aiohttp import web

COOKIE = "latentloom"
COOKIE_SECONDS = 30 * 86400
CODE_SECONDS = 3600


class Cookies:
    """The cookies of one server, under a name of its own: browsers keep cookies by host and not by port."""

    def __init__(
        self, key: bytes, owners: Mapping[str, str], *, https: bool, clock: Callable[[], float] = time.time
    ) -> None:
        """`owners` has the secret of each owner's token; `https` tells that browsers come by TLS alone."""
        self._key = key
        self._owners = owners
        self._https = https
        self._clock = clock
        self._codes: dict[str, float] = {}
        own = f"{COOKIE}-{hashlib.sha256(key).hexdigest()[:8]}"
        self.name = f"__Host-{own}" if https else own

    def one_time_code(self) -> str:
        """A code that gives one browser a cookie, within the hour."""
        code = secrets.token_urlsafe(24)
        self._codes[_digest(code)] = self._clock() + CODE_SECONDS
        return code

    def redeem(self, code: str) -> str | None:
        """Whose cookie a code is good for, once."""
        until = self._codes.pop(_digest(code), 0.0)
        return next(iter(self._owners), "local") if self._clock() < until else None

    def give(self, response: web.StreamResponse, owner: str, *, secure: bool) -> None:
        """Let a browser in from now on, until its token changes."""
        until = int(self._clock()) + COOKIE_SECONDS
        value = f"{owner}.{until}.{self._signature(owner, until)}"
        self._set(response, value, COOKIE_SECONDS, secure)

    def take_away(self, response: web.StreamResponse, *, secure: bool) -> None:
        """Have a browser forget its cookie."""
        self._set(response, "", 0, secure)

    def _set(self, response: web.StreamResponse, value: str, seconds: int, secure: bool) -> None:
        response.set_cookie(
            self.name,
            value,
            max_age=seconds,
            httponly=True,
            samesite="Strict",
            path="/",
            secure=secure or self._https,
        )

    def owner_of(self, request: web.Request) -> str | None:
        """Whose cookie came with a request."""
        parts = request.cookies.get(self.name, "").rsplit(".", 2)
        if len(parts) != 3 or not parts[1].isascii() or not parts[1].isdigit() or len(parts[1]) > 12:
            return None
        owner, until = parts[0], int(parts[1])
        good = hmac.compare_digest(self._signature(owner, until).encode(), parts[2].encode(errors="replace"))
        return owner if good and self._clock() < until and (not self._owners or owner in self._owners) else None

    def _signature(self, owner: str, until: int) -> str:
        """Bound to the secret too: a changed token ends the cookies that it gave."""
        message = f"{owner}\n{until}\n{self._owners.get(owner, '')}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode(errors="replace")).hexdigest()
