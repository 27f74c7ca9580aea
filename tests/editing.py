"""Hands for tests of the editor: what a person does with mouse and keyboard, and what they see."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

PATIENCE_MS = 90_000  # a busy machine takes long for what a free one does at once
expect.set_options(timeout=PATIENCE_MS)

AXE = Path(__file__).parents[1] / "web" / "editor" / "node_modules" / "axe-core" / "axe.min.js"
DROP = """async ([name, type, bytes, x, y]) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], name, {type}));
    const at = {dataTransfer: files, bubbles: true, cancelable: true, clientX: x, clientY: y};
    document.elementFromPoint(x, y).dispatchEvent(new DragEvent('drop', at));
}"""
# The box of an element once it has been the same for a few frames
BOX = """element => new Promise(done => {
    let before, same = 0;
    const look = () => {
        const {x, y, width, height} = element.getBoundingClientRect();
        const now = JSON.stringify({x, y, width, height});
        same = now === before ? same + 1 : 0;
        before = now;
        if (same < 4) requestAnimationFrame(look);
        else done({x, y, width, height});
    };
    look();
})"""
# Waits for the animations that have an end
FADED = """Promise.allSettled(
    document.getAnimations().filter(one => one.effect.getComputedTiming().endTime < 1e6).map(one => one.finished)
)"""


class Editor:
    """An open editor. `faults` are errors of the page; a server that is away is none."""

    def __init__(self, page: Page, pictures: Path) -> None:
        self.page = page
        self.faults: list[str] = []
        self._pictures = pictures
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda told: self._console(told.type, told.text))

    def _console(self, type: str, text: str) -> None:
        if type == "error" and "Failed to load resource" not in text and "WebSocket connection" not in text:
            self.faults.append(text)

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.connected()

    def connected(self) -> None:
        expect(self.page.locator("[data-connected=true]")).to_be_visible()

    def picture(self, name: str) -> None:
        self._pictures.mkdir(parents=True, exist_ok=True)
        self.page.evaluate(FADED)
        self.page.screenshot(path=self._pictures / f"{name}.png")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    # Nodes

    def node(self, id: str) -> Locator:
        return self.page.locator(f'.react-flow__node[data-id="{id}"]')

    def output(self, port: str) -> Locator:
        """The handle of a `node.port`."""
        return self._handle(port, "source")

    def input(self, port: str) -> Locator:
        return self._handle(port, "target")

    def _handle(self, port: str, end: str) -> Locator:
        node, _, name = port.partition(".")
        return self.node(node).locator(f'.react-flow__handle.{end}[data-handleid="{name}"]')

    def field(self, node: str, input: str) -> Locator:
        return self.page.locator(f'[id="{node}-{input}"]')

    def edges(self) -> dict[str, str]:
        """What leads where, as `node.port`s."""
        return {
            f"{id}.{input}": f"{value['node']}.{value['output']}"
            for id, node in self.copied()["nodes"].items()
            for input, value in node["inputs"].items()
            if isinstance(value, dict)
        }

    def add(self, type: str, x: int, y: int) -> None:
        """A node through the palette: by double-click, or by key where templates lie over the canvas."""
        self.page.locator(".templates, .react-flow__node").first.wait_for()
        if self.page.locator(".templates").count():
            self.page.mouse.move(x, y)
            self.press("/")
        else:
            self.page.mouse.dblclick(x, y)
        self.choose(type)

    def choose(self, type: str) -> None:
        self.page.get_by_role("combobox", name="Search nodes").fill(type)
        self.press("Enter")

    def drag(self, start: Locator, end: Locator | tuple[float, float]) -> None:
        self.page.mouse.move(*_middle(start))
        self.page.mouse.down()
        x, y = _middle(end) if isinstance(end, Locator) else end
        self.page.mouse.move(x - 8, y - 8, steps=4)
        self.page.mouse.move(x, y, steps=2)
        self.page.mouse.up()

    def connect(self, source: str, target: str) -> None:
        """Draw an edge between two `node.port`s."""
        self.drag(self.output(source), self.input(target))

    def drop(self, path: Path, media: str, x: int = 700, y: int = 450) -> None:
        self.page.evaluate(DROP, [path.name, media, list(path.read_bytes()), x, y])

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Wait until the canvas shows another part of the workflow; where things are is asked for afterwards."""
        view = self.page.locator(".react-flow__viewport")
        before = view.get_attribute("style") or ""
        yield
        expect(view).not_to_have_attribute("style", before)

    # The whole

    def run(self) -> None:
        self.page.get_by_role("button", name="Run", exact=True).click()

    def state(self, words: str) -> None:
        """Wait until the run is in that state."""
        expect(self.page.locator(".run-state")).to_have_text(words)

    def copied(self) -> dict[str, Any]:
        """The whole workflow, as the clipboard gets it."""
        self.page.evaluate("document.activeElement.blur()")
        self.press("Control+a")
        text = self.page.evaluate(
            """() => {
                const clip = new ClipboardEvent('copy', {clipboardData: new DataTransfer(), bubbles: true});
                document.dispatchEvent(clip);
                return clip.clipboardData.getData('text/plain');
            }"""
        )
        return json.loads(text)

    def violations(self) -> list[str]:
        """What axe-core finds, as `rule: element`."""
        self.page.evaluate(AXE.read_text())
        self.page.evaluate(FADED)
        found = self.page.evaluate("async () => (await axe.run()).violations")
        return [f"{item['id']}: {node['html'][:160]}" for item in found for node in item["nodes"]]


def box_of(element: Locator) -> dict[str, float]:
    """Where an element is, once it moves no more."""
    return element.evaluate(BOX)


def _middle(element: Locator) -> tuple[float, float]:
    box = box_of(element)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
