"""A browser and a server for each module; every page starts with nothing kept."""

import os
import shutil
from pathlib import Path

import pytest
from editing import Editor
from playwright.sync_api import sync_playwright
from serving import Server

PICTURES = Path(__file__).parents[3] / "out" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")  # while Playwright runs, its event loop does, and no test can have another
def browser():
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--host-resolver-rules=MAP loom.test 127.0.0.1"]
        )
        yield made
        made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("editor") / "home")
    yield made.until_ready()
    made.kill()


@pytest.fixture
def open_editor(browser):
    """A function that opens an editor at a server's address in a browser profile of its own."""
    opened = []

    def start(server: Server, **options) -> Editor:
        options = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark", "locale": "en-US", **options}
        editor = Editor(browser.new_context(**options).new_page(), PICTURES)
        opened.append(editor)
        editor.open(server.address)
        return editor

    yield start
    for editor in opened:
        editor.page.context.close()
    assert [fault for editor in opened for fault in editor.faults] == []


@pytest.fixture
def editor(open_editor, server):
    """An editor with an empty workflow."""
    return open_editor(server)
