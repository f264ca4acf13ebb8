"""On the GPU every cell is the function that it is on the CPU."""

import pytest
import torch

from rnnlab import Recur, RnnlabError, unroll
from rnnlab.cells.registry import CELLS
from tests.helpers import F64, close, filled, gradients, joined, randomise, weighted

I, H, B, T = 5, 4, 3, 6

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__),
]


def results(m, xs, way):
    ys = way(m, xs)
    slopes = gradients(weighted(ys.cpu()), m)
    return ys.cpu(), joined(m.state).cpu(), [slope.cpu() for slope in slopes]


@pytest.mark.parametrize(
    "way", [unroll, lambda m, xs: torch.stack([m(x) for x in xs])], ids=["unroll", "loop"]
)
def test_values_and_gradients_are_those_of_the_cpu(kind, way):
    torch.manual_seed(5)
    m, xs = Recur(randomise(kind(I, H, dtype=F64))), filled(T, B, I)
    want = results(m, xs, way)
    m.reset()
    close(results(m.cuda(), xs.cuda(), way), want)


def test_a_running_state_moves_along(kind):
    torch.manual_seed(5)
    m, x = Recur(randomise(kind(I, H, dtype=F64))), filled(B, I)
    m(x)
    before = joined(m.state).detach()
    m.cuda()
    close(joined(m.state).cpu(), before, 0)
    with pytest.raises(RnnlabError) as caught:
        m(x)
    assert str(caught.value) == (
        f"{m.cell!r}: x is on cpu and the weights are on cuda:0. x.to('cuda:0') moves the input."
    )
    close(joined(m.state).cpu(), before, 0)
    m(x.cuda())
