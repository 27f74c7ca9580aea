"""The Sweep panel: axes, their cells, the grid of results, and what can be done with a cell."""

from playwright.sync_api import expect
from serving import flow, use


def cursed(name):
    """A workflow of that name whose runs fail."""
    document = flow("c", c=use("Curse"), s=use("Steps", steps=1))
    inputs = [{"name": "steps", "to": [{"node": "s", "input": "steps"}]}]
    return {**document, "name": name, "inputs": inputs}


def write_axes(panel, start):
    """Values that are wrong, too many, and refused by the server; an input that gets a name; two axes that run."""
    add, count = panel.get_by_label("Add an input"), panel.locator(".sweep-count")
    add.select_option(label="cfg")
    panel.get_by_label("Values of cfg").fill("3, five")
    expect(panel.get_by_text("Not a number: five.")).to_be_visible()
    expect(start).to_be_disabled()
    panel.get_by_label("Values of cfg").fill("3, -5")
    add.select_option(label="noise_rule")
    expect(panel.get_by_role("group", name="Values of noise_rule")).to_be_visible()
    panel.get_by_role("button", name="Remove noise_rule").click()
    expect(add.locator("optgroup[label=Form] option", has_text="noise_rule")).to_have_count(1)
    add.select_option(label="sampler")
    for name in ("euler", "heun"):
        panel.get_by_label(name, exact=True).check()
    expect(count).to_have_text("2 × 2 = 4 runs (at most 1000)")
    add.select_option(label="seed")
    panel.get_by_label("Values of seed").fill("1..500")
    expect(count).to_have_text("2 × 2 × 500 = 2000 runs (at most 1000)")
    expect(start).to_be_disabled()
    panel.get_by_role("button", name="Remove seed").click()
    start.click()
    expect(panel.get_by_role("alert")).to_contain_text("cfg:")
    panel.get_by_label("Values of cfg").fill("3, 5")
    start.click()


def test_a_sweep(open_editor, server):
    editor = open_editor(server, color_scheme="light")
    page = editor.page
    page.locator(".templates .template-cards").get_by_role("button", name="Text to image").click()
    editor.field("sample", "steps").fill("2")
    rails = page.get_by_role("navigation", name="Panels on the right")
    rails.get_by_role("button", name="Sweep").click()
    panel = page.get_by_role("complementary", name="Sweep")
    start = panel.get_by_role("button", name="Start the sweep")

    write_axes(panel, start)

    # The grid, in the panel and large
    state = panel.get_by_role("status").filter(has_text="done")
    expect(state).to_have_text("4 of 4 done")
    grid = panel.locator(".sweep-grid")
    expect(grid.locator("thead th")).to_have_text(["cfg 3", "cfg 5"])
    expect(grid.locator("tbody th")).to_have_text(["sampler euler", "sampler heun"])
    expect(grid.locator("img")).to_have_count(4)
    editor.picture("sweep")
    assert editor.violations() == []
    for label in ("sampler euler, cfg 3", "sampler heun, cfg 5"):
        panel.get_by_label(f"Select: {label}").check()
    panel.get_by_role("button", name="Compare").click()
    rows = page.locator(".compare-facts tbody tr")
    expect(rows).to_have_text(["samplereulerheun", "cfg35"])
    editor.press("Escape")
    panel.get_by_role("button", name="Enlarge").click()
    large = page.get_by_role("dialog", name="Sweep results")
    large.get_by_role("button", name="sampler heun, cfg 3", exact=True).click()

    # A cell's values, as one step of undo
    look = page.get_by_role("dialog", name="sampler heun, cfg 3")
    expect(look.locator(".facts")).to_contain_text("heun")
    editor.picture("sweep-cell")
    assert editor.violations() == []
    editor.press("ArrowRight")
    page.get_by_role("button", name="Use these values").click()
    editor.press("Escape")
    expect(editor.field("sample", "cfg")).to_have_value("5")
    assert editor.copied()["nodes"]["sample"]["inputs"]["sampler"] == "heun"
    editor.press("Control+z")
    assert editor.copied()["nodes"]["sample"]["inputs"]["sampler"] != "heun"

    # After a reload: the batches of this workflow, one that failed with its errors
    body = {"workflow": cursed("Text to image"), "axes": [{"input": "steps", "values": [1, 2]}]}
    assert server.request("POST", "batches", body)[0] == 201
    page.reload()
    editor.connected()
    earlier = panel.locator(".list button")
    if not panel.is_visible():
        rails.get_by_role("button", name="Sweep").click()
    expect(earlier).to_have_count(2)
    earlier.nth(0).click()
    expect(state).to_have_text("0 of 2 done, 2 failed")
    failed = panel.locator(".sweep-cell[data-state=failed]")
    expect(failed).to_have_count(2)
    expect(failed.nth(0)).to_contain_text("ValueError")
    editor.picture("sweep-failed")
    failed.nth(0).get_by_role("button").click()
    expect(page.get_by_role("dialog", name="steps 1").locator("pre")).to_contain_text("ValueError")
    editor.press("Escape")
    earlier.nth(1).click()
    expect(grid.locator("img")).to_have_count(4)
