"""The weights of the zoo are safetensors files."""

import pytest

pytest.importorskip("safetensors", reason="pip install safetensors runs this")
