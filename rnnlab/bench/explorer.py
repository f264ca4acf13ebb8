"""The explorer in a real JupyterLab, in headless Chromium: what a person waits for, and its cost.

Beside a bare ipywidgets Button whose handler changes a Label, in the same page, in turns. What has
no rival is held against what is allowed. Nothing of the explorer is called here: it is clicked.
"""

from __future__ import annotations

import importlib.util
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnlab.bench.lab import NOTEBOOK, Browser, Lab, NotebookPage, find_chromium, write_notebook
from rnnlab.bench.settings import Settings
from rnnlab.bench.timing import Row

TIMES, BYTES = "The explorer: times", "The explorer: bytes"
UNITS = 8 + 64 + 64 + 8
"""What is displayed: inputs, the two states of an LSTM, outputs."""

FRAME = 1e6 / 60
"""Microseconds."""

CLICKS = 5
"""In succession: a connection that was idle acknowledges its first packets at once, whatever the
server does, so that single clicks seconds apart would not show what TCP_NODELAY is for."""

SETUP = """import ipywidgets, time, torch
import rnnlab as rl
torch.manual_seed(0)
session = rl.Session(rl.Chain(rl.LSTM(8, 64), rl.Dense(64, 8)))
x = torch.zeros(8)
label, bare = ipywidgets.Label("0"), ipywidgets.Button(description="Bare")
@bare.on_click
def count(_):
    label.value = str(int(label.value) + 1)
def history(steps):
    session.reset()
    session.run(torch.randn(steps, 8), progress=False) if steps else None
ipywidgets.HBox([bare, label])"""

LONG = """import torch
import rnnlab as rl
torch.manual_seed(0)
session = rl.Session(rl.Recur(rl.RNNCell(8, 64)))
for _ in range({parts}):
    session.run(torch.randn({part}, 8), progress=False)
rl.explore(session)"""

# A click, and the milliseconds until the canvas has other pixels: `data-t` is set when it is drawn.
OURS = f"""() => new Promise((done) => {{
  const root = document.querySelector("{NOTEBOOK} .rnnlab");
  const step = [...root.querySelectorAll("button")].find((b) => b.textContent === "Step");
  const before = root.dataset.t;
  const seen = new MutationObserver(() => {{
    if (root.dataset.t === before) return;
    seen.disconnect();
    done(performance.now() - start);
  }});
  seen.observe(root, {{ attributeFilter: ["data-t"] }});
  const start = performance.now();
  step.click();
}})"""

# The same until the label has another text: no frame is awaited, so ours may take one more.
BARE = f"""() => new Promise((done) => {{
  const panel = document.querySelector("{NOTEBOOK}");
  const label = panel.querySelector(".widget-label");
  const seen = new MutationObserver(() => {{
    seen.disconnect();
    done(performance.now() - start);
  }});
  seen.observe(label, {{ childList: true, characterData: true, subtree: true }});
  const start = performance.now();
  panel.querySelector("button.jupyter-button").click();
}})"""

PIXELS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, value, at) => (sum * 31 + value * (at % 97)) % 1000003, 7);
}"""

# When the page has drawn a step (its own clock, that of the kernel too) and after how many frames.
WATCH = f"""(t) => {{
  const root = document.querySelector("{NOTEBOOK} .rnnlab");
  const from = Number(root.dataset.drawn);
  window.__burst = new Promise((done) => {{
    const seen = new MutationObserver(() => {{
      if (root.dataset.t !== String(t)) return;
      seen.disconnect();
      done([Date.now(), Number(root.dataset.drawn) - from + 1]);
    }});
    seen.observe(root, {{ attributeFilter: ["data-t"] }});
  }});
}}"""

PAN = f"""async ([frames, pixels]) => {{
  const canvas = document.querySelector("{NOTEBOOK} .rnnlab .rl-view canvas");
  const times = [];
  for (let k = 0; k < frames; k++) {{
    const start = performance.now();
    canvas.dispatchEvent(new WheelEvent("wheel", {{ deltaX: pixels, cancelable: true }}));
    await new Promise((done) => requestAnimationFrame(() => {{
      const channel = new MessageChannel();
      channel.port1.onmessage = done;
      channel.port2.postMessage(null);
    }}));
    times.push(performance.now() - start);
  }}
  return times;
}}"""


def missing() -> str | None:
    """What this section needs and does not find, in words; None if all is there."""
    for name in ("playwright", "jupyterlab", "anywidget", "nbformat"):
        if importlib.util.find_spec(name) is None:
            return f"it needs {name}: pip install 'rnnlab[test]'"
    if find_chromium() is None:
        return "it needs Chromium (Debian: apt-get install chromium), or CHROMIUM, its path"
    return None


def explorer(settings: Settings) -> Iterator[Row]:
    """The explorer beside a bare widget, and against what it is allowed."""
    reason = missing()
    if reason:
        from tqdm.auto import tqdm

        tqdm.write(f"The explorer is left out: {reason}.", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="rnnlab-bench-") as folder:
        write_notebook(
            Path(folder, "bare.ipynb"), [SETUP, "explorer = rl.explore(session)\nexplorer"]
        )
        parts = 2 if settings.quick else 100
        write_notebook(Path(folder, "long.ipynb"), [LONG.format(parts=parts, part=10_000)])
        flags = ("--enable-precise-memory-info",)
        with (
            Browser(arguments=flags) as browser,
            _lab(folder, nodelay=False) as plain,
            _lab(folder, nodelay=True) as quick,
        ):
            pages = [NotebookPage(browser, lab, "bare.ipynb") for lab in (plain, quick)]
            for page in pages:
                _ready(page)
            yield from _clicks(pages, 3 if settings.quick else settings.few)
            pages[0].close()
            yield _burst(pages[1], 3 if settings.quick else 7)
            yield from _traffic(pages[1], (0, 1000) if settings.quick else (0, 1000, 20_000))
            yield from _opening(pages[1])
            yield _heap(pages[1], 1000 if settings.quick else 10_000)
            pages[1].close()
            page = NotebookPage(browser, quick, "long.ipynb")
            _ready(page)
            yield from _panning(page, 20 if settings.quick else 120)
            page.close()


def _lab(folder: str, *, nodelay: bool) -> Lab:
    # under its own name the extension is there only where the package is installed
    extensions = {"rnnlab_server": False, "rnnlab.widgets.rnnlab_server": nodelay}
    return Lab(Path(folder), options=[f"--ServerApp.jpserver_extensions={extensions}"])


def _ready(page: NotebookPage) -> None:
    page.run_all()
    page.page.locator(".rnnlab[data-drawn]").first.wait_for()
    page.page.locator(".rnnlab").first.scroll_into_view_if_needed()
    page.frame()


def _clicks(pages: Sequence[NotebookPage], rounds: int) -> Iterator[Row]:
    """Click to pixels beside the bare round trip: on the server as it is, and with TCP_NODELAY."""
    ways = [(page, script) for page in pages for script in (BARE, OURS)]
    found: list[list[float]] = [[] for _ in ways]
    chance = random.Random(0)
    for page, script in ways:
        canvas = page.page.locator(f"{NOTEBOOK} .rl-view canvas").first
        before = canvas.evaluate(PIXELS)
        for _ in range(3):
            page.page.evaluate(script)
        changed = canvas.evaluate(PIXELS) != before
        assert changed == (script is OURS), "only the explorer's click changes its pixels"
    for number in range(rounds):
        order = list(enumerate(ways))
        for at, (page, script) in order if number % 2 else reversed(order):
            page.page.bring_to_front()
            page.frame()
            times = []
            for _ in range(CLICKS + 1):
                times.append(1000 * page.page.evaluate(script))
                time.sleep(chance.uniform(0.02, 0.06))  # at any moment of a frame
            found[at].append(statistics.median(times[1:]))
    bare, ours, bare_now, ours_now = found
    for mine, other, how in ((ours, bare, "server as it is"), (ours_now, bare_now, "TCP_NODELAY")):
        less = [value - FRAME for value in mine]
        yield _paired(f"click → pixels, less a frame; {how}", "button → label", less, other, 1.3)
    what = "click → pixels; TCP_NODELAY"
    yield _paired(what, "button → label, server as it is", ours_now, bare, 0.6)


def _burst(page: NotebookPage, rounds: int) -> Row:
    """Steps in a cell, as fast as they go: how long after the last one it is drawn."""
    waits, frames = [], []
    for _ in range(rounds):
        t = int(page.execute("session.t")) + 1000
        page.page.evaluate(WATCH, t)
        end = page.execute("for _ in range(1000):\n    session.step(x)\nprint(time.time() * 1000)")
        drawn, count = page.page.evaluate("() => window.__burst")
        waits.append(1000 * (drawn - float(end)))
        frames.append(count)
    what = f"drawn after a burst of 1,000 steps; {statistics.median(frames):.0f} frames"
    return _allowed(TIMES, what, waits, 1e6)


def _traffic(page: NotebookPage, histories: Sequence[int]) -> Iterator[Row]:
    """Bytes down the websocket, a click on Step, whatever came before."""
    for steps in histories:
        page.execute(f"history({steps})")
        page.page.locator(f'.rnnlab[data-t="{steps}"]').wait_for()
        page.page.wait_for_timeout(2500)  # the still, drawn once at rest, is not a step's
        sizes = []
        for _ in range(20):
            page.reset_traffic()
            page.page.evaluate(OURS)
            page.wait_idle()
            sizes.append(page.traffic()["receivedBytes"])
        what = f"a step, {UNITS} units, after {steps:,} steps"
        yield _allowed(BYTES, what, sizes, 2000 + 8 * UNITS)


def _opening(page: NotebookPage) -> Iterator[Row]:
    """Bytes until a new explorer is there, and after a reload, beyond what is on the screen."""
    visible = page.page.evaluate(
        """(root) => document.querySelector(root).dataset.window.split(":")
            .reduce((first, last) => last - first)""",
        f"{NOTEBOOK} .rnnlab",
    )
    seen = 4 * UNITS * visible
    page.reset_traffic()
    page.page.evaluate(
        """async () => {
          const panel = window.jupyterapp.shell.currentWidget;
          panel.content.activeCellIndex = 1;
          await window.jupyterapp.commands.execute("notebook:run-cell");
        }"""
    )
    page.page.locator(".rnnlab[data-drawn]").first.wait_for()
    page.wait_idle()
    yield _allowed(
        BYTES, "to open, beyond what is seen", [page.traffic()["receivedBytes"] - seen], 3e5
    )


def _heap(page: NotebookPage, steps: int) -> Row:
    """Growth of the page's heap, once the page holds as many rows as it ever does."""
    devtools = page.page.context.new_cdp_session(page.page)

    def used() -> float:
        for _ in range(3):
            devtools.send("HeapProfiler.collectGarbage")
            page.page.wait_for_timeout(200)
        usage = devtools.send("Runtime.getHeapUsage")
        return usage["usedSize"] + usage.get("backingStorageSize", 0)

    def run() -> float:
        t = int(page.execute("session.t")) + steps
        root = page.page.locator(f"{NOTEBOOK} .rnnlab").first
        root.get_by_label("Number of steps to run").fill(str(steps))
        page.button("Run", within=root).click()
        page.page.locator(f'.rnnlab[data-t="{t}"]').wait_for(timeout=300_000)
        page.page.wait_for_timeout(2500)
        return used()

    run()
    before = run()
    return _allowed(BYTES, f"growth of the heap over {steps:,} steps", [run() - before], 1e6)


def _panning(page: NotebookPage, frames: int) -> Iterator[Row]:
    """A long recording moved under the view by 16 pixels a frame, at three widths of the view."""
    root = page.page.locator(f"{NOTEBOOK} .rnnlab").first
    length = int(root.get_attribute("data-length") or 0)
    canvas = root.locator(".rl-view canvas").first
    for _ in range(3):
        page.button("Whole", within=root).click()
        root.locator("xpath=self::*[@data-waiting='false']").wait_for()
        canvas.focus()
        canvas.hover(position={"x": 300, "y": 60})
    box: Any = canvas.bounding_box()
    for share in (10, 100, 1000):
        while _visible(root) > length / share:
            page.page.mouse.wheel(0, -120)
            page.frame()
        page.page.mouse.move(box["x"] + 300, box["y"] + 60)
        times = page.page.evaluate(PAN, [frames + 1, 16])[1:]
        what = f"a frame of panning, {length:,} steps × 64 units, a {share}th in view"
        yield _allowed(TIMES, what, [1000 * t for t in times], 5e4)


def _visible(root: Any) -> int:
    first, last = (root.get_attribute("data-window") or "0:0").split(":")
    return int(last) - int(first)


def _paired(
    what: str, against: str, ours: Sequence[float], theirs: Sequence[float], target: float
) -> Row:
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    medians = statistics.median(ours), statistics.median(theirs)
    return Row(TIMES, what, against, *medians, ratio=middle, low=low, high=high, target=target)


def _allowed(section: str, what: str, found: Sequence[float], most: float) -> Row:
    ratios = [value / most for value in found]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(found) > 1 else ratios * 3
    unit = "bytes" if section == BYTES else "µs"
    return Row(section, what, "allowed", middle * most, most, middle, low, high, 1.0, unit)
