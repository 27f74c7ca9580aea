"""Maps errors to HTTP statuses and to the common format of error answers."""

import json
from typing import ClassVar

from aiohttp import web

from latentloom.engine.errors import FileError, LoomError, MissingFileError, PathError, WorkflowError
from latentloom.engine.jobs.faults import KeyReused, QueueFull, StorageError, UnknownBatch, UnknownJob, WrongState
from latentloom.web.dispatcher import NotReady
from latentloom.web.worker_process import AnswerError
from latentloom.web.workflow_store import Conflict, UnknownDocument


class RequestError(LoomError):
    """A request is not valid for its route."""

    code = "bad_request"
    status: ClassVar[int] = 400
    retry_seconds: ClassVar[int] = 2


class Unauthorized(RequestError):
    """The request has no valid token or cookie."""

    code = "unauthorized"
    status = 401


class Forbidden(RequestError):
    """The request has an unknown host name, comes from another site's page, or the token's role does not allow it."""

    code = "forbidden"
    status = 403


class NotFound(RequestError):
    """The route or resource does not exist."""

    code = "not_found"
    status = 404


class InUse(RequestError):
    """A waiting or running job needs the file."""

    code = "in_use"
    status = 409


class MethodNotAllowed(RequestError):
    """The route does not support the method."""

    code = "method_not_allowed"
    status = 405


class BodyTooLarge(RequestError):
    """The body exceeds the limit."""

    code = "body_too_large"
    status = 413


class UnsupportedMedia(RequestError):
    """The route does not accept the media type of the body."""

    code = "unsupported_media"
    status = 415


class Unconditional(RequestError):
    """A change must state the version that it is based on."""

    code = "version_needed"
    status = 428


class TooManyAttempts(RequestError):
    """Too many wrong tokens were sent from one address."""

    code = "too_many_attempts"
    status = 429
    retry_seconds = 60


class TooManyConnections(RequestError):
    """The limit of connections of authorised clients is reached."""

    code = "too_many_connections"
    status = 503


class TooSlow(RequestError):
    """The body arrives too slowly."""

    code = "too_slow"
    status = 408


_STATUS: tuple[tuple[type[LoomError], int], ...] = (
    (UnknownJob, 404),
    (UnknownBatch, 404),
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
_FORM = {"not_json": 400, "not_text": 400, "too_large": 413}  # code of a WorkflowError's first problem -> status


def status_of(error: LoomError) -> int:
    """Return the HTTP status for an error."""
    if isinstance(error, RequestError):
        return error.status
    first = error.problems[0].code
    if isinstance(error, AnswerError):
        return 503 if first == "not_answered" else 422
    if isinstance(error, WorkflowError) and first in _FORM:
        return _FORM[first]
    return next((status for cls, status in _STATUS if isinstance(error, cls)), 400)


def response_of(error: LoomError) -> web.Response:
    """Return the answer for an error."""
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
    """Return an answer in the common error format."""
    body = {"code": code, "message": message, "problems": problems}
    text = json.dumps(body, ensure_ascii=True, allow_nan=False)
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
