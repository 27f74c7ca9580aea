"""Results as a gallery: search by any word, several pictures at once, and a closer look."""

import io
import re
import zipfile

from playwright.sync_api import expect
from serving import flow, until, use

TAKES = 5


def saved(server):
    """Pictures of jobs, the oldest first."""
    order = {"workflow": flow("", s=use("SavePicture", count=1)) | {"name": "Lanterns"}}
    files = []
    for n in range(TAKES):
        order["workflow"]["nodes"]["s"]["inputs"]["level"] = 0.15 * n + 0.1
        files += server.wait(server.order(order))["files"]
    return files


def test_pictures_are_found_selected_tagged_downloaded_and_removed(open_editor, server):
    editor, files = open_editor(server, color_scheme="light"), saved(server)
    page = editor.page
    page.get_by_role("navigation", name="Panels").get_by_role("button", name="Results", exact=True).click()
    results = page.get_by_role("complementary", name="Results", exact=True)
    pictures = results.locator(".thumbnail-picture")
    results.get_by_label("Search by any word").fill("lantern")
    expect(pictures).to_have_count(TAKES)

    # By mouse and by key
    pictures.nth(0).click(modifiers=["Control"])
    pictures.nth(2).click(modifiers=["Shift"])
    expect(results.get_by_text("3 selected")).to_be_visible()
    pictures.nth(4).focus()
    editor.press("Control+a")
    expect(results.get_by_text(f"{TAKES} selected")).to_be_visible()
    expect(results.get_by_role("button", name="Compare")).to_be_disabled()
    editor.picture("gallery-selected")
    assert editor.violations() == []
    editor.press("Escape")
    expect(results.get_by_text("selected")).to_have_count(0)

    # Tags, and a ZIP file of two
    for n in (0, 1):
        pictures.nth(n).hover()
        results.get_by_role("checkbox").nth(n).check()
    results.get_by_role("button", name="Tags").click()
    page.get_by_role("dialog").get_by_label("Tags, separated by commas").fill("best, evening")
    editor.press("Enter")
    until(lambda: page.evaluate("1") and len(server.get("outputs?tag=evening")["outputs"]) == 2)
    with page.expect_download() as download:
        results.get_by_role("button", name="Download ZIP").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        assert sorted(archive.namelist()) == sorted(file["path"] for file in files[-2:])

    # To the trash, by key
    pictures.nth(0).focus()
    editor.press("Delete")
    question = page.get_by_role("dialog", name="Delete 2 pictures?")
    question.get_by_role("button", name="Delete").click()
    expect(pictures).to_have_count(TAKES - 2)
    assert server.get("outputs?tag=evening")["outputs"] == []

    # A closer look
    pictures.nth(0).click()
    look = page.get_by_role("dialog")
    picture = look.get_by_role("img").first
    fits = picture.get_attribute("style")
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -400)
    expect(picture).not_to_have_attribute("style", fits)
    wheeled = picture.get_attribute("style")
    editor.press("Shift+ArrowLeft")
    expect(picture).not_to_have_attribute("style", wheeled)
    editor.press("+")
    editor.picture("lightbox-zoomed")
    assert editor.violations() == []
    editor.press("0")
    expect(picture).to_have_attribute("style", fits)
    editor.press("1")
    expect(look.locator(".surface-zoom output")).to_have_text(re.compile("100"))
    editor.press("ArrowRight")
    expect(look).to_contain_text(files[1]["path"])
    expect(look).to_contain_text(f"2 of {TAKES - 2}")
