"""Node classes of packs run in a process of their own."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfyui_packs as packs
import numpy as np
import pytest
from serving import until

from latentloom.api import Session
from latentloom.api.workflow_files import import_workflow
from latentloom.cli.plugins import list_pack
from latentloom.engine import Image, Latent, Mask
from latentloom.engine.document.writing import to_json
from latentloom.engine.errors import Cancelled, LoomError
from latentloom.engine.settings import load_settings
from latentloom.plugins.comfyui.bridge.calls import process_of
from latentloom.plugins.comfyui.object_info import pack_info
from latentloom.plugins.discovery import discover


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packs")
    packs.write(root / "packs", "plain", packs.PLAIN, helpers=packs.HELPERS)
    packs.write(root / "packs", "host", packs.HOST)
    packs.write(root / "packs", "third", packs.THIRD)
    packs.write(root / "packs", "bad", packs.BAD)
    packs.write(root / "packs", "broken", "import comfy.sd\ncomfy.sd.load()\n")
    packs.write(root / "packs", "lacking", "import module_that_is_not_installed\n")
    packs.write(root / "packs", "off.disabled", packs.PLAIN)
    (root / "packs" / "single.py").write_text(packs.BAD.replace('"F', '"G').replace('"No class": 5,', ""))
    return root


def opened(home: Path, **settings: Any) -> Session:
    flags = {"comfy_packs": home / "packs", "comfy_pack_seconds": 60.0, "cpu_workers": 1, **settings}
    return Session(load_settings(flags, {"LATENTLOOM_HOME": str(home)}))


@pytest.fixture(scope="module")
def session(home: Path) -> Iterator[Session]:
    with opened(home) as made:
        yield made


def node(type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"type": type, "version": 1, "inputs": inputs}


def edge(node: str, output: int | str = 0) -> dict[str, Any]:
    return {"node": node, "output": f"output-{output}" if isinstance(output, int) else output}


def run(session: Session, *wanted: str, **nodes: Any) -> dict[str, Any]:
    """The wanted outputs, `node` or `node/number`, of a workflow."""
    named = [(text, *text.partition("/")[::2]) for text in wanted]
    outputs = [{"name": text.replace("/", "_"), "from": edge(id, int(n or 0))} for text, id, n in named]
    document = {"format": "latentloom/1", "nodes": nodes, "outputs": outputs}
    return dict(session.run(document).outputs)


def watched(session: Session, document: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The result of a run, and its events."""
    events: list[Any] = []
    return session.run(document, on_event=events.append), events


GREY = node("ColourImage", width=8, height=4, colour="#404040")


def test_a_class_is_a_node_type(session: Session) -> None:
    spec = session.engine.registry.nodes["comfyui/Brighten"].spec
    image, by, mode, mask = spec.inputs
    assert (image.kind, image.required, mask.kind, mask.required) == ("IMAGE", True, "MASK", False)
    assert (by.kind, by.default, by.minimum, by.maximum, by.help) == ("FLOAT", 0.25, 0.0, 1.0, "How.")
    assert (mode.kind, mode.choices, mode.default) == ("CHOICE", ("add", "take off"), "add")
    assert [(port.name, port.kind) for port in spec.outputs] == [("output-0", "IMAGE"), ("output-1", "MASK")]
    assert spec.help == "Makes pictures brighter.\n\nOutputs: output-0 is picture (IMAGE), output-1 is where (MASK)."
    assert (spec.category, spec.purity) == ("packs/plain", "pure")


def test_pictures_and_masks_go_there_and_back(session: Session) -> None:
    found = run(session, "b", "b/1", grey=GREY, b=node("comfyui/Brighten", image=edge("grey", "image"), by=0.5))
    assert np.allclose(found["b"].numpy(), 64 / 255 + 0.5)
    assert isinstance(found["b_1"], Mask)
    assert found["b_1"].shape == (1, 4, 8)
    dark = run(session, "b", grey=GREY, b=node("comfyui/Brighten", image=edge("grey", "image"), mode="take off"))
    assert np.allclose(dark["b"].numpy(), 64 / 255 - 0.25, atol=1e-6)


def test_numbers_beyond_a_picture_are_cut(session: Session) -> None:
    found = run(session, "b", grey=GREY, b=node("comfyui/Brighten", image=edge("grey", "image"), by=1.0))
    assert (found["b"].numpy() == 1).all()


def test_lists_numbers_and_other_data(session: Session) -> None:
    found = run(session, "w", "w/1", w=node("comfyui/Words", text="x", many=3))
    assert found == {"w": ["x", "x", "x"], "w_1": 3}
    found = run(session, "s", p=node("comfyui/Pair", a="one"), s=node("comfyui/Second", pair=edge("p")))
    assert found == {"s": "x"}


def test_a_class_takes_lists(session: Session) -> None:
    images = [edge("grey", "image"), edge("grey", "image")]
    found = run(session, "j", grey=GREY, j=node("comfyui/Joined", images=images, times=2))
    assert found["j"].shape == (4, 4, 8, 3)


def test_latents(session: Session) -> None:
    empty = node("EmptyLatent", width=64, height=64)
    found = run(session, "h", e=empty, h=node("comfyui/Half", latent=edge("e", "latent")))
    assert isinstance(found["h"], Latent)
    assert found["h"].shape == (1, 4, 8, 8)


def test_a_class_of_the_third_version(session: Session) -> None:
    found = run(
        session, "d", "d/1", grey=GREY,
        d=node("comfyui/Doubled", text="ab", case="upper", image=edge("grey", "image")),
    )  # fmt: skip
    assert found["d"] == "ABAB"
    assert isinstance(found["d_1"], Image)


def test_an_input_of_any_type(session: Session) -> None:
    mask = node("SolidMask", width=8, height=4)
    same = {"s": node("comfyui/Same", image=edge("grey", "image")), "t": node("comfyui/Same", image=edge("m", "mask"))}
    found = run(session, "s", "t", grey=GREY, m=mask, **same)
    assert (found["s"].kind, found["s"].shape) == ("IMAGE", (1, 4, 8, 3))
    assert (found["t"].kind, found["t"].shape) == ("MASK", (1, 4, 8))


def test_inputs_under_many_names(session: Session) -> None:
    spec = session.engine.registry.nodes["comfyui/Growing"].spec
    assert [(port.name, port.kind, port.required) for port in spec.inputs] == [
        ("many.one0", "STRING", True), ("many.one1", "STRING", False), ("many.one2", "STRING", False),
        ("of", "JSON", False),
    ]  # fmt: skip
    asked = node("comfyui/Growing", **{"many.one0": "x", "many.one2": "z", "of": {"literal": ["a", "c"]}})
    assert run(session, "g", "g/1", g=asked) == {"g": "one0=x one2=z", "g_1": "a,c"}


def test_a_choice_that_adds_inputs(session: Session, home: Path) -> None:
    ports = {port.name: port for port in session.engine.registry.nodes["comfyui/Resized"].spec.inputs}
    assert {name: port.kind for name, port in ports.items()} == {
        "mode": "CHOICE", "mode.value": "ANY", "mode.way": "CHOICE", "mode.image": "IMAGE"
    }  # fmt: skip
    assert ports["mode.way"].choices == ("upwards", "downwards")
    document = {
        "format": "latentloom/1",
        "nodes": {"r": node("comfyui/Resized", mode="by size", **{"mode.value": 3, "mode.way": "upwards"})},
        "outputs": [{"name": "r", "from": edge("r")}],
    }
    found, events = watched(session, document)
    assert found.outputs["r"] == 3
    assert [event.message for event in events if event.name == "node_progress"][-1] == "['mode', 'value', 'way']"
    with pytest.raises(LoomError, match=r"'mode\.image' has no value, which the choice 'mode' needs"):
        run(session, "r", r=node("comfyui/Resized", mode="by name", **{"mode.value": "x"}))


def test_an_image_that_is_shown_is_kept(session: Session, home: Path) -> None:
    third = node("comfyui/Resized", mode="by name", **{"mode.value": "x", "mode.image": edge("grey", "image")})
    for shown in (third, node("comfyui/Shown", image=edge("grey", "image"))):
        _, events = watched(session, {"format": "latentloom/1", "nodes": {"grey": GREY, "s": shown}})
        (path,) = [Path(event.path) for event in events if event.name == "file_saved"]
        assert path.relative_to(home / "output").parts[0] == "previews"
        assert path.read_bytes().startswith(b"\x89PNG")


def test_only_the_lazy_inputs_that_a_class_asks_for_are_computed(session: Session) -> None:
    fails = {"bad": node("comfyui/Fails")}
    asked = node("comfyui/Chosen", first=True, a="one", b=edge("bad"))
    assert run(session, "c", c=asked, **fails) == {"c": "one"}
    with pytest.raises(LoomError, match="it does not work"):
        run(session, "c", c={**asked, "inputs": {**asked["inputs"], "first": False}}, **fails)
    more = {"p": node("comfyui/Pair", a="", b="more"), "m": node("comfyui/Second", pair=edge("p"))}
    with pytest.raises(LoomError, match="it asks for c in a second step, which is not supported"):
        run(session, "c", c=node("comfyui/Chosen", a=edge("m"), b=1), **more)


def test_a_class_stops_the_nodes_behind_an_output(session: Session) -> None:
    assert run(session, "s", "s/1", s=node("comfyui/Stops", n=1)) == {"s": 1, "s_1": 1}
    assert run(session, "s", s=node("comfyui/Stops", n=2)) == {"s": 2}
    with pytest.raises(LoomError, match="the class stops the nodes that use this output: not today"):
        run(session, "t", s=node("comfyui/Stops", n=2), t=node("comfyui/Strict", n=edge("s", 1)))
    with pytest.raises(LoomError, match="this output: never"):
        run(session, "r", r=node("comfyui/Resized", mode="never"))


def test_a_class_of_comfyui_that_is_looked_up_is_named(session: Session) -> None:
    with pytest.raises(LoomError, match=r"needs nodes\.NODE_CLASS_MAPPINGS\['KSampler'\]"):
        run(session, "c", c=node("comfyui/Core", n=1))


def test_the_host_of_a_class(session: Session) -> None:
    document = {
        "format": "latentloom/1",
        "nodes": {"grey": GREY, "b": node("comfyui/Bars", image=edge("grey", "image"))},
        "outputs": [{"name": "a", "from": edge("b")}, {"name": "b", "from": edge("b", 1)}],
    }
    found, events = watched(session, document)
    assert (found.outputs["a"].shape, found.outputs["b"]) == ((1, 16, 16, 3), "cpu")
    steps = [(event.step, event.total) for event in events if event.name == "node_progress"]
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_what_a_class_saves_is_saved_by_the_run(session: Session, home: Path) -> None:
    document = {"format": "latentloom/1", "nodes": {"s": node("comfyui/Saved", text="hello", name="sub/note")}}
    _, events = watched(session, document)
    (path,) = [event.path for event in events if event.name == "file_saved"]
    assert Path(path).relative_to(home / "output").as_posix().startswith("sub/note_00001")
    assert Path(path).read_text() == "hello"


def test_a_text_that_is_shown_is_told(session: Session) -> None:
    document = {
        "format": "latentloom/1",
        "nodes": {"p": node("comfyui/Pair", a="", b="seen"), "s": node("comfyui/Second", pair=edge("p")),
                  "t": node("comfyui/Told", text=edge("s"))},
    }  # fmt: skip
    messages = [event.message for event in watched(session, document)[1] if event.name == "node_progress"]
    assert messages == ["seen"]


def test_a_file_that_is_named_is_read_anew(session: Session, home: Path) -> None:
    """What a file says is not part of the key, so such a class runs each time."""
    loras = home / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    (loras / "a.safetensors").write_text("one")
    assert session.engine.registry.nodes["comfyui/Named"].spec.purity == "nondeterministic"
    assert run(session, "n", n=node("comfyui/Named", lora="a.safetensors")) == {"n": "one"}
    (loras / "a.safetensors").write_text("two")
    assert run(session, "n", n=node("comfyui/Named", lora="a.safetensors")) == {"n": "two"}
    with pytest.raises(LoomError, match=r"there is no file '\.\./\.\./input/x' in loras"):
        run(session, "n", n=node("comfyui/Named", lora="../../input/x"))


# Results


def test_is_changed_decides(session: Session) -> None:
    one = run(session, "c", c=node("comfyui/Counted", text="same"))
    assert run(session, "c", c=node("comfyui/Counted", text="same")) == one
    first = run(session, "c", c=node("comfyui/Counted", text="always"))
    assert run(session, "c", c=node("comfyui/Counted", text="always"))["c"] > first["c"]


def test_inputs_are_validated(session: Session) -> None:
    assert run(session, "s", s=node("comfyui/Strict", n=4)) == {"s": 4}
    with pytest.raises(LoomError, match="its inputs are not valid: n is too large"):
        run(session, "s", s=node("comfyui/Strict", n=5))


def test_another_code_gives_another_result(tmp_path: Path) -> None:
    packs.write(tmp_path / "packs", "plain", packs.PLAIN, helpers=packs.HELPERS)
    asked = {"grey": GREY, "b": node("comfyui/Brighten", image=edge("grey", "image"), by=0.5)}
    with opened(tmp_path) as session:
        assert run(session, "b", **asked)["b"].numpy().max() > 0.7
    with opened(tmp_path) as session:
        document = {"format": "latentloom/1", "nodes": asked, "outputs": [{"name": "b", "from": edge("b")}]}
        assert "b" in [event.node for event in watched(session, document)[1] if event.name == "node_cached"]
    (tmp_path / "packs" / "plain" / "helpers.py").write_text("def changed(image, by):\n    return image * 0\n")
    with opened(tmp_path) as session:
        assert run(session, "b", **asked)["b"].numpy().max() == 0


def test_a_pack_that_fails_is_not_tried_again_until_something_is_installed(tmp_path: Path) -> None:
    marked = "from pathlib import Path\nPath(__file__).parent.parent.joinpath('count').open('a').write('x')\n"
    packs.write(tmp_path / "packs", "lacking", marked + "import module_that_is_not_installed\n")
    for _ in range(2):
        with opened(tmp_path) as session:
            record = {record.plugin: record for record in session.plugins}["lacking"]
            assert "module_that_is_not_installed" in str(record.error)
    assert (tmp_path / "packs" / "count").read_text() == "x"
    (place,) = (tmp_path / "data" / "specs").glob("pack-*.json")
    known = json.loads(place.read_text())
    place.write_text(json.dumps({**known, "installed": [0]}))
    opened(tmp_path).close()
    assert (tmp_path / "packs" / "count").read_text() == "xx"


def test_a_class_has_no_memory(session: Session) -> None:
    assert run(session, "r", r=node("comfyui/Remembers", n=1)) == {"r": 1}
    assert run(session, "r", r=node("comfyui/Remembers", n=2)) == {"r": 2}


def test_a_pack_is_scanned_once(tmp_path: Path) -> None:
    marked = "from pathlib import Path\nPath(__file__).parent.parent.joinpath('count').open('a').write('x')\n"
    packs.write(tmp_path / "packs", "plain", marked + packs.PLAIN, helpers=packs.HELPERS)
    for _ in range(3):
        with opened(tmp_path) as session:
            assert "comfyui/Brighten" in session.engine.registry.nodes
    assert (tmp_path / "packs" / "count").read_text() == "x"


# What does not run


def reasons(session: Session) -> dict[str, str]:
    from latentloom.plugins.comfyui.bridge.packs import found_in, packs_of

    where = packs_of(session.settings)
    assert where is not None
    return {
        name: reason
        for pack in found_in(where, imports=True)
        if not isinstance(pack, str)
        for name, reason in pack.reasons.items()
    }


def test_what_reaches_deeper_is_named(session: Session) -> None:
    found = reasons(session)
    assert found["Model"] == "takes or gives MODEL, which stays in ComfyUI's process"
    assert found["Deep"] == "needs comfy.samplers.KSampler"
    assert found["Choices"] == "needs comfy.samplers.KSampler.SAMPLERS"
    assert found["Inner"].startswith("needs comfy_extras.nodes_mask")
    assert found["WithModel"] == "takes or gives MODEL, which stays in ComfyUI's process"
    assert found["Seeing"] == "takes or gives CLIP_VISION, which stays in ComfyUI's process"
    assert found["Loads"] == "needs nodes.LoadImage"
    assert found["No class"].startswith("cannot be described")
    assert "comfyui/Deep" not in session.engine.registry.nodes


def test_a_pack_that_cannot_be_imported_is_reported(session: Session) -> None:
    found = {record.plugin: record for record in session.plugins}
    assert found["broken"].status == "failed"
    assert "needs comfy.sd.load" in str(found["broken"].error)
    assert "No module named 'module_that_is_not_installed'" in str(found["lacking"].error)
    assert "off.disabled" not in found
    assert (found["plain"].status, found["plain"].nodes) == ("loaded", 8)
    assert found["host"].error == "5 classes do not run: loom plugins --pack host"


def test_two_packs_with_one_class(tmp_path: Path) -> None:
    packs.write(tmp_path / "packs", "a", packs.BAD)
    packs.write(tmp_path / "packs", "b", packs.BAD)
    with opened(tmp_path) as session:
        assert reasons(session)["Fine"] == "another pack brings this class too"
        assert run(session, "f", f=node("comfyui/Fine", n=1)) == {"f": 2}


def test_without_a_folder_there_are_no_packs(home: Path) -> None:
    with opened(home, comfy_packs=None) as session:
        assert not [name for name in session.engine.registry.nodes if name.startswith("comfyui/")]
    found = discover(only=[], packs=None)
    assert not [name for name in found.registry.nodes if name.startswith("comfyui/")]


@pytest.mark.parametrize(
    ("type", "words"),
    [
        ("Fails", "RuntimeError: it does not work"),
        ("Dies", "the process of the pack 'bad' ended"),
        ("Gives", "TypeError: a object was given as INT"),
        ("Few", "it gave 0 values for 1 outputs"),
        ("Quits", "SystemExit"),
    ],
)
def test_a_failure_is_that_of_its_node(session: Session, type: str, words: str) -> None:
    with pytest.raises(LoomError) as caught:
        run(session, "x", x=node(f"comfyui/{type}"))
    (problem,) = caught.value.problems
    assert words in str(caught.value)
    assert problem.node == "x"
    assert run(session, "f", f=node("comfyui/Fine", n=len(type))) == {"f": len(type) + 1}, "it starts again"


def test_the_last_words_of_a_crash_are_told(session: Session) -> None:
    with pytest.raises(LoomError, match="the last words"):
        run(session, "x", x=node("comfyui/Dies", n=2))


def test_a_call_has_a_time_limit(home: Path) -> None:
    with opened(home, comfy_pack_seconds=3.0) as session, pytest.raises(LoomError, match="gave no answer in 3 s"):
        run(session, "x", x=node("comfyui/Sleeps"))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_cancel_ends_the_process(session: Session, home: Path) -> None:
    document = {
        "format": "latentloom/1",
        "nodes": {"x": node("comfyui/Sleeps")},
        "outputs": [{"name": "x", "from": edge("x")}],
    }
    process = process_of(str(home / "packs" / "bad"), (str(home / "models"),), str(home / "input"), 60.0)
    process.end()
    running = session.stream(document)
    pid = until(lambda: process.pid)
    running.cancel()
    with pytest.raises(Cancelled):
        running.result()
    assert not alive(pid)


def test_nothing_of_a_pack_is_in_this_process(session: Session) -> None:
    run(session, "f", f=node("comfyui/Fine", n=77))
    names = {"comfy", "folder_paths", "nodes", "server", "comfy_api", "loom_pack"}
    assert not names & {name.partition(".")[0] for name in sys.modules}


def test_secrets_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTLOOM_TOKENS", "me:0123456789abcdef0123")
    monkeypatch.setenv("ANYTHING_ELSE", "stays")
    seen = "[k + v for k, v in os.environ.items() if k[:3] in ('LAT', 'ANY')]"
    said = f"import json; raise RuntimeError(json.dumps({seen})) #"
    text = packs.BAD.replace("raise RuntimeError", said)
    packs.write(tmp_path / "packs", "bad", text)
    with opened(tmp_path) as session, pytest.raises(LoomError) as caught:
        run(session, "x", x=node("comfyui/Fails"))
    assert "0123456789abcdef0123" not in str(caught.value)
    assert "ANYTHING_ELSE" in str(caught.value)


# Imports


def test_an_imported_workflow_uses_the_class(session: Session, tmp_path: Path) -> None:
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 4, "batch_size": 1, "color": 0x404040}},
        "2": {"class_type": "Brighten", "inputs": {"image": ["1", 0], "by": 0.5, "mode": "add", "gone": 1}},
        "3": {"class_type": "Joined", "inputs": {"images": ["2", 0], "times": 2}},
        "4": {"class_type": "Deep", "inputs": {"n": 1}},
        "6": {"class_type": "Split", "inputs": {"images": ["3", 0]}},
        "7": {"class_type": "ImageInvert", "inputs": {"image": ["6", 0]}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "x"}},
        "8": {"class_type": "Growing", "inputs": {"many.one0": "x", "of": {"__value__": ["a"]}}},
    }
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(graph))
    found = import_workflow(file, session.engine.registry)
    assert [line for line in found.report["lines"] if "'1'" not in line and "'5'" not in line] == [
        "node '4': placeholder: ComfyUI's Deep has no counterpart here; its data is kept",
        "node '2': changed: it runs the class of the pack plain",
        "node '2': lost: 'gone' is no input of the class",
        "node '3': changed: it runs the class of the pack plain",
        "node '6': changed: it runs the class of the pack plain",
        "node '8': changed: it runs the class of the pack third",
        "node '7': changed: it runs once for each item of image",
    ]
    document = to_json(found.workflow)
    assert document["nodes"]["8"]["inputs"]["of"] == ["a"]
    del document["nodes"]["4"], document["nodes"]["8"]
    assert (document["nodes"]["7"]["each"], document["nodes"]["5"]["each"]) == (["image"], ["images"])
    _, events = watched(session, document)
    assert len([event for event in events if event.name == "file_saved"]) == 2


def test_the_classes_are_described_for_clients(session: Session) -> None:
    info = pack_info(session.engine.registry)["Brighten"]
    assert info["input"]["required"]["image"] == ["IMAGE", {}]
    assert info["input"]["required"]["mode"] == [["add", "take off"], {"default": "add"}]
    assert info["input"]["required"]["by"] == ["FLOAT", {"default": 0.25, "min": 0.0, "max": 1.0}]
    assert info["input"]["optional"]["mask"] == ["MASK", {}]
    assert (info["output"], info["python_module"]) == (["IMAGE", "MASK"], "custom_nodes.plain")
    assert pack_info(session.engine.registry)["Saved"]["output_node"] is True


def test_the_command_lists_packs_and_classes(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENTLOOM_HOME", str(home))
    with pytest.raises(LoomError, match="there is no pack 'host'"):
        list_pack("host")
    monkeypatch.setenv("LATENTLOOM_COMFY_PACKS", str(home / "packs"))
    assert list_pack("host") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Bars", "comfyui/Bars"] in lines
    assert ["Deep", "does", "not", "run", "needs", "comfy.samplers.KSampler"] in lines
