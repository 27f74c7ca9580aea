"""The editor's files come from the server, behind its guard."""

import re

import pytest

from latentloom.web.routes import editor_files


def asset(server) -> str:
    return "/" + re.search(r'src="/(assets/[^"]+)"', server.request("GET", "/")[1].decode())[1]


def test_the_page_is_asked_for_again_and_its_assets_never(server):
    _, page, headers = server.request("GET", "/")
    assert b'<div id="root">' in page
    assert headers["Cache-Control"] == "private, no-cache"
    assert server.request("GET", "/", If_None_Match=headers["Etag"])[0] == 304

    _, _, headers = server.request("GET", asset(server))
    assert headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert headers["Content-Type"].partition(";")[0] == "text/javascript"


def test_assets_come_compressed_to_who_takes_that(server):
    plain, small = (server.request("GET", asset(server), Accept_Encoding=coding) for coding in ("identity", "gzip"))

    assert small[2]["Content-Encoding"] == "gzip"
    assert len(small[1]) < len(plain[1]) / 2


def test_the_page_has_no_inline_script_or_style(server):
    status, page, headers = server.request("GET", "/")

    assert status == 200
    assert "script-src" not in headers["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*src=)|<style|\son\w+=", page.decode()) == []


@pytest.mark.parametrize("name", ["none.js", "..%2findex.html", "%2e%2e/index.html", "index-"])
def test_other_names_are_no_assets(server, name):
    assert server.request("GET", f"/assets/{name}")[0] == 404


def test_an_installation_without_the_editor_says_so():
    assert "The web editor is not in this installation" in editor_files.MISSING
    assert '<a href="/api/v1/docs">' in editor_files.MISSING
