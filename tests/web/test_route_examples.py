"""The examples on the page of the API: every route has one, and the server understands it."""

import html
import io
import re
import shlex

import pytest
from PIL import Image

from latentloom.web.app import route_table
from latentloom.web.curl_examples import curl

MISSING = {404, 412}  # the example names something that is not there
REFUSED = {
    "/api/v1/login": {401},  # without tokens there is nothing to exchange
    "/api/v1/import": {422},  # a picture without a workflow
    "/": {401},
}


def parsed(command):
    """(method, path, headers, data) of a command line of curl."""
    words, method, headers, data = shlex.split(command)[1:], None, {}, None
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-I":
            method = "HEAD"
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word in ("-d", "--data-binary"):
            data = words.pop(0).encode()
        elif word == "-o":
            words.pop(0)
        else:
            path = word.removeprefix("http://localhost:8420")
    return method or ("GET" if data is None else "POST"), path, headers, data


def picture():
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.timeout(300)
def test_the_server_understands_every_example(server):
    server.request("PATCH", "queue", {"paused": True})
    found = {}
    for route in route_table():
        if route.status == 101:
            continue
        method, path, headers, data = parsed(curl(route))
        assert method == route.method, curl(route)
        headers.pop("Authorization", None)
        headers = {name.replace("-", "_"): value for name, value in headers.items()}
        data = picture() if data == b"@picture.png" else data
        if data is not None and data.startswith(b"token="):
            headers["Content_Type"] = "application/x-www-form-urlencoded"
        status = server.request(method, path, data, **headers)[0]
        if status >= 300 and status not in MISSING | REFUSED.get(route.path, set()):
            found[curl(route)] = status
        if route.path == "/api/v1/queue" and method == "PATCH":
            assert status == 200
    server.request("POST", "queue/cancel")
    server.request("PATCH", "queue", {"paused": False})

    assert found == {}


def test_the_page_shows_an_example_for_each_route(server):
    page = server.request("GET", "docs")[1].decode()
    shown = [html.unescape(text) for text in re.findall(r"<pre>((?:curl|websocat) .*?)</pre>", page)]

    assert sorted(shown) == sorted(curl(route) for route in route_table())
