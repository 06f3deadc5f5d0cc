"""What training minimizes: the loss of some rows, as `conf/loss` chooses it, and the penalties.

A loss is written once, for any number of runs: `elements` maps outputs [..., B, C] and targets
[..., B, *] to values [..., B, K], whose mean over rows and K is the loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from descent.config.check import build
from descent.data.arrays import Task
from descent.data.prepare import Description
from descent.errors import UserError, first_line
from descent.shapes import Float, Shaped

CLASSES, NUMBERS = (Task.BINARY, Task.MULTICLASS), (Task.REGRESSION,)
USUAL = "descent.engine.losses.Usual"


@dataclass(frozen=True)
class Penalty:
    """Weights of the L1 and L2 terms in the training loss."""

    l1: float | int = 0.0
    l2: float | int = 0.0


# ---- the losses of conf/loss


class RowLoss:
    """A loss with a value for each row."""

    choice: ClassVar[str]  # in conf/loss
    tasks: ClassVar[tuple[Task, ...]] = NUMBERS
    by_row = True  # whether the value of a row is its own

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return values [..., B, K] of outputs [..., B, C] and targets [..., B, *]."""
        raise NotImplementedError

    def mean(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean of one run's batch."""
        return self.elements(outputs, wanted).mean()


class MSE(RowLoss):
    """The squared error."""

    choice = "mse"

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return (output - target)²."""
        return (outputs - wanted).square()

    def mean(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean, by torch's one kernel."""
        return functional.mse_loss(outputs, wanted)


class HalfMSE(RowLoss):
    """Half the squared error, whose gradient is the error itself."""

    choice = "half_mse"

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return (output - target)² / 2."""
        return 0.5 * (outputs - wanted).square()


class MAE(RowLoss):
    """The absolute error, whose best constant is the median."""

    choice = "mae"

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return |output - target|."""
        return (outputs - wanted).abs()


@dataclass(frozen=True)
class Huber(RowLoss):
    """Half the squared error up to an error of delta, beyond it delta (|error| - delta / 2)."""

    delta: float = 1.0
    choice = "huber"

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of each error."""
        return functional.huber_loss(outputs, wanted, reduction="none", delta=self.delta)


@dataclass(frozen=True)
class Quantile(RowLoss):
    """The pinball loss, whose best constant is a quantile of the targets.

    Source: Koenker and Bassett (1978), *Regression quantiles*.
    """

    quantile: float = 0.5
    choice = "quantile"

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return quantile * e where the error e = target - output is above 0, else (1 - q) |e|."""
        error = wanted - outputs
        return torch.maximum(self.quantile * error, (self.quantile - 1) * error)


@dataclass(frozen=True)
class CrossEntropy(RowLoss):
    """Minus the log-probability of the true class, in nats.

    Args:
        label_smoothing: share of the target that is spread evenly over all classes.
    """

    label_smoothing: float = 0.0
    choice = "cross_entropy"
    tasks = CLASSES

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return it for one logit and targets [..., B, 1], or C logits and classes [..., B]."""
        if wanted.ndim == outputs.ndim:
            return functional.binary_cross_entropy_with_logits(
                outputs, self.smooth(wanted), reduction="none"
            )
        by_class = outputs.transpose(1, 2) if outputs.ndim == 3 else outputs
        return functional.cross_entropy(
            by_class, wanted, reduction="none", label_smoothing=self.label_smoothing
        ).unsqueeze(-1)

    def mean(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean, by torch's one kernel."""
        if wanted.ndim == outputs.ndim:
            return functional.binary_cross_entropy_with_logits(outputs, self.smooth(wanted))
        return functional.cross_entropy(outputs, wanted, label_smoothing=self.label_smoothing)

    def smooth(self, wanted: Tensor) -> Tensor:
        """Return what one logit is to be, of 0 and 1."""
        if not self.label_smoothing:
            return wanted
        return wanted * (1 - self.label_smoothing) + self.label_smoothing / 2


@dataclass(frozen=True)
class Focal(RowLoss):
    """Cross-entropy times (1 - p)^gamma, p being the probability of the true class.

    Source: Lin et al. (2017), *Focal loss for dense object detection*; without its alpha, which
    `data.class_weight` is.
    """

    gamma: float = 2.0
    choice = "focal"
    tasks = CLASSES

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of each row."""
        losses = CrossEntropy().elements(outputs, wanted)
        tiny = torch.finfo(losses.dtype).tiny  # below 1 a power has no slope at 0
        return (-torch.expm1(-losses)).clamp(min=tiny).pow(self.gamma) * losses


class Height(RowLoss):
    """On a landscape the outputs are the losses."""

    tasks = (Task.LANDSCAPE,)

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        return outputs


class Usual:
    """Squared error for numbers, cross-entropy for classes."""


class Foreign(RowLoss):
    """A loss of torch's or of the user's: (outputs [B, C], targets) -> scalar, or a value each.

    Args:
        made: the callable. Targets are numbers [B, C] for regression, numbers [B, 1] for two
            classes, and classes [B] for more.
        name: its target.
        by_row: whether it has a value for each row, or else one for the batch.
    """

    def __init__(self, made: Callable[[Tensor, Tensor], Tensor], name: str, by_row: bool) -> None:
        self.made, self.name, self.by_row = made, name, by_row

    def elements(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return values; of several runs, one run after the other."""
        if outputs.ndim == 3:
            each = [self.elements(o, w) for o, w in zip(outputs, wanted, strict=True)]
            return torch.stack(each)
        values = self.made(outputs, wanted)
        if values.ndim == 0:
            return values.expand(len(outputs), 1)
        return values.reshape(len(outputs), -1)


# ---- a run's loss


class Criterion:
    """The loss of a run: of one batch, or of a batch of each of R runs.

    Args:
        loss: of rows.
        task: what is predicted.
        weighted: whether each row has a weight, the last column of its targets. Weights have mean 1
            over the rows of a split, so that the mean of w * loss over a batch stands, without
            bias, for the weighted mean over the split.
    """

    def __init__(self, loss: RowLoss, task: Task, weighted: bool = False) -> None:
        self.loss, self.task, self.weighted = loss, task, weighted

    def __call__(self, outputs: Float[Tensor, "B C"], y: Shaped[Tensor, "B ..."]) -> Tensor:
        """Return the mean loss of a batch, a scalar."""
        if not self.weighted:
            return self.loss.mean(outputs, y)
        values = self.loss.elements(outputs, self.targets(y))
        return (values * y[..., -1:]).mean()

    def each(
        self, outputs: Float[Tensor, "R B C"], y: Shaped[Tensor, "R B ..."]
    ) -> Float[Tensor, " R"]:
        """Return each run's mean loss of its batch."""
        if not self.weighted:
            return self.loss.elements(outputs, y).mean(dim=(1, 2))
        values = self.loss.elements(outputs, self.targets(y))
        return (values * y[..., -1:]).mean(dim=(1, 2))

    def targets(self, y: Shaped[Tensor, "*n"]) -> Shaped[Tensor, "*m"]:
        """Return the targets without the weights of their rows."""
        if not self.weighted:
            return y
        return y[..., 0].long() if self.task is Task.MULTICLASS else y[..., :-1]

    @property
    def is_squared_error(self) -> bool:
        """Whether it is the plain mean squared error, whose optimum is known."""
        return type(self.loss) is MSE and not self.weighted


def loss_for(task: Task, weighted: bool = False) -> Criterion:
    """Return the usual loss: squared error, cross-entropy, or the height of a landscape."""
    if task is Task.LANDSCAPE:
        return Criterion(Height(), task)
    return Criterion(MSE() if task is Task.REGRESSION else CrossEntropy(), task, weighted)


def criterion(config: Mapping[str, Any], data: Description) -> Criterion:
    """Build the loss of a run from its config.

    Args:
        config: resolved; one without a `loss` has the usual.
        data: whose task it must suit.

    Raises:
        UserError: a loss that does not suit the task, or does not take what the model gives.
    """
    node, task = config.get("loss") or {"_target_": USUAL}, data.task
    if node["_target_"] == USUAL:
        return loss_for(task, data.weighted)
    if task is Task.LANDSCAPE:
        raise UserError("On a landscape the heights are the losses; leave loss=... out.")
    made = build(node, "loss")
    loss = made if isinstance(made, RowLoss) else _foreign(made, str(node["_target_"]), data)
    if task not in loss.tasks and loss is made:
        kind = "numbers" if loss.tasks == NUMBERS else "classes"
        others = "mse, mae, huber, quantile, half_mse"
        others = "cross_entropy, focal" if task.is_classification else others
        raise UserError(
            f"loss={loss.choice} is for {kind}, but '{data.target}' holds "
            f"{'classes' if kind == 'numbers' else 'numbers'}; choose one of {others}, or usual."
        )
    if data.weighted and not loss.by_row:
        raise UserError(
            f"loss._target_={node['_target_']} has no value for each row that data.weight or "
            "data.class_weight could weigh; leave those out, or choose another loss."
        )
    return Criterion(loss, task, data.weighted)


TRIED_ROWS = 6


def _foreign(made: Any, name: str, data: Description) -> Foreign:
    """Return a loss that is not ours, known to work on outputs and targets of the task."""
    if not callable(made):
        raise UserError(f"loss._target_={name} makes a {type(made).__name__}, no loss to call.")
    if isinstance(made, nn.Module) and any(True for _ in made.parameters()):
        raise UserError(f"loss._target_={name} has parameters of its own, which nobody trains.")
    reduction = getattr(made, "reduction", None)
    if reduction == "sum":
        raise UserError("loss.reduction=sum does not fit: a loss is the mean over rows; leave it.")
    outputs, wanted = _trial(data)
    mean = _tried(Foreign(made, name, by_row=False), outputs, wanted)
    if isinstance(made, nn.Module) and reduction in ("mean", "none"):
        made.reduction = "none"  # type: ignore[assignment]
        by_row = Foreign(made, name, by_row=True)
        if torch.allclose(mean, _tried(by_row, outputs, wanted)):
            return by_row
        made.reduction = reduction  # its mean is another one than that over rows
    return Foreign(made, name, by_row=made(outputs, wanted).ndim > 0)


def _trial(data: Description) -> tuple[Tensor, Tensor]:
    """Return outputs and targets such as the model and the data will give."""
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(TRIED_ROWS, data.outputs, generator=random)
    if data.task is Task.MULTICLASS:
        return outputs, torch.arange(TRIED_ROWS) % data.outputs
    if data.task is Task.BINARY:
        return outputs, (torch.arange(TRIED_ROWS) % 2).float().unsqueeze(1)
    return outputs, torch.randn(TRIED_ROWS, data.outputs, generator=random)


def _tried(loss: Foreign, outputs: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean loss of some rows; refuse one that has none, or no slope."""
    outputs = outputs.clone().requires_grad_()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as that shapes are broadcast
            value = loss.mean(outputs, wanted)
            (slope,) = torch.autograd.grad(value, outputs)
    except Exception as error:
        raise UserError(
            f"loss._target_={loss.name} cannot be computed from outputs {list(outputs.shape)} and "
            f"targets {list(wanted.shape)} of this task: {first_line(error).rstrip('.')}."
        ) from error
    value = value.detach()
    if not bool(slope.any()) or not bool(value.isfinite()):
        raise UserError(
            f"loss._target_={loss.name} is {value.item():g} whatever the model gives for this "
            "task, so nothing could be learnt; choose another loss."
        )
    return value


# ---- penalties


def penalized(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that penalties act on: weight matrices, not biases or other vectors."""
    return [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]


def penalty(
    weights: Iterable[Float[Tensor, "*R ..."]],
    l1: float | Float[Tensor, " R"],
    l2: float | Float[Tensor, " R"],
) -> Float[Tensor, "*R"]:
    """Return l1 * sum |w| + l2 / 2 * sum w^2: of one run, or of each of R that have numbers [R]."""
    lead = l1.shape if isinstance(l1, Tensor) else ()
    total = torch.zeros_like(l1) if isinstance(l1, Tensor) else torch.zeros(())
    for w in weights:
        flat = w.reshape(*lead, -1)
        if lead or l1:
            total = total.to(w.device) + l1 * flat.abs().sum(dim=-1)
        if lead or l2:
            total = total.to(w.device) + 0.5 * l2 * flat.square().sum(dim=-1)
    return total


def objective_at(
    model: nn.Module, criterion: Criterion, penalties: Penalty, parameters: dict[str, Tensor],
    x: Float[Tensor, "n F"], y: Tensor,
) -> Float[Tensor, ""]:  # fmt: skip
    """Return a run's objective at other parameters than its model's own, as a function of them."""
    loss = criterion(functional_call(model, parameters, (x,)), y)
    if penalties != Penalty():
        weights = [p for p in parameters.values() if p.ndim > 1]
        loss = loss + penalty(weights, penalties.l1, penalties.l2)
    return loss
