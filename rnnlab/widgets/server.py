"""What rnnlab adds to a Jupyter server: no message to a page waits for the one before it.

TCP holds a small packet back until the other side has acknowledged the last one, and that side
delays its acknowledgement, up to 40 ms: so long every click on a widget waits. As an extension of
the Jupyter server this module sets TCP_NODELAY on the kernels' websockets, which ends it, for
every widget. As a program (`rnnlab app`) it serves the explorer alone, with Voilà.

A server is to stay small, so this file imports nothing of rnnlab (which brings torch along), and
is loaded by its path: see rnnlab_server.py. The file server.json, which the wheel puts into
etc/jupyter/jupyter_server_config.d, switches it on.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Sequence
from logging import Logger
from pathlib import Path
from typing import Any

APP = Path(__file__).resolve().parent / "static" / "app.ipynb"
MODEL, FOLDER = "RNNLAB_APP_MODEL", "RNNLAB_APP_FOLDER"
"""The environment variables that tell the page's kernel which model to show, and where it runs."""

_MARK = "_rnnlab_sends_at_once"


def hasten(handler: Any, log: Logger) -> bool:
    """Let every websocket of the class `handler` send small messages at once; say so in the log.

    A class that is not as expected stays as it is, and the log says why.
    """
    name = f"{getattr(handler, '__module__', '?')}.{getattr(handler, '__qualname__', handler)}"
    for method in ("open", "set_nodelay"):
        if not callable(getattr(handler, method, None)):
            log.warning("rnnlab: widgets run at the usual speed: %s has no %s()", name, method)
            return False
    if not getattr(handler, _MARK, False):
        open_ = handler.open

        @functools.wraps(open_)
        def open_at_once(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                self.set_nodelay(True)
            except Exception as error:  # whatever it is, the connection matters more
                log.warning("rnnlab: TCP_NODELAY cannot be set on %s: %r", name, error)
            return open_(self, *args, **kwargs)

        handler.open = open_at_once
        setattr(handler, _MARK, True)
    log.info("rnnlab: kernel messages are sent at once (TCP_NODELAY on %s)", name)
    return True


def kernel_handler(web_app: Any, base_url: str) -> Any:
    """The class that answers for the kernels' websockets: what the server's own routes say."""
    from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

    path = f"{base_url.rstrip('/')}/api/kernels/00000000-0000-0000-0000-000000000000/channels"
    line, headers = RequestStartLine("GET", path, "HTTP/1.1"), HTTPHeaders({"Host": "127.0.0.1"})
    return web_app.find_handler(HTTPServerRequest(start_line=line, headers=headers)).handler_class


def load(serverapp: Any) -> None:
    """Switch it on in a Jupyter server, whatever its kernels' websockets are made of."""
    try:
        hasten(kernel_handler(serverapp.web_app, serverapp.base_url), serverapp.log)
    except Exception as error:  # a server must start whatever its extensions meet
        serverapp.log.warning("rnnlab: widgets run at the usual speed: %r", error)


def app_options(extra: Sequence[str]) -> list[str]:
    """Options for Voilà: loopback, a token, and kernels that end; those of `extra` come before.

    Voilà passes on the messages of widgets and no others: the page cannot run code of its own in
    the kernel. Without a token, any page in the same browser could open the explorer.
    """
    given = {argument.split("=", 1)[0] for argument in extra}
    ours = {
        "--Voila.ip": "127.0.0.1",
        "--MappingKernelManager.cull_interval": "30",
        "--MappingKernelManager.cull_idle_timeout": "120",
        "--VoilaConfiguration.allow_template_override": "NO",
    }
    options = [f"{name}={value}" for name, value in ours.items() if name not in given]
    if not given & {"--token", "--Voila.token", "--Voila.auto_token"}:
        options.append("--token")
    return [str(APP), *options, *extra]


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the explorer alone: `server.py MODEL [Voilà options]`. Ends with the server."""
    from voila.app import Voila, VoilaKernelWebsocketHandler

    model, *extra = sys.argv[1:] if argv is None else argv

    class App(Voila):
        def launch_browser(self) -> None:
            # Voilà's own would open the page without its token. The address goes through a file
            # that only this user can read, not through the browser's command line.
            number, name = tempfile.mkstemp(prefix="rnnlab-", suffix=".html")
            with open(number, "w", encoding="utf-8") as file:
                address = f"{self.connection_url}?token={self.identity_provider.token}"
                file.write(f'<meta http-equiv="refresh" content="0; url={address}">')
            atexit.register(os.unlink, name)
            where = Path(name).as_uri()
            threading.Thread(target=lambda: webbrowser.open(where), daemon=True).start()

    app = App.instance()
    hasten(VoilaKernelWebsocketHandler, app.log)
    os.environ[MODEL], os.environ[FOLDER] = model, os.getcwd()
    app.initialize(app_options(extra))
    app.start()


if __name__ == "__main__":
    main()
