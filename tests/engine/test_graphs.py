"""Steps replayed as graphs, by a tape where there is no GPU: those of the kernel, to the digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from descent.data.prepare import Description
from descent.engine import graphs
from descent.engine.blueprint import build_model
from descent.engine.graphs import WARM_UP, asks_for_graphs, captured
from descent.engine.stacked_kernel import StackedKernel
from descent.errors import UserError
from engine.taped import taped

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
STEPS = 15  # of 8 rows each, the fifth of 5
OPTIMIZERS = (
    "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw",
)  # fmt: skip
SPECIAL = {
    "amsgrad": ("optimizer=adam", "+optimizer.amsgrad=true"),
    "decaying": ("optimizer=adagrad", "optimizer.lr_decay=0.1"),
    "dropout": ("optimizer=adam", "model.dropout=0.3"),
    "clipped": ("optimizer=momentum", "clip.norm=0.1", "penalty.l2=0.1"),
    "own module": ("optimizer=adam", "trainer.derivatives=autograd"),
}

CASES = {name: (f"optimizer={name}",) for name in OPTIMIZERS} | SPECIAL


class Trained:
    """R runs of different lr, step by step.

    Args:
        job: of which all are.
        runs: R.
        capture: what stands for CUDA, or CUDA's own; None for steps as they are.
        device: where.
    """

    def __init__(
        self, job: Any, runs: int, capture: Any = None, device: torch.device = CPU
    ) -> None:
        torch.manual_seed(0)
        self.device = device
        config, data = job.config, Description.from_dict(job.prepared.describe())
        model = build_model(config, data).double()
        optimizers = [{**config["optimizer"], "lr": 0.01 * (i + 1)} for i in range(runs)]
        configs = [{**config, "optimizer": o, "seed": i} for i, o in enumerate(optimizers)]
        self.kernel = StackedKernel(configs, [model] * runs, data, device)
        if capture is not None:
            self.kernel.use_graphs(capture)
        self.losses: list[np.ndarray] = []
        self.norms: list[np.ndarray] = []

    def go(self, steps: range, runs: int) -> None:
        """Take steps, whose lr changes each time, and whose norm is measured at every third."""
        for step in steps:
            noise = torch.Generator().manual_seed(step)
            rows = 5 if step % 5 == 4 else 8
            x = torch.randn(1, rows, 4, generator=noise, dtype=torch.float64)
            y = torch.randint(3, (1, rows), generator=noise)
            lr = np.array([0.01 * (i + 1) / (1 + step) for i in range(runs)])
            batch = x.to(self.device), y.to(self.device)
            loss, norm = self.kernel.step(*batch, lr, step % 3 == 0)
            self.losses.append(loss.reshape(-1).cpu().numpy().copy())
            if norm is not None:
                self.norms.append(norm.reshape(-1).cpu().numpy().copy())


@pytest.fixture
def job(make_job: Any) -> Any:
    def make(*more: str) -> Any:
        # iris: 4 features, 3 classes
        return make_job("data=iris", "model=mlp", "model.hidden=[5]", *more)

    return make


def pair(job: Any, runs: int, capture: Any) -> tuple[Trained, Trained]:
    """Return runs that are replayed, and the same as they are."""
    return Trained(job, runs, capture), Trained(job, runs)


def equal(one: Trained, other: Trained) -> None:
    for name, t in one.kernel.tensors().items():
        torch.testing.assert_close(t, other.kernel.tensors()[name], rtol=1e-12, atol=1e-12)
    for ours, theirs in ((one.losses, other.losses), (one.norms, other.norms)):
        assert len(ours) == len(theirs) > 0
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("typed", CASES.values(), ids=CASES)
def test_replayed_steps_are_the_steps(typed: tuple[str, ...], job: Any) -> None:
    """To 1e-12 in float64: lr of each step, counted steps, short batches, norms, dropout."""
    made = job(*typed)
    for runs in (1, 3):
        ours, theirs = pair(made, runs, taped)
        for one in (ours, theirs):
            one.go(range(STEPS * 5), runs)
        graphs = ours.kernel.graphs
        assert graphs is not None
        assert not graphs.given_up
        assert len(graphs._graphs) == 4  # full and short batches, measured or not
        equal(ours, theirs)
        state, plain = (one.kernel.state(0)["optimizer"]["state"] for one in (ours, theirs))
        assert state.keys() == plain.keys()
        for i, own in plain.items():
            for name, value in own.items():
                torch.testing.assert_close(state[i][name], value, rtol=1e-12, atol=1e-12)


def test_steps_are_captured_anew_when_runs_have_gone(job: Any) -> None:
    ours, theirs = pair(job("optimizer=adam"), 3, taped)
    for one in (ours, theirs):
        one.go(range(STEPS), 3)
    assert ours.kernel.graphs._graphs
    for one in (ours, theirs):
        one.kernel.keep(torch.tensor([0, 2]))
    assert not ours.kernel.graphs._graphs
    for one in (ours, theirs):
        one.go(range(STEPS, 3 * STEPS), 2)
    assert ours.kernel.graphs._graphs
    equal(ours, theirs)


def test_what_cannot_be_captured_is_launched_one_by_one(job: Any, caplog: Any) -> None:
    caplog.set_level("INFO")

    def fails(body: Any) -> Any:
        body()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    ours, theirs = pair(job("optimizer=adam"), 2, fails)
    for one in (ours, theirs):
        one.go(range(STEPS), 2)
    equal(ours, theirs)
    assert caplog.text.count("graphs    none: ") == 1
    assert "stream is capturing; steps are launched one by one" in caplog.text


def test_a_graph_that_leaves_something_out_is_not_used(job: Any, caplog: Any) -> None:
    caplog.set_level("INFO")

    def forgets(body: Any) -> Any:
        return lambda: None, body()

    ours, theirs = pair(job("optimizer=adam"), 2, forgets)
    for one in (ours, theirs):
        one.go(range(STEPS), 2)
    equal(ours, theirs)
    assert "none: a replayed step was not the step itself" in caplog.text


def test_the_tape_keeps_plain_numbers_as_a_graph_does(job: Any, monkeypatch: Any) -> None:
    """What Adam computes in Python from the count of steps must be seen to be missing."""
    monkeypatch.setattr(
        "descent.engine.stacked_optim.UpdateRule.taken", property(lambda s: s.steps)
    )
    monkeypatch.setattr(graphs, "_agree", lambda one, other: True)
    ours, theirs = pair(job("optimizer=adam"), 2, taped)
    for one in (ours, theirs):
        one.go(range(STEPS), 2)
    with pytest.raises(AssertionError):
        equal(ours, theirs)


def test_a_few_steps_come_before_a_graph(job: Any) -> None:
    trained = Trained(job("optimizer=sgd"), 2, taped)
    trained.go(range(1, 2), 2)
    assert WARM_UP > 1
    assert not trained.kernel.graphs._graphs


def test_graphs_are_for_cuda() -> None:
    assert asks_for_graphs("auto", CUDA, "32-true")
    assert asks_for_graphs(True, CUDA, "64-true")
    assert not asks_for_graphs(False, CUDA, "32-true")
    assert not asks_for_graphs("auto", CPU, "32-true")
    assert not asks_for_graphs("auto", CUDA, "bf16-mixed")
    with pytest.raises(UserError, match=r"trainer\.graphs=true cannot be done: CUDA graphs need"):
        asks_for_graphs(True, CPU, "32-true")
    with pytest.raises(UserError, match=r"trainer\.precision=bf16-mixed casts tensors anew"):
        asks_for_graphs(True, CUDA, "bf16-mixed")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
@pytest.mark.parametrize("typed", CASES.values(), ids=CASES)
def test_cuda_replays_the_steps(typed: tuple[str, ...], job: Any) -> None:
    made = job(*typed)
    for runs in (1, 3):
        ours, theirs = (Trained(made, runs, capture, CUDA) for capture in (captured, None))
        for one in (ours, theirs):
            one.go(range(STEPS * 5), runs)
        assert not ours.kernel.graphs.given_up
        equal(ours, theirs)
