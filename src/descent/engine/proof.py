"""Proof that runs of a module that is not Descent's own may be trained as one stack.

A stack keeps parameters and persistent buffers of each run, and calls one module for all of them.
Whatever else a module holds or does (plain attributes, other buffers, random numbers, counters,
hooks, global state) would be that of one run. So a stack is made only after its runs took the same
steps stacked as alone, outputs, gradients, weights and buffers compared; else each trains alone.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from descent.data.prepare import Prepared
from descent.data.tensors import split_tensors
from descent.engine.blueprint import build_model, has_own_model
from descent.engine.losses import Criterion, criterion
from descent.engine.stacked_model import StackedModel
from descent.errors import first_line

Config = Mapping[str, Any]

STEPS = 3  # a buffer may matter only from the second step on; the last batch is the short one
LR = 0.05
MOST_ROWS = 128  # of a batch, and of an evaluation
MOST_MODELS = 8  # that take steps; what they hold is compared for all
MOST_ITEMS = 100  # of a list or dict of a class or file; longer ones are tables, not state
MOST_BYTES = 2**28  # of the copies that are held at a time
# Relative to the largest value of the tensor. In float64 rounding is all that may differ; a module
# that computes in float32 only is held to its rounding over a few steps.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
ANY_TOLERANCE = 2e-2  # half precisions


class Unequal(Exception):  # noqa: N818 - what was found, not an error
    """Stacked and alone are not the same."""


def why_unproven(configs: Sequence[Config], prepared: Prepared) -> str | None:
    """Return why runs of one shape must be trained alone; None if they are the same stacked.

    The state of torch's, NumPy's and Python's random streams is left as it was.

    Raises:
        Exception: whatever the user's module raises when it is built or called by itself.
    """
    if has_own_model(configs[0]):
        return None
    data = prepared.description
    starts = list({(repr(c["model"]), c["seed"]): c for c in configs}.values())
    starts = starts if len(starts) > 1 else starts * 2
    rows = prepared.rows["train"][: MOST_ROWS * 2]
    few = replace(prepared, rows={**prepared.rows, "train": rows})
    batches = Batches(
        *split_tensors(few, "train", torch.device("cpu"), torch.float64),
        min(prepared.batch_size, MOST_ROWS),
        len(prepared.rows["train"]) % prepared.batch_size,
    )
    with _streams_kept():
        return why_unequal(
            lambda run: build_model(starts[run], data), len(starts), batches,
            criterion(configs[0], data),
        )  # fmt: skip


class Batches:
    """Real rows for a few steps of each run.

    Args:
        x, y: the first training rows.
        size: B.
        last: rows of an epoch's short last batch; 0 if all are full.
    """

    def __init__(self, x: Tensor, y: Tensor, size: int, last: int) -> None:
        self.x, self.y, self.size, self.last = x, y, size, last

    def of(self, run: int, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of a step (from 0) of a run: another for each."""
        size = min(self.last or self.size, self.size) if step == STEPS - 1 else self.size
        rows = (torch.arange(size) + 7 * run + step * self.size) % len(self.x)
        return self.x[rows], self.y[rows]


def why_unequal(
    build: Callable[[int], nn.Module], runs: int, batches: Batches, loss: Criterion
) -> str | None:
    """Return what of some models would not be the same in a stack; None if nothing is.

    Args:
        build: makes the model of a run, anew at each call: a copy of a module may lack what it has,
            such as hooks.
        runs: how many, at least two. What they hold is compared for all, steps are for some.
        batches: to take steps with.
        loss: what they minimize.
    """
    first = build(0)
    size = sum(t.nbytes for t in first.state_dict().values() if isinstance(t, Tensor))
    most = max(2, min(runs, MOST_MODELS, MOST_BYTES // max(8 * size, 1)))
    chosen = {i * (runs - 1) // (most - 1) for i in range(most)}
    kinds, held = _kinds(first), _held(first)
    alone = [first]
    try:
        for run in range(1, runs):
            model = build(run)
            if _kinds(model) != kinds:
                raise Unequal("the model has other layers from run to run")
            _compare_kept(held, _held(model), "differs from run to run")
            if run in chosen:
                alone.append(model)
        others = [build(run) for run in sorted(chosen)]
        _compare_built(alone, others)
        _compare_steps(alone, others, batches, loss)
    except Unequal as found:
        return str(found)
    return None


def _compare_built(models: Sequence[nn.Module], others: Sequence[nn.Module]) -> None:
    for model, other in zip(models, others, strict=True):
        held, again = ({**_held(m), "": _frozen(m)} for m in (model, other))
        if _kinds(model) != _kinds(other) or not all(_same(held[n], again.get(n)) for n in held):
            raise Unequal("the model is another one each time that it is built")


# ---- what a module holds beside parameters and persistent buffers


def _kinds(model: nn.Module) -> list[Any]:
    # parametrizations make a class of its own for each module
    modules = [
        (name, type(module).__module__, type(module).__qualname__)
        for name, module in model.named_modules()
    ]
    tensors = [(n, t.shape, t.dtype) for n, t in model.state_dict().items() if hasattr(t, "shape")]
    trained = [n for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad]
    return [modules, tensors, trained]


def _held(model: nn.Module) -> dict[str, Any]:
    """Return what the modules keep outside parameters and persistent buffers, by readable name."""
    usual, kept = set(vars(nn.Module())), {}
    for path, module in model.named_modules():
        where = f"model.{path}" if path else "model"
        for name in module._non_persistent_buffers_set:
            kept[f"{where}.{name}"] = _frozen(module._buffers[name])
        for name, value in vars(module).items():
            if name not in usual:
                kept[f"{where}.{name}"] = _frozen(value)
            elif name.endswith("_hooks") and value:  # what their functions hold on to
                kept[f"{where}.{name}"] = _frozen(list(value.values()))
        for kind in type(module).__mro__:
            if not kind.__module__.startswith(("torch.", "builtins")):
                for name, value in _plain(vars(kind)):
                    kept[f"{kind.__name__}.{name}"] = _frozen(value)
                for name, value in _plain(vars(sys.modules.get(kind.__module__, object))):
                    kept[f"{kind.__module__}.{name}"] = _frozen(value)
    return kept


def _plain(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    kinds = (bool, int, float, complex, str, Tensor, np.ndarray, list, dict, set)
    for name, value in list(namespace.items()):
        long = isinstance(value, (list, dict, set)) and len(value) > MOST_ITEMS
        if not name.startswith("__") and isinstance(value, kinds) and not long:
            yield name, value


def _frozen(value: Any, depth: int = 4) -> Any:
    """Return a copy that can be compared; what cannot is left to the steps that are compared."""
    if isinstance(value, Tensor):
        return ("tensor", value.detach().clone())
    if isinstance(value, np.ndarray):
        return ("array", value.copy())
    if isinstance(value, nn.Module):  # out of sight of the module that holds it
        return ("module", [_frozen(t) for t in value.state_dict().values()])
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, torch.Generator):
        return ("generator", value.get_state())
    if isinstance(value, random.Random):
        return value.getstate()
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        return value
    if depth == 0 or isinstance(value, type):
        return type(value)
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        return [type(value), _frozen([c for c in cells if not isinstance(c, nn.Module)], depth - 1)]
    if isinstance(value, Mapping):
        return [(_frozen(k, depth - 1), _frozen(v, depth - 1)) for k, v in value.items()]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, Sequence):
        return [_frozen(v, depth - 1) for v in value]
    if isinstance(value, MethodType):  # of the module itself, as a rule
        return type(value)
    if hasattr(value, "__dict__"):
        return [type(value), _frozen(vars(value), depth - 1)]
    shown = repr(value)  # a counter of itertools tells where it stands
    return type(value) if " at 0x" in shown else shown


def _filled(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and _equal(one, other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.dtype.is_floating_point or one.dtype.is_complex:
        return bool(torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True))
    return bool(torch.equal(one, other))


# ---- steps alone and stacked


def _compare_steps(
    alone: Sequence[nn.Module], others: Sequence[nn.Module], batches: Batches, loss: Criterion
) -> None:
    """Take a few steps of gradient descent both ways, evaluations in between.

    Args:
        alone: models that are called one by one.
        others: the same once more, to be stacked.
        batches: to take steps with.
        loss: what they minimize.
    """
    dtype = _widen(alone, others, batches)
    together, x = _stacked(others), batches.x[:MOST_ROWS].to(dtype)
    for step in range(STEPS):
        xs, ys = zip(*(batches.of(run, step) for run in range(len(alone))), strict=True)
        x_run = torch.stack(xs).to(dtype)
        y_run = torch.stack([y.to(dtype) if y.is_floating_point() else y for y in ys])
        _compare("evaluated", _evaluated_alone(alone, x), _evaluated_stacked(together, x))
        batch = zip(alone, x_run, y_run, strict=True)
        ours = [_step_alone(model, x, y, loss) for model, x, y in batch]
        theirs = _step_stacked(together, x_run, y_run, loss)
        for run, (one, model) in enumerate(zip(ours, alone, strict=True)):
            _compare(f"in step {step + 1}", one, {name: t[run] for name, t in theirs.items()})
            kept = {f"model.{name}": t[run] for name, t in together.tensors().items()}
            _compare(f"after step {step + 1}", _saved(model), kept)
    _compare("evaluated", _evaluated_alone(alone, x), _evaluated_stacked(together, x))


def _widen(
    alone: Sequence[nn.Module], others: Sequence[nn.Module], batches: Batches
) -> torch.dtype:
    """Convert models to float64, where they can compute in it; return what they compute in."""
    dtype = next(p.dtype for p in alone[0].parameters() if p.is_floating_point())
    models = [*alone, *others]
    try:
        for model in models:
            model.to(torch.float64)
        for model in models:
            model.eval()(batches.x[:2])
    except Exception:
        for model in models:
            model.to(dtype)
        return dtype
    return torch.float64


def _saved(model: nn.Module) -> dict[str, Tensor]:
    tensors = model.state_dict().items()
    return {f"model.{name}": t for name, t in tensors if isinstance(t, Tensor)}


def _stacked(models: Sequence[nn.Module]) -> StackedModel:
    try:
        return StackedModel(models)
    except Exception as error:
        raise Unequal(f"the model cannot be stacked ({_told(error)})") from error


def _step_alone(model: nn.Module, x: Tensor, y: Tensor, criterion: Criterion) -> dict[str, Tensor]:
    """Take one step; return the outputs, the loss and the gradients."""
    model.train()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with _watched(model, "in every step"):
        outputs = model(x)
        loss = criterion(outputs, y)
        for parameter in trained.values():
            parameter.grad = None
        loss.backward()
    gradients = {}
    for name, parameter in trained.items():
        if parameter.grad is None:
            raise Unequal(f"model.{name} takes no part in the loss")
        gradients[f"the gradient of model.{name}"] = parameter.grad.clone()
    with torch.no_grad():
        for parameter, gradient in zip(trained.values(), gradients.values(), strict=True):
            parameter.sub_(LR * gradient)
    return {"its output": outputs.detach(), "the loss": loss.detach(), **gradients}


def _step_stacked(
    model: StackedModel, x: Tensor, y: Tensor, criterion: Criterion
) -> dict[str, Tensor]:
    """Take one step of all runs as a stack does."""
    model.train(True)
    parameters = model.parameters
    try:
        outputs = model(x)
        loss = criterion.each(outputs, y)
        found = torch.autograd.grad(loss.sum(), list(parameters.values()))
    except Exception as error:
        raise Unequal(f"the model cannot run stacked ({_told(error)})") from error
    with torch.no_grad():
        for parameter, gradient in zip(parameters.values(), found, strict=True):
            parameter.sub_(LR * gradient)
    gradients = {f"the gradient of model.{n}": g for n, g in zip(parameters, found, strict=True)}
    return {"its output": outputs.detach(), "the loss": loss.detach(), **gradients}


@torch.no_grad()
def _evaluated_alone(models: Sequence[nn.Module], x: Tensor) -> dict[str, Tensor]:
    outputs = []
    for model in models:
        model.eval()
        with _watched(model, "when it is evaluated", buffers=True):
            outputs.append(model(x))
    return {"its output": torch.stack(outputs)}


@torch.no_grad()
def _evaluated_stacked(model: StackedModel, x: Tensor) -> dict[str, Tensor]:
    model.train(False)
    try:
        return {"its output": model(x.unsqueeze(0))}
    except Exception as error:
        raise Unequal(f"the model cannot run stacked ({_told(error)})") from error


def _compare(when: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    for name, one in ours.items():
        other = theirs.get(name)
        if other is None or one.shape != other.shape or not _near(one, other):
            raise Unequal(f"stacked, {name} would not be as it is alone, {when}")


def _near(one: Tensor, other: Tensor) -> bool:
    if not (one.dtype.is_floating_point or one.dtype.is_complex):
        return bool(torch.equal(one, other))
    tolerance = TOLERANCE.get(one.dtype, ANY_TOLERANCE)
    largest = float(one.abs().nan_to_num(0.0, 0.0, 0.0).max()) if one.numel() else 0.0
    return bool(
        torch.allclose(one, other, rtol=tolerance, atol=tolerance * largest, equal_nan=True)
    )


@contextmanager
def _watched(model: nn.Module, when: str, buffers: bool = False) -> Iterator[None]:
    """See that a pass draws no random numbers and leaves alone what a stack has one of.

    Args:
        model: that passes.
        when: for the sentence.
        buffers: whether its buffers must stay, too: a stack evaluates more often than a run.
    """
    held, streams = _held(model), _streams()
    before = {n: b.detach().clone() for n, b in model.named_buffers()} if buffers else {}
    yield
    if not _same(streams, _streams()):
        raise Unequal(f"the model draws random numbers {when}")
    _compare_kept(held, _held(model), f"changes {when}")
    after = dict(model.named_buffers())
    for name, buffer in before.items():
        if not _same(buffer, after[name].detach()):
            raise Unequal(f"model.{name} changes {when}")


def _compare_kept(held: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    for name in {**held, **now}:
        if not _same(held.get(name), now.get(name)):
            raise Unequal(f"{name} is no parameter or saved buffer, and {what}")


def _streams() -> list[Any]:
    state: Any = np.random.get_state()
    return [torch.get_rng_state(), random.getstate(), [np.asarray(part) for part in state]]


@contextmanager
def _streams_kept() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of code that is only being asked
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)[:90]}"
