"""Access tokens, their roles, and what each role may do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from latentloom.engine.errors import SettingsError

Role = Literal["admin", "user", "viewer", "monitor"]
"""admin: everything. user: its own jobs and files. viewer: sees everything, changes nothing. monitor: the metrics."""

ROLES: tuple[Role, ...] = get_args(Role)
ADMINS: tuple[Role, ...] = ("admin",)
WRITERS: tuple[Role, ...] = ("admin", "user")
READERS: tuple[Role, ...] = ("admin", "user", "viewer")
MONITORS: tuple[Role, ...] = ("admin", "viewer", "monitor")
MIN_SECRET = 16
MAX_NAME = 100  # bytes; it is the name of a folder


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the settings: the name is the owner of its jobs."""

    name: str
    role: Role
    secret: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the owner of what it creates, and its role; None for a request without a token."""

    owner: str
    role: Role | None

    @property
    def sees(self) -> str | None:
        """The only owner whose jobs, files and events the caller sees; None: it sees all."""
        return None if self.role in ("admin", "viewer") else self.owner


LOCAL = Caller("local", "admin")  # of a server without tokens
NOBODY = Caller("", None)


def tokens_of(texts: Sequence[str]) -> tuple[Token, ...]:
    """Return the tokens of the settings. If none has the role admin, the first one without a role gets it.

    Raises SettingsError.
    """
    read = [_read(text) for text in texts]
    lead = None if any(one.role == "admin" for one in read) else next((one for one in read if one.role is None), None)
    tokens = tuple(Token(one.name, one.role or ("admin" if one is lead else "user"), one.secret) for one in read)
    for name in _twice(token.name.casefold() for token in tokens):
        raise SettingsError(f"two tokens have the name '{name}'", hint="each owner has one token")
    return tokens


def operators_own(tokens: Iterable[Token]) -> Token | None:
    """Return the token of whoever runs the server: the first admin's, or else the first one; None without tokens."""
    return min(tokens, key=lambda token: token.role != "admin", default=None)


class _Text(NamedTuple):
    name: str
    role: Role | None
    secret: str


def _read(text: str) -> _Text:
    name, colon, secret = text.partition(":")
    name, secret = (name, secret) if colon else ("token", text)
    first, colon, rest = secret.partition(":")
    role = next((role for role in ROLES if colon and role == first), None)
    secret = secret if role is None else rest
    named = name.replace("-", "").replace("_", "").isalnum() and len(name.encode()) <= MAX_NAME
    if len(secret) < MIN_SECRET or not named or not secret.isprintable():
        raise SettingsError(
            "a token cannot be used",
            expected=f"`name:secret` or `name:role:secret`: letters and digits, at most {MAX_NAME} bytes; one of"
            f" {', '.join(ROLES)}; and a secret of at least {MIN_SECRET} characters",
        )
    return _Text(name, role, secret)


def _twice(names: Iterable[str]) -> Iterable[str]:
    seen = set[str]()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)
