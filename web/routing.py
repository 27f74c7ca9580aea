"""Routes as data: the inputs and outputs of each route, in a table for requests, documentation and tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from aiohttp import web
from multidict import MultiMapping
from pydantic import BaseModel, ConfigDict, ValidationError

from latentloom.api.wire import Answer, Body
from latentloom.engine.document.strict_json import Limits, parse
from latentloom.engine.errors import MAX_PROBLEMS, LoomError, Problem, brief, listed
from latentloom.web.http_errors import BodyTooLarge, RequestError, TooSlow, UnsupportedMedia, response_of
from latentloom.web.intake import fingerprint
from latentloom.web.queue_writer import OwnedStore, OwnedTables
from latentloom.web.services import Services
from latentloom.web.tokens import READERS, WRITERS, Caller, Role

API = "/api/v1"
BODY_SECONDS, SLOWEST = 20.0, 4096  # time limit for a body, and the bytes that add one second to it
PIECE = 65536  # bytes read at once
SMALL = 100_000  # bytes of a body that is read at once
MOST = 2**63 - 1
"""The largest integer of the database."""

M = TypeVar("M", bound=BaseModel)
A = TypeVar("A", bound=Answer)


class Query(BaseModel):
    """Base of query parameters: unknown ones are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AnyQuery(Query):
    """Parameters of another program's API: unknown ones are passed over."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Header(NamedTuple):
    """A header that a route reads."""

    name: str
    description: str


KEY = Header("Idempotency-Key", "A repeated request with the same key has no effect and returns the first answer.")
IF_MATCH = Header("If-Match", 'The ETag that the change is based on, or `*`: `"3"`.')
IF_NONE_MATCH = Header("If-None-Match", "`*`: only if it does not exist yet.")
IF_CHANGED = Header("If-None-Match", "ETags that the client has: the answer is 304 if one of them is current.")
ANY_ETAG = "*"
OF_A_FILE: Mapping[str, Any] = {"also": (206, 304), "refuses": (412, 416)}
"""Further statuses of a route that returns a file: partial content and not modified."""
MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed and validated request with its caller, as a handler gets it.

    `store` is the database as the caller sees it: other owners' rows do not exist in it.
    """

    request: web.Request
    caller: Caller
    store: OwnedStore
    query: Any
    body: Any
    key: str | None = None

    @property
    def owner(self) -> str:
        """The owner of what the request creates."""
        return self.caller.owner

    @property
    def sees(self) -> str | None:
        """See `Caller.sees`."""
        return self.caller.sees

    def part(self, name: str) -> str:
        """Return a named part of the path."""
        return self.request.match_info[name]

    def asked(self, content: str = "") -> str:
        """Return a digest of the request. `content`: the digest of a body that is not JSON."""
        body = None if self.body is None else self.body.model_dump(mode="json")
        return fingerprint([self.request.method, self.request.path, content, body])

    def known(self, tables: OwnedTables, asked: str) -> str | None:
        """Return the stored reply for the idempotency key as JSON, or None. Raises KeyReused."""
        return None if self.key is None else tables.replies.find(self.owner, self.key, asked)

    async def once(self, model: type[A], act: Callable[[OwnedTables], A], asked: str = "") -> A:
        """Run a function in a transaction and return its answer. A repeated idempotency key gets the first answer.

        Raises KeyReused.
        """
        asked = asked or self.asked()

        def whole(tables: OwnedTables) -> A:
            known = self.known(tables, asked)
            if known is not None:
                return model.model_validate_json(known)
            made = act(tables)
            if self.key is not None:
                tables.replies.keep(self.owner, self.key, asked, made.model_dump_json())
            return made

        return await self.store.write(whole)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with a status that differs from the route's default, or with headers."""

    answer: Answer
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Services, Call], Awaitable[Answer | Reply | web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route: one method of one path."""

    method: str
    path: str
    handler: Handler
    answer: type[Answer] | None = None  # None: not JSON, see `media`
    body: type[Body] | None = None
    query: type[Query] | None = None
    status: int = 200
    public: bool = False  # needs no token
    allows: tuple[Role, ...] = ()  # the roles that may call it; empty: who may read for a GET, who may change otherwise
    media: str = "application/json"
    takes: tuple[str, ...] = ()  # media types of a body that is not JSON
    also: tuple[int, ...] = ()  # other success statuses
    fails: type[Answer] | None = None  # the answer with status 503
    refuses: tuple[int, ...] = ()  # further error statuses
    reads: tuple[Header, ...] = ()  # headers besides a POST's idempotency key
    render: Callable[[LoomError], web.Response] = response_of  # the answer for an error

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that may call it."""
        return self.allows or (READERS if self.method in ("GET", "HEAD") else WRITERS)

    @property
    def headers(self) -> tuple[Header, ...]:
        """All headers that the route reads."""
        return (*self.reads, KEY) if self.method == "POST" else self.reads

    @property
    def refusals(self) -> tuple[int, ...]:
        """All possible error statuses."""
        found = {400, 403, 429, 500, *self.refuses, *((503,) if self.fails else ())}
        found |= set() if self.public else {401, 503, 507}
        found |= {404} if "{" in self.path else set()
        found |= {408, 413, 415, 422} if self.body is not None or self.takes else set()
        found |= {409} if self.method == "POST" and not self.public else set()
        return tuple(sorted(found))

    async def serve(self, services: Services, request: web.Request) -> web.StreamResponse:
        """Parse the request, call the handler, render the answer. Raises LoomError."""
        caller: Caller = request["caller"]
        query = self._query(request.query)
        body = await self._body(request, services) if self.body is not None else None
        key = _key(request) if self.method == "POST" else None
        call = Call(request, caller, services.store.of(caller.sees), query, body, key)
        answer = await self.handler(services, call)
        reply = Reply(answer, self.status) if isinstance(answer, Answer) else answer
        if not isinstance(reply, Reply):
            return reply
        text = await asyncio.to_thread(reply.answer.model_dump_json)  # a long list must not block the loop
        return web.Response(
            status=reply.status, text=text, content_type="application/json", headers=dict(reply.headers)
        )

    def _query(self, given: MultiMapping[str]) -> Query:
        twice = next((name for name in given if len(given.getall(name)) > 1), None)
        if twice is not None:
            raise RequestError("a parameter is given twice", got=brief(twice))
        return _checked(self.query or Query, dict(given))

    async def _body(self, request: web.Request, services: Services) -> Body:
        assert self.body is not None
        if request.content_type != "application/json":
            raise UnsupportedMedia(
                "the body has an unsupported type", expected="application/json", got=brief(request.content_type)
            )
        data = await limited(request, services.settings.request_bytes)
        limits = Limits(size=services.settings.request_bytes, nodes=services.settings.request_nodes)
        if len(data) <= SMALL:
            return _checked(self.body, parse(data, limits))
        body = self.body
        return await services.intake.thread(lambda: _checked(body, parse(data, limits)))


def _key(request: web.Request) -> str | None:
    found = request.headers.getall(KEY.name, ())
    if len(found) > 1 or not all(0 < len(key) <= MAX_KEY and key.isprintable() for key in found):
        raise RequestError(
            "that is not an idempotency key", expected=f"one of 1..{MAX_KEY} characters", got=brief(found)
        )
    return found[0] if found else None


def unchanged(request: web.Request, etag: str) -> bool:
    """Whether the client has the content of an ETag (given without quotes)."""
    return any(one.value in (etag, ANY_ETAG) for one in request.if_none_match or ())


def not_modified(etag: str, **headers: str) -> web.Response:
    """Return the answer 304."""
    return web.Response(status=304, headers={"ETag": f'"{etag}"', **headers})


def _checked(model: type[M], data: Any) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _bad_request(error) from None


def _bad_request(error: ValidationError) -> LoomError:
    problems = [
        Problem(
            code=RequestError.code,
            message=item["msg"],
            input=".".join(map(str, item["loc"])) or None,
            got=brief(item["input"]) if item["type"] not in ("missing",) else None,
        )
        for item in error.errors(include_url=False, include_context=False)[:MAX_PROBLEMS]
    ]
    return BadRequest(listed(problems, error.error_count()))


class BadRequest(RequestError):
    """A request has problems; all of them are reported."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("the request does not have the form that this route expects")
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems."""
        return self._problems


async def parts_of(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """Yield a body in pieces. A body of more than `limit` bytes is not read completely.

    Raises BodyTooLarge, UnsupportedMedia, TooSlow.
    """
    if "Content-Encoding" in request.headers:
        raise UnsupportedMedia("compressed bodies are not supported", got=brief(request.headers["Content-Encoding"]))
    if request.content_length is not None and request.content_length > limit:
        raise BodyTooLarge("the body is too large", expected=f"at most {limit} bytes", got=str(request.content_length))
    clock, size = asyncio.get_running_loop().time, 0
    begin = clock()
    while True:
        try:
            async with asyncio.timeout_at(begin + BODY_SECONDS + size / SLOWEST):
                part = await request.content.read(PIECE)
        except TimeoutError:
            raise TooSlow("the body arrived too slowly", expected=f"{SLOWEST} bytes a second") from None
        if not part:
            return
        size += len(part)
        if size > limit:
            raise BodyTooLarge("the body is too large", expected=f"at most {limit} bytes")
        yield part


async def limited(request: web.Request, limit: int) -> bytes:
    """Return a body of at most `limit` bytes. Raises BodyTooLarge, UnsupportedMedia, TooSlow."""
    return b"".join([part async for part in parts_of(request, limit)])


TABLE: web.AppKey[Sequence[Route]] = web.AppKey("routes")
