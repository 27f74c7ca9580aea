"""Faults that only a browser shows: a name without TLS, requests that fail, many tabs, narrow windows, focus, edges."""

import json
from types import SimpleNamespace

import pytest
from editing import box_of
from PIL import Image
from playwright.sync_api import expect
from serving import Server, flow, until, use


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("editor") / "home", "--allow-host", "loom.test")
    yield made.until_ready()
    made.kill()


def load(editor, document, folder):
    file = folder / "flow.json"
    file.write_text(json.dumps(document))
    editor.drop(file, "application/json")
    for id in document["nodes"]:
        editor.node(id).wait_for()


def template(editor, title):
    editor.page.locator(".templates .template-cards").get_by_role("button", name=title).click()
    editor.page.locator(".react-flow__node").first.wait_for()


def menu(editor, node, entry):
    editor.node(node).locator(".node-title").click(button="right")
    editor.page.get_by_role("menuitem", name=entry).first.click()


def test_plain_http_under_a_name(open_editor, server, tmp_path):
    editor = open_editor(SimpleNamespace(address=f"http://loom.test:{server.port}"))
    page = editor.page
    assert page.evaluate("isSecureContext") is False
    load(editor, flow("n.image", n=use("Picture")), tmp_path)

    page.evaluate("addEventListener('copy', e => (window.copied = e.clipboardData.getData('text/plain')))")
    menu(editor, "n", "Copy")
    menu(editor, "n", "Paste")
    expect(page.locator(".notice", has_text="Press Ctrl+V")).to_be_visible()
    editor.press("Control+v")
    expect(page.locator(".react-flow__node")).to_have_count(2)


def test_requests_that_fail_at_the_start_are_repeated(editor, server):
    page, failing = editor.page, {}

    def fail_twice(route):
        path = route.request.url.split("?")[0]
        failing[path] = failing.get(path, 0) + 1
        if failing[path] > 2:
            route.continue_()
        else:
            route.fulfill(status=502, body="<html>Bad Gateway</html>", content_type="text/html")

    def kept(steps):
        drafts = [server.get(f"drafts/{draft['id']}")["workflow"] for draft in server.get("drafts")["drafts"]]
        found = [draft["nodes"]["sample"]["inputs"]["steps"] for draft in drafts if "sample" in draft["nodes"]]
        return page.evaluate("1") and steps in found

    template(editor, "Text to image")
    editor.field("sample", "steps").fill("33")
    until(lambda: kept(33))
    for part in ("system", "nodes", "drafts/*", "choices*"):
        page.route(f"**/api/v1/{part}", fail_twice)
    page.reload()

    editor.connected()
    expect(editor.field("sample", "steps")).to_have_value("33")
    assert {path.split("/")[5] for path in failing} >= {"system", "nodes", "drafts"}
    editor.field("sample", "steps").fill("34")
    until(lambda: kept(34))


def test_tabs_come_back_after_the_browser_was_closed(editor, server):
    first = editor.page
    template(editor, "Text to image")
    editor.field("sample", "steps").fill("21")
    editor.press("Tab")
    names = "[...document.querySelectorAll('.tab > button:first-child')].map(tab => tab.textContent)"
    first.get_by_role("button", name="New workflow").click()
    template(editor, "Upscale in tiles")
    expect(first.locator(".tab")).to_have_count(2)
    before = first.evaluate(names)
    context = first.context
    first.close()

    again = context.new_page()
    again.goto(server.address)
    expect(again.locator(".tab")).to_have_count(2)
    assert again.evaluate(names) == before
    other = context.new_page()  # a window beside it starts empty
    other.goto(server.address)
    expect(other.locator("[data-connected=true]")).to_be_visible()
    expect(other.locator(".tab")).to_have_count(1)


def test_focus_keys_and_narrow_windows(editor):
    page = editor.page
    new = page.get_by_role("button", name="New workflow")
    for _ in range(11):
        new.click()
    expect(page.locator(".tab")).to_have_count(12)
    editor.press("Space")
    expect(page.locator(".tab")).to_have_count(12)
    run = page.locator(".run-controls")
    assert run.evaluate("element => element.getBoundingClientRect().right") <= 1440

    template(editor, "Text to image")
    title = editor.node("positive").locator(".node-title")
    title.click(button="right")
    editor.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    expect(editor.node("positive")).to_be_focused()

    editor.field("positive", "text").focus()
    editor.press("Control+s")
    page.get_by_role("dialog", name="Save the workflow").wait_for()
    editor.press("Control+Enter", "Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(editor.field("positive", "text")).to_be_focused()
    expect(page.locator(".run-state")).to_have_count(0)

    page.set_viewport_size({"width": 768, "height": 900})
    panels = page.get_by_role("navigation", name="Panels")
    for name in ("Library", "Form", "Results", "Library"):
        panels.get_by_role("button", name=name, exact=True).click()
        assert box_of(page.locator("main.canvas"))["width"] >= 300


def test_groups_edges_and_dropped_pictures(editor, tmp_path):
    page = editor.page
    template(editor, "Image to image")
    path = tmp_path / "plain.png"
    Image.new("RGB", (16, 16), "teal").save(path)
    count = page.locator(".react-flow__node").count()
    editor.drop(path, "image/png", 720, 120)
    loader = page.locator(".react-flow__node.selected")
    expect(loader.locator(".picture img")).to_be_visible()
    assert page.locator(".react-flow__node").count() == count

    page.mouse.click(1200, 120)
    editor.press("Control+a", "Control+g")
    group = editor.node("group:1")
    expect(group).to_have_class("react-flow__node react-flow__node-frame nopan selected selectable draggable")
    assert group.evaluate("element => getComputedStyle(element).borderTopWidth") == "0px"
    editor.field("positive", "text").click()
    expect(editor.field("positive", "text")).to_be_focused()

    edge = page.locator(".react-flow__edge").first
    edge.locator(".react-flow__edge-interaction").dispatch_event("contextmenu", {"clientX": 600, "clientY": 400})
    entries = page.get_by_role("menuitem").all_inner_texts()
    assert [entry for entry in entries if entry.startswith(("Copy", "Cut", "Duplicate"))] == []
    editor.press("Escape")

    socket = box_of(editor.input("save.images"))
    edges = page.locator(".react-flow__edge").count()
    page.mouse.move(socket["x"] + socket["width"] / 2 - 14, socket["y"] + socket["height"] / 2)
    page.mouse.down()
    page.mouse.move(1250, 140, steps=5)
    page.mouse.up()
    expect(page.locator(".react-flow__edge")).to_have_count(edges - 1)
    expect(page.get_by_role("combobox", name="Search nodes")).to_have_count(0)


def test_the_light_theme_and_a_browser_that_is_too_old(open_editor, server):
    editor = open_editor(server, color_scheme="light", locale="zh-CN", reduced_motion="reduce")
    page = editor.page
    page.locator(".templates .template-cards button").first.click()
    expect(page.locator(".react-flow__edge").first).to_be_attached()
    strokes = page.evaluate("[...document.querySelectorAll('path.edge')].map(edge => getComputedStyle(edge).stroke)")
    assert len(set(strokes)) > 2 and not {"none", "rgb(217, 195, 74)"} & set(strokes)
    expect(page.get_by_role("button", name="放大", exact=True)).to_be_visible()
    expect(page.get_by_text("按回车或空格选中连线")).to_be_attached()
    editor.picture("light-zh")
    assert editor.violations() == []

    assert page.locator("#old-browser").is_hidden()
    page.add_init_script("CSS.supports = () => false")
    page.reload()
    expect(page.get_by_text("This browser is too old")).to_be_visible()
