"""Routes as data: what each takes and gives, in one table that serves requests, documents and tests alike."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from multidict import MultiMapping
from pydantic import BaseModel, ConfigDict, ValidationError

from latentloom.api.wire import Answer, Body
from latentloom.engine.document.strict_json import Limits, parse
from latentloom.engine.errors import MAX_PROBLEMS, LoomError, Problem, brief, listed
from latentloom.web.http_errors import BodyTooLarge, RequestError, TooSlow, UnsupportedMedia
from latentloom.web.services import Services

API = "/api/v1"
BODY_SECONDS, SLOWEST = 20.0, 4096  # how long a body may take, and the bytes that buy each further second
SMALL = 100_000  # bytes of a body that is read at once
MOST = 2**63 - 1
"""The largest number that the database knows."""

M = TypeVar("M", bound=BaseModel)


class Query(BaseModel):
    """Base of query parameters: unknown ones are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as its handler sees it: read, checked, and known whose it is."""

    request: web.Request
    owner: str
    query: Any
    body: Any

    def part(self, name: str) -> str:
        """A named part of the path."""
        return self.request.match_info[name]


Handler = Callable[[Services, Call], Awaitable[Answer | web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    answer: type[Answer] | None = None  # None: the media type tells
    body: type[Body] | None = None
    query: type[Query] | None = None
    status: int = 200
    public: bool = False  # needs no token
    media: str = "application/json"
    takes: tuple[str, ...] = ()  # media types of a body that is no JSON

    @property
    def summary(self) -> str:
        """What it is for: the first line of its handler's docstring."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]

    async def serve(self, services: Services, request: web.Request) -> web.StreamResponse:
        """Read, call, render. Raises LoomError."""
        owner = str(request["owner"])
        query = self._query(request.query)
        body = await self._body(request, services) if self.body is not None else None
        answer = await self.handler(services, Call(request, owner, query, body))
        if isinstance(answer, Answer):
            text = await asyncio.to_thread(answer.model_dump_json)  # a long list must not hold up everybody else
            return web.Response(status=self.status, text=text, content_type="application/json")
        return answer

    def _query(self, given: MultiMapping[str]) -> Query:
        twice = next((name for name in given if len(given.getall(name)) > 1), None)
        if twice is not None:
            raise RequestError("a parameter stands twice", got=brief(twice))
        return _checked(self.query or Query, dict(given))

    async def _body(self, request: web.Request, services: Services) -> Body:
        assert self.body is not None
        if request.content_type != "application/json":
            raise UnsupportedMedia(
                "the body is of another type", expected="application/json", got=brief(request.content_type)
            )
        data = await limited(request, services.settings.request_bytes)
        limits = Limits(size=services.settings.request_bytes, nodes=services.settings.request_nodes)
        if len(data) <= SMALL:
            return _checked(self.body, parse(data, limits))
        body = self.body
        return await services.intake.thread(lambda: _checked(body, parse(data, limits)))


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
    """A request with faults; all of them are told."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("the request has another form than this route takes")
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every fault."""
        return self._problems


async def limited(request: web.Request, limit: int) -> bytes:
    """A body of at most limit bytes; a longer one is not read to its end.

    Raises BodyTooLarge, UnsupportedMedia, TooSlow.
    """
    if "Content-Encoding" in request.headers:
        raise UnsupportedMedia("a compressed body is not read", got=brief(request.headers["Content-Encoding"]))
    if request.content_length is not None and request.content_length > limit:
        raise BodyTooLarge("the body is too large", expected=f"at most {limit} bytes", got=str(request.content_length))
    parts, size, begin = [], 0, asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(begin + BODY_SECONDS) as patience:
            async for part in request.content.iter_chunked(65536):
                size += len(part)
                if size > limit:
                    raise BodyTooLarge("the body is too large", expected=f"at most {limit} bytes")
                parts.append(part)
                patience.reschedule(begin + BODY_SECONDS + size / SLOWEST)
    except TimeoutError:
        raise TooSlow("the body came too slowly", expected=f"{SLOWEST} bytes a second") from None
    return b"".join(parts)


TABLE: web.AppKey[Sequence[Route]] = web.AppKey("routes")
