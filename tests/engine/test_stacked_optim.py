"""Every rule beside torch.optim: the same steps, the same state, other numbers for each run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descent.engine.stacked_optim import RULES, unstackable

SHAPES = ((3, 4), (4,), ())
RUNS, STEPS = 3, 200


def some(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of a range, with zero where it begins there."""
    return st.floats(low, high, allow_nan=False)


DECAY = st.one_of(st.just(0.0), some(1e-4, 0.1))
BETA = some(0.0, 0.999)
# a second moment without memory divides by the last gradient alone, which may be next to zero:
# rounding then grows with every step, in torch's rule as in ours
BETAS = st.tuples(BETA, some(0.1, 0.999))
NUMBERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "SGD": {
        "momentum": st.one_of(st.just(0.0), some(0.01, 0.99)),
        "dampening": st.one_of(st.just(0.0), some(0.0, 1.0)),
        "weight_decay": DECAY,
    },
    "Adagrad": {
        "lr_decay": some(0.0, 0.1), "weight_decay": DECAY,
        "initial_accumulator_value": some(0.0, 1.0), "eps": some(1e-12, 1e-2),
    },
    "RMSprop": {
        "alpha": some(0.1, 0.999), "eps": some(1e-6, 1e-2), "weight_decay": DECAY,
        "momentum": st.one_of(st.just(0.0), some(0.01, 0.95)),
    },
    "Adam": {"betas": BETAS, "eps": some(1e-8, 1e-2), "weight_decay": DECAY},
    "AdamW": {"betas": BETAS, "eps": some(1e-8, 1e-2), "weight_decay": DECAY},
}  # fmt: skip
FLAGS = {"SGD": "nesterov", "RMSprop": "centered", "Adam": "amsgrad", "AdamW": "amsgrad"}


@st.composite
def stacks(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]], list[float], int]:
    """An optimizer, the options of each run, their learning rates, and a seed."""
    name = draw(st.sampled_from(sorted(NUMBERS)))
    flag = FLAGS.get(name)
    chosen = {flag: draw(st.booleans())} if flag else {}
    options = []
    for _ in range(RUNS):
        own = {key: draw(values) for key, values in NUMBERS[name].items()} | chosen
        if name == "SGD" and own["nesterov"]:  # torch asks for this
            own |= {"momentum": max(own["momentum"], 0.05), "dampening": 0.0}
        options.append(own)
    return (
        name,
        options,
        draw(st.lists(some(1e-4, 0.1), min_size=RUNS, max_size=RUNS)),
        draw(st.integers(0, 2**31)),
    )


@settings(max_examples=25, deadline=None)
@given(stacks())
def test_a_rule_is_torchs_optimizer_for_every_run(
    stack: tuple[str, list[dict[str, Any]], list[float], int],
) -> None:
    name, options, lrs, seed = stack
    torch.manual_seed(seed)
    start = [torch.randn(RUNS, *shape, dtype=torch.float64) for shape in SHAPES]
    single = [[p[r].clone().requires_grad_() for p in start] for r in range(RUNS)]
    made = [getattr(torch.optim, name)(single[r], lr=lrs[r], **options[r]) for r in range(RUNS)]
    stacked = [p.clone() for p in start]
    rule = RULES[f"torch.optim.{name}"](stacked, options)
    for t in range(STEPS):
        gradients = [torch.randn_like(p) for p in start]
        lr = torch.tensor(lrs, dtype=torch.float64) / (1 + 0.01 * t)
        for r in range(RUNS):
            made[r].param_groups[0]["lr"] = float(lr[r])
            for p, g in zip(single[r], gradients, strict=True):
                p.grad = g[r].clone()
            made[r].step()
        rule.step([g.clone() for g in gradients], lr)
    for r in range(RUNS):
        for p, q in zip(stacked, single[r], strict=True):
            torch.testing.assert_close(p[r], q.detach(), rtol=1e-10, atol=1e-12)
        theirs = made[r].state_dict()["state"]
        ours = rule.state(r)
        assert ours.keys() == {i for i, s in theirs.items() if s}
        for i, state in ours.items():
            assert state.keys() == {k for k, v in theirs[i].items() if v is not None}
            for key, value in state.items():
                torch.testing.assert_close(
                    value, theirs[i][key], rtol=1e-9, atol=1e-12, check_dtype=False
                )


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_runs_that_stay_go_on_as_if_the_others_had_never_been(name: str) -> None:
    torch.manual_seed(0)
    start = [torch.randn(RUNS, *shape, dtype=torch.float64) for shape in SHAPES]
    options = [{"weight_decay": 0.01 * r} for r in range(RUNS)]
    if name in ("SGD", "RMSprop"):
        options = [own | {"momentum": 0.5 + 0.1 * r} for r, own in enumerate(options)]
    lr = torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64)
    gradients = [[torch.randn_like(p) for p in start] for _ in range(10)]
    all_of_them = [p.clone() for p in start]
    whole = RULES[f"torch.optim.{name}"](all_of_them, options)
    some_of_them = [p.clone() for p in start]
    rule = RULES[f"torch.optim.{name}"](some_of_them, options)
    stay = torch.tensor([0, 2])
    for t, gs in enumerate(gradients):
        whole.step([g.clone() for g in gs], lr)
        if t == 5:
            some_of_them = [p[stay] for p in some_of_them]
            rule.keep(some_of_them, stay)
        rule.step([g[stay] if t >= 5 else g.clone() for g in gs], lr[stay] if t >= 5 else lr)
    for p, q in zip(some_of_them, all_of_them, strict=True):
        torch.testing.assert_close(p, q[stay], rtol=0, atol=0)


def test_what_no_rule_knows_is_named() -> None:
    assert unstackable({"_target_": "torch.optim.SGD", "lr": 0.1, "_partial_": True}) is None
    assert unstackable({"_target_": "torch.optim.SGD", "lr": 0.1, "maximize": False}) is None
    assert unstackable({"_target_": "torch.optim.NAdam", "lr": 0.1}) == (
        "torch.optim.NAdam has no rule for stacks"
    )
    assert unstackable({"_target_": "torch.optim.Adam", "maximize": True}) == (
        "optimizer.maximize is not known to stacks"
    )
