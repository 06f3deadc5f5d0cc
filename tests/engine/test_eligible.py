"""Which runs stack, held against every option that conf/ has."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from torch import nn

import descent.cli  # noqa: F401 - registers the resolvers
from descent.config.check import flatten, plain
from descent.engine.grouping import in_turn, shape, why_alone

CONF = Path(__file__).parents[2] / "conf"
POINT = ("landscape=rosenbrock", "data=landscape", "model=point")
EARLY = "callbacks=early_stopping"
EVERY = "trainer.check_val_every_n_epoch"


@cache
def resolved(*typed: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", overrides=list(typed)))


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a config in which one leaf is another."""
    made = copy.deepcopy(config)
    *parents, last = key.split(".")
    node = made
    for parent in parents:
        node = node[parent]
    node[last] = value
    return made


def another(value: Any) -> Any:
    """Return a value that is not this one."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case list():
            return [*value, 1]
    return {"_target_": "another"}


# ---- alone, and why


@pytest.mark.parametrize("optimizer", choices("optimizer"))
def test_every_optimizer_of_ours_stacks(optimizer: str) -> None:
    assert why_alone(resolved(f"optimizer={optimizer}")) is None


@pytest.mark.parametrize("scheduler", choices("scheduler"))
def test_every_schedule_of_ours_stacks(scheduler: str) -> None:
    config = resolved(f"scheduler={scheduler}")
    assert why_alone(config) is None
    assert why_alone(config | {"callbacks": resolved(EARLY)["callbacks"]}) is None


@pytest.mark.parametrize(
    "typed",
    [
        (),
        ("model=linear", "data=diabetes"),
        POINT,
        ("trainer=float64",),
        ("trainer=cpu",),
        ("trainer=gpu",),
        (f"{EVERY}=5", "scheduler=cosine"),
        ("callbacks=default", "callbacks.checkpoint=null", "callbacks.path=null", "logger=none"),
        ("logger.tensorboard=null",),
        (EARLY, "callbacks.early_stopping.patience=2", "callbacks.early_stopping.mode=max"),
        ("optimizer=adam", "+optimizer.amsgrad=true"),
        ("optimizer=sgd", "+optimizer.foreach=false", "+optimizer.maximize=false"),
        ("debug=overfit",),
        ("debug=anomaly",),
        ("debug=profiler",),
        ("+trainer.max_time=1",),
        ("logger=csv",),
        ("trainer.precision=bf16-mixed",),
        ("diagnostics=all",),
        ("callbacks.recorder=null", "~callbacks.divergence"),
        (EARLY, f"{EVERY}=2", "scheduler=plateau"),
        ("optimizer._target_=torch.optim.NAdam",),
        ("penalty.l1=0.1", "clip.norm=1", "clip.value=1", "data.drop_last=true"),
    ],
)
def test_ordinary_runs_stack(typed: tuple[str, ...]) -> None:
    assert why_alone(resolved(*typed)) is None


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["trainer=ddp"], "trainer.devices=2 is for one run"),
        (["experiment=momentum_listing"], "callbacks.listing prints one run"),
        (["+callbacks.mine._target_=mine.Own"], "callbacks.mine works on one run"),
        (
            ["+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping",
             "+callbacks.stop.monitor=val/loss", "+callbacks.stop.stopping_threshold=1"],
            "callbacks.stop works on one run",
        ),
    ],
)  # fmt: skip
def test_what_trains_alone_says_why(typed: list[str], why: str) -> None:
    assert why_alone(resolved(*typed)) == why


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("devices", 2), ("devices", [0]), ("accelerator", "mps"), ("strategy", "ddp")),
        *(("precision", kind) for kind in ("16-mixed", "16-true")),
        *(("limit_val_batches", 1), ("limit_val_batches", 0.5), ("limit_val_batches", 2)),
    ],
)
def test_what_is_for_one_run_trains_alone(key: str, value: Any) -> None:
    why = why_alone(changed(resolved(), f"trainer.{key}", value))
    assert why == f"trainer.{key}={value} is for one run"


@pytest.mark.parametrize(
    ("optimizer", "why"),
    [
        (["optimizer=sgd"], None),
        (["optimizer._target_=torch.optim.NAdam"], "torch.optim.NAdam has no rule for stacks"),
        (["+optimizer.maximize=true"], "optimizer.maximize is not known to stacks"),
        (["+optimizer.foo=1"], "optimizer.foo is not known to stacks"),
    ],
)
def test_what_takes_its_steps_in_turn_says_why(optimizer: list[str], why: str | None) -> None:
    assert in_turn(resolved(*optimizer), nn.Linear(1, 1)) == why


# ---- shapes

# Where runs of a stack may differ; sections with all below them end in a dot.
MAY_DIFFER = (
    *("seed", "name", "optimized_metric", "optimized_mode", "picture", "sweep_dir", "after"),
    *("resume", "trust"),
    *("scheduler.", "penalty.", "clip.", "landscape.", "tuned.", "paths.", "lesson."),
    *("model.init", "model.start", "stop.loss", "callbacks.full_loss.target", "optimizer.lr"),
)
CONFIGS = {
    "mlp": (EARLY,),
    "point": (*POINT, "callbacks=early_stopping", "scheduler=plateau"),
    "recipe": ("model=linear", "data=table", "data.path=a.csv", "data.target=y", "+tuned.a=1"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_runs_share_a_shape_exactly_where_only_free_numbers_differ(name: str) -> None:
    config = resolved(*CONFIGS[name], "optimizer=sgd", "~optimizer.weight_decay")
    for key, value in flatten(config):
        free = key.startswith(tuple(k for k in MAY_DIFFER if k.endswith("."))) or key in MAY_DIFFER
        if key != "optimizer._target_":
            same = shape(changed(config, key, another(value))) == shape(config)
            assert same == free, key


@pytest.mark.parametrize("optimizer", choices("optimizer"))
def test_numbers_of_an_optimizer_are_free_and_its_switches_are_not(optimizer: str) -> None:
    config = resolved(f"optimizer={optimizer}")
    for key, value in flatten({"optimizer": config["optimizer"]}):
        if key.endswith("_"):
            continue
        same = shape(changed(config, key, another(value))) == shape(config)
        assert same == (not isinstance(value, bool)), key


def test_every_pair_of_optimizers_that_torch_tells_apart_has_two_shapes() -> None:
    shapes: dict[str, set[tuple[str, bool]]] = {}
    for optimizer in choices("optimizer"):
        node = resolved(f"optimizer={optimizer}")["optimizer"]
        kind = (node["_target_"], node.get("nesterov", False))
        shapes.setdefault(shape(resolved(f"optimizer={optimizer}")), set()).add(kind)
    assert max(map(len, shapes.values())) == 1
    assert len(shapes) == len(set().union(*shapes.values()))


def test_whole_schedules_are_free() -> None:
    shapes = {shape(resolved(f"scheduler={name}")) for name in choices("scheduler")}
    assert len(shapes) == 1


@pytest.mark.parametrize("key", ["new", "data.new", "callbacks.new", "trainer.new", "model.new"])
def test_what_only_one_run_has_tells_them_apart(key: str) -> None:
    config = resolved()
    one, other = changed(config, key, {"a": 1}), changed(config, key, {"a": 2})
    assert len({shape(config), shape(one), shape(other)}) == 3


def test_the_order_of_options_does_not_matter() -> None:
    config = resolved()
    backwards = {k: dict(reversed(v.items())) if isinstance(v, dict) else v
                 for k, v in reversed(config.items())}  # fmt: skip
    assert list(backwards) != list(config)
    assert shape(backwards) == shape(config)
