"""The server extension: on our own socket, on one that is not as expected, on a real server."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect

from rnnlab.widgets import server

CHANNELS = r"/base/api/kernels/([^/]+)/channels"


class Server:
    """What an extension sees of a Jupyter server."""

    def __init__(self, handler, caplog):
        caplog.set_level(logging.INFO)
        self.web_app = Application([(CHANNELS, handler)] if handler else [])
        self.base_url = "/base/"
        self.log = logging.getLogger("a server")


class Echo(WebSocketHandler):
    """Answers with its own TCP_NODELAY."""

    def open(self, kernel):
        self.kernel = kernel

    def on_message(self, message):
        option = self.ws_connection.stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        self.write_message(json.dumps([self.kernel, bool(option)]))


async def closed(page):
    """Close a websocket and wait until it is."""
    page.close()
    while await page.read_message() is not None:
        pass


def said(caplog):
    """What the extension logged."""
    return [record.getMessage() for record in caplog.records if record.name == "a server"]


def answer(web_app):
    async def ask():
        listening, port = bind_unused_port()
        http = HTTPServer(web_app)
        http.add_socket(listening)
        page = await websocket_connect(f"ws://127.0.0.1:{port}/base/api/kernels/k1/channels")
        await page.write_message("what")
        heard = json.loads(await page.read_message())
        await closed(page)
        http.stop()
        await http.close_all_connections()
        return heard

    return asyncio.run(ask())


def test_the_socket_of_a_kernel_sends_at_once(caplog):
    class Handler(Echo):
        pass

    app = Server(Handler, caplog)
    assert answer(app.web_app) == ["k1", False]
    server.load(app)
    assert answer(app.web_app) == ["k1", True]
    assert said(caplog) == [
        "rnnlab: kernel messages are sent at once (TCP_NODELAY on "
        f"{__name__}.test_the_socket_of_a_kernel_sends_at_once.<locals>.Handler)"
    ]


def test_twice_is_once(caplog):
    class Handler(Echo):
        pass

    app = Server(Handler, caplog)
    server.load(app)
    once = Handler.open
    server.load(app)
    assert Handler.open is once
    assert answer(app.web_app) == ["k1", True]


def test_a_socket_that_refuses_works_as_before_and_the_log_says_so(caplog):
    class Handler(Echo):
        def set_nodelay(self, value):
            raise OSError("not today")

    app = Server(Handler, caplog)
    server.load(app)
    assert answer(app.web_app) == ["k1", False]
    assert said(caplog)[-1].endswith("Handler: OSError('not today')")


class Plain(RequestHandler):
    """A handler that is no websocket."""


@pytest.mark.parametrize(
    ("handler", "reason"),
    [(Plain, "Plain has no open()"), (None, "ErrorHandler has no open()")],
)
def test_a_server_that_differs_is_left_alone(handler, reason, caplog):
    before = dict(vars(Plain))
    server.load(Server(handler, caplog))
    assert dict(vars(Plain)) == before
    (message,) = said(caplog)
    assert message.startswith("rnnlab: widgets run at the usual speed: ")
    assert message.endswith(reason)


def test_a_handler_without_set_nodelay_is_left_alone(caplog):
    class Odd:
        def open(self):
            return 7

    assert server.hasten(Odd, Server(None, caplog).log) is False
    assert Odd().open() == 7
    assert said(caplog)[-1].endswith("Odd has no set_nodelay()")


def test_nothing_that_goes_wrong_stops_the_server(caplog):
    app = Server(Echo, caplog)
    app.web_app = None
    server.load(app)
    assert "AttributeError" in said(caplog)[-1]


SPY = """
import gc, json, socket, sys
from jupyter_server.base.handlers import APIHandler
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

class Spy(APIHandler):
    def get(self):
        found = [h.ws_connection.stream.socket for h in gc.get_objects()
                 if isinstance(h, KernelWebsocketHandler) and h.ws_connection is not None]
        self.finish(json.dumps([s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                                for s in found]))

class Modules(APIHandler):
    def get(self):
        self.finish(json.dumps([n for n in ("torch", "numpy", "rnnlab") if n in sys.modules]))

def _jupyter_server_extension_points():
    return [{"module": __name__}]

def _load_jupyter_server_extension(app):
    app.web_app.add_handlers(".*", [("/spy", Spy), ("/modules", Modules)])
"""


@pytest.fixture
def real(root, tmp_path):
    """A real Jupyter server with the extension of this checkout, and one that looks into it."""
    pytest.importorskip("jupyter_server")
    from rnnlab.bench.lab import Lab

    (tmp_path / "rnnlab_spy.py").write_text(SPY)
    entry = (root / "rnnlab/widgets/rnnlab_server.py").read_text()
    (tmp_path / "rnnlab_server.py").write_text(entry)
    path = f"{tmp_path}{os.pathsep}{root}"
    (tmp_path / "served").mkdir()
    command = ("env", f"PYTHONPATH={path}", sys.executable, "-P", "-m", "jupyter_server")
    extensions = "{'rnnlab_server': True, 'rnnlab_spy': True}"
    options = [f"--ServerApp.jpserver_extensions={extensions}"]
    with Lab(tmp_path / "served", command=command, options=options) as lab:
        yield lab


@pytest.mark.skipif(os.name != "posix", reason="starts the server through env")
def test_a_real_server_has_it_on_the_socket_of_a_live_kernel(real):
    headers = {"Authorization": f"token {real.token}", "Content-Type": "application/json"}
    connection = HTTPConnection("127.0.0.1", real.port, timeout=30)
    connection.request("POST", "/api/kernels", json.dumps({"name": "python3"}), headers)
    kernel = json.loads(connection.getresponse().read())["id"]
    connection.close()

    async def look():
        url = f"ws://127.0.0.1:{real.port}/api/kernels/{kernel}/channels?token={real.token}"
        page = await websocket_connect(url)
        found = await asyncio.to_thread(real.get, "/spy")
        await closed(page)
        return found

    assert asyncio.run(look()) == [True]
    log = real.log.read_text()
    assert log.count("rnnlab: kernel messages are sent at once") == 1
    assert "rnnlab_server | extension was successfully loaded" in log
    assert real.get("/modules") == [], "a server does without torch and the package"


class TestApp:
    def test_loopback_and_a_token_unless_told_otherwise(self):
        options = server.app_options(["--port=9999"])
        assert options[0].endswith("app.ipynb")
        assert {"--Voila.ip=127.0.0.1", "--token"} <= set(options)
        assert options[-1] == "--port=9999"
        open_ = server.app_options(["--Voila.ip=0.0.0.0", "--token=secret"])
        assert [o for o in open_ if "ip=" in o] == ["--Voila.ip=0.0.0.0"]
        assert [o for o in open_ if "token" in o] == ["--token=secret"]

    @pytest.fixture
    def model_from(self):
        from rnnlab.widgets.app import model_from

        modules, path = dict(sys.modules), list(sys.path)
        yield model_from
        sys.path[:] = path
        for name in sys.modules.keys() - modules:
            if not name.startswith("rnnlab"):
                del sys.modules[name]

    def test_a_function_of_a_file_that_imports_its_neighbour(self, model_from, tmp_path):
        (tmp_path / "neighbour_of_mine.py").write_text("SIZE = 5\n")
        (tmp_path / "mine_for_rnnlab.py").write_text(
            "import rnnlab as rl\nfrom neighbour_of_mine import SIZE\n"
            "def make(): return rl.GRU(2, SIZE)\n"
        )
        model = model_from(f"{tmp_path / 'mine_for_rnnlab.py'}:make")
        assert model.cell.hidden_size == 5

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (
                "digit",
                "rnnlab app: no model 'digit'. Name one of the zoo (bank, digits) or a "
                "function of yours that returns one, as path.py:function.",
            ),
            ("{0}/none.py:f", "rnnlab app: there is no file {0}/none.py."),
            ("{0}/empty.py:f", "rnnlab app: {0}/empty.py has no function 'f'."),
        ],
    )
    def test_what_is_wrong_is_said(self, model_from, name, text, tmp_path):
        from rnnlab import RnnlabError

        (tmp_path / "empty.py").touch()
        with pytest.raises(RnnlabError) as raised:
            model_from(name.format(tmp_path))
        assert str(raised.value) == text.format(tmp_path)

    def test_the_page_says_what_failed_in_the_file_of_the_user(self, tmp_path, root):
        (tmp_path / "bad.py").write_text("def make(): return 1 / 0\n")
        environment = {**os.environ, server.MODEL: f"{tmp_path}/bad.py:make"}
        done = subprocess.run(
            [sys.executable, "-c", "from rnnlab.widgets.app import app; app()"],
            env={**environment, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )
        assert done.stdout == (
            f"rnnlab app: {tmp_path}/bad.py:make failed with ZeroDivisionError: division by zero\n"
        )
