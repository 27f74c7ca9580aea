"""Workflows are built by hand: nodes, edges, and what the editor refuses."""

import re

from editing import box_of
from playwright.sync_api import expect


def test_text_to_image_from_an_empty_canvas(editor):
    page = editor.page
    editor.add("LoadCheckpoint", 250, 250)
    editor.field("load_checkpoint", "checkpoint").wait_for()

    # The palette knows what an edge fits: two captions from one clip, then the sampler from a model
    editor.drag(editor.output("load_checkpoint.clip"), (560, 130))
    expect(page.get_by_role("dialog")).to_contain_text("Nodes that accept CLIP")
    editor.choose("CLIPEncode")
    editor.field("clip_encode", "text").fill("a large red circle on a white background")
    editor.drag(editor.output("load_checkpoint.clip"), (560, 480))
    editor.choose("CLIPEncode")
    editor.drag(editor.output("load_checkpoint.model"), (930, 130))
    editor.choose("KSampler")
    editor.connect("clip_encode.conditioning", "k_sampler.positive")
    editor.connect("clip_encode-2.conditioning", "k_sampler.negative")
    editor.drag(editor.input("k_sampler.latent"), (300, 600))
    expect(page.get_by_role("dialog")).to_contain_text("Nodes that output LATENT")
    editor.choose("EmptyLatent")
    editor.field("k_sampler", "steps").fill("6")

    editor.drag(editor.output("k_sampler.latent"), (1290, 130))
    editor.choose("VAEDecode")
    with editor.moving():
        editor.press(".")
    editor.connect("load_checkpoint.vae", "vae_decode.vae")
    editor.press("Escape")
    editor.drag(editor.output("vae_decode.image"), (900, 760))
    editor.choose("SaveImage")

    assert editor.edges() == {
        "clip_encode.clip": "load_checkpoint.clip",
        "clip_encode-2.clip": "load_checkpoint.clip",
        "k_sampler.model": "load_checkpoint.model",
        "k_sampler.positive": "clip_encode.conditioning",
        "k_sampler.negative": "clip_encode-2.conditioning",
        "k_sampler.latent": "empty_latent.latent",
        "vae_decode.vae": "load_checkpoint.vae",
        "vae_decode.latent": "k_sampler.latent",
        "save_image.images": "vae_decode.image",
    }
    expect(page.get_by_text("No problems")).to_be_visible()
    editor.press("Shift+L")

    editor.run()
    page.get_by_role("progressbar", name="Progress of Sampler").wait_for()
    editor.node("k_sampler").locator("img.node-preview").wait_for()
    editor.picture("running")
    editor.state("Done")
    picture = editor.node("save_image").locator(".node-files img")
    expect(picture).to_be_visible()
    assert picture.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 0
    expect(editor.node("k_sampler").locator(".badge")).to_contain_text(" s")
    editor.press(".")
    editor.picture("text-to-image")

    # A second run with a fixed seed finds everything in the cache but the sink
    editor.field("k_sampler", "seed").fill("5")
    editor.run()
    editor.state("Done")
    editor.run()
    expect(editor.node("k_sampler").get_by_text("cached")).to_be_visible()


def test_an_edge_that_does_not_fit_is_refused_with_the_reason(editor):
    editor.add("LoadCheckpoint", 300, 300)
    editor.add("SaveImage", 900, 300)

    editor.connect("load_checkpoint.model", "save_image.images")

    expect(editor.page.get_by_role("log")).to_contain_text("model outputs MODEL, images accepts IMAGE")
    assert editor.edges() == {}


def test_a_circle_is_refused(editor):
    editor.add("InvertImage", 300, 300)
    editor.add("InvertImage", 900, 300)
    editor.connect("invert_image.image", "invert_image-2.image")

    editor.connect("invert_image-2.image", "invert_image.image")

    expect(editor.page.get_by_role("log")).to_contain_text("This would create a cycle")
    assert editor.edges() == {"invert_image-2.image": "invert_image.image"}


def test_a_new_edge_takes_the_place_of_the_old_one(editor):
    editor.add("LoadImage", 200, 200)
    editor.add("LoadImage", 200, 500)
    editor.add("InvertImage", 900, 300)
    editor.connect("load_image.image", "invert_image.image")

    editor.connect("load_image-2.image", "invert_image.image")

    assert editor.edges() == {"invert_image.image": "load_image-2.image"}


def test_ten_steps_are_undone_and_done_again(editor):
    for n in range(5):
        editor.add("Integer", 150 + 300 * (n % 3), 200 + 200 * (n // 3))
    for n, id in enumerate(["integer", "integer-2", "integer-3", "integer-4", "integer-5"]):
        editor.field(id, "value").fill(str(n + 10))
    before = editor.copied()
    editor.page.locator(".react-flow__pane").click(position={"x": 700, "y": 700})

    editor.press(*["Control+z"] * 10)
    expect(editor.page.locator(".react-flow__node")).to_have_count(0)

    editor.press(*["Control+Shift+z"] * 10)
    assert editor.copied() == before


def test_nodes_are_packed_run_unpacked_and_undone(editor):
    for n, type in enumerate(("ColourImage", "InvertImage", "SaveImage")):
        editor.add(type, 200 + 400 * n, 300)
    editor.connect("colour_image.image", "invert_image.image")
    editor.connect("invert_image.image", "save_image.images")
    before = editor.edges()
    editor.page.locator(".react-flow__pane").click(position={"x": 700, "y": 700})
    editor.node("invert_image").locator(".node-title").click()

    editor.press("Shift+P")

    packed = {"block.image": "colour_image.image", "save_image.images": "block.image"}
    assert editor.edges() == packed
    expect(editor.node("block")).to_contain_text("sub-workflow")
    expect(editor.page.get_by_text("No problems")).to_be_visible()
    assert list(editor.copied()["graphs"]["block"]["nodes"]) == ["invert_image"]
    editor.run()
    editor.state("Done")
    expect(editor.node("block").locator(".node-head .badge")).to_contain_text(" s")

    editor.page.locator(".react-flow__pane").click(position={"x": 700, "y": 700})
    editor.node("block").locator(".node-title").click()
    editor.press("Shift+U")
    assert editor.edges() == before
    editor.run()
    expect(editor.node("invert_image").get_by_text("cached")).to_be_visible()

    editor.press("Control+z")
    assert editor.edges() == packed


def test_a_sub_workflow_is_opened_edited_in_place_and_left(editor):
    page = editor.page
    for n, type in enumerate(("ColourImage", "InvertImage", "SaveImage")):
        editor.add(type, 200 + 400 * n, 300)
    editor.connect("colour_image.image", "invert_image.image")
    editor.connect("invert_image.image", "save_image.images")
    page.locator(".react-flow__pane").click(position={"x": 700, "y": 700})
    editor.node("invert_image").locator(".node-title").click()
    editor.press("Shift+P")

    editor.node("block").locator(".node-title").dblclick()

    trail = page.locator(".trail")
    expect(trail.locator("li")).to_have_text(["Untitled", "block"])
    expect(trail.locator("dl")).to_have_text("InputsimageOutputsimage")
    expect(page.locator(".react-flow__node")).to_have_count(1)
    expect(editor.node("invert_image")).to_be_visible()

    # A level deeper, and back with keys
    editor.node("invert_image").locator(".node-title").click()
    editor.press("Shift+P", "Enter")
    expect(trail.locator("li")).to_have_text(["Untitled", "block", "block-2"])
    editor.press("Escape")
    expect(trail.locator("li")).to_have_text(["Untitled", "block"])
    expect(editor.node("block-2")).to_be_visible()

    # An edit inside goes into the document: a copy takes it along, a run shows it, undo knows it
    editor.node("block-2").locator(".node-title").click()
    editor.press("F2")
    page.get_by_role("textbox", name="Rename").fill("Negative")
    editor.press("Enter")
    editor.run()
    editor.state("Done")
    expect(editor.node("block-2").locator(".node-head .badge")).to_have_text(re.compile("cached| s$"))
    trail.get_by_role("button", name="Untitled").click()
    expect(trail).to_have_count(0)
    expect(page.get_by_text("No problems")).to_be_visible()
    assert editor.copied()["graphs"]["block"]["nodes"]["block-2"]["title"] == "Negative"
    editor.press("Control+z")
    assert "title" not in editor.copied()["graphs"]["block"]["nodes"]["block-2"]

    # A problem inside is marked there, and its entry leads to it
    page.locator(".react-flow__pane").click(position={"x": 700, "y": 700})
    editor.node("block").locator(".node-title").click()
    editor.press("Enter")
    editor.node("block-2").locator(".node-title").click()
    editor.press("Control+d")
    expect(editor.node("block-2-2")).to_be_visible()
    editor.press("Escape")
    expect(trail).to_have_count(0)
    page.get_by_role("button", name="Problems", exact=True).click()
    page.locator(".problems button").first.click()
    expect(trail.locator("li")).to_have_text(["Untitled", "block", "block-2"])
    expect(editor.node("invert_image").locator("[data-problem]").first).to_be_visible()
    editor.picture("sub-workflow")
    trail.get_by_role("button", name="block", exact=True).click()
    expect(editor.node("block-2-2").locator("[data-problem]").first).to_be_visible()
    expect(editor.node("block-2").locator("[data-problem]")).to_have_count(0)


def test_an_inner_value_becomes_an_input_of_the_sub_workflow(editor):
    editor.add("Integer", 400, 300)
    editor.field("integer", "value").fill("7")
    editor.page.locator(".react-flow__pane").click(position={"x": 700, "y": 700})
    editor.node("integer").locator(".node-title").click()
    editor.press("Shift+P", "Enter")
    editor.node("integer").locator(".node-title").click()

    editor.page.get_by_role("combobox", name="Add an input of the selected node").select_option("value")
    expect(editor.page.locator(".trail dd").first).to_have_text("value")
    editor.page.locator(".trail").get_by_role("button", name="Untitled").click()

    expect(editor.field("block", "value")).to_have_value("7")


def test_a_click_chooses_what_a_failed_item_does(editor):
    editor.add("IntegerList", 300, 300)
    editor.add("Integer", 900, 300)
    editor.connect("integer_list.values", "integer.value")
    badge = editor.node("integer").locator("button.badge")
    expect(badge).to_have_text("each item")

    badge.click()

    expect(badge).to_have_text("each item, without failed ones")
    assert editor.copied()["nodes"]["integer"]["on_error"] == "keep"
    badge.click()
    expect(badge).to_have_text("each item")
    assert "on_error" not in editor.copied()["nodes"]["integer"]


def test_modes_titles_groups_and_notes_are_kept(editor):
    page = editor.page
    editor.add("InvertImage", 300, 300)
    editor.press("Control+b")
    expect(editor.node("invert_image").get_by_text("bypassed")).to_be_visible()
    editor.press("F2")
    page.get_by_role("textbox", name="Rename").fill("Negative")
    editor.press("Enter")
    editor.press("Control+g")
    expect(page.get_by_role("textbox", name="Group title")).to_be_focused()
    page.keyboard.type("Colours")
    page.locator(".react-flow__pane").click(position={"x": 900, "y": 500})
    editor.press("Shift+N")
    page.get_by_role("textbox", name="Note text").fill("Mind the colours")
    page.locator(".react-flow__pane").click(position={"x": 900, "y": 700})

    document = editor.copied()

    assert document["nodes"]["invert_image"]["mode"] == "bypass"
    assert document["nodes"]["invert_image"]["title"] == "Negative"
    assert [group["title"] for group in document["layout"]["groups"]] == ["Colours"]
    assert [note["text"] for note in document["layout"]["notes"]] == ["Mind the colours"]


def test_a_group_takes_what_is_in_it_along(editor):
    editor.add("InvertImage", 300, 300)
    editor.press("Control+g")
    before, frame = box_of(editor.node("invert_image")), box_of(editor.node("group:1"))

    start = (frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] - 8)
    editor.page.mouse.move(*start)
    editor.page.mouse.down()
    editor.page.mouse.move(start[0] + 100, start[1] + 60, steps=5)
    editor.page.mouse.up()

    after, moved = box_of(editor.node("invert_image")), box_of(editor.node("group:1"))
    assert after["x"] - before["x"] > 50
    assert (after["x"] - before["x"], after["y"] - before["y"]) == (moved["x"] - frame["x"], moved["y"] - frame["y"])
    editor.press("Control+z")
    back = box_of(editor.node("invert_image"))
    assert (back["x"], back["y"]) == (before["x"], before["y"])


def test_a_node_is_replaced_and_keeps_its_edges(editor):
    editor.add("LoadImage", 200, 200)
    editor.add("InvertImage", 600, 200)
    editor.add("SaveImage", 1000, 200)
    editor.connect("load_image.image", "invert_image.image")
    editor.connect("invert_image.image", "save_image.images")
    editor.node("invert_image").locator(".node-title").click()

    editor.press("Shift+R")
    expect(editor.page.get_by_role("dialog")).to_contain_text("Replace Invert image")
    editor.choose("BlurImage")

    expect(editor.node("invert_image")).to_contain_text("Blur image")
    assert editor.edges() == {
        "invert_image.image": "load_image.image",
        "save_image.images": "invert_image.image",
    }


def test_problems_stand_at_their_node_as_one_types(editor):
    editor.add("SaveImage", 400, 300)

    editor.field("save_image", "name").fill("")

    expect(editor.node("save_image").locator(".node-problems")).to_contain_text("text of the wrong length")
    editor.field("save_image", "name").fill("cat")
    expect(editor.node("save_image").locator(".node-problems")).to_have_count(0)


def test_the_editor_is_accessible(open_editor, server):
    for scheme in ("dark", "light"):
        editor = open_editor(server, color_scheme=scheme)
        editor.add("LoadCheckpoint", 300, 200)
        editor.add("KSampler", 800, 200)
        expect(editor.node("k_sampler")).to_be_visible()
        assert editor.violations() == []
        editor.picture(f"nodes-{scheme}")
        editor.press("?")
        expect(editor.page.get_by_role("dialog", name="Shortcuts")).to_be_visible()
        editor.picture(f"shortcuts-{scheme}")
        assert editor.violations() == []
        editor.press("Escape")
        expect(editor.page.get_by_role("dialog", name="Shortcuts")).to_have_count(0)
        editor.press("/")
        editor.page.get_by_role("combobox", name="Search nodes").fill("clip")
        editor.picture(f"palette-{scheme}")
        assert editor.violations() == []


def test_a_misspelt_name_finds_a_node_whose_advanced_inputs_are_folded(editor):
    page = editor.page
    editor.add("ksmapler", 400, 200)
    node = editor.node("k_sampler")
    expect(node.locator(".node-title")).to_have_text("Sampler")
    expect(editor.field("k_sampler", "noise_rule")).to_have_count(0)
    node.get_by_role("button", name="1 more setting").click()
    editor.field("k_sampler", "noise_rule").select_option("comfyui")
    node.get_by_role("button", name="1 more setting").wait_for(state="detached")
    expect(editor.field("k_sampler", "noise_rule")).to_be_visible()  # a value of its own keeps it in sight

    editor.press("Escape")
    editor.add("CLIPTextEncode", 900, 600)
    expect(editor.node("clip_encode").locator(".node-title")).to_have_text("Prompt")
    page.mouse.dblclick(200, 700)
    expect(page.get_by_role("dialog").get_by_role("option").first).to_contain_text(
        "Prompt"
    )  # what was added before comes first
