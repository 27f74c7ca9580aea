"""The description of the API, generated from the table of routes: an OpenAPI 3.1 document and an HTML page."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from latentloom.api.wire import Body, Failure
from latentloom.web.cookies import COOKIE
from latentloom.web.curl_examples import curl
from latentloom.web.routing import Route

_REF = "#/components/schemas/{model}"
_PART = re.compile(r"\{(\w+)(:[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}")
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font-family:ui-monospace,monospace;font-size:.9em}pre{overflow:auto;background:#8881;padding:.7rem}
summary{cursor:pointer;padding:.3rem 0}.method{display:inline-block;min-width:4.5rem;font-weight:600}"""


def plain_path(path: str) -> str:
    """Return a route's path without the patterns of its parts."""
    return _PART.sub(r"{\1}", path)


def document(routes: Sequence[Route], cookie: str = COOKIE) -> dict[str, Any]:
    """Return the OpenAPI document. `cookie`: each server's cookie has its own name."""
    models = {model for route in routes for model in (route.body, route.answer, route.fails) if model is not None} | {
        Failure
    }
    ordered = sorted(models, key=lambda model: model.__name__)
    modes = [(model, _mode(model)) for model in ordered]
    _, schemas = models_json_schema(modes, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(plain_path(route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Latentloom", "version": version("latentloom"), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": cookie},
            },
        },
        "security": [{"token": []}, {"cookie": []}],
    }


def _mode(model: type[BaseModel]) -> Literal["validation", "serialization"]:
    """Return the schema mode: fields with a default are optional in a body and always present in an answer."""
    return "validation" if issubclass(model, Body) else "serialization"


def _operation(route: Route) -> dict[str, Any]:
    lines = (route.handler.__doc__ or "").strip().split("\n", 1)
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__ + ("_head" if route.method == "HEAD" else ""),
        "summary": lines[0],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {
            **{str(status): _response(route, status) for status in (route.status, *route.also)},
            **{str(status): _refusal(route, status) for status in route.refusals},
        },
    }
    if len(lines) > 1:
        operation["description"] = "\n".join(line.strip() for line in lines[1].strip().splitlines())
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _json(route.body)}
    elif route.takes:
        content = {media: {"schema": {"type": "string", "format": "binary"}} for media in route.takes}
        operation["requestBody"] = {"required": True, "content": content}
    operation |= {"security": []} if route.public else {"x-roles": list(route.roles)}
    operation["x-codeSamples"] = [{"lang": "Shell", "source": curl(route)}]
    return operation


def _path_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in (match[1] for match in _PART.finditer(route.path)):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(route: Route) -> Iterable[dict[str, Any]]:
    schema = route.query.model_json_schema() if route.query is not None else {}
    for name, port in schema.get("properties", {}).items():
        about = {key: port.pop(key) for key in ("description",) if key in port}
        required = name in schema.get("required", ())
        yield {"name": name, "in": "query", "required": required, "schema": port, **about}


def _header_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for header in route.headers:
        about = {"description": header.description, "schema": {"type": "string"}}
        yield {"name": header.name, "in": "header", "required": False, **about}


def _refusal(route: Route, status: int) -> dict[str, Any]:
    if route.method == "HEAD":
        return {"description": _phrase(status)}
    if status == 503 and route.fails is not None:
        return {"description": _phrase(status), "content": _json(route.fails)}
    return {"description": _phrase(status), "content": _json(Failure)}


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


def _response(route: Route, status: int) -> dict[str, Any]:
    if status in (101, 303, 304) or route.method == "HEAD":
        return {"description": _phrase(status)}
    if route.answer is not None:
        return {"description": route.summary, "content": _json(route.answer)}
    schema = {"type": "object"} if route.media == "application/json" else {"type": "string"}
    return {"description": route.summary, "content": {route.media: {"schema": schema}}}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


# The page


def html(routes: Sequence[Route]) -> str:
    """Return the HTML page: all routes with their parameters, then all models."""
    made = document(routes)
    operations = "".join(
        _operation_html(method, path, operation)
        for path, methods in made["paths"].items()
        for method, operation in methods.items()
    )
    models = "".join(_model_html(name, schema) for name, schema in sorted(made["components"]["schemas"].items()))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Latentloom API</title><style>{_STYLE}</style>'
        f"<h1>Latentloom API</h1><p>Version {escape(made['info']['version'])}. The same as a document: "
        f'<a href="openapi.json">openapi.json</a>.</p><h2>Routes</h2>{operations}<h2>Models</h2>{models}</html>'
    )


def style_hash() -> str:
    """Return the CSP source that allows only the page's own style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"


def _operation_html(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{escape(operation['summary'])}</p>"]
    if "description" in operation:
        parts.append(f"<p>{escape(operation['description'])}</p>")
    parts += [f"<pre>{escape(sample['source'])}</pre>" for sample in operation["x-codeSamples"]]
    for parameter in operation["parameters"]:
        about = escape(parameter.get("description", ""))
        parts.append(f"<p><code>{escape(parameter['name'])}</code> in {parameter['in']}: {about}</p>")
    for words, content in (("Takes", operation.get("requestBody")), ("Gives", operation["responses"])):
        found = sorted(set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(content)))) if content else []
        links = ", ".join(f'<a href="#{name}">{name}</a>' for name in found)
        parts.append(f"<p>{words} {links}</p>" if links else "")
    if "x-roles" in operation:
        parts.append(f"<p>Roles: {', '.join(operation['x-roles'])}</p>")
    head = f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code>'
    return f"<details><summary>{head}</summary>{''.join(parts)}</details>"


def _model_html(name: str, schema: dict[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2))
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>'
