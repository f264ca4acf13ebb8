"""The pure functions of the front end, under node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

JS = Path(__file__).parent / "js"


@pytest.fixture
def node(in_ci: bool) -> str:
    found = shutil.which("node")
    if found:
        return found
    missing = "no node: install it (Debian: apt-get install nodejs) to test the front end"
    if in_ci:
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.mark.parametrize("test", sorted(JS.glob("*.test.js")), ids=lambda path: path.name)
def test_front_end(node, test):
    done = subprocess.run([node, "--test", str(test)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 0" not in done.stdout
