"""Makes the README's pictures of the web editor, with Chromium: `python docs/make_screenshots.py`."""

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from editing import Editor
from serving import Server

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1440, "height": 900}
COLOURS = 256
PROMPTS = (
    "a large orange star above a small blue circle on a white background",
    "a large green circle on a black background",
    "a small blue square left of a large yellow triangle on a white background",
    "a large green star on a white background",
    "a large red triangle below a small green star on a white background",
    "a small red circle in the center on a gray background",
)


def main() -> None:
    """Show a canvas, the templates, and the form beside the results."""
    with tempfile.TemporaryDirectory() as home:
        server = Server(Path(home) / "home").until_ready()
        try:
            for seed, prompt in enumerate(PROMPTS):
                order = {"workflow_name": "txt2img", "inputs": {"prompt": prompt, "seed": seed}}
                server.wait(server.order(order), seconds=300)
            with sync_playwright() as playwright:
                path = shutil.which("chromium")
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                for scheme in ("light", "dark"):
                    page = browser.new_context(viewport=SIZE, color_scheme=scheme, locale="en-US").new_page()
                    editor = Editor(page, Path(home))
                    editor.open(server.address)
                    show(editor, scheme)
                browser.close()
        finally:
            server.stop()
        for picture in Path(home).glob("editor-*.png"):
            Image.open(picture).convert("RGB").quantize(COLOURS).save(IMAGES / picture.name, optimize=True)


def show(editor: Editor, scheme: str) -> None:
    """The views of one colour scheme."""
    page = editor.page
    if scheme == "light":
        editor.picture("editor-templates")
    page.locator(".templates .template-cards").get_by_role("button", name="Text to image").click()
    page.get_by_role("textbox", name="text").first.wait_for()
    editor.run()
    editor.state("Done")
    if scheme == "light":
        for panel in ("Form", "Results"):
            page.get_by_role("navigation", name="Panels").get_by_role("button", name=panel, exact=True).click()
        page.mouse.move(700, 880)
    page.locator(".react-flow__pane").click(position={"x": 400, "y": 20})
    editor.press(".")
    page.wait_for_timeout(1500)
    editor.picture("editor-canvas" if scheme == "dark" else "editor-form")


if __name__ == "__main__":
    main()
