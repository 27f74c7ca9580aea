"""Browser login: one-time codes and a signed cookie."""

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
    """The cookies of a server. The cookie name is unique per server, because browsers do not separate ports."""

    def __init__(
        self,
        key: bytes,
        owners: Mapping[str, str],
        first: str,
        *,
        https: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`owners` maps each owner to the secret of its token. `first` gets the cookie of a one-time code.

        `https`: browsers use TLS only.
        """
        self._key = key
        self._owners = owners
        self._first = first
        self._https = https
        self._clock = clock
        self._codes: dict[str, float] = {}
        own = f"{COOKIE}-{hashlib.sha256(key).hexdigest()[:8]}"
        self.name = f"__Host-{own}" if https else own

    def one_time_code(self) -> str:
        """Create a code that can be redeemed once for a cookie, within an hour."""
        code = secrets.token_urlsafe(24)
        self._codes[_digest(code)] = self._clock() + CODE_SECONDS
        return code

    def redeem(self, code: str) -> str | None:
        """Redeem a code and return the owner of the cookie, or None."""
        until = self._codes.pop(_digest(code), 0.0)
        return self._first if self._clock() < until else None

    def give(self, response: web.StreamResponse, owner: str, *, secure: bool) -> None:
        """Set a cookie, which is valid for 30 days or until the token changes."""
        until = int(self._clock()) + COOKIE_SECONDS
        value = f"{owner}.{until}.{self._signature(owner, until)}"
        self._set(response, value, COOKIE_SECONDS, secure)

    def take_away(self, response: web.StreamResponse, *, secure: bool) -> None:
        """Delete the cookie in the browser."""
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
        """Return the owner of a request's cookie, or None if it is missing or invalid."""
        parts = request.cookies.get(self.name, "").rsplit(".", 2)
        if len(parts) != 3 or not parts[1].isascii() or not parts[1].isdigit() or len(parts[1]) > 12:
            return None
        owner, until = parts[0], int(parts[1])
        good = hmac.compare_digest(self._signature(owner, until).encode(), parts[2].encode(errors="replace"))
        return owner if good and self._clock() < until and (not self._owners or owner in self._owners) else None

    def _signature(self, owner: str, until: int) -> str:
        """Sign a cookie. The secret is part of it, so that a changed token invalidates its cookies."""
        message = f"{owner}\n{until}\n{self._owners.get(owner, '')}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode(errors="replace")).hexdigest()
