"""Workflows run from the canvas: progress, failures, reloads, and a server that goes away."""

import json

import pytest
from editing import Editor
from playwright.sync_api import expect
from serving import flow, use


@pytest.fixture
def loaded(editor, tmp_path):
    """A function that opens a document in the editor."""

    def load(document):
        return _load(editor, document, tmp_path)

    return load


def _load(editor: Editor, document, folder) -> Editor:
    file = folder / "flow.json"
    file.write_text(json.dumps(document))
    editor.drop(file, "application/json")
    for id in document["nodes"]:
        editor.node(id).wait_for()
    return editor


def slow(journal):
    """A workflow that goes on until `journal.end` is there."""
    return flow(
        "save",
        first=use("Note", journal=str(journal), tag="first", seconds=0.5),
        steps=use("Steps", until=f"{journal}.end", pause=0.1, after="@first"),
        save=use("Save", text="made", name="made"),
    ) | {"outputs": [{"name": "n", "from": {"node": "steps", "output": "value"}}]}


def end(journal):
    journal.with_suffix(".end").touch()


def test_a_reload_in_mid_run_loses_nothing(loaded, tmp_path):
    journal = tmp_path / "journal"
    editor = loaded(slow(journal))
    editor.run()
    editor.page.get_by_role("progressbar", name="Progress of Steps").wait_for()
    expect(editor.node("steps").locator("img.node-preview")).to_be_visible()

    editor.page.reload()
    editor.connected()

    editor.page.get_by_role("progressbar", name="Progress of Steps").wait_for()
    expect(editor.node("first").locator(".badge")).to_contain_text("s")
    end(journal)
    editor.state("Done")
    assert journal.read_text() == "first\n"


def test_a_server_that_dies_in_mid_run_is_waited_for(open_editor, own_server, tmp_path):
    journal, server = tmp_path / "journal", own_server().until_ready()
    editor = _load(open_editor(server), slow(journal), tmp_path)
    editor.run()
    editor.page.get_by_role("progressbar", name="Progress of Steps").wait_for()

    server.kill()
    expect(editor.page.get_by_text("Server unreachable")).to_be_visible()
    editor.picture("server-away")
    editor.press("/")
    editor.choose("Integer")
    server.start(port=server.port)

    editor.connected()
    end(journal)
    editor.state("Done")
    assert journal.read_text() == "first\n"
    expect(editor.node("integer")).to_be_visible()


def test_a_failure_is_told_at_its_node(loaded, tmp_path):
    editor = loaded(flow("curse", curse=use("Curse")))

    editor.run()
    editor.state("Failed")

    failure = editor.node("curse").locator(".node-failure")
    expect(failure).to_be_visible()
    failure.get_by_text("Details").click()
    expect(failure.locator("pre")).to_contain_text("ValueError")
    editor.picture("failure")

    editor.node("curse").locator(".node-title").click()
    editor.press("Control+b")  # what is changed has not failed yet
    expect(failure).to_have_count(0)
    expect(editor.node("curse").get_by_text("Failed")).to_have_count(0)


def test_a_run_is_cancelled_and_runs_are_counted(loaded, tmp_path):
    editor = loaded(slow(tmp_path / "journal"))
    editor.page.get_by_role("spinbutton", name="Number of runs").fill("2")
    editor.run()
    editor.page.get_by_role("progressbar", name="Progress of Steps").wait_for()

    editor.page.get_by_role("button", name="Cancel").click()

    editor.state("Cancelled")
    expect(editor.page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_running_to_a_node_leaves_the_rest_alone(loaded, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    editor = loaded(flow("b", a=use("Note", journal=str(first), tag="a"), b=use("Note", journal=str(second), tag="b")))
    editor.node("a").locator(".node-title").click()

    editor.press("Control+Shift+Enter")
    editor.state("Done")

    assert (first.read_text(), second.exists()) == ("a\n", False)


def test_a_saved_picture_brings_its_workflow_back(loaded, server):
    document = flow("", save=use("SavePicture", level=0.25, count=1)) | {"outputs": []}
    job = server.wait(server.order({"workflow": document}))
    sha256 = job["files"][0]["sha256"]
    path = server.home / "output" / job["files"][0]["path"]
    editor = loaded(flow("p.image", p=use("Picture")))

    editor.drop(path, "image/png")

    editor.field("save", "level").wait_for()
    expect(editor.field("save", "level")).to_have_value("0.25")
    expect(editor.page.locator(".tab")).to_have_count(2)
    assert server.get(f"outputs/{sha256}/making")["workflow"]["nodes"].keys() == {"save"}


def test_a_picture_without_a_workflow_becomes_a_node(editor, tmp_path):
    from PIL import Image

    path = tmp_path / "plain.png"
    Image.new("RGB", (16, 16), "teal").save(path)

    editor.drop(path, "image/png")

    expect(editor.node("load_image")).to_be_visible()
    expect(editor.node("load_image").locator(".node-problems")).to_have_count(0)


def test_what_is_not_installed_is_kept_whole(loaded):
    document = flow("p.image", p=use("Picture"))
    document["nodes"]["glow"] = {
        "type": "gone/Glow",
        "version": 3,
        "inputs": {"image": {"node": "p", "output": "image"}, "how": {"literal": {"deep": [1, None]}}},
        "extra": {"made": "elsewhere"},
    }
    document["outputs"] = [{"name": "image", "from": {"node": "glow", "output": "lit"}}]
    editor = loaded(document)

    expect(editor.node("glow")).to_contain_text("This node type is not installed")
    expect(editor.node("glow").locator(".node-problems")).to_contain_text("the plugin 'gone', which is not installed")
    editor.picture("missing-node")

    assert editor.copied()["nodes"]["glow"] == document["nodes"]["glow"]


def test_nodes_go_from_one_workflow_to_another(loaded):
    editor = loaded(flow("b", a=use("Note", journal="j", tag="a"), b=use("Note", journal="j", tag="b", after="@a")))
    text = json.dumps(editor.copied())
    editor.page.get_by_role("button", name="New workflow").click()
    expect(editor.page.locator(".react-flow__node")).to_have_count(0)

    for _ in range(2):
        editor.page.evaluate(
            """text => {
                const clipboardData = new DataTransfer();
                clipboardData.setData('text/plain', text);
                document.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}));
            }""",
            text,
        )

    expect(editor.node("note-2")).to_be_visible()
    nodes = editor.copied()["nodes"]
    assert nodes.keys() == {"a", "b", "note", "note-2"}
    assert nodes["note-2"]["inputs"]["after"] == {"node": "note", "output": "value"}


def test_the_first_picture_of_the_editor_comes_offline(open_editor, server):
    editor = open_editor(server)
    asked: list[str] = []
    editor.page.on("request", lambda request: asked.append(request.url))

    editor.page.reload(wait_until="networkidle")
    editor.connected()

    assert asked
    assert [url for url in asked if not url.startswith((server.address, server.address.replace("http", "ws")))] == []


def test_a_click_puts_the_nearest_name_in_the_place_of_an_unknown_one(loaded):
    sigmas = {"type": "Sigmas", "version": 1, "inputs": {"schedule": "karas"}}
    blur = {"type": "BlurImag", "version": 1, "inputs": {}}
    editor = loaded({"format": "latentloom/1", "nodes": {"sigmas": sigmas, "blur": blur}})
    editor.node("sigmas").get_by_role("button", name="Use karras").click()
    editor.node("blur").get_by_role("button", name="Use BlurImage").click()
    expect(editor.node("blur").locator(".node-title")).to_have_text("Blur image")
    expect(editor.page.get_by_role("button", name="Use ")).to_have_count(0)
    nodes = editor.copied()["nodes"]
    assert (nodes["sigmas"]["inputs"]["schedule"], nodes["blur"]["type"]) == ("karras", "BlurImage")


def test_a_change_is_run_at_once_where_that_is_wished(loaded, server):
    editor = loaded(flow("", s=use("SavePicture", level=0.25)) | {"name": "Live level"})
    page = editor.page
    page.get_by_role("button", name="Run on change").click()
    editor.state("Done")
    expect(page).to_have_title("Live level - Latentloom")
    editor.field("s", "level").fill("0.5")
    editor.press("Tab")
    panel = page.get_by_role("navigation", name="Panels").get_by_role("button", name="Queue")
    panel.click()
    rows = page.locator(".job[data-state=done]", has_text="Live level")
    expect(rows).to_have_count(2)
    expect(rows.first.locator(".job-made img")).to_be_visible()
    editor.picture("live")
    assert editor.violations() == []

    page.get_by_role("button", name="Run on change").click()
    editor.field("s", "level").fill("0.75")
    editor.press("Tab")
    editor.press("Control+Alt+Enter")  # before all waiting jobs
    expect(rows).to_have_count(3)
    page.set_viewport_size({"width": 390, "height": 844})
    editor.picture("live-narrow")
