"""Shared by all tests. Imports pytest and the standard library only: torch and pytest are enough
to run the tests of the core."""

import os
import subprocess
from pathlib import Path

import pytest

# One thread each for the tests that run side by side and for the kernels that they start: threads
# that wait for each other on busy cores make small models several times slower. Read by torch when
# it is imported, so it is set here first.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def in_ci() -> bool:
    """Whether this is the build machine, where nothing that is missing may be skipped."""
    return os.environ.get("CI", "").lower() in ("1", "true")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """The files of the repository, relative to it: what git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    names = {Path(name) for name in listed.stdout.split("\0") if name}
    return sorted(name for name in names if (ROOT / name).is_file())


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch finds no NVIDIA GPU; run this on a machine that has one")
