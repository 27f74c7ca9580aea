"""Routes of AUTOMATIC1111's web API that need no model of diffusion: reading parameters, enlarging a picture."""

import base64
import binascii
import json
from typing import Any

from aiohttp import web

from latentloom.engine.document.workflow import FORMAT
from latentloom.engine.errors import BadValueError, LoomError, brief
from latentloom.plugins.comfyui.parameters import pairs_of
from latentloom.plugins.comfyui.sdapi import Request, file_of
from latentloom.web.intake import Order, suffix_of
from latentloom.web.routes import a1111_lists
from latentloom.web.routes.json_bodies import answer, read_json
from latentloom.web.routing import Call, Handler
from latentloom.web.services import Services
from latentloom.web.waiting_jobs import ended, pictures, submit

TAG = "a1111"


def table() -> tuple[tuple[str, str, Handler], ...]:
    """Return the routes."""
    return (("POST", "/png-info", show_parameters), ("POST", "/extra-single-image", enlarge))


def decoded(text: Any, name: str) -> bytes:
    """Return the bytes of a picture in base64, with or without the head of a data URL. Raises BadValueError."""
    if type(text) is not str:
        raise BadValueError("wrong type", input=name, expected="a picture in base64", got=brief(text))
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadValueError(f"not base64: {error}", input=name, got=brief(text[:40])) from None


async def store_picture(services: Services, call: Call, text: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Store a picture in base64 below the input folder; return its name, and its size.

    Raises BadValueError, WorkflowError for anything else than a picture, AnswerError for a broken one.
    """
    data = decoded(text, name)
    suffix = suffix_of(data)
    with services.temporary() as path:
        await services.disk(path.write_bytes, data)
        facts = await services.dispatcher.ask("inspect", path=str(path))
    return await services.disk(services.intake.files(call.sees).store_bytes, data, suffix), facts


async def store_mask(services: Services, call: Call, text: str) -> str:
    """Store a mask in base64 as a grey picture, white where it is bright or, with alpha, opaque; return its name."""
    data = decoded(text, "mask")
    suffix_of(data)
    with services.temporary() as path, services.temporary() as grey:
        await services.disk(path.write_bytes, data)
        await services.dispatcher.ask("mask", path=str(path), to=str(grey), opaque=True)
        content = await services.disk(grey.read_bytes)
    return await services.disk(services.intake.files(call.sees).store_bytes, content, ".png")


async def show_parameters(services: Services, call: Call) -> web.Response:
    """Show the parameters that a picture carries: those of that program, or of a picture made through this API."""
    body = await read_json(services, call.request, size=services.settings.upload_bytes, finite=True)
    data = decoded(body.get("image"), "image")
    suffix_of(data)
    with services.temporary() as path:
        await services.disk(path.write_bytes, data)
        texts = await services.dispatcher.ask("texts", path=str(path))
        text = texts.get("parameters") or await _own(services, str(path))
    return answer({"info": text, "items": texts, "parameters": pairs_of(text)})


async def _own(services: Services, path: str) -> str:
    try:
        document = json.loads((await services.dispatcher.ask("making", path=path))["workflow"])
        return str(document["extra"]["a1111"]["infotext"])
    except (LoomError, KeyError, TypeError, ValueError):
        return ""


async def enlarge(services: Services, call: Call) -> web.Response:
    """Make a picture larger, with a network or a filter."""
    body = await read_json(services, call.request, size=services.settings.upload_bytes, finite=True)
    request = Request(body)
    picture, facts = await store_picture(services, call, body.get("image"), "image")
    request.drop("image")
    document = {
        "format": FORMAT,
        "name": "extra-single-image",
        "nodes": await _nodes(services, call, request, picture, facts),
    }
    new = await services.intake.job(Order(document, {}, None, call.sees), owner=call.owner, tags=(TAG,))
    (job,) = await submit(services, [new])
    found = await pictures(services, await ended(services, call.request, job.id))
    images = [base64.b64encode(one.data).decode() for one in found]
    own = {"jobs": [job.id], "not_used": request.unread()}
    return answer({"image": images[0] if images else "", "html_info": "", "latentloom": own})


async def _nodes(
    services: Services, call: Call, request: Request, picture: str, facts: dict[str, Any]
) -> dict[str, Any]:
    upscaler, method = request.text("upscaler_1", "None"), "lanczos"
    image = {"node": "picture", "output": "image"}
    nodes: dict[str, Any] = {"picture": {"type": "LoadImage", "version": 1, "inputs": {"image": picture}}}
    if upscaler.lower() in ("none", "lanczos", "nearest", ""):
        method = "nearest" if upscaler.lower() == "nearest" else "lanczos"
    else:
        file = file_of(upscaler, (await a1111_lists.installed(services, call)).upscalers, "upscaler_1")
        nodes["upscale"] = {"type": "UpscaleWithModel", "version": 1, "inputs": {"image": image, "upscaler": file}}
        image = {"node": "upscale", "output": "image"}
    sides = _sides(request, facts)
    nodes["scale"] = {"type": "ImageScale", "version": 1, "inputs": {"image": image, "method": method, **sides}}
    images = {"node": "scale", "output": "image"}
    nodes["save"] = {"type": "SaveImage", "version": 1, "inputs": {"images": images}}
    return nodes


def _sides(request: Request, facts: dict[str, Any]) -> dict[str, Any]:
    """Return width, height and fit of the result: by a factor, or the sides that are given."""
    factor = request.number("upscaling_resize", 2.0, 0.01, 16)
    width, height = (request.whole(f"upscaling_resize_{side}", 512, 1, 16_384) for side in ("w", "h"))
    crop = request.flag("upscaling_crop", True)
    if request.whole("resize_mode", 0, 0, 1) == 0:
        return {name: max(1, round(facts[name] * factor)) for name in ("width", "height")}
    return {"width": width, "height": height, "fit": "fill" if crop else "fit"}
