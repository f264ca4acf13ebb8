"""Drive a real JupyterLab in headless Chromium.

    with Lab(folder) as lab, Browser() as browser:
        notebook = NotebookPage(browser, lab, "demo.ipynb")
        notebook.run_all()
        notebook.button("Step").click()
        assert notebook.execute("session.t") == "1"

JupyterLab's own application object answers questions about the kernel and the cells (the server
hands it to the page because of `LabApp.expose_app_in_browser`); the DOM is asked only for what a
person would see.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Locator

NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # hidden tabs stay in the DOM

# Settings that keep a test's JupyterLab still: no news, no autosave, and every cell in the DOM
# (by default cells outside the window are taken out of it, and their widgets with them).
SETTINGS = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "docmanager-extension/plugin": {"autosave": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}

# Counts the kernel's websocket traffic and the long tasks of the page.
PROBE = """(() => {
  const probe = window.__probe = {received: 0, receivedBytes: 0, sent: 0, sentBytes: 0, long: 0};
  const size = (data) => data.byteLength ?? data.size ?? data.length;
  window.WebSocket = class extends WebSocket {
    constructor(url, ...rest) {
      super(url, ...rest);
      this.counted = String(url).includes("/channels");
      if (this.counted) this.addEventListener("message", (event) => {
        probe.received += 1; probe.receivedBytes += size(event.data);
      });
    }
    send(data) {
      if (this.counted) { probe.sent += 1; probe.sentBytes += size(data); }
      return super.send(data);
    }
  };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) probe.long += entry.duration;
  }).observe({entryTypes: ["longtask"]});
})();"""

KERNEL_IDLE = """() => {
  const context = window.jupyterapp?.shell?.currentWidget?.sessionContext;
  const kernel = context?.session?.kernel;
  return Boolean(context?.isReady && kernel?.status === "idle"
    && kernel.connectionStatus === "connected");
}"""

CELLS_DONE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = panel.content.widgets.filter(
    (cell) => cell.model.type === "code" && cell.model.sharedModel.source.trim());
  return cells.every((cell) => cell.model.executionCount !== null
      && cell.model.executionState !== "running")
    && panel.sessionContext.session.kernel.status === "idle";
}"""

CELL_ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter((cell) => cell.model.type === "code")
  .flatMap((cell) => cell.model.outputs.toJSON())
  .filter((output) => output.output_type === "error")
  .map((output) => `${output.ename}: ${output.evalue}`)"""

# Keeps the ids of the requests that the kernel has not dealt with yet.
UNDER_WAY = """() => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  if (window.__counts === kernel) return;
  window.__counts = kernel;
  const ids = window.__underWay = new Set();
  kernel.anyMessage.connect((_, {msg, direction}) => {
    if (direction === "send" && msg.channel === "shell") ids.add(msg.header.msg_id);
    if (msg.header.msg_type === "status" && msg.content.execution_state === "idle")
      ids.delete(msg.parent_header.msg_id);
  });
  kernel.statusChanged.connect((_, status) => {
    if (/restarting|dead/.test(status)) ids.clear();
  });
}"""

# A widget sends a change with the next frame, or once the kernel has answered the one before, so a
# request may overtake a click that came first: the page draws twice with nothing under way.
EXECUTE = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  for (let quiet = 0; quiet < 2; quiet = window.__underWay.size ? 0 : quiet + 1)
    await new Promise((done) => requestAnimationFrame(done));
  const future = kernel.requestExecute({code, store_history: false});
  const answer = {text: "", error: null};
  future.onIOPub = ({header, content}) => {
    if (header.msg_type === "stream") answer.text += content.text;
    if (header.msg_type === "execute_result") answer.text += content.data["text/plain"];
    if (header.msg_type === "error") answer.error = content.traceback.join("\\n");
  };
  await future.done;
  return answer;
}"""


def find_chromium() -> str | None:
    """Return the path of Chromium: the variable CHROMIUM, or what the PATH has."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Lab:
    """A JupyterLab of its own: private settings, loopback, a random token.

    `command` is what starts the server, without the options that this class adds.
    """

    def __init__(
        self,
        root: Path,
        *,
        command: Sequence[str] = (sys.executable, "-P", "-m", "jupyterlab"),
        options: Sequence[str] = (),
    ):
        self.root = Path(root)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = secrets.token_hex(24)
        self.private = Path(tempfile.mkdtemp(prefix="rnnlab-test-lab-"))
        self.log = self.private / "log"
        self.command = [
            *command,
            *("--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}"),
            *("--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.root}"),
            *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
            *options,
        ]

    def _environment(self) -> dict[str, str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
        for variable, folder in {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }.items():
            (self.private / folder).mkdir()
            environment[variable] = str(self.private / folder)
        return {**environment, "JUPYTER_TOKEN": self.token}

    def __enter__(self) -> Lab:
        environment = self._environment()
        for plugin, values in SETTINGS.items():
            path = self.private / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + 90
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self._request("/api/status")
                return self
            except OSError:
                time.sleep(0.1)
        log_text = self.log.read_text()
        self.__exit__()
        raise RuntimeError(f"JupyterLab did not start:\n{log_text[-3000:]}")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()  # the server ends its kernels
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        shutil.rmtree(self.private, ignore_errors=True)

    def _request(self, path: str) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"Authorization": f"token {self.token}"})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Location", ""), answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the JSON that the server answers, for instance to `/api/kernels`."""
        status, _, body = self._request(path)
        if status != 200:
            raise RuntimeError(f"{path}: {status} {body[:300]!r}")
        return json.loads(body)

    def redirect(self, path: str) -> str:
        """Return where the server sends a browser that asks for `path`, without the query."""
        return self._request(path)[1].split("?")[0]


class Browser:
    """A headless Chromium; `options` are those of Playwright's `new_context`."""

    def __init__(
        self, chromium: str | None = None, *, arguments: Sequence[str] = (), **options: Any
    ):
        self.chromium = chromium or find_chromium()
        self.arguments = arguments
        self.options = {"viewport": {"width": 1400, "height": 1000}, **options}

    def __enter__(self) -> Browser:
        from playwright.sync_api import sync_playwright

        self.playwright = sync_playwright().start()
        try:
            self.browser = self.playwright.chromium.launch(
                executable_path=self.chromium,
                args=[
                    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"),
                    *("--disable-background-networking", "--disable-component-update"),
                    *self.arguments,
                ],
            )
        except BaseException:
            self.playwright.stop()
            raise
        self.context = self.browser.new_context(**self.options)
        self.context.add_init_script(PROBE)
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        self.browser.close()
        self.playwright.stop()


class NotebookPage:
    """One notebook in one tab of the browser, its kernel ready.

    `page` is Playwright's page; `errors` collects the uncaught exceptions of its scripts.
    """

    def __init__(self, browser: Browser, lab: Lab, notebook: str, seconds: float = 60):
        self.lab, self.notebook, self.seconds = lab, notebook, seconds
        self.page = browser.context.new_page()
        self.page.set_default_timeout(seconds * 1000)
        self.errors: list[str] = []
        self.console: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.console.append(f"{line.type}: {line.text}"))
        self.open()

    def open(self) -> None:
        """Load the page (again) and wait until the kernel is ready; the kernel keeps its state."""
        # ?reset: exactly this notebook is open, whatever the workspace remembers.
        address = f"{self.lab.url}/lab/tree/{self.notebook}?reset&token={self.lab.token}"
        self.page.goto(address, wait_until="domcontentloaded")
        self.page.wait_for_selector(NOTEBOOK)
        self.wait_idle()

    def close(self) -> None:
        """End the kernel and close the tab; once is enough."""
        if self.page.is_closed():
            return
        self.page.evaluate(
            "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.shutdown()"
        )
        self.page.close()

    # -- the kernel

    def wait_idle(self) -> None:
        self.page.wait_for_function(KERNEL_IDLE)
        self.page.evaluate(UNDER_WAY)

    def execute(self, code: str) -> str:
        """Run `code` in the kernel, without a cell; return what it prints and its value.

        It begins when the kernel has dealt with all that the page had sent before.
        """
        answer = self.page.evaluate(EXECUTE, code)
        if answer["error"]:
            raise AssertionError(re.sub(r"\x1b\[[\d;]*m", "", answer["error"]))
        return answer["text"].strip()

    def restart_kernel(self) -> None:
        self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
        )
        self.wait_idle()

    # -- the cells

    def run_all(self, seconds: float = 300) -> None:
        """Run every code cell and wait for the last; a cell that fails is an AssertionError."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(CELLS_DONE, timeout=seconds * 1000)
        if failures := self.page.evaluate(CELL_ERRORS):
            raise AssertionError("\n".join(failures))

    def cell(self, number: int) -> Locator:
        """Return the code cell `number`, counted from 0."""
        return self.page.locator(f"{NOTEBOOK} .jp-CodeCell").nth(number)

    def button(self, name: str, within: Locator | None = None) -> Locator:
        """Return the button whose accessible name is exactly `name`, among the outputs."""
        outputs = within or self.page.locator(f"{NOTEBOOK} .jp-Cell-outputArea")
        return outputs.get_by_role("button", name=name, exact=True)

    # -- what a person sees

    def theme(self, name: Literal["light", "dark"]) -> None:
        """Switch JupyterLab's theme and wait until the page has it."""
        theme = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[name]
        self.page.evaluate(
            "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})",
            theme,
        )
        self.page.wait_for_function(
            "(theme) => document.body.dataset.jpThemeName === theme", arg=theme
        )

    def frame(self) -> None:
        """Wait until the page has drawn once more."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def screenshot(self, element: Locator, path: Path | None = None) -> bytes:
        """Return a PNG of `element`, drawn to the end; write it to `path` if one is given."""
        element.scroll_into_view_if_needed()
        self.frame()
        return element.screenshot(path=path, animations="disabled")

    # -- what it costs

    def traffic(self) -> dict[str, float]:
        """Return messages and bytes over the kernel's websocket, and milliseconds of long tasks.

        Counted since the page was loaded or `reset_traffic` was called.
        """
        return self.page.evaluate("() => ({...window.__probe})")

    def reset_traffic(self) -> None:
        self.page.evaluate("() => { for (const key in window.__probe) window.__probe[key] = 0; }")


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """Write a notebook of code cells, without outputs."""
    from nbformat import v4, write

    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = v4.new_notebook(
        cells=[v4.new_code_cell(source) for source in cells], metadata={"kernelspec": kernel}
    )
    write(notebook, path)
