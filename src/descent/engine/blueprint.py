"""Config -> model, optimizer and schedule, without Lightning: for training, stacks and pictures."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from descent.config.check import build
from descent.config.machine import refuse_too_large
from descent.data.prepare import Description
from descent.data.tensors import DTYPES
from descent.engine.schedules import Schedule
from descent.errors import UserError, first_line
from descent.metrics import AUTO, settled_mode
from descent.seeds import INIT, stream_seed

# Of which everything is known; a user's own in the same folder is one of others.
OWN_MODELS = tuple(f"descent.models.{name}" for name in ("linear.Linear", "mlp.MLP", "point.Point"))


def build_model(config: Mapping[str, Any], description: Description) -> nn.Module:
    """Build the model from its config node, weights from the init stream.

    `in_features` and `out_features` are offered to whatever takes them by name.
    """
    torch.manual_seed(stream_seed(config["seed"], INIT))
    sizes = _sizes(description)
    _check_size(config, sizes)
    affordable = nullcontext() if has_own_model(config) else Affordable(config["model"])
    with warnings.catch_warnings(), affordable:
        if not sizes["in_features"]:  # as a line has told
            warnings.simplefilter("ignore", UserWarning)
        model = build(config["model"], "model", offer=sizes)
    if config.get("learner") is not None:
        from descent.engine.own_learner import build_own

        model = build_own(config, description, model, sizes)
    if not isinstance(model, nn.Module):
        raise UserError(f"model._target_ makes a {type(model).__name__}, not a torch.nn.Module.")
    if not any(p.requires_grad for p in model.parameters()):
        raise UserError("The model has no parameters to train.")
    # converted now and not by the trainer, which loads weights first: they would be rounded
    dtype = DTYPES.get(config["trainer"]["precision"], torch.float32)
    model = model.to(dtype)
    # first, since lazy layers learn their sizes by it
    rows = torch.zeros(2, sizes["in_features"], dtype=dtype)
    _check_outputs(model, rows, description.outputs)
    if rows._version:  # it writes into its input: the data themselves, which it must not change
        model.register_forward_pre_hook(_on_a_copy)
    if not has_own_model(config):
        parameters = sum(p.numel() for p in model.parameters())
        what = str(config["model"].get("_target_", "the model"))
        _check_copies(config, parameters, what, "give smaller sizes in model", there=1)
    _check_batch_norm(config, model, description.rows["train"])
    return model


def _on_a_copy(model: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one.clone() if isinstance(one, Tensor) else one for one in given)


LARGE = 10**7  # parameters from which it is worth asking whether there is memory for them


def _check_size(config: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """Refuse one of our models that there is no memory for, before it is allocated.

    It takes its weights, their gradient, the best epoch's copy, and what the optimizer keeps.
    """
    node = config["model"]
    if node["_target_"] != "descent.models.mlp.MLP":
        return
    widths = [sizes["in_features"], *node["hidden"], sizes["out_features"]]
    parameters = sum((a + 1) * b for a, b in pairwise(widths))
    _check_copies(config, parameters, f"model.hidden={node['hidden']}", "give smaller model.hidden")


def _check_copies(
    config: Mapping[str, Any], parameters: int, what: str, instead: str, there: int = 0
) -> None:
    """Refuse parameters whose copies there is no memory for.

    Args:
        config: of the run.
        parameters: how many.
        what: makes them.
        instead: what to do.
        there: copies that are allocated already.
    """
    if parameters < LARGE:
        return
    item = DTYPES.get(config["trainer"]["precision"], torch.float32).itemsize
    copies = 3 + _states(config)
    refuse_too_large(
        parameters * item * (copies - there),
        f"{what} makes {parameters:,} parameters, which with gradients and optimizer state "
        f"({copies} numbers each)",
        instead,
    )


FACTORIES = frozenset((torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn))


class Affordable(TorchFunctionMode):
    """Refuses a tensor that there is no memory for, before it is allocated, in code of others.

    Args:
        node: what is built inside.
    """

    def __init__(self, node: Mapping[str, Any]) -> None:
        super().__init__()
        self._what = str(node.get("_target_", "model"))

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Ask for the size of what is made first; raises UserError if it is too large."""
        kwargs = kwargs or {}
        if func in FACTORIES and "out" not in kwargs:
            made = func(*args, **{**kwargs, "device": "meta", "pin_memory": False})
            if made.numel() >= LARGE:
                refuse_too_large(
                    made.numel() * made.itemsize,
                    f"model: {self._what} makes a tensor of {list(made.shape)}, which",
                    "give smaller sizes in model",
                )
        return func(*args, **kwargs)


def _states(config: Mapping[str, Any]) -> int:
    """Return how many numbers the optimizer keeps of each parameter."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    try:
        optimizer = build_optimizer(config)([parameter])
        optimizer.step()
    except Exception:  # which `try_out` will tell
        return 2
    kept = optimizer.state[parameter].values()
    return sum(isinstance(v, Tensor) and v.shape == parameter.shape for v in kept)


def _check_batch_norm(config: Mapping[str, Any], model: nn.Module, rows: int) -> None:
    """Refuse batches of one row, of which batch normalization cannot take the variance."""
    names = [
        type(module).__name__
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
    ]
    batch = rows if config["data"]["batch_size"] == "full" else config["data"]["batch_size"]
    if not names or (batch > 1 and (rows % batch != 1 or config["data"]["drop_last"])):
        return
    which = "Every batch" if batch == 1 else "The last batch of an epoch"
    instead = "give a larger data.batch_size"
    if batch > 1:
        instead = "set data.drop_last=true, or another data.batch_size"
    raise UserError(
        f"{which} has one row ({rows:,} training rows, data.batch_size={batch}), of which the "
        f"model's {names[0]} cannot take the variance; {instead}."
    )


def has_own_model(config: Mapping[str, Any]) -> bool:
    """Return whether the model is one of those that Descent comes with."""
    return config["model"]["_target_"] in OWN_MODELS


def build_models(configs: Sequence[Mapping[str, Any]], description: Description) -> list[nn.Module]:
    """Build the models of runs that differ in numbers only; see `build_model`.

    Runs of one seed and one model config get the same object: a start, to be copied. Models that
    are not Descent's own are each built and called as a run alone does it: that may draw numbers.
    """
    makers: dict[str, Callable[[], nn.Module]] = {}
    made: dict[tuple[str, int], nn.Module] = {}
    for config in configs:
        node, seed = repr(config["model"]), config["seed"]
        if (node, seed) in made:
            continue
        if node not in makers or not has_own_model(config):
            made[node, seed] = build_model(config, description)  # checked, once
            makers[node] = build(_partial(config["model"]), "model", offer=_sizes(description))
        else:
            torch.manual_seed(stream_seed(seed, INIT))
            dtype = DTYPES.get(config["trainer"]["precision"], torch.float32)
            made[node, seed] = makers[node]().to(dtype)
    return [made[repr(config["model"]), config["seed"]] for config in configs]


def _sizes(description: Description) -> dict[str, int]:
    features = sum(len(column.features) for column in description.columns)
    return {"in_features": features, "out_features": description.outputs}


@torch.no_grad()
def _check_outputs(model: nn.Module, x: Tensor, outputs: int) -> None:
    """Refuse a model whose outputs a loss would broadcast instead of compare, or cannot take.

    Refuse one that keeps other things than tensors, too, since best weights are tensors.
    """
    made = model.eval()(x)
    model.train()
    for name, kept in model.state_dict().items():
        if not isinstance(kept, Tensor):
            raise UserError(
                f"The model's state_dict holds '{name}', a {type(kept).__name__} and no tensor, "
                "which best weights here cannot; keep it in a buffer, or leave get_extra_state out."
            )
    if not isinstance(made, Tensor):
        raise UserError(
            f"The model returns a {type(made).__name__}; return one tensor of outputs "
            f"{(len(x), outputs)} for {len(x)} rows."
        )
    shape = tuple(made.shape)
    if shape != (len(x), outputs):
        raise UserError(
            f"The model turns {len(x)} rows into outputs of shape {shape}, but the data need "
            f"{(len(x), outputs)}; out_features says how many columns."
        )


def build_optimizer(config: Mapping[str, Any]) -> Callable[..., torch.optim.Optimizer]:
    """Return what makes the optimizer from parameters."""
    made: Callable[..., torch.optim.Optimizer] = build(_partial(config["optimizer"]), "optimizer")
    return made


def build_schedule(config: Mapping[str, Any], description: Description) -> Schedule:
    """Build the schedule; `auto` becomes the run's length.

    Raises:
        UserError: the length is not known, or the metric it watches is not measured.
    """
    node = dict(config["scheduler"])
    interval, monitor = node.pop("interval", "epoch"), node.pop("monitor", None)
    mode = node.pop("mode", AUTO)
    length = planned_length(config, description, interval)
    _check_range(config, length)
    for key, value in node.items():
        if value == "auto":
            if length is None:
                raise UserError(
                    f"scheduler.{key}=auto needs to know how long the run is; "
                    f"give stop.epochs or stop.steps, or a number for scheduler.{key}."
                )
            node[key] = length
    plateau = str(node["_target_"]).endswith("ReduceLROnPlateau")
    if plateau and monitor is None:
        raise UserError("A plateau schedule watches a metric: give scheduler.monitor.")
    if plateau and interval == "step":
        raise UserError(
            "scheduler.interval=step does not suit a plateau schedule, whose metric comes once an "
            "epoch; use scheduler.interval=epoch."
        )
    if monitor is None:
        return Schedule(build(_partial(node), "scheduler"), interval)
    offer = {"mode": settled_mode(monitor, mode, "scheduler")}
    return Schedule(build(_partial(node), "scheduler", offer=offer), interval, monitor)


def _check_range(config: Mapping[str, Any], length: int | None) -> None:
    """Refuse a gamma that takes lr out of the numbers that the run computes with.

    Raises:
        UserError: lr would be infinite, or exactly 0, before the run's planned end.
    """
    node, lr = config["scheduler"], config["optimizer"].get("lr")
    kind = str(node["_target_"]).rpartition(".")[2]
    if kind not in ("ExponentialLR", "StepLR") or not isinstance(lr, (int, float)) or not length:
        return
    gamma, every = float(node.get("gamma", 0.1)), int(node.get("step_size", 1))
    precision = DTYPES.get(config["trainer"]["precision"], torch.float32)
    if lr <= 0 or gamma <= 0 or gamma == 1:
        return
    there = torch.finfo(precision)  # what is below half its smallest number, is 0
    least = math.log(there.smallest_normal) + math.log(there.eps) - math.log(2)
    edge = math.log(there.max) if gamma > 1 else least
    times = math.floor((edge - math.log(lr)) / math.log(gamma)) + 1  # to be beyond it
    if times > (length - 1) // every:
        return
    since = f"{node.get('interval', 'epoch')} {times * every + 1:,} of {length:,}"
    what = "infinite" if gamma > 1 else "exactly 0"
    raise UserError(
        f"scheduler.gamma={gamma:g} makes optimizer.lr={lr:g} {what} in {str(precision)[6:]} from "
        f"{since} on; give a gamma nearer to 1, or a shorter run."
    )


def _partial(node: Mapping[str, Any]) -> dict[str, Any]:
    return {**node, "_partial_": True}


def make_optimizer(make: Any, parameters: Iterable[nn.Parameter]) -> Any:
    """Make an optimizer.

    Raises:
        UserError: it refuses its arguments, or the parameters.
    """
    try:
        return make(parameters)
    except Exception as error:  # whoever wrote it chooses its class
        raise UserError(
            f"The optimizer refuses its arguments, or this model's parameters: {first_line(error)}."
        ) from error


def switches(optimizer: object) -> bool:
    """Return whether an optimizer must be told when its weights are used and when trained."""
    return all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))


def try_out(optimizer: Any, schedule: Schedule, model: nn.Module, steps: int = 2) -> None:
    """Make both for the model's parameters, and step copies of them: what they refuse, now.

    Args:
        optimizer: makes one from parameters.
        schedule: of its learning rate.
        model: not changed.
        steps: the first makes the state that the second one uses; 0 where steps were tried before.

    Raises:
        UserError: arguments or parameters that they refuse, or more than a gradient is asked for.
    """
    copies = [
        nn.Parameter(p.detach().clone() if steps else p.detach(), requires_grad=p.requires_grad)
        for p in model.parameters()
    ]
    made = make_optimizer(optimizer, iter(copies))
    name = type(made).__name__
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"optimizer._target_ makes a {name}, not a torch.optim.Optimizer.")
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise UserError(
            f"{name} evaluates the loss several times a step, which windows of "
            "mini-batches do not offer; choose another optimizer."
        )
    try:
        schedule.make(made)
    except (TypeError, ValueError) as error:
        raise UserError(f"The scheduler refuses its arguments: {first_line(error)}.") from error
    if any(group.get("capturable") for group in made.param_groups):
        return  # on the training device only, which these copies are not on
    try:
        with torch.random.fork_rng(devices=[]):
            _take_steps(made, copies, steps)
    except Exception as error:
        raise UserError(
            f"{name} cannot take a step with gradients of mini-batches: {first_line(error)}; "
            "check its options, or choose another optimizer."
        ) from error


def _take_steps(
    optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], steps: int
) -> None:
    if switches(optimizer):
        optimizer.train()  # type: ignore[attr-defined]
    for _ in range(steps):
        for p in parameters:
            if p.requires_grad:
                p.grad = torch.linspace(-1e-3, 1e-3, p.numel(), device=p.device).to(p).view_as(p)
        optimizer.step()


def planned_length(
    config: Mapping[str, Any], description: Description, interval: str
) -> int | None:
    """Return the run's planned length in steps or epochs, whichever `interval` names."""
    per_epoch = description.steps_per_epoch(config["data"])
    epochs, steps = config["stop"]["epochs"], config["stop"]["steps"]
    limits = [n for n in (steps, epochs and epochs * per_epoch) if n is not None]
    if not limits:
        return None
    return min(limits) if interval == "step" else -(-min(limits) // per_epoch)
