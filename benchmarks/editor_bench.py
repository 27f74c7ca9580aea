"""The editor in Chromium: frames while 500 and 2,000 nodes are panned and dragged, first paint, size of the bundle.

Needs the development packages (`make test` brings them) and a Chromium, which draws in software where there is no GPU.
"""

import gzip
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from editing import DROP  # noqa: E402
from serving import Server  # noqa: E402

FRAMES = """async () => {
    window.frames = [];
    let last = performance.now();
    window.measuring = true;
    const tick = now => {
        window.frames.push(now - last);
        last = now;
        if (window.measuring) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
}"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"


def document(count: int) -> str:
    """Chains of ten nodes: each a blend of the two before."""
    nodes, places = {}, {}
    columns = 10 * round((count / 16) ** 0.5 / 2)
    for n in range(count):
        edges = {} if n % 10 < 2 else {k: {"node": f"n{n - d}", "output": "image"} for k, d in (("a", 1), ("b", 2))}
        nodes[f"n{n}"] = {"type": "ImageBlend", "version": 1, "inputs": {"amount": 0.5, **edges}}
        places[f"n{n}"] = {"x": n % columns * 340, "y": n // columns * 240}
    return json.dumps({"format": "latentloom/1", "name": f"{count} nodes", "nodes": nodes, "layout": {"nodes": places}})


def frames(page: Page, act) -> str:
    page.evaluate(FRAMES)
    act(page)
    found = page.evaluate("() => { window.measuring = false; return window.frames.slice(1) }")
    return f"{statistics.median(found):.0f} / {sorted(found)[int(len(found) * 0.95)]:.0f} ms ({len(found)} frames)"


def pan(page: Page) -> None:
    page.mouse.move(700, 240)
    page.mouse.down(button="middle")
    for n in range(60):
        page.mouse.move(700 - 8 * n, 240 + (n % 7))
    page.mouse.up(button="middle")


def drag(page: Page) -> None:
    box = page.locator('.react-flow__node[data-id="n0"] .node-title').bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    for n in range(60):
        page.mouse.move(box["x"] + 5 + 3 * n, box["y"] + 5 + 2 * n)
    page.mouse.up()


def opened(page: Page, count: int) -> float:
    """Seconds until the workflow is seen at its full size."""
    data = list(document(count).encode())
    start = page.evaluate("() => performance.now()")
    page.evaluate(DROP, ["flow.json", "application/json", data, 700, 450])
    page.wait_for_function("() => document.querySelectorAll('.react-flow__edge').length > 0", polling=50)
    seconds = (page.evaluate("() => performance.now()") - start) / 1000
    page.wait_for_timeout(1500)
    page.locator('.react-flow__node[data-id="n0"]').click()
    page.keyboard.press("f")
    page.wait_for_timeout(1000)
    return seconds


def main() -> None:
    """Measure and print."""
    assets = sorted((ROOT / "web" / "dist" / "assets").glob("*.[jc]s*"))
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in assets if path.suffix != ".gz"}
    print(
        f"bundle: {sum(sizes.values()) / 1000:.0f} kB gzip ({', '.join(f'{n} {s // 1000}' for n, s in sizes.items())})"
    )
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder) / "home").until_ready()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        paints = []
        for _ in range(3):
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.goto(server.address)
            page.locator("[data-connected=true]").wait_for()
            paints.append(page.evaluate(PAINT))
            page.context.close()
        print(f"first paint: {statistics.median(paints):.0f} ms, of {', '.join(f'{paint:.0f}' for paint in paints)}")
        for count in (500, 2000):
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.goto(server.address)
            page.locator("[data-connected=true]").wait_for()
            seconds = opened(page, count)
            print(f"{count} nodes: opened in {seconds:.1f} s, pan {frames(page, pan)}, drag {frames(page, drag)}")
            page.context.close()
        browser.close()
        server.kill()


if __name__ == "__main__":
    main()
