"""Clients of OpenAI's images API on a server with --openai: what they send and rely on, as recorded from their code."""

import base64
import io
import json
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image
from serving import Server, until

from latentloom.web.routes.openai import routes

SECRET = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("openai") / "home", "--openai")
    yield made.until_ready()
    assert made.stop() == 0, made.log()


def call(server, path, body=None, media="application/json", **headers):
    """(status, parsed JSON or bytes)."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.address + path, data, {"Content-Type": media, **headers})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, _read(response)
    except urllib.error.HTTPError as error:
        return error.code, _read(error)


def _read(response):
    data = response.read()
    return json.loads(data) if response.headers.get_content_type() == "application/json" else data


def generate(server, **body):
    return call(server, "/v1/images/generations", {"prompt": "a red circle", "steps": 1, "size": "64x64", **body})


def pictures(answer):
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))) for item in answer["data"]]


def picture(mode="RGB", colour=(255, 0, 0), size=(64, 64), cut=None):
    out, made = io.BytesIO(), Image.new(mode, size, colour)
    if cut:
        made.paste((0, 0, 0, 0), cut)
    made.save(out, "PNG")
    return out.getvalue()


def form(*fields):
    """A body and its media type; a value is a text or the bytes of a file."""
    body = b""
    for name, value in fields:
        more = "" if isinstance(value, str) else '; filename="a.png"'
        content = value.encode() if isinstance(value, str) else value
        body += f'--xYz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"
    return body + b"--xYz--\r\n", "multipart/form-data; boundary=xYz"


def edit(server, *fields):
    body, media = form(("prompt", "a red circle"), ("steps", "1"), *fields)
    return call(server, "/v1/images/edits", body, media)


def test_a_client_gets_as_many_pictures_as_it_asks_for(server):
    """The openai package and open-webui: model, prompt, n, size, response_format; parameters that do nothing here."""
    status, answer = generate(
        server, model="txt2img", n=2, response_format="b64_json", quality="hd", style="vivid", user="me", seed=7
    )
    assert status == 200, answer
    first, second = pictures(answer)
    assert first.shape == (64, 64, 3)
    assert (first != second).any()
    assert {"created", "size", "output_format"} <= answer.keys()
    assert all(set(item) == {"b64_json"} for item in answer["data"])
    assert answer["latentloom"]["not_used"] == ["quality", "style", "user"]
    jobs = [server.get(f"jobs/{id}") for id in answer["latentloom"]["jobs"]]
    assert [(job["state"], job["tags"], job["name"]) for job in jobs] == [("done", ["openai"], "Text to image")] * 2
    assert {item["seed"] for item in server.get("outputs?tag=openai")["outputs"]} >= {"7", "8"}
    assert (pictures(generate(server, seed=8)[1])[0] == second).all()


def test_an_address_is_that_of_the_saved_file(server):
    _, answer = generate(server, response_format="url", seed=7)
    (item,) = answer["data"]
    assert item["url"].startswith(server.address + "/api/v1/outputs/")
    with urllib.request.urlopen(item["url"]) as response:
        assert Image.open(io.BytesIO(response.read())).size == (64, 64)


def test_a_model_is_a_saved_workflow(server):
    document = server.get("workflows/txt2img")["workflow"]
    names = {"prompt", "seed", "steps", "quality"}
    document["inputs"] = [
        {**item, "name": {"negative": "quality"}.get(item["name"], item["name"])} for item in document["inputs"]
    ]
    document["inputs"] = [item for item in document["inputs"] if item["name"] in names]
    status, _, _ = server.request("PUT", "workflows/dall-e-3", {"workflow": document}, If_None_Match="*")
    assert status == 201
    _, listed = call(server, "/v1/models")
    assert {"dall-e-3", "txt2img"} <= {model["id"] for model in listed["data"]}
    assert "schedules" not in {model["id"] for model in listed["data"]}, "it has no prompt"
    assert call(server, "/v1/models/dall-e-3")[1]["object"] == "model"
    assert call(server, "/v1/models/nothing")[0] == 404
    status, answer = generate(server, model="dall-e-3", quality="blurred")
    assert status == 200, answer
    assert answer["latentloom"]["not_used"] == ["size"]
    job = server.get(f"jobs/{answer['latentloom']['jobs'][0]}/workflow")
    assert job["nodes"]["negative"]["inputs"]["text"] == "blurred"


def test_a_size_that_is_rounded_is_told(server):
    status, answer = generate(server, size="60x68")
    assert (status, answer["size"]) == (200, "64x64")
    changed = answer["latentloom"]["changed"]
    assert changed == ["size: 60x68 is rounded to 64x64, because sides are multiples of 8"]


def test_what_a_mask_leaves_out_is_painted_anew(server):
    """The mask is transparent where the picture is to change."""
    mask = picture("RGBA", (0, 0, 0, 255), cut=(0, 0, 32, 64))
    status, answer = edit(server, ("image", picture()), ("mask", mask), ("n", "1"), ("seed", "3"))
    assert status == 200, answer
    (made,) = pictures(answer)
    assert (made[:, 48:] == [255, 0, 0]).all()
    assert (made[:, :16] != [255, 0, 0]).any()


def test_a_picture_without_a_mask_keeps_its_size(server):
    status, answer = edit(server, ("image[]", picture(size=(72, 64))))
    assert (status, answer["size"]) == (200, "72x64")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"n": 11}, "n", "invalid_value"),
        ({"n": 10**30}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_value"),
        ({"n": 1.5}, "n", "invalid_value"),
        ({"prompt": None}, "prompt", "invalid_value"),
        ({"prompt": ["x"]}, "prompt", "invalid_value"),
        ({"prompt": "x" * 20001}, "prompt", "out_of_range"),
        ({"size": "64"}, "size", "invalid_value"),
        ({"size": "99999x64"}, "width", "out_of_range"),
        ({"size": ["64x64"]}, "size", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"seed": "7"}, "seed", "invalid_value"),
        ({"response_format": "gif"}, "response_format", "invalid_value"),
        ({"stream": True}, "stream", "invalid_value"),
        ({"unheard": 1}, "unheard", "invalid_value"),
        ({"steps": "many"}, "steps", "wrong_type"),
        ({"steps": {"node": "sample", "output": "latent"}}, "steps", "wrong_type"),
        ({"sampler": "quick"}, "sampler", "unknown_choice"),
        ({"model": 5}, "model", "invalid_value"),
        ({"model": "schedules"}, "model", "invalid_value"),
    ],
)
def test_what_cannot_be_taken_is_named(server, body, param, code):
    status, answer = generate(server, **body)
    assert status == 400
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"prompt": "x", "cfg": NaN}', b'{"prompt": "x", "cfg": 1e999}', b"\xff"]
)
def test_a_body_that_is_no_json_is_refused(server, body):
    status, answer = call(server, "/v1/images/generations", body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


def test_an_unknown_model_is_a_404(server):
    status, answer = generate(server, model="gpt-image-9")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("image", b"no picture")],
        [("image", picture()[:60])],
        [("image", picture()), ("image", picture())],
        [("image", picture()), ("mask", b"no picture")],
        [("image", picture()), ("n", "0")],
        [("image", picture()), ("model", "txt2img")],
        [("image", picture()), ("model", "img2img"), ("mask", picture())],
    ],
)
def test_a_form_that_cannot_be_taken_is_refused(server, fields):
    status, answer = edit(server, *fields)
    assert (status, set(answer)) == (400, {"error"}), answer


def test_a_job_that_fails_is_no_fault_of_the_server(server):
    """Clients try again after a status of 500 and more; a failing workflow would run three times."""
    status, answer = edit(server, ("image", picture(size=(60, 60))), ("mask", picture(size=(60, 60))))
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert "multiple" in answer["error"]["message"]


def test_a_cancelled_job_is_told(server):
    server.request("PATCH", "queue", {"paused": True})
    found = {}
    thread = threading.Thread(target=lambda: found.update(answer=generate(server, seed=99)))
    try:
        thread.start()
        (job,) = until(lambda: server.get("jobs?state=queued")["jobs"])
        server.request("POST", f"jobs/{job['id']}/cancel")
        thread.join()
    finally:
        server.request("PATCH", "queue", {"paused": False})
    status, answer = found["answer"]
    assert (status, answer["error"]["message"]) == (400, "the job was cancelled")


def test_a_key_is_a_token(own_server):
    server = own_server("--openai", LATENTLOOM_TOKENS=f"me:{SECRET}")
    for route in routes():
        body = b"{}" if route.method == "POST" else None
        status, answer = call(server, route.path.replace("{model}", "txt2img"), body)
        assert (status, answer["error"]["type"]) == (401, "invalid_request_error"), route.path
        assert answer["error"]["code"] == "unauthorized"
    bearer = {"Authorization": f"Bearer {SECRET}"}
    until(lambda: call(server, "/v1/models", **bearer)[0] == 200)
    status, answer = call(server, "/v1/models", **{**bearer, "Origin": "https://evil.example"})
    assert (status, answer["error"]["code"]) == (403, "forbidden")


def test_without_the_flag_there_are_no_such_routes(own_server):
    assert generate(own_server())[0] == 404
