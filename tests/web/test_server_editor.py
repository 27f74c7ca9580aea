"""The editor's files come from the server, behind its guard."""

import re

import pytest

from latentloom.web.routes import editor_files


def asset(server) -> str:
    return "/" + re.search(r'type="module"[^>]* src="\./(assets/[^"]+)"', server.request("GET", "/")[1].decode())[1]


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


def test_the_page_names_its_files_from_where_it_is(server):
    page = server.request("GET", "/")[1].decode()
    named = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert len(named) >= 4
    assert [name for name in named if not name.startswith("./assets/")] == []  # a proxy may have it below a prefix
    assert [server.request("GET", name[1:])[0] for name in named] == [200] * len(named)


def test_the_page_of_a_workflow_is_the_editors_page_one_level_deeper(server):
    home, app = (server.request("GET", path) for path in ("/", "/app/Level%20maker"))

    assert app[1].decode() == home[1].decode().replace('="./assets/', '="../assets/')
    assert (app[0], app[2]["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert server.request("GET", "/app/a/b")[0] == 404


def test_the_licences_of_the_packages_come_along():
    [path] = (editor_files.DIST / "assets").glob("licenses-*.txt")
    text = path.read_text()

    for name in ("react", "react-dom", "@xyflow/react", "zustand", "zundo", "openapi-fetch", "@dagrejs/dagre"):
        assert re.search(rf"^{re.escape(name)} \d", text, re.MULTILINE), name
    assert text.count("Permission is hereby granted") >= 7


@pytest.mark.parametrize("name", ["none.js", "..%2findex.html", "%2e%2e/index.html", "index-"])
def test_other_names_are_no_assets(server, name):
    assert server.request("GET", f"/assets/{name}")[0] == 404


def test_an_installation_without_the_editor_says_so():
    assert "The web editor is not in this installation" in editor_files.MISSING
    assert '<a href="/api/v1/docs">' in editor_files.MISSING
