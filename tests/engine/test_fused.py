"""Hand-written derivatives beside autograd and torch.optim, for whatever they are written for."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from descent.data.arrays import Task
from descent.engine.fused import Fused
from descent.engine.losses import MAE, MSE, Criterion, CrossEntropy, Focal, HalfMSE, Huber, Quantile
from descent.engine.objective import Objective
from descent.engine.stacked_model import StackedModel
from descent.engine.stacked_optim import RULES
from descent.models.linear import Linear
from descent.models.mlp import ACTIVATIONS, MLP

NONE = {"penalty": {"l1": 0.0, "l2": 0.0}, "clip": {"norm": None, "value": None}}
MORE: dict[str, dict[str, Any]] = {
    "plain": {},
    "l1": {"penalty": {"l1": 0.01, "l2": 0.0}},
    "l2": {"penalty": {"l1": 0.0, "l2": 0.3}},
    "norm": {"clip": {"norm": 0.1, "value": None}},
    "value": {"clip": {"norm": None, "value": 0.01}},
    "dropout": {"dropout": 0.4},
    "decay": {"weight_decay": 0.1},
    "all": {
        "penalty": {"l1": 0.01, "l2": 0.2}, "clip": {"norm": 0.5, "value": 0.02},
        "dropout": 0.3, "weight_decay": 0.05,
    },
}  # fmt: skip
# of two runs: what both have, and where the second differs, in a stack of runs that do
# Their own 1e-8 would divide by it what rounding left of a gradient that is zero.
EPS = {"eps": 1e-3}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sgd": ("SGD", {}, {}),
    "momentum": ("SGD", {"momentum": 0.9}, {"momentum": 0.5}),
    "some momentum": ("SGD", {"momentum": 0.9}, {"momentum": 0.0}),
    "dampening": ("SGD", {"momentum": 0.9, "dampening": 0.3}, {"dampening": 0.0}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}, {"momentum": 0.5}),
    "adagrad": ("Adagrad", EPS | {"lr_decay": 0.1}, {"lr_decay": 0.0}),
    "rmsprop": ("RMSprop", EPS | {"momentum": 0.5}, {"alpha": 0.9}),
    "centered": ("RMSprop", EPS | {"centered": True}, {"alpha": 0.9}),
    "adam": ("Adam", EPS, {"betas": (0.8, 0.9)}),
    "amsgrad": ("Adam", EPS | {"amsgrad": True}, {"betas": (0.8, 0.9)}),
    "adamw": ("AdamW", EPS, {"weight_decay": 0.2}),
}
REGRESSION, BINARY, MULTICLASS = Task.REGRESSION, Task.BINARY, Task.MULTICLASS
LOSSES: dict[str, Criterion] = {
    "mse": Criterion(MSE(), REGRESSION),
    "half_mse": Criterion(HalfMSE(), REGRESSION),
    "mae": Criterion(MAE(), REGRESSION),
    "huber": Criterion(Huber(0.7), REGRESSION),
    "quantile": Criterion(Quantile(0.8), REGRESSION),
    "binary": Criterion(CrossEntropy(), BINARY),
    "binary smoothed": Criterion(CrossEntropy(0.2), BINARY),
    "multiclass": Criterion(CrossEntropy(), MULTICLASS),
    "multiclass smoothed": Criterion(CrossEntropy(0.2), MULTICLASS),
    "focal binary": Criterion(Focal(1.5), BINARY),
    "focal multiclass": Criterion(Focal(2.0), MULTICLASS),
}
LOSSES |= {
    f"{name} weighted": Criterion(one.loss, one.task, weighted=True)
    for name, one in list(LOSSES.items())
}


class ByHand:
    """One run by autograd and torch.optim, as everybody writes it; dropout's masks are given."""

    def __init__(
        self, model: nn.Module, loss: Criterion, optimizer: Any, options: Any, config: Any
    ) -> None:
        self.model, self.loss, self.config = model, loss, config
        self.optimizer = optimizer(model.parameters(), lr=1.0, **options)

    def outputs(self, x: Tensor, masks: dict[str, Tensor]) -> Tensor:
        hooks = [
            module.register_forward_hook(lambda m, inputs, _, mask=masks[name]: inputs[0] * mask)
            for name, module in self.model.named_modules() if name in masks
        ]  # fmt: skip
        made = self.model.eval()(x)
        for hook in hooks:
            hook.remove()
        return made

    def step(self, x: Tensor, y: Tensor, lr: float, masks: dict[str, Tensor]) -> tuple[float, Any]:
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad()
        loss = self.loss(self.outputs(x, masks), y)
        for w in (p for p in self.model.parameters() if p.ndim > 1):
            loss = loss + self.config["penalty"]["l1"] * w.abs().sum()
            loss = loss + self.config["penalty"]["l2"] / 2 * w.square().sum()
        loss.backward()
        flat = torch.cat([p.grad.reshape(-1) for p in self.model.parameters()])
        if self.config["clip"]["norm"] is not None:
            clip_grad_norm_(self.model.parameters(), self.config["clip"]["norm"])
        if self.config["clip"]["value"] is not None:
            clip_grad_value_(self.model.parameters(), self.config["clip"]["value"])
        self.optimizer.step()
        return loss.item(), flat.norm().item()


def targets(loss: Criterion, shape: tuple[int, ...], outputs: int, dtype: torch.dtype) -> Tensor:
    if loss.task is MULTICLASS:
        made = torch.randint(outputs, shape)
        made = made.unsqueeze(-1).to(dtype) if loss.weighted else made
    elif loss.task is BINARY:
        made = torch.randint(2, (*shape, 1)).to(dtype)
    else:
        made = torch.randn(*shape, outputs, dtype=dtype)
    return torch.cat([made, torch.rand(*shape, 1, dtype=dtype)], -1) if loss.weighted else made


def build(features: int, outputs: int, hidden: list[int] | None, own: dict) -> nn.Module:
    if hidden is None:
        return Linear(features, outputs, init="xavier", bias=own.get("bias", True))
    return MLP(features, outputs, hidden, own["activation"], own.get("dropout", 0.0))


def hold(
    loss: Criterion,
    optimizer: tuple[str, dict[str, Any], dict[str, Any]],
    more: dict[str, Any],
    activation: str = "tanh",
    runs: int = 3,
    seeds: int = 1,
    hidden: list[int] | None = None,
    features: int = 4,
    outputs: int = 3,
    rows: tuple[int, ...] = (6, 6, 6, 2),
    alike: bool = False,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
    bound: float = 1e-12,
) -> None:
    """Take the same steps both ways; losses, norms, weights and states are compared."""
    outputs = 1 if loss.task is BINARY else outputs
    name, shared, differs = optimizer
    decay = {"weight_decay": more["weight_decay"]} if "weight_decay" in more else {}
    options = [shared | decay | ({} if alike or run % 2 == 0 else differs) for run in range(runs)]
    configs = [copy.deepcopy(NONE) | {k: more[k] for k in ("penalty", "clip") if k in more}
               for _ in range(runs)]  # fmt: skip
    if not alike and runs > 1:
        configs[-1] = copy.deepcopy(NONE)
    own = {"activation": activation, "dropout": more.get("dropout", 0.0), "bias": bias}
    models = [build(features, outputs, hidden, own).to(dtype) for _ in range(runs)]
    hands = [
        ByHand(copy.deepcopy(m), loss, getattr(torch.optim, name), o, c)
        for m, o, c in zip(models, options, configs, strict=True)
    ]
    stack = StackedModel(models)
    objective = Objective(loss, stack, configs, torch.zeros((), dtype=dtype))
    fused = Fused(stack, objective, RULES[f"torch.optim.{name}"], options)
    lrs = torch.full((runs,), 0.05) if alike else torch.linspace(0.02, 0.08, runs)
    lrs = lrs.double()
    for t, size in enumerate(rows):
        x = torch.randn(seeds, size, features, dtype=dtype)
        y = targets(loss, (seeds, size), outputs, dtype)
        masks = {
            n: (torch.rand(runs, size, stack.width_before(n)) > 0.4).to(dtype) / 0.6
            for n in stack.dropouts
        }
        measure = t == 1
        lr: Any = float(lrs[0]) if alike or runs == 1 else lrs.to(dtype)
        losses, norms = fused(x, y, lr, masks, measure)
        assert (norms is not None) == measure
        for run, hand in enumerate(hands):
            seed = run // (runs // seeds)
            mine = {n: mask[run] for n, mask in masks.items()}
            theirs, norm = hand.step(x[seed], y[seed], float(lrs[run]), mine)
            assert float(losses.view(-1)[run]) == pytest.approx(theirs, rel=bound, abs=bound)
            if norms is not None:
                assert float(norms[run]) == pytest.approx(norm, rel=bound, abs=bound)
    for run, hand in enumerate(hands):
        compare(stack.state_of(run), hand.model.state_dict(), bound)
        states = hand.optimizer.state_dict()["state"]
        for i, kept in fused.rule.state(run).items():
            compare(kept, {k: states[i][k] for k in kept}, bound)


def compare(ours: dict[str, Tensor], theirs: dict[str, Tensor], bound: float) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        largest = float(value.abs().max()) + 1e-30
        assert float((ours[key] - value).abs().max()) <= bound * max(largest, 1.0), key


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_steps_as_autograd_does_with_every_activation_optimizer_and_extra(loss):
    """In float64 to 1e-12: alone, and in stacks of runs that differ in all that may differ."""
    runs = itertools.cycle((1, 2))
    for activation in ACTIVATIONS:
        for optimizer in OPTIMIZERS.values():
            for more in MORE.values():
                hold(
                    LOSSES[loss], optimizer, more, activation, next(runs), hidden=[5],
                    rows=(6, 3, 6),
                )  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_whatever_the_shapes_fused_steps_are_those_of_autograd(data: st.DataObject) -> None:
    """Drawn with all else, so that the fast tests see some of each; in float64 to 1e-12."""
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**31)))
    seeds, each = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = st.integers(1, 7)
    hold(
        LOSSES[draw(st.sampled_from(sorted(LOSSES)))],
        OPTIMIZERS[draw(st.sampled_from(sorted(OPTIMIZERS)))],
        MORE[draw(st.sampled_from(sorted(MORE)))],
        draw(st.sampled_from(sorted(ACTIVATIONS))),
        runs=seeds * each,
        seeds=seeds,
        hidden=draw(st.none() | st.lists(size, max_size=3)),
        features=draw(size),
        outputs=draw(st.integers(2, 4)),
        rows=(draw(size), draw(size), draw(size)),
        alike=draw(st.booleans()),
        bias=draw(st.booleans()),
    )


@pytest.mark.parametrize("runs", [1, 4])
def test_in_float32_a_few_steps_differ_by_rounding_only(runs: int) -> None:
    for name in ("momentum", "adam"):
        hold(
            LOSSES["multiclass"], OPTIMIZERS[name], MORE["plain"], "relu", runs, hidden=[16, 16],
            features=8, outputs=5, rows=(20, 20, 20, 7), dtype=torch.float32, bound=2e-5,
        )  # fmt: skip
