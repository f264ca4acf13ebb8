"""Live views for JupyterLab, on anywidget. Needs the extra: pip install "rnnlab[lab]"."""

try:
    import anywidget as _anywidget  # noqa: F401
except ImportError as error:
    raise ImportError('rnnlab.widgets needs the lab extra: pip install "rnnlab[lab]"') from error

from rnnlab.widgets.explorer import Explorer
from rnnlab.widgets.opening import explore

__all__ = ["Explorer", "explore"]
