"""The routes for clients of OpenAI's images API. A model is a saved workflow, called by its named inputs."""

import base64
import contextlib
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from latentloom.engine.errors import LoomError, Problem, WorkflowError, brief
from latentloom.web import named_workflows
from latentloom.web.http_errors import RequestError, response_of, status_of
from latentloom.web.intake import suffix_of
from latentloom.web.multipart import Part, all_parts_in
from latentloom.web.named_workflows import MAX_SEED, Named
from latentloom.web.routes.json_bodies import answer, read_json
from latentloom.web.routing import API, AnyQuery, Call, Handler, Route, limited
from latentloom.web.services import Services
from latentloom.web.waiting_jobs import JobFailed, Picture, ended, pictures, submit
from latentloom.web.workflow_store import UnknownDocument

TAG = "openai"
MOST = 10  # pictures of one request
MAX_PICTURES = 16  # of one edit
SETTLED = frozenset({
    "quality", "style", "background", "moderation", "output_format", "output_compression", "user", "input_fidelity",
    "partial_images",
})  # fmt: skip  # parameters of that API which count only if the workflow has an input of that name
OWN = frozenset({"model", "prompt", "n", "size", "response_format", "seed", "stream", "image", "image[]", "mask"})
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})\Z")


def routes() -> tuple[Route, ...]:
    """Return the routes."""
    table: tuple[tuple[str, str, Handler], ...] = (
        ("POST", "/v1/images/generations", generate),
        ("POST", "/v1/images/edits", edit),
        ("GET", "/v1/models", list_models),
        ("GET", "/v1/models/{model}", show_model),
    )
    return tuple(
        Route(method=method, path=path, handler=handler, query=AnyQuery, render=refusal)
        for method, path, handler in table
    )


class ParameterError(RequestError):
    """A parameter has a value that this API does not take."""

    code = "invalid_value"


def refusal(error: LoomError) -> web.Response:
    """Return the answer for an error in the form of that API."""
    first = error.problems[0]
    code, status = first.code, status_of(error)
    if isinstance(error, UnknownDocument):
        code = "model_not_found"
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    message = "; ".join(str(problem) for problem in error.problems)
    response = response_of(error)
    response.set_status(400 if status == 422 else status)
    body = {"error": {"message": message, "type": kind, "param": first.input, "code": code}}
    response.body = answer(body).body
    return response


# Models


async def list_models(services: Services, call: Call) -> web.Response:
    """List the workflows that have an input `prompt`."""
    found = await named_workflows.callable_names(services, call.store)
    return answer({"object": "list", "data": [_model(name, saved) for name, saved in found.items()]})


async def show_model(services: Services, call: Call) -> web.Response:
    """Show one of them. Raises UnknownDocument."""
    name = call.part("model")
    found = await named_workflows.callable_names(services, call.store)
    if name not in found:
        raise UnknownDocument(f"there is no workflow '{name}' with an input 'prompt'")
    return answer(_model(name, found[name]))


def _model(name: str, saved: float) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(saved), "owned_by": "latentloom"}


# Pictures


@dataclass(slots=True)
class Wish:
    """What a request asks for. `more` holds values for further named inputs, `unused` names without an effect.

    `changed` says what was rounded.
    """

    prompt: str
    count: int
    size: tuple[int, int] | None
    seed: int | None
    urls: bool
    more: dict[str, Any] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


async def generate(services: Services, call: Call) -> web.Response:
    """Make pictures from a text."""
    body = await read_json(services, call.request, finite=True)
    workflow = await _workflow(services, call, body.get("model"), "txt2img")
    return await _made(services, call, workflow, _wish(workflow, body), {})


async def edit(services: Services, call: Call) -> web.Response:
    """Make pictures from a text and pictures, with a mask or without. The body is a form."""
    parts = all_parts_in(call.request, await limited(call.request, services.settings.upload_bytes))
    texts = {name: part.content.decode(errors="replace") for name, part in parts if name not in _FILES}
    masks = [part for name, part in parts if name == "mask"]
    workflow = await _workflow(services, call, texts.get("model"), "inpaint" if masks else "img2img")
    body = {name: _value(services, workflow, name, text) for name, text in texts.items()}
    wish = _wish(workflow, body)
    given = [part for name, part in parts if name in ("image", "image[]")]
    inputs, size = await _pictures(services, call, workflow, given)
    if masks and "mask" not in workflow.inputs:
        raise _wrong("mask", "this workflow has no input `mask`", expected="no mask, or another model")
    if masks:
        inputs["mask"] = await _mask(services, call, masks[-1])
    wish.size = wish.size or size
    return await _made(services, call, workflow, wish, inputs)


_FILES = ("image", "image[]", "mask")


def _value(services: Services, workflow: Named, name: str, text: str) -> Any:
    if name in ("n", "seed"):
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else text
    if name == "stream":
        return text.lower() == "true"
    return named_workflows.typed(services, workflow, name, text)


async def _workflow(services: Services, call: Call, model: Any, default: str) -> Named:
    if model is not None and type(model) is not str:
        raise _wrong("model", "a model is named by a text", got=brief(model))
    return await named_workflows.find(services, call.store, model or default)


def _wish(workflow: Named, body: Mapping[str, Any]) -> Wish:
    """Read the parameters of a request. Raises ParameterError."""
    prompt, seed, form = body.get("prompt"), body.get("seed"), body.get("response_format")
    if type(prompt) is not str:
        raise _wrong("prompt", "the request has no prompt", expected="a text", got=brief(prompt))
    if "prompt" not in workflow.inputs:
        raise _wrong("model", f"the workflow '{workflow.name}' has no input 'prompt'")
    if seed is not None and not (type(seed) is int and 0 <= seed <= MAX_SEED):
        raise _wrong("seed", "that is no seed", expected=f"0..{MAX_SEED}", got=brief(seed))
    if form not in (None, "b64_json", "url"):
        raise _wrong("response_format", "there is no such form", expected="b64_json or url", got=brief(form))
    if body.get("stream"):
        raise _wrong("stream", "pictures are not streamed here", expected="false")
    wish = Wish(prompt, _count(body.get("n")), _size(body.get("size")), seed, form == "url")
    _others(workflow, body, wish)
    return wish


def _count(given: Any) -> int:
    count = 1 if given is None else given
    if type(count) is not int or not 1 <= count <= MOST:
        raise _wrong("n", "that is no number of pictures", expected=f"1..{MOST}", got=brief(given))
    return count


def _size(given: Any) -> tuple[int, int] | None:
    if given in (None, "", "auto"):
        return None
    found = _SIZE.match(given) if type(given) is str else None
    if found is None:
        raise _wrong("size", "that is no size", expected="WIDTHxHEIGHT, as 1024x1024, or auto", got=brief(given))
    return int(found[1]), int(found[2])


def _others(workflow: Named, body: Mapping[str, Any], wish: Wish) -> None:
    """Sort the other parameters: named inputs of the workflow, parameters without an effect, and mistakes."""
    for name in sorted(body.keys() - OWN):
        if name in workflow.inputs:
            wish.more[name] = body[name]
        elif name in SETTLED:
            wish.unused += [name] if body[name] not in (None, "auto") else []
        else:
            raise _wrong(name, "the workflow has no such input", expected=", ".join(workflow.inputs))


def _wrong(name: str, message: str, **facts: str | None) -> ParameterError:
    return ParameterError(message, input=name, **facts)


async def _pictures(
    services: Services, call: Call, workflow: Named, parts: list[Part]
) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """Return the named inputs for the pictures `image`, `image_2` ..., and the size of the first.

    Raises RequestError, WorkflowError, AnswerError.
    """
    if not 1 <= len(parts) <= MAX_PICTURES:
        raise _wrong("image", "the form has no fitting number of pictures", expected=f"1..{MAX_PICTURES}")
    found, sizes = dict[str, Any](), []
    for number, part in enumerate(parts, 1):
        name = "image" if number == 1 else f"image_{number}"
        if name not in workflow.inputs:
            raise _wrong("image", f"this workflow has no input '{name}'", expected="fewer pictures, or another model")
        found[name], facts = await _stored(services, call, part)
        sizes.append((facts["width"], facts["height"]))
    return found, sizes[0]


async def _stored(services: Services, call: Call, part: Part) -> tuple[str, dict[str, Any]]:
    """Store a picture below the input folder; return its name, format and size."""
    suffix = suffix_of(part.content)
    with services.temporary() as path:
        await services.disk(path.write_bytes, part.content)
        facts = await services.dispatcher.ask("inspect", path=str(path))
    return await services.disk(services.intake.files(call.sees).store_bytes, part.content, suffix), facts


async def _mask(services: Services, call: Call, part: Part) -> str:
    """Store a mask as a grey picture, white where it is transparent; return its name."""
    suffix_of(part.content)
    with services.temporary() as path, services.temporary() as grey:
        await services.disk(path.write_bytes, part.content)
        await services.dispatcher.ask("mask", path=str(path), to=str(grey))
        content = await services.disk(grey.read_bytes)
    return await services.disk(services.intake.files(call.sees).store_bytes, content, ".png")


async def _made(services: Services, call: Call, workflow: Named, wish: Wish, given: Mapping[str, Any]) -> web.Response:
    """Run the jobs of a request, one for each picture, and answer with the pictures."""
    inputs = {**wish.more, **given, "prompt": wish.prompt, **_sides(workflow, wish)}
    seeds = [None if wish.seed is None else (wish.seed + n) % (MAX_SEED + 1) for n in range(wish.count)]
    if wish.seed is not None and "seed" not in workflow.inputs:
        wish.unused.append("seed")
    try:
        new = await named_workflows.jobs(services, workflow, inputs, seeds, call.caller, TAG)
    except WorkflowError as error:
        raise named_workflows.with_inputs_named(workflow, error) from None
    queued = await submit(services, new)
    done = [await ended(services, call.request, job.id) for job in queued]
    if any(job.state == "cancelled" for job in done):
        raise JobFailed([Problem(code=JobFailed.code, message="the job was cancelled")])
    found = [picture for job in done for picture in await pictures(services, job)]
    own = {"jobs": [job.id for job in done], "not_used": sorted(wish.unused), "changed": wish.changed}
    return answer({**_described(found), "data": list(_data(services, call, found, wish)), "latentloom": own})


def _sides(workflow: Named, wish: Wish) -> dict[str, int]:
    """Return the named inputs for the size, which are rounded to multiples of 8."""
    if wish.size is None:
        return {}
    if not {"width", "height"} <= workflow.inputs.keys():
        wish.unused.append("size")
        return {}
    made = tuple(max(8, round(side / 8) * 8) for side in wish.size)
    if made != wish.size:
        asked, given = ("x".join(map(str, size)) for size in (wish.size, made))
        wish.changed.append(f"size: {asked} is rounded to {given}, because sides are multiples of 8")
    return dict(zip(("width", "height"), made, strict=True))


def _described(found: list[Picture]) -> dict[str, Any]:
    described: dict[str, Any] = {"created": int(time.time())}
    with contextlib.suppress(IndexError):
        first = found[0].output
        described |= {"output_format": first.media.partition("/")[2], "size": f"{first.width}x{first.height}"}
    return described


def _data(services: Services, call: Call, found: Iterable[Picture], wish: Wish) -> Iterable[dict[str, str]]:
    scheme = "https" if services.access.is_secure(call.request) else "http"
    for picture in found:
        if wish.urls:
            yield {"url": f"{scheme}://{call.request.host}{API}/outputs/{picture.output.sha256}/content"}
        else:
            yield {"b64_json": base64.b64encode(picture.data).decode()}
