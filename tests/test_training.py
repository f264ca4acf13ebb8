"""Training recipes: truncated backpropagation, several processes, torch.compile, and what is said
when a `detach` or `reset` was forgotten. Saving and resuming is in test_files."""

import gc
import os
import shutil
import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Chain, Dense, Recur, RnnlabError, detach, reset, unroll
from rnnlab.carried import Carried
from rnnlab.nested import map_leaves
from tests.helpers import F64, close, filled, gradients, randomise, weighted

I, H, B, T = 3, 4, 2, 5
LAYERS = [rl.RNN, rl.LSTM, rl.GRU, rl.GRUv3]
KINDS = pytest.mark.parametrize("kind", LAYERS)


def loop(m, xs):
    return torch.stack([m(x) for x in xs])


WAYS = pytest.mark.parametrize("way", [loop, unroll])


def make(kind, **options) -> Recur:
    return randomise(kind(I, H, dtype=F64, **options))


class TestTruncated:
    @KINDS
    @WAYS
    def test_gradients_are_those_written_by_hand(self, kind, way):
        """Chunk by chunk with `detach`: the state is a constant at the start of each chunk."""
        m, chunks = make(kind), filled(3, T, B, I)
        for number, chunk in enumerate(chunks):
            got = torch.autograd.grad(
                weighted(way(m, chunk)), list(m.parameters()), allow_unused=True
            )
            cell = m.cell
            if number == 0:
                state = cell.initial_state()
            ys = []
            for x in chunk:
                state, y = cell(state, x)
                ys.append(y)
            loss = weighted(torch.stack(ys))
            want = torch.autograd.grad(loss, list(m.parameters()), allow_unused=True)
            for (name, _), mine, theirs in zip(m.named_parameters(), got, want, strict=True):
                if name in ("cell.h0", "cell.c0") and number:
                    assert mine is None
                    assert theirs is None
                else:
                    close(mine, theirs)
            detach(m)
            state = map_leaves(lambda part: part.detach(), state)

    @WAYS
    def test_without_it_the_gradient_reaches_the_first_step(self, way):
        m, xs = make(rl.GRU), filled(2 * T, B, I).requires_grad_()
        way(m, xs[:T])
        assert torch.autograd.grad(weighted(way(m, xs[T:])), xs)[0][0].any()
        m.reset()
        way(m, xs[:T])
        detach(m)
        assert not torch.autograd.grad(weighted(way(m, xs[T:])), xs)[0][:T].any()

    def test_the_recipe_learns(self):
        """Repeat the input of two steps ago, over sequences cut into chunks."""
        torch.manual_seed(0)
        m = Chain(rl.RNN(1, 8), Dense(8, 1))
        optimizer = torch.optim.Adam(m.parameters(), lr=0.02)
        losses = []
        for _ in range(20):
            reset(m)
            xs = torch.rand(40, 16, 1)
            for at in range(0, 40, 10):
                ys = unroll(m, xs[at : at + 10])
                loss = (ys[2:] - xs[at : at + 10][:-2]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                detach(m)
                losses.append(loss.item())
        assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


ADVICE = (
    "backpropagation has come to steps that an earlier backward() or optimiser step has used up. "
    "Call detach(model) after each chunk of a sequence (truncated backpropagation through time), "
    "or reset(model) before a new one; backward(retain_graph=True) if steps are meant to be gone "
    "through twice."
)


def epochs(m, way, optimise=True, retain=False, of=slice(None), between=lambda m: None):
    optimizer = torch.optim.SGD(m.parameters(), lr=0.1)
    for number in range(3):
        ys = way(m, filled(T, B, I, seed=number))
        weighted(ys[of]).backward(retain_graph=retain)
        if optimise:
            optimizer.step()
        between(m)


class TestForgotten:
    @KINDS
    @WAYS
    @pytest.mark.parametrize("of", [slice(None), slice(0, 1)], ids=["all steps", "first step"])
    @pytest.mark.parametrize("retain", [False, True], ids=["freed", "retained"])
    def test_the_error_says_what_to_do(self, kind, way, of, retain):
        m = make(kind)
        with pytest.raises(RnnlabError) as caught:
            epochs(m, way, retain=retain, of=of)
        assert str(caught.value) == f"{m!r}: {ADVICE}"
        cause = str(caught.value.__cause__)
        assert "a second time" in cause or "modified by an inplace operation" in cause

    @KINDS
    @WAYS
    @pytest.mark.parametrize("retain", [False, True], ids=["freed", "retained"])
    def test_torch_refuses_the_same(self, kind, way, retain, monkeypatch):
        """What is explained is an error in any case: without us it is torch's own."""
        monkeypatch.setattr(Carried, "taken", lambda *a: None)
        with pytest.raises(RuntimeError, match=r"second time|inplace operation"):
            epochs(make(kind), way, retain=retain)

    @KINDS
    @WAYS
    def test_also_without_an_optimiser(self, kind, way):
        with pytest.raises(RnnlabError, match="Call detach"):
            epochs(make(kind), way, optimise=False)

    @KINDS
    @WAYS
    @pytest.mark.parametrize("between", [detach, reset])
    def test_nothing_is_said_where_nothing_is_wrong(self, kind, way, between):
        epochs(make(kind), way, between=between)
        epochs(make(kind), way, optimise=False, between=between)
        epochs(make(kind), way, optimise=False, retain=True)  # twice on purpose

    @pytest.mark.parametrize("optimise", [True, False])
    def test_of_an_adapted_module_and_of_a_cell_of_another_library(self, optimise):
        class Decay(nn.Module):
            def __init__(self):
                super().__init__()
                self.map, self.hidden_size = nn.Linear(I, H, dtype=F64), H

            def forward(self, x, state):
                return torch.tanh(state + self.map(x))

        start = torch.zeros(H, dtype=F64)

        class Other(nn.LSTM):  # whose formula nobody knows
            def forward(self, x, hx=None):
                return super().forward(2 * x, hx)

        inside = rl.adapt(nn.Sequential(nn.LSTM(I, H, dtype=F64)))
        unknown = rl.adapt(nn.Sequential(Other(I, H, dtype=F64)))
        foreign = rl.adapt(Decay(), init=start)
        for m, way in (
            (inside, lambda m, xs: m(xs)[0]),
            (unknown, lambda m, xs: m(xs)[0]),
            (foreign, lambda m, xs: torch.stack([m(x) for x in xs])),
        ):
            with pytest.raises(RnnlabError, match="Call detach"):
                epochs(m, way, optimise=optimise)
            reset(m)
            epochs(m, way, optimise=optimise, between=detach)

    def test_in_a_chain_the_layer_is_named(self):
        m = Chain(rl.LSTM(I, H, dtype=F64), Dense(H, H, dtype=F64), rl.GRU(H, H, dtype=F64))
        with pytest.raises(RnnlabError, match=r"^Recur\(GRUCell\(4, 4\)\): backpropagation"):
            epochs(m, loop)

    def test_cells_of_torch_and_functions(self):
        torch_cell = nn.GRUCell(I, H, dtype=F64)

        def cell(h, x):
            h = torch_cell(x, h)
            return h, h

        m = Recur(cell, torch.zeros(B, H, dtype=F64))
        weighted(loop(m, filled(T, B, I))).backward()
        loss = weighted(loop(m, filled(T, B, I)))
        with pytest.raises(RuntimeError, match="second time"):  # torch's words: no weights here
            loss.backward()

        class Both(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = torch_cell.weight_hh
                self.inner = torch_cell

            def forward(self, h, x):
                return cell(h, x)

        with pytest.raises(RnnlabError, match="Call detach"):
            epochs(Recur(Both(), torch.zeros(B, H, dtype=F64)), loop)

    @pytest.mark.parametrize("after", [lambda m: None, detach], ids=["at once", "detached"])
    @pytest.mark.parametrize(
        "make",
        [
            *(lambda kind=kind: kind(I, H, dtype=F64) for kind in LAYERS),
            lambda: rl.adapt(nn.LSTM(I, H, 2, dtype=F64)),
            lambda: Recur(lambda h, x: ({"a": h["a"] * x.sum()}, h["a"]), {"a": torch.ones(H)}),
        ],
        ids=["RNN", "LSTM", "GRU", "GRUv3", "adapted", "function"],
    )
    @WAYS
    def test_a_state_from_inference_mode_is_gone_on_from(self, make, way, after):
        """torch refuses such a tensor in a graph; its values are as good as any."""
        m, twin, xs = make(), make(), filled(T, I)
        twin.load_state_dict(m.state_dict())
        with torch.inference_mode():
            m(xs[0]), m(xs[1])
        with torch.no_grad():
            twin(xs[0]), twin(xs[1])
        after(m), after(twin)
        close(way(m, xs), way(twin, xs), 1e-12)
        for mine, other in zip(m.parameters(), twin.parameters(), strict=True):
            grads = torch.autograd.grad(weighted(way(m, xs)), mine, allow_unused=True)
            wants = torch.autograd.grad(weighted(way(twin, xs)), other, allow_unused=True)
            for grad, want in zip(grads, wants, strict=True):
                assert (grad is None) == (want is None)
                if grad is not None:
                    close(grad, want, 1e-12)
            detach(m), detach(twin)

    def test_a_graph_is_freed_with_its_model(self):
        m = make(rl.LSTM)
        with pytest.raises(RnnlabError):
            epochs(m, loop)
        m(filled(B, I))
        gone = weakref.ref(m)
        del m
        gc.collect()
        assert gone() is None

    def test_others_may_keep_what_is_saved(self):
        """As checkpointing and offloading do: they are not called more often than by torch."""
        calls = []

        def unpack(value):
            calls.append(value)
            return value

        m = make(rl.RNN)
        with torch.autograd.graph.saved_tensors_hooks(lambda value: value, unpack):
            gradients(weighted(loop(m, filled(T, B, I))), m)
            alone = len(calls)
            m.reset()
            gradients(weighted(loop(m, filled(T, B, I))), m)
        assert len(calls) == 2 * alone


class TestCompiled:
    """torch.compile takes a Recur or Chain as it is, also a whole training step with `reset` in it.

    Most tests trace and differentiate without generating code; one generates it, which takes a
    C++ compiler and some seconds.
    """

    # torch's own warnings, which it hides from the log but not from pytest
    pytestmark = [  # noqa: RUF012
        pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
        pytest.mark.filterwarnings("ignore:`torch.jit.script"),
    ]

    @pytest.fixture(autouse=True)
    def fresh(self):
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    @staticmethod
    def model(kind):
        return Chain(make(kind), randomise(Dense(H, 1, dtype=F64)))

    @staticmethod
    def results(m, ys):
        return ys.detach(), rl.states(m)["0.h"].detach(), gradients(weighted(ys), m)

    @staticmethod
    def training_step(m):
        def step(xs):
            reset(m)
            return torch.stack([m(x) for x in xs.unbind(0)])

        return step

    @pytest.mark.parametrize("kind", [rl.LSTM, rl.GRUv3])
    def test_the_model_itself(self, kind):
        m, other = self.model(kind), self.model(kind)
        step, xs = torch.compile(m, backend="aot_eager"), filled(T, B, I)
        for _ in range(2):
            want = self.results(other, loop(other, xs))
            close(self.results(m, loop(step, xs)), want)
            close(loop(m, xs).detach(), loop(other, xs).detach())  # and goes on uncompiled
            reset([m, other])
        with torch.no_grad():
            close(loop(step, xs), loop(other, xs))
            close(loop(step, xs), loop(other, xs))
        with pytest.raises(RnnlabError, match="reset"):
            step(xs[0][:1])

    @pytest.mark.parametrize("kind", [rl.LSTM, rl.GRUv3])
    def test_a_training_step_is_one_graph(self, kind):
        m, other = self.model(kind), self.model(kind)
        step = torch.compile(self.training_step(m), backend="aot_eager", fullgraph=True)
        for seed in range(3):
            xs = filled(T, B, I, seed=seed)
            want = self.results(other, self.training_step(other)(xs))
            close(self.results(m, step(xs)), want)
            with torch.no_grad():
                for at in (m, other):
                    at[0].cell.weight_hh.mul_(0.9)

    @pytest.mark.parametrize("kind", [rl.LSTM, rl.GRU, "adapted"])
    def test_several_layers_over_a_whole_sequence_are_one_graph(self, kind):
        def made():
            torch.manual_seed(3)
            if kind == "adapted":
                return rl.adapt(randomise(torch.nn.LSTM(I, H, num_layers=2)))
            return randomise(Chain(kind(I, H), kind(H, H), Dense(H, 1)))

        m, other, xs = made(), made(), filled(T, B, I, dtype=torch.float32)
        step = torch.compile(lambda xs: unroll(m, xs), backend="aot_eager", fullgraph=True)
        for _ in range(2):
            want = unroll(other, xs)
            got = step(xs)
            close(got, want, 1e-5)
            close(gradients(weighted(got), m), gradients(weighted(want), other), 1e-5)
            reset([m, other])

    def test_truncated(self):
        """Chunks of one sequence: the state is carried from one compiled call to the next."""

        def train(m, step):
            optimizer, losses = torch.optim.SGD(m.parameters(), lr=0.1), []
            for chunk in filled(3, 2, B, I):
                loss = step(chunk).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                detach(m)
                losses.append(loss.detach())
            return torch.stack(losses), list(m.parameters())

        m, other = self.model(rl.RNN), self.model(rl.RNN)
        step = torch.compile(
            lambda xs: torch.stack([m(x) for x in xs.unbind(0)]), backend="aot_eager"
        )
        close(train(m, step), train(other, lambda xs: loop(other, xs)))

    def test_with_generated_code(self, in_ci):
        if not shutil.which("g++") and not in_ci:
            pytest.skip("torch.compile needs a C++ compiler; install g++ to run this")
        m, other, xs = self.model(rl.LSTM), self.model(rl.LSTM), filled(2, B, I)
        step = torch.compile(self.training_step(m), fullgraph=True)
        close(self.results(m, step(xs)), self.results(other, self.training_step(other)(xs)))


RANK = """
import os, sys, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import rnnlab as rl
from tests.helpers import F64, filled, randomise, weighted

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)

class Whole(torch.nn.Module):
    "A chunk at a time, so that the gradients of a chunk are averaged once."
    def __init__(self, model):
        super().__init__()
        self.model = model
    def forward(self, xs):
        return rl.unroll(self.model, xs)

lstm = rl.LSTM(3, 4, dtype=F64, train_init=False)  # the initial state is a buffer
model = randomise(rl.Chain(lstm, rl.Dense(4, 1, dtype=F64)))
if rank:  # DistributedDataParallel begins with the weights of rank 0
    with torch.no_grad():
        model[1].weight.zero_()
parallel = DistributedDataParallel(Whole(model))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
seen = []
for chunk in range(3):
    xs = filled(5, 2 + rank, 3, seed=10 * rank + chunk)  # another batch size on each rank, too
    optimizer.zero_grad()
    weighted(parallel(xs)).backward()
    seen.append({
        "states": {name: value.detach().clone() for name, value in rl.states(model).items()},
        "gradients": [p.grad.clone() for p in model.parameters()],
        "weights": [p.detach().clone() for p in model.parameters()],
    })
    optimizer.step()
    rl.detach(parallel)
torch.save(seen, f"{folder}/{rank}")
dist.destroy_process_group()
"""


def test_two_processes(tmp_path, root):
    """DistributedDataParallel averages the gradients and leaves each rank its running state."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch was built without gloo; one with it runs this")
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    env = {**os.environ, "PYTHONPATH": str(root), "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(script), str(rank), str(tmp_path)],
            env=env,
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [rank.communicate(timeout=120)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    seen = [torch.load(tmp_path / str(rank)) for rank in range(2)]

    def alone():
        lstm = rl.LSTM(I, H, dtype=F64, train_init=False)
        return randomise(Chain(lstm, Dense(H, 1, dtype=F64)))

    models = [alone(), alone()]
    for chunk in range(3):
        slopes = []
        for rank, m in enumerate(models):
            with torch.no_grad():
                for p, value in zip(m.parameters(), seen[0][chunk]["weights"], strict=True):
                    p.copy_(value)
            xs = filled(5, 2 + rank, 3, seed=10 * rank + chunk)
            slopes.append(torch.autograd.grad(weighted(unroll(m, xs)), list(m.parameters())))
            detach(m)
            close(seen[rank][chunk]["states"], rl.states(m))  # its own, never another rank's
        mean = [(a + b) / 2 for a, b in zip(*slopes, strict=True)]
        for rank in range(2):
            close(seen[rank][chunk]["gradients"], mean)
    assert not torch.equal(seen[0][2]["states"]["0.h"], seen[1][2]["states"]["0.h"][:2])
