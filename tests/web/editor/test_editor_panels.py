"""The panels: queue, results, library with its versions and drafts, form; and two windows that share a workflow."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect
from serving import flow, until, use

from latentloom.engine.document.workflow import RESERVED_INPUTS

INTERFACE = Path(__file__).parents[3] / "web" / "editor" / "src" / "document" / "interface.ts"


def panel(editor, name):
    """The panel of that name, opened if it is not."""
    button = editor.page.get_by_role("navigation", name="Panels").get_by_role("button", name=name, exact=True)
    if button.get_attribute("aria-pressed") != "true":
        button.click()
    return editor.page.get_by_role("complementary", name=name, exact=True)


def notice(editor, words):
    found = editor.page.locator(".notice", has_text=words)
    expect(found).to_be_visible()
    found.get_by_role("button", name="Dismiss").click()


def from_template(editor, title):
    editor.page.locator(".templates .template-cards").get_by_role("button", name=title).click()


def answer(editor, title, choice, name=None):
    """Answer the question of that title."""
    dialog = editor.page.get_by_role("dialog", name=title)
    if name is not None:
        dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name=choice, exact=True).click()
    expect(dialog).to_have_count(0)


def draft_steps(server):
    """The steps in every draft that the server has."""
    answers = [server.request("GET", f"drafts/{draft['id']}") for draft in server.get("drafts")["drafts"]]
    nodes = [body["workflow"]["nodes"] for status, body, _ in answers if status == 200]  # some are gone by now
    return {found["sample"]["inputs"]["steps"] for found in nodes if "sample" in found}


def waiting(server):
    names = {job["id"]: job["name"] for job in server.get("jobs?state=queued")["jobs"]}
    return [names[id] for id in server.get("queue")["waiting"]]


def test_the_form_refuses_the_names_that_the_engine_refuses():
    block = re.search(r"RESERVED = new Set\((.*?)\);", INTERFACE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert sorted(" ".join(re.findall(r'"([^"]*)"', block)).split()) == sorted(RESERVED_INPUTS)


def test_queue(editor, server):
    page = editor.page
    queue = panel(editor, "Queue")
    queue.get_by_role("button", name="Pause").click()
    expect(queue.locator(".banner")).to_contain_text("The queue is paused")
    for name, steps in {"A": 1, "B": 5, "C": 100_000, "D": 100_000, "E": 100_000}.items():
        server.order({"workflow": {**flow("s", s=use("Steps", steps=steps, after=name)), "name": name}})
    jobs = queue.locator(".job[data-state=queued]")
    expect(jobs.locator(".job-name")).to_have_text(["A", "B", "C", "D", "E"])

    queue.get_by_role("button", name="Move up: C").click()
    expect(jobs.locator(".job-name")).to_have_text(["A", "C", "B", "D", "E"])
    queue.get_by_role("button", name="Move to the front: D").focus()
    editor.press("Enter")
    expect(jobs.locator(".job-name")).to_have_text(["D", "A", "C", "B", "E"])
    jobs.nth(0).drag_to(jobs.nth(2))
    expect(jobs.locator(".job-name")).to_have_text(["A", "C", "D", "B", "E"])
    queue.get_by_role("button", name="Move down: A").focus()
    editor.press("Alt+ArrowDown")
    expect(jobs.locator(".job-name")).to_have_text(["C", "A", "D", "B", "E"])
    assert waiting(server) == ["C", "A", "D", "B", "E"]
    queue.get_by_role("button", name="Cancel: A").click()
    expect(jobs.locator(".job-name")).to_have_text(["C", "D", "B", "E"])

    server.order({"workflow": {**flow("c", c=use("Curse")), "name": "Cursed"}, "front": True})
    queue.get_by_role("button", name="Resume").click()
    cursed = queue.locator(".job", has_text="Cursed")
    expect(cursed).to_have_attribute("data-state", "failed")
    cursed.get_by_text("Details").click()
    expect(cursed.locator("pre")).to_contain_text("ValueError")
    expect(queue.get_by_role("progressbar", name="Progress of C")).to_be_visible()
    expect(queue.locator(".job", has_text="s: step").first).to_be_visible()
    editor.picture("queue")
    queue.get_by_role("button", name="Pause").click()
    for name in ("C", "D"):
        queue.get_by_role("button", name=f"Cancel: {name}").click()
    queue.get_by_role("button", name="Cancel all waiting jobs").click()
    answer(editor, "Cancel the 2 waiting jobs?", "Cancel all waiting jobs")
    expect(jobs).to_have_count(0)
    expect(queue.locator(".job[data-state=cancelled] .job-name")).to_have_text(["E", "D", "C", "B", "A"])

    queue.get_by_role("button", name="Retry: B").click()
    expect(jobs.locator(".job-name")).to_have_text(["B"])
    jobs.get_by_role("button", name="Open workflow").click()
    expect(page.locator(".tab[data-active=true]")).to_contain_text("B")
    queue.get_by_role("button", name="Resume").click()
    expect(queue.locator(".job[data-state=done]", has_text="B")).to_be_visible()
    assert editor.violations() == []


def test_form_and_results(open_editor, server):
    editor = open_editor(server, color_scheme="light")
    page = editor.page
    editor.picture("templates")
    assert editor.violations() == []
    from_template(editor, "Text to image")
    form = panel(editor, "Form")

    # What the form asks for: one more, another name, another place, one fewer
    form.get_by_role("button", name="Edit form").click()
    form.get_by_label("Node", exact=True).select_option("sample")
    form.get_by_role("button", name="noise_rule").click()
    form.get_by_label("Name of noise_rule").fill("two words")
    expect(form.get_by_label("Name of noise_rule")).to_have_attribute("aria-invalid", "true")
    form.get_by_label("Name of noise_rule").fill("noise")
    editor.press("Enter")
    for name in ("negative", "batch", "checkpoint"):
        form.get_by_role("button", name=f"Remove {name} from the form").click()
    form.get_by_role("button", name="Move noise up").click()
    form.get_by_role("button", name="Done").click()
    names = "prompt seed steps cfg sampler schedule width noise height"
    expect(form.locator(".form-field > label")).to_have_text(names.split())

    results = panel(editor, "Results")
    pictures = results.locator(".thumbnail")
    before = len(server.get("outputs")["outputs"])
    expect(pictures).to_have_count(before)
    form.get_by_label("steps").fill("4")
    for n, (prompt, seed) in enumerate((("a large red circle", "11"), ("a small blue square", "12"))):
        form.get_by_label("prompt").fill(f"{prompt} on a white background")
        form.get_by_label("seed", exact=True).fill(seed)
        form.get_by_role("button", name="Run", exact=True).click()
        expect(pictures).to_have_count(before + n + 1)
        expect(form.locator(".form-result a img")).to_have_attribute("alt", f"{prompt} on a white background")
    editor.picture("form-and-results")
    assert editor.violations() == []

    # Search by prompt and seed
    results.get_by_label("Search by any word").fill("circle red")
    expect(pictures).to_have_count(1)
    results.get_by_role("button", name="Filters").click()
    results.get_by_label("Seed", exact=True).fill("12")
    expect(results.get_by_text("No pictures match the search.")).to_be_visible()
    results.get_by_label("Search by any word").fill("")
    expect(pictures).to_have_count(1)
    results.get_by_label("Seed", exact=True).fill("")
    expect(pictures).to_have_count(before + 2)

    # A closer look, its keys, and the workflow behind the picture
    pictures.nth(0).get_by_role("button").click()
    look = page.get_by_role("dialog")
    expect(look.locator(".facts")).to_contain_text("12")
    editor.press("ArrowRight")
    expect(look.locator(".facts")).to_contain_text("a large red circle on a white background")
    expect(look.locator(".facts")).to_contain_text("cpu")
    editor.picture("lightbox")
    assert editor.violations() == []
    with page.expect_download() as saved:
        look.get_by_role("button", name="Save workflow").click()
    assert saved.value.suggested_filename.endswith(".json")
    look.get_by_role("button", name="Open workflow").click()
    expect(look).to_have_count(0)
    assert editor.copied()["nodes"]["sample"]["inputs"]["seed"] == 11

    # A part of what made another picture, into this workflow
    pictures.nth(0).get_by_role("button").click()
    look.get_by_role("button", name="Seed", exact=True).click()
    notice(editor, "1 value taken over")
    nodes = editor.copied()["nodes"]
    assert (nodes["sample"]["inputs"]["seed"], nodes["positive"]["inputs"]["text"].split()[2]) == (12, "red")
    pictures.nth(0).get_by_role("button").click()
    look.get_by_role("button", name="Prompts").click()
    notice(editor, "2 values taken over")
    assert editor.copied()["nodes"]["positive"]["inputs"]["text"].startswith("a small blue square")
    results.get_by_label("Search by any word").fill("12 shapes blue dpmpp_2m")
    expect(pictures).to_have_count(1)
    results.get_by_label("Search by any word").fill("")
    expect(pictures).to_have_count(before + 2)

    # Two pictures compared
    for n in (0, 1):
        pictures.nth(n).hover()
        pictures.nth(n).get_by_role("checkbox").check()
    results.get_by_role("button", name="Compare").click()
    compare = page.get_by_role("dialog", name="Compare")
    compare.get_by_role("slider").press("ArrowLeft")
    expect(compare.get_by_role("slider")).to_have_value("49")
    expect(compare.locator(".compare-left")).to_have_css("clip-path", "inset(0px 51% 0px 0px)")
    expect(compare.locator("tbody tr").nth(1)).to_have_text("Seed1211")
    editor.picture("compare")
    assert editor.violations() == []
    editor.press("Escape")

    # A picture as an input: this workflow has no node that loads one
    pictures.nth(0).get_by_role("button").click()
    page.get_by_role("dialog").get_by_role("button", name="Use as input").click()
    expect(editor.node("load_image")).to_have_class(re.compile("selected"))
    assert editor.copied()["nodes"]["load_image"]["inputs"]["image"].endswith(".png")

    # A problem leads to its place
    page.mouse.move(700, 700)
    editor.press("/")
    editor.choose("SaveImage")
    problems = panel(editor, "Problems")
    problem = problems.get_by_role("button", name="images")
    problem.focus()
    editor.press("Enter")
    expect(editor.node("save_image")).to_have_class(re.compile("selected"))


def test_library_and_drafts(open_editor, server):
    editor, other = open_editor(server), open_editor(server)
    page = editor.page
    from_template(editor, "Text to image")
    expect(editor.field("sample", "steps")).to_have_value("20")
    page.reload()
    editor.connected()
    expect(editor.field("sample", "steps")).to_have_value("20")
    editor.press("Control+s")
    answer(editor, "Save the workflow", "Save", "Stars")
    notice(editor, "Saved: Stars, version 1")
    expect(page.locator(".tab[data-active=true] .tab-dot")).to_have_count(0)

    # Another window saves; this one is told, and nothing is overwritten
    panel(other, "Library").get_by_role("button", name="Stars", exact=False).first.click()
    other.field("sample", "steps").fill("9")
    other.press("Control+s")
    notice(other, "Saved: Stars, version 2")
    editor.field("sample", "steps").fill("5")
    expect(page.locator(".tab[data-active=true] .tab-dot")).to_be_visible()
    editor.press("Control+s")
    page.get_by_role("dialog", name='"Stars" was saved elsewhere in the meantime').wait_for()
    editor.picture("conflict")
    assert editor.violations() == []
    answer(editor, '"Stars" was saved elsewhere in the meantime', "Keep mine as a copy")
    answer(editor, "Save the workflow", "Save", "Stars of mine")
    notice(editor, "Saved: Stars of mine, version 1")
    assert server.get("workflows/Stars")["workflow"]["nodes"]["sample"]["inputs"]["steps"] == 9
    assert (
        server.get("workflows/Stars of mine".replace(" ", "%20"))["workflow"]["nodes"]["sample"]["inputs"]["steps"] == 5
    )

    # Versions: what differs, and the older one again
    library = panel(editor, "Library")
    library.get_by_role("button", name="Actions for Stars", exact=True).click()
    library.get_by_role("button", name="Versions").click()
    versions = library.get_by_role("list", name="Versions")
    versions.get_by_text("Version 1").click()
    expect(versions).to_contain_text("sample.steps: 9 → 20")
    editor.picture("library")
    assert editor.violations() == []
    versions.get_by_role("button", name="Restore").click()
    notice(editor, "Version 1 restored as version 3")
    library.get_by_role("button", name="Actions for Stars of mine").click()
    library.get_by_role("button", name="Rename").click()
    answer(editor, 'Rename "Stars of mine"', "Rename", "Mine")
    expect(page.locator(".tab[data-active=true]")).to_contain_text("Mine")
    library.get_by_role("button", name="Actions for Mine").click()
    library.get_by_role("button", name="Delete", exact=True).click()
    answer(editor, 'Delete "Mine"?', "Delete")
    expect(library.get_by_role("button", name="Actions for Mine")).to_have_count(0)

    # A saved workflow as a node of another one; it tells when it is saved anew, and is brought up to that
    other.page.get_by_role("navigation", name="Open workflows").get_by_role("button", name="New workflow").click()
    elsewhere = panel(other, "Library")
    elsewhere.get_by_role("button", name="Actions for Stars", exact=True).click()
    elsewhere.get_by_role("button", name="Insert as a node").click()
    other.node("stars").wait_for()
    saved = server.get("workflows/Stars")["workflow"]
    saved["nodes"]["sample"]["inputs"]["steps"] = 7
    assert server.request("PUT", "workflows/Stars", {"workflow": saved}, If_Match='"3"')[0] == 200
    other.page.reload()
    other.connected()
    elsewhere = panel(other, "Library")
    elsewhere.get_by_role("button", name="Update to version 4").wait_for()
    expect(elsewhere.get_by_text("sample.steps: 7 → 20")).to_be_visible()
    elsewhere.get_by_role("button", name="Update to version 4").click()
    expect(elsewhere.get_by_role("button", name="Update to version 4")).to_have_count(0)
    assert other.copied()["graphs"]["Stars"]["nodes"]["sample"]["inputs"]["steps"] == 7

    # A shipped block is inserted as a node too, and is its own copy
    expect(elsewhere.get_by_text("Blocks to insert")).to_be_visible()
    other.press("/")
    other.page.get_by_role("combobox", name="Search nodes").fill("Hires pass")
    other.page.get_by_role("option", name="Hires pass").first.wait_for()  # blocks are fetched when the search opens
    other.press("Enter")
    other.node("hires-pass").wait_for()
    assert other.copied()["graphs"]["hires-pass"]["extra"]["origin"] == {"name": "hires-pass", "version": 0}

    # A reload, at once, brings back what was never saved
    editor.field("sample", "steps").fill("17")
    page.reload()
    editor.connected()
    expect(editor.field("sample", "steps")).to_have_value("17")

    # A closed tab leaves its draft behind; one that was opened twice goes on as two
    page.get_by_role("navigation", name="Open workflows").get_by_role("button", name="Close Mine").click()
    notice(editor, "was kept as a draft")
    page.locator(".templates").get_by_role("button", name="Mine").click()
    expect(editor.field("sample", "steps")).to_have_value("17")
    again = open_editor(server)
    again.page.locator(".templates").get_by_role("button", name="Mine").click()
    again.field("sample", "steps").fill("18")
    until(lambda: 18 in draft_steps(server))
    editor.field("sample", "steps").fill("19")
    notice(editor, "are kept as a separate draft")
    until(lambda: {18, 19} <= draft_steps(server))


@pytest.mark.parametrize(("reload", "first", "second"), [(False, 33, 34), (True, 43, 44)])
def test_a_draft_that_arrived_without_an_answer_stays_one_draft(open_editor, server, reload, first, second):
    editor = open_editor(server)
    page, before = editor.page, server.get("drafts")["drafts"]
    arrived = []

    def lose(route):
        if route.request.method == "PUT":
            arrived.append(route.fetch().status)
            route.abort()
        else:
            route.continue_()

    from_template(editor, "Text to image")
    expect(editor.field("sample", "steps")).to_have_value("20")
    page.route("**/api/v1/drafts/*", lose, times=1)
    editor.field("sample", "steps").fill(str(first))
    until(lambda: page.evaluate("1") and arrived)
    editor.field("sample", "steps").fill(str(second))
    if reload:
        page.reload()
        editor.connected()
        expect(editor.field("sample", "steps")).to_have_value(str(second))
    until(lambda: page.evaluate("1") and second in draft_steps(server))

    assert (arrived, first in draft_steps(server)) == ([201], False)
    assert len(server.get("drafts")["drafts"]) == len(before) + 1


def test_a_phone_runs_a_template_and_shows_its_picture_by_touch(open_editor, server):
    editor = open_editor(server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = editor.page
    page.locator(".templates .template-cards").get_by_role("button", name="Text to image").tap()
    page.locator(".react-flow__node").first.wait_for()
    page.get_by_role("navigation", name="Panels").get_by_role("button", name="Form", exact=True).tap()
    form = page.get_by_role("complementary", name="Form", exact=True)
    form.get_by_role("button", name="Run", exact=True).tap()
    expect(form.get_by_role("img").first).to_be_visible()
    editor.picture("phone-form")
    page.get_by_role("navigation", name="Panels").get_by_role("button", name="Results", exact=True).tap()
    page.get_by_role("complementary", name="Results", exact=True).locator(".thumbnail-picture").first.tap()
    expect(page.get_by_role("dialog").get_by_role("img").first).to_be_visible()
    editor.picture("phone-picture")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
