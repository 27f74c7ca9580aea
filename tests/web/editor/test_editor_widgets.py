"""Values in the browser: pictures by every way in, a painted mask that a run obeys, names found by keyboard."""

import io
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from editing import box_of
from PIL import Image
from playwright.sync_api import expect

WORKFLOWS = Path(__file__).parents[3] / "workflows"
WHITE = (255, 255, 255)
PASTE = """([field, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], 'pasted.png', {type: 'image/png'}));
    const at = {clipboardData: data, bubbles: true, cancelable: true};
    document.getElementById(field).dispatchEvent(new ClipboardEvent('paste', at));
}"""


def png(colour: tuple[int, int, int], size: int = 128) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(file, "PNG")
    return file.getvalue()


def pixels(server, address: str) -> np.ndarray:
    status, data, _ = server.request("GET", address)
    assert status == 200
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def picture_of(editor, field: str):
    return editor.page.locator(f'.picture:has([id="{field}"]) img')


@contextmanager
def renewed(editor, field: str):
    """Wait until the field shows another picture than before, or one at all."""
    picture = picture_of(editor, field)
    before = picture.get_attribute("src") if picture.count() else ""
    yield
    expect(picture).to_be_visible()
    expect(picture).not_to_have_attribute("src", before)


def shown(editor, server, field: str) -> np.ndarray:
    """The picture that a field names, from the server."""
    return pixels(server, "/api/v1/files/" + picture_of(editor, field).get_attribute("src").split("/files/")[1])


@pytest.fixture
def inpaint(editor, tmp_path):
    """An editor with the inpaint workflow, with few steps and a fixed seed."""
    document = json.loads((WORKFLOWS / "inpaint.json").read_text())
    document["nodes"]["sample"]["inputs"] |= {"steps": 6, "seed": 4}
    document["nodes"]["positive"]["inputs"]["text"] = "a large red circle in the center on a white background"
    document["layout"]["nodes"]["mask"]["y"] = 800
    path = tmp_path / "inpaint.json"
    path.write_text(json.dumps(document))
    editor.drop(path, "application/json")
    expect(editor.node("mask")).to_be_visible()
    return editor


def test_a_mask_is_painted_over_a_picture_and_only_that_part_is_made_anew(inpaint, server, tmp_path):
    editor, page = inpaint, inpaint.page
    with renewed(editor, "picture-image"):
        with page.expect_file_chooser() as chooser:
            editor.field("picture", "image").click()
        chooser.value.set_files({"name": "white.png", "mimeType": "image/png", "buffer": png(WHITE)})
    assert (shown(editor, server, "picture-image") == WHITE).all()

    editor.node("mask").get_by_role("button", name="Paint a mask").click()
    surface = page.get_by_role("application", name="Painting area")
    box = box_of(surface)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.get_by_role("slider", name="Brush size").fill("60")
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 30, middle[1], steps=4)
    page.mouse.up()
    editor.press("]", "]", "i", "Control+z", "Control+z")
    expect(page.get_by_role("button", name="Undo", exact=True).last).to_be_disabled()
    editor.press("Control+Shift+z")
    editor.picture("mask")
    jobs = len(server.get("jobs")["jobs"])
    editor.press("Escape")  # what is painted is not thrown away unasked
    page.get_by_role("dialog", name="Discard the mask?").get_by_role("button", name="Cancel").click()
    expect(surface).to_be_visible()
    with renewed(editor, "mask-image"):
        editor.press("Control+Enter")  # of the painter, not of the workflow
        expect(page.get_by_role("application", name="Painting area")).to_have_count(0)
    assert len(server.get("jobs")["jobs"]) == jobs
    mask = shown(editor, server, "mask-image")
    assert set(np.unique(mask)) >= {0, 255}
    assert [mask[64, 64, 0], mask[0, 0, 0], mask[127, 127, 0]] == [255, 0, 0]

    editor.run()
    editor.state("Done")
    [saved] = server.get("outputs?workflow=Inpaint")["outputs"]
    made = pixels(server, f"/api/v1/outputs/{saved['sha256']}/content")
    changed = np.abs(made - WHITE).sum(axis=2)
    assert changed[48:80, 52:84].mean() > 3 * changed[:32, :32].mean()

    editor.node("picture").get_by_role("button", name="Pick from the server").click()
    with renewed(editor, "picture-image"):
        page.get_by_role("button", name=saved["path"].split("/")[-1]).click()
    assert (shown(editor, server, "picture-image") == made).all()


def test_pictures_are_pasted_dropped_and_picked_from_the_input_folder(inpaint, server, tmp_path):
    editor, page = inpaint, inpaint.page
    with renewed(editor, "picture-image"):
        page.evaluate(PASTE, ["picture-image", list(png((20, 90, 200)))])
    assert (shown(editor, server, "picture-image") == (20, 90, 200)).all()

    (tmp_path / "green.png").write_bytes(png((20, 160, 60)))
    box = box_of(editor.field("picture", "image"))
    with renewed(editor, "picture-image"):
        editor.drop(tmp_path / "green.png", "image/png", round(box["x"] + 40), round(box["y"] + 40))
    assert (shown(editor, server, "picture-image") == (20, 160, 60)).all()

    stored = server.request("POST", "files", png(WHITE), Content_Type="image/png")[1]
    other = stored["sha256"][:8]
    editor.node("picture").get_by_role("button", name="Pick from the server").click()
    page.get_by_role("button", name="Input folder").click()
    page.get_by_role("searchbox", name="Search by name").fill(other)
    expect(page.locator(".pick-tile")).to_have_count(1)
    editor.picture("pick")
    assert editor.violations() == []
    with renewed(editor, "picture-image"):
        page.get_by_role("button", name=other).click()
    assert (shown(editor, server, "picture-image") == WHITE).all()


def test_values_are_set_by_keyboard_alone(inpaint, server):
    editor, page = inpaint, inpaint.page
    sampler = editor.field("sample", "sampler")
    sampler.focus()
    page.keyboard.type("euler anc")
    expect(page.locator(".combo-row")).to_have_text(["euler_ancestral", "euler_ancestral_cfg_pp"])
    editor.picture("combo")
    editor.press("Enter")
    expect(sampler).to_have_value("euler_ancestral")

    steps = editor.field("sample", "steps")
    steps.fill("2*4")
    editor.press("Enter")
    expect(steps).to_have_value("8")
    editor.press("ArrowUp", "Shift+ArrowUp")
    expect(steps).to_have_value("19")
    steps.fill("0")
    editor.press("Enter")
    expect(editor.node("sample").get_by_role("alert")).to_contain_text("Must be at least 1 · still 19")
    editor.picture("refused")
    assert editor.violations() == []
    editor.press("Escape")
    expect(steps).to_have_value("19")

    prompt = editor.field("positive", "text")
    prompt.fill("a red circle")
    prompt.evaluate("field => field.setSelectionRange(2, 5)")
    editor.press("Control+ArrowUp", "Control+ArrowUp")
    expect(prompt).to_have_value("a (red:1.2) circle")
    editor.press("Control+ArrowDown", "Control+ArrowDown")
    expect(prompt).to_have_value("a red circle")

    editor.node("sample").get_by_role("button", name="Random: the server draws").click()
    seed = editor.field("sample", "seed")
    expect(seed).to_have_attribute("placeholder", "random")


def test_the_seed_of_the_last_run_is_kept_by_one_click(editor, server, tmp_path):
    page = editor.page
    document = json.loads((WORKFLOWS / "txt2img.json").read_text())
    document["nodes"]["sample"]["inputs"] |= {"steps": 1, "seed": "random"}
    (tmp_path / "random.json").write_text(json.dumps(document))
    editor.drop(tmp_path / "random.json", "application/json")
    expect(editor.field("sample", "seed")).to_have_attribute("placeholder", "random")
    editor.run()
    editor.state("Done")
    [saved] = server.get(f"outputs?workflow={document['name'].replace(' ', '%20')}")["outputs"]
    page.get_by_role("button", name=f"Keep the seed of the last run, {saved['seed']}").click()
    expect(editor.field("sample", "seed")).to_have_value(saved["seed"])
    literal = editor.copied()["nodes"]["sample"]["inputs"]["seed"]
    assert literal == (int(saved["seed"]) if int(saved["seed"]) < 2**53 else saved["seed"])
