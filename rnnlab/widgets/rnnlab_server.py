"""The module by which a Jupyter server loads server.py: in the wheel it lies beside the package.

Importing anything of the package loads torch, and a server would carry that for nothing: 200 MB.
So this finds the file without importing the package.
"""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    package = find_spec("rnnlab")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0]) / "widgets" / "server.py" if folders else None
    spec = spec_from_file_location("rnnlab_server_file", path) if path else None
    if path is None or not path.is_file() or spec is None or spec.loader is None:
        serverapp.log.warning("rnnlab: widgets run at the usual speed: %s is not there", path)
        return
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.load(serverapp)
