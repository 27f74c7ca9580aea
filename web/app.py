"""The aiohttp application: routes, the access check for all of them, and the conversion of errors to answers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from latentloom.engine.errors import LoomError
from latentloom.engine.jobs.faults import StorageError
from latentloom.engine.settings import Settings
from latentloom.web.access import HEADERS
from latentloom.web.compression import compression
from latentloom.web.connections import connection_of
from latentloom.web.http_errors import Forbidden, MethodNotAllowed, NotFound, failure, response_of
from latentloom.web.logs import fields
from latentloom.web.openapi import style_hash
from latentloom.web.routes import (
    a1111,
    batches,
    comfyui,
    editor_files,
    events,
    files,
    jobs,
    nodes,
    openai,
    output_sets,
    system,
    workflows,
)
from latentloom.web.routes.system import METRICS
from latentloom.web.routing import API, TABLE, Route
from latentloom.web.services import Services
from latentloom.web.tokens import NOBODY

log = logging.getLogger("latentloom.server")
Render = Callable[[LoomError], web.Response]


def route_table() -> tuple[Route, ...]:
    """Return all routes of the API and the editor."""
    return (
        *system.ROUTES,
        *jobs.ROUTES,
        *batches.ROUTES,
        *events.ROUTES,
        *nodes.ROUTES,
        *workflows.ROUTES,
        *files.ROUTES,
        *output_sets.ROUTES,
        *editor_files.ROUTES,
    )


def _optional(settings: Settings) -> tuple[Route, ...]:
    """Return the routes for clients of other programs that the settings switch on."""
    doors = ((settings.comfy, comfyui.routes), (settings.openai, openai.routes), (settings.a1111, a1111.routes))
    return tuple(route for on, routes in doors if on for route in routes())


def create_app(services: Services) -> web.Application:
    """Create the application. It starts and stops the services."""
    table = route_table()
    every = (*table, *_optional(services.settings))
    app = web.Application(
        middlewares=[compression, _errors(services, every), _access(services, every)],
        client_max_size=services.settings.upload_bytes,
    )
    app[TABLE] = table
    for route in every:
        app.router.add_route(route.method, route.path, _handler(services, route))
    app.on_response_prepare.append(_headers)

    async def life(_: web.Application) -> AsyncIterator[None]:
        await services.start()
        yield
        await services.stop()

    async def end_waits(_: web.Application) -> None:
        services.event_hub.close()
        closing = (socket.close(code=1001, message=b"the server is stopping") for socket in services.sockets)
        await asyncio.gather(*closing, return_exceptions=True)

    app.cleanup_ctx.append(life)
    app.on_shutdown.append(end_waits)
    return app


def _handler(services: Services, route: Route) -> Handler:
    """Check the role first, so that the answer tells nothing about what exists."""

    async def handle(request: web.Request) -> web.StreamResponse:
        role = request["caller"].role
        if role not in route.roles and not is_public(route, services.settings):
            allowed = " or ".join(route.roles)
            raise Forbidden("the role of this token does not allow that", expected=allowed, got=role)
        return await route.serve(services, request)

    return handle


def _access(services: Services, table: Sequence[Route]) -> Middleware:
    """Check access first. Only routes that the table marks as public are exempt from the token."""
    public = {(route.method, route.path) for route in table if is_public(route, services.settings)}

    @web.middleware
    async def access(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_open = (request.method, _path(request)) in public
        request["caller"] = caller = services.access.check(request, public=is_open)
        connection = connection_of(request)
        if caller != NOBODY and connection is not None:
            connection.welcome()
        return await handler(request)

    return access


def is_public(route: Route, settings: Settings) -> bool:
    """Whether a route needs no token."""
    return route.public or (settings.public_metrics and route.path == METRICS)


def _path(request: web.Request) -> str:
    """Return the path of the route of a request, with its parts as names."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _errors(services: Services, table: Sequence[Route]) -> Middleware:
    """Answer errors, in the form of the route that was called."""
    forms = {(route.method, route.path): route.render for route in table}

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection, begun = connection_of(request), time.monotonic()
        try:
            if connection is not None:
                connection.begin()
            response = await _answered(request, handler, forms.get((request.method, _path(request)), response_of))
        finally:
            if connection is not None:
                connection.end()
        seconds, route = time.monotonic() - begun, _path(request)
        services.metrics.answered(request.method, route, response.status, seconds)
        said = {"method": request.method, "route": route, "status": response.status, "seconds": seconds}
        log.debug("request answered", extra=fields(owner=request.get("caller", NOBODY).owner, **said))
        return response

    return errors


async def _answered(request: web.Request, handler: Handler, render: Render) -> web.StreamResponse:
    try:
        return await handler(request)
    except LoomError as error:
        return render(error)
    except web.HTTPNotFound:
        return response_of(NotFound("there is nothing at that path"))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        response = response_of(
            MethodNotAllowed("the path does not support that method", expected=allowed, got=request.method)
        )
        response.headers["Allow"] = allowed
        return response
    except web.HTTPException as error:
        return failure(error.status, "bad_request", error.reason, [], {})
    except ConnectionError:
        raise
    except OSError as error:
        log.exception("a file could not be used", extra=fields(method=request.method, path=request.path))
        text = f"a file of the server cannot be used: {error.strerror or type(error).__name__}"
        return render(StorageError(text, hint="check the server's disk and folders"))
    except Exception:
        log.exception("a request failed", extra=fields(method=request.method, path=request.path))
        return failure(500, "unexpected", "an internal error; see the log", [], {})


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path == f"{API}/docs":
        policy = HEADERS["Content-Security-Policy"]
        response.headers["Content-Security-Policy"] = f"{policy}; style-src {style_hash()}"
    if response.content_type == "application/json":
        response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)
