"""The explorer outside of JupyterLab: in Notebook 7, and alone on a page of Voilà."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.browser

COLUMN = """(canvas, [x, y, high]) => {
  const ratio = devicePixelRatio;
  return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, high * ratio).data];
}"""
CELLS = (
    "import torch\nimport rnnlab as rl\ntorch.manual_seed(0)\nmodel = rl.LSTM(2, 8);",
    "explorer = rl.explore(model, torch.randn(6, 2))\nexplorer",
)


def column(page, t):
    """The pixels drawn for step t across the lanes."""
    canvas = page.locator(".rl-view canvas").first
    return np.array(canvas.evaluate(COLUMN, [118 + 44 * t + 10, 20, 300]), np.uint8).reshape(-1, 4)


def at_step(page, t):
    page.locator(f'.rnnlab[data-t="{t}"]').wait_for()
    page.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")


@pytest.fixture(scope="module")
def notebook(browser, tmp_path_factory):
    pytest.importorskip("notebook", reason='needs Notebook 7: pip install "notebook>=7.2"')
    from rnnlab.bench.lab import Lab, NotebookPage, write_notebook

    class Page(NotebookPage):
        def open(self):
            address = f"{self.lab.url}/notebooks/{self.notebook}?token={self.lab.token}"
            self.page.goto(address, wait_until="domcontentloaded")
            self.page.wait_for_selector(".jp-NotebookPanel")
            self.wait_idle()

    command = (sys.executable, "-P", "-m", "notebook")
    options = ("--JupyterNotebookApp.expose_app_in_browser=True",)
    folder = tmp_path_factory.mktemp("seven")
    with Lab(folder, command=command, options=options) as lab:
        write_notebook(folder / "seven.ipynb", CELLS)
        page = Page(browser, lab, "seven.ipynb")
        page.run_all()
        yield page
        page.close()
        # Notebook 7.6 itself, also with an empty notebook
        assert not [error for error in page.errors if "reading 'schema'" not in error]


def test_in_notebook_7_a_click_reaches_the_kernel_and_the_pixels(notebook):
    page = notebook.page
    page.locator(".rnnlab[data-drawn]").wait_for()
    assert "/notebooks/seven.ipynb" in page.url
    assert not page.locator(".rnnlab-still img").is_visible()
    empty = column(page, 1)
    notebook.button("Step").click()
    at_step(page, 1)
    assert (column(page, 1) != empty).any()
    assert notebook.execute("explorer.session.t") == "1"
    assert notebook.execute("(model.state[0] == 0).all().item()") == "False"
    notebook.execute("explorer.session.back(); None")
    at_step(page, 0)


MODEL = """
from pathlib import Path
import torch
import rnnlab as rl
from neighbour import HIDDEN

def make():
    torch.manual_seed(0)
    session = rl.Session(rl.LSTM(2, HIDDEN))
    session.subscribe(lambda _: Path("steps.txt").write_text(str(session.trace()["h"].tolist())))
    return rl.explore(session, torch.randn(6, 2))
"""


class App:
    """`rnnlab app`, as a person starts it; `address` is what it prints, with the token."""

    def __init__(self, folder, *options):
        from rnnlab.bench.lab import free_port

        self.port = free_port()
        self.private = Path(tempfile.mkdtemp(prefix="rnnlab-test-app-"))
        self.log = self.private / "log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
        for kind in ("CONFIG", "DATA", "RUNTIME"):
            environment[f"JUPYTER_{kind}_DIR"] = str(self.private / kind.lower())
        command = [sys.executable, "-m", "rnnlab.cli", "app", *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--no-browser", f"--port={self.port}", "--Voila.port_retries=0"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.address = self.wait()

    def wait(self):
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"http://\S+\?token=\w{20,}", self.log.read_text()):
                return found[0]
            time.sleep(0.1)
        self.close()
        raise RuntimeError(f"rnnlab app did not start:\n{self.text}")

    def close(self):
        self.text = self.log.read_text()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        shutil.rmtree(self.private, ignore_errors=True)


@pytest.fixture(scope="module")
def app(browser, tmp_path_factory):
    if os.name != "posix":
        pytest.skip("ends the server with SIGTERM, which only POSIX has")
    pytest.importorskip("voila", reason='needs Voilà: pip install "rnnlab[lab]"')
    folder = tmp_path_factory.mktemp("models")
    (folder / "mine.py").write_text(MODEL)
    (folder / "neighbour.py").write_text("HIDDEN = 8\n")
    app = App(folder, "--model", "mine.py:make")
    app.folder = folder
    yield app
    app.close()


def test_in_voila_a_click_reaches_the_model_and_the_pixels(app, browser):
    page = browser.context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(app.address)
    page.locator(".rnnlab[data-drawn]").wait_for(timeout=60000)
    assert not page.locator(".rnnlab-still img").is_visible()
    assert page.locator(".jp-CodeCell .jp-InputArea").count() == 0, "no code on the page"
    empty = column(page, 1)
    step = page.get_by_role("button", name="Step", exact=True)
    for t in (1, 2):
        step.click()
        at_step(page, t)
    assert (column(page, 1) != empty).any()
    assert (column(page, 1) != column(page, 2)).any()
    states = json.loads((app.folder / "steps.txt").read_text())
    assert len(states) == 2, "the kernel took both steps"
    page.locator(".rl-view canvas").first.hover(position={"x": 118 + 88 + 10, "y": 120})
    readout = page.locator(".rl-readout")
    readout.get_by_text("step 2 · h[").wait_for()
    unit, value = re.search(r"h\[(\d+)\] = (\S+)", readout.inner_text()).groups()
    assert float(value.replace("−", "-")) == pytest.approx(states[1][int(unit)], rel=1e-6)
    assert errors == []
    page.close()


def test_the_page_listens_on_loopback_and_asks_for_the_token(app):
    psutil = pytest.importorskip("psutil")
    from http.client import HTTPConnection

    listening = {
        c.laddr.ip
        for c in psutil.Process(app.process.pid).net_connections(kind="inet")
        if c.status == psutil.CONN_LISTEN and c.laddr.port == app.port
    }
    assert listening == {"127.0.0.1"}
    for path in ("/", "/api/kernels", "/?token=" + "0" * 48):
        connection = HTTPConnection("127.0.0.1", app.port, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Location", "")[:6]) == (302, "/login"), path
        connection.close()
    assert "kernel messages are sent at once" in app.log.read_text()
