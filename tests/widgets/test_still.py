"""The still after a reload: the page keeps it, if it can reach its own document."""

import numpy as np
import pytest

import rnnlab as rl
from rnnlab.widgets.still import Still


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, in place of a notebook."""
    import IPython.display

    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda *a, **how: calls.append((a, how)))
    return calls


def test_a_page_that_can_keeps_the_still_itself(open_page, shown):
    page = open_page(lambda: rl.explore(rl.LSTM(2, 3), np.ones((4, 2))))
    explorer = page.explorer
    page.press("keep")  # the page is there before the first view
    explorer._ipython_display_()
    still = explorer._still
    assert isinstance(still, Still)
    assert len(shown) == 2
    still.update()
    assert [m for m in page.sent if m["kind"] == "still"] == [], "nothing has changed"
    page.press("step")
    still.update()
    (message,) = [m for m in page.sent if m["kind"] == "still"]
    assert message["widget"] == explorer.model_id
    assert message["data"]["text/plain"] == "step 1 of 1 · branch main"
    assert 'class="rnnlab-still"' in message["data"]["text/html"]
    assert len(shown) == 2
    assert explorer.error == ""


def test_elsewhere_the_output_is_replaced_by_its_display_id(open_page, shown):
    page = open_page(lambda: rl.explore(rl.LSTM(2, 3), np.ones((4, 2))))
    page.explorer._ipython_display_()
    page.press("step")
    page.explorer._still.update()
    (_, first), (_, later) = shown[1:]
    assert later == {**first, "update": True}
    assert [m for m in page.sent if m["kind"] == "still"] == []
