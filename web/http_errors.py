"""Which status stands for which error, and the one shape in which errors are told."""

import json
from typing import ClassVar

from aiohttp import web

from latentloom.engine.errors import FileError, LoomError, MissingFileError, PathError, WorkflowError
from latentloom.engine.jobs.faults import KeyReused, QueueFull, StorageError, UnknownJob, WrongState
from latentloom.web.dispatcher import NotReady
from latentloom.web.worker_process import AnswerError
from latentloom.web.workflow_store import Conflict, UnknownDocument


class RequestError(LoomError):
    """A request that cannot be read as what its route takes."""

    code = "bad_request"
    status: ClassVar[int] = 400
    retry_seconds: ClassVar[int] = 2


class Unauthorized(RequestError):
    """No valid token or cookie came with the request."""

    code = "unauthorized"
    status = 401


class Forbidden(RequestError):
    """A request under a foreign name, or that another site's page sent."""

    code = "forbidden"
    status = 403


class NotFound(RequestError):
    """No such route or thing."""

    code = "not_found"
    status = 404


class MethodNotAllowed(RequestError):
    """The route is there and has no such method."""

    code = "method_not_allowed"
    status = 405


class BodyTooLarge(RequestError):
    """A body with more bytes than the limit."""

    code = "body_too_large"
    status = 413


class UnsupportedMedia(RequestError):
    """A body of another type than the route takes."""

    code = "unsupported_media"
    status = 415


class Unconditional(RequestError):
    """A change that must say which version it is based on."""

    code = "version_needed"
    status = 428


class TooManyAttempts(RequestError):
    """Too many wrong tokens came from one address."""

    code = "too_many_attempts"
    status = 429
    retry_seconds = 60


class TooManyConnections(RequestError):
    """Everybody who may use the server has so many connections that there is no room for one more."""

    code = "too_many_connections"
    status = 503


class TooSlow(RequestError):
    """A body that comes more slowly than any line is."""

    code = "too_slow"
    status = 408


_STATUS: tuple[tuple[type[LoomError], int], ...] = (
    (UnknownJob, 404),
    (UnknownDocument, 404),
    (MissingFileError, 404),
    (WrongState, 409),
    (KeyReused, 409),
    (Conflict, 412),
    (QueueFull, 429),
    (NotReady, 503),
    (StorageError, 507),
    (PathError, 400),
    (FileError, 422),
    (WorkflowError, 422),
)
_FORM = {"not_json": 400, "not_text": 400, "too_large": 413}  # of a WorkflowError's first problem


def status_of(error: LoomError) -> int:
    """The HTTP status that stands for an error."""
    if isinstance(error, RequestError):
        return error.status
    first = error.problems[0].code
    if isinstance(error, AnswerError):
        return 503 if first == "not_answered" else 422
    if isinstance(error, WorkflowError) and first in _FORM:
        return _FORM[first]
    return next((status for cls, status in _STATUS if isinstance(error, cls)), 400)


def response_of(error: LoomError) -> web.Response:
    """The answer that tells an error."""
    status = status_of(error)
    problems = [problem.record() for problem in error.problems]
    seconds = error.retry_seconds if isinstance(error, RequestError) else RequestError.retry_seconds
    headers = {"Retry-After": str(seconds)} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return failure(status, error.problem.code if isinstance(error, WorkflowError) else problems[0]["code"],
                   error.problem.message, problems, headers)  # fmt: skip


def failure(
    status: int, code: str, message: str, problems: list[dict[str, str]], headers: dict[str, str]
) -> web.Response:
    """An answer in the one error shape."""
    body = {"code": code, "message": message, "problems": problems}
    text = json.dumps(body, ensure_ascii=True, allow_nan=False)
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
