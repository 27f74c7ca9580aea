"""A workflow on a page of its own: form, run, results, history, on a desk and on a phone."""

import urllib.parse

import pytest
from playwright.sync_api import expect
from serving import flow, use

NAME = "Level maker"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
ARRANGED = {
    "level": {"group": "Light", "help": "0 is black, 1 is white.", "half": True},
    "count": {"group": "Light", "half": True},
}


def save(server):
    """A workflow with a form of three inputs under two headings; a version of it where there is one."""
    made = flow("", s=use("SavePicture", count=1, level=0.25), w=use("Save", text="a plain square"))
    made["inputs"] = [
        {"name": name, "to": [{"node": node, "input": input}]}
        for name, node, input in (("words", "w", "text"), ("level", "s", "level"), ("count", "s", "count"))
    ]
    made |= {"name": NAME, "layout": {"form": ARRANGED}}
    status, answer, _ = server.request("PUT", f"workflows/{urllib.parse.quote(NAME)}", {"workflow": made}, If_Match="*")
    assert status in (200, 201), answer


def open_app(editor, server, name=NAME):
    editor.page.goto(f"{server.address.rstrip('/')}/app/{urllib.parse.quote(name)}")


@pytest.mark.parametrize(("theme", "options"), [("light", {}), ("dark", PHONE)], ids=["desk", "phone"])
def test_a_saved_workflow_is_used_on_a_page_of_its_own(open_editor, server, theme, options):
    save(server)
    editor = open_editor(server, color_scheme=theme, **options)
    page, drafts = editor.page, server.get("drafts")["drafts"]
    open_app(editor, server)
    expect(page).to_have_title(f"{NAME} - Latentloom")
    form = page.get_by_role("region", name="Inputs")
    expect(form.locator(".form-field > label")).to_have_text(["words", "level", "count"])
    expect(form.get_by_role("group", name="Light").locator(".form-field > label")).to_have_text(["level", "count"])
    expect(form.get_by_text("0 is black, 1 is white.")).to_be_visible()

    # A run
    level = form.get_by_label("level", exact=True)
    level.fill("0.75")
    form.get_by_label("count").fill("2")
    form.get_by_role("button", name="Run", exact=True).click()
    result = page.get_by_role("region", name="Result")
    expect(result.get_by_role("img")).to_have_count(2)
    history = page.get_by_role("region", name="Made on this page")
    expect(history.get_by_role("listitem")).not_to_have_count(0)
    files = server.get("outputs?tag=" + urllib.parse.quote(f"app:{NAME}"))["outputs"]
    assert files[0]["workflow"] == NAME
    editor.picture(f"app-{theme}")
    assert editor.violations() == []
    if options:
        targets = page.locator("button:visible, a.button:visible").all()
        assert [one.inner_html() for one in targets if one.bounding_box()["height"] < 44] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

    # What was filled in is here again, and can be put back
    page.reload()
    expect(level).to_have_value("0.75")
    form.get_by_role("button", name="Reset").click()
    expect(level).to_have_value("0.25")
    history.get_by_role("listitem").first.get_by_role("button").click()
    editor.picture(f"app-look-{theme}")
    page.get_by_role("dialog").get_by_role("button", name="Use these values").click()
    expect(level).to_have_value("0.75")
    assert server.get("drafts")["drafts"] == drafts  # the page is no tab of the editor


def test_a_workflow_that_is_not_there_is_said_to_be_none(open_editor, server):
    editor = open_editor(server)
    open_app(editor, server, "no such 100%")
    expect(editor.page.get_by_role("alert")).to_contain_text("no such 100%")


def test_the_library_and_the_form_lead_to_the_page(open_editor, server):
    save(server)
    editor = open_editor(server)
    page = editor.page
    page.get_by_role("navigation", name="Panels").get_by_role("button", name="Library").click()
    library = page.get_by_role("complementary", name="Library")
    library.get_by_role("button", name=f"Actions for {NAME}").click()
    link = library.get_by_role("link", name="Open as app")
    assert link.get_attribute("href").endswith("/app/Level%20maker")
    library.locator(".saved-name", has_text=NAME).click()

    # How the form is arranged is part of the workflow
    page.get_by_role("navigation", name="Panels").get_by_role("button", name="Form").click()
    form = page.get_by_role("complementary", name="Form")
    form.get_by_role("button", name="Edit form").click()
    words = form.locator(".form-entry").first
    words.get_by_text("Heading, help, width").click()
    words.get_by_label("Heading of words").fill("Text")
    words.get_by_label("Name of words").fill("caption")
    editor.press("Enter")
    expect(form.get_by_label("Heading of caption")).to_have_value("Text")
    editor.picture("form-arranged")
    form.get_by_role("button", name="Done").click()
    expect(form.get_by_role("group", name="Text").locator("label")).to_have_text(["caption"])
    editor.press("Control+s")
    expect(page.locator(".notice", has_text="Saved: Level maker")).to_be_visible()
    found = server.get(f"workflows/{urllib.parse.quote(NAME)}")["workflow"]
    assert found["layout"]["form"] == {**ARRANGED, "caption": {"group": "Text"}}
    assert editor.violations() == []
    with page.expect_popup() as opened:
        form.get_by_role("link", name="Open as app").click()
    expect(opened.value.get_by_role("region", name="Inputs")).to_be_visible()
