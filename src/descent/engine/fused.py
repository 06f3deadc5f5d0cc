"""Linear models and MLPs without autograd: forward, backward and update as one explicit program.

A step of R runs is a row of products over [R, ...] into buffers that every step uses again. Units
lie before rows (activations are [R, H, B]), so that weight gradients come out as the weights lie.
A single run drops the R, and its parameters lie one after another in one row, so that an update is
one operation for all of them.

Gradients are made only where somebody asks for them: clipping, a norm, or a rule that needs them.
Momentum is folded into the product that makes a gradient, buffer <- mu * buffer + delta h^T, and
plain gradient descent into W <- W - lr * delta h^T. Both are autograd's steps but for rounding: in
float64 they agree to 1e-12 of a tensor's largest value, in float32 to 2e-5, over a few steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from descent.data.arrays import Task
from descent.engine.losses import MAE, MSE, CrossEntropy, Focal, HalfMSE, Huber, Quantile, RowLoss
from descent.engine.objective import Objective
from descent.engine.stacked_model import StackedModel
from descent.engine.stacked_optim import Number, Options, UpdateRule, add_times, beside
from descent.shapes import Float

backward = torch.ops.aten  # torch's own derivatives of activations


@dataclass(frozen=True)
class Activation:
    """An activation and its derivative.

    Args:
        forward: (z, out) -> out is the activation of z; both are one tensor where `by_output`.
        derive: (delta, kept) -> delta times the derivative, in place.
        by_output: whether the derivative is told from the output, which then takes the input's
            place; else `kept` is the input.
    """

    forward: Callable[[Tensor, Tensor], object]
    derive: Callable[[Tensor, Tensor], object]
    by_output: bool = True


def activation_of(layer: nn.Module) -> Activation:
    """Return the derivative that goes with a layer of `models.mlp.ACTIVATIONS`."""
    if isinstance(layer, nn.ReLU):
        return Activation(
            lambda z, _: z.relu_(),
            lambda d, h: backward.threshold_backward.grad_input(d, h, 0, grad_input=d),
        )
    if isinstance(layer, nn.Tanh):
        return Activation(
            lambda z, _: z.tanh_(),
            lambda d, h: backward.tanh_backward.grad_input(d, h, grad_input=d),
        )
    if isinstance(layer, nn.Sigmoid):
        return Activation(
            lambda z, _: z.sigmoid_(),
            lambda d, h: backward.sigmoid_backward.grad_input(d, h, grad_input=d),
        )
    if isinstance(layer, nn.LeakyReLU):
        slope = layer.negative_slope
        return Activation(
            lambda z, _: functional.leaky_relu_(z, slope),
            lambda d, h: backward.leaky_relu_backward.grad_input(d, h, slope, True, grad_input=d),
        )
    if isinstance(layer, nn.ELU):
        alpha = layer.alpha
        return Activation(
            lambda z, _: functional.elu_(z, alpha),
            lambda d, h: backward.elu_backward.grad_input(d, alpha, 1, 1, True, h, grad_input=d),
        )
    if isinstance(layer, nn.SiLU):
        return Activation(
            lambda z, out: torch.mul(z, torch.sigmoid(z, out=out), out=out),
            lambda d, z: backward.silu_backward.grad_input(d, z, grad_input=d),
            by_output=False,
        )
    assert isinstance(layer, nn.GELU)
    form = layer.approximate
    return Activation(
        lambda z, out: backward.gelu.out(z, approximate=form, out=out),
        lambda d, z: backward.gelu_backward.grad_input(d, z, approximate=form, grad_input=d),
        by_output=False,
    )


# ---- losses: (loss, z [.., C, B], wanted) -> values; in the place of z come their derivatives by
# it, but for a factor that is returned with the values


def _squared(loss: RowLoss, z: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    return z.sub_(wanted).square(), 2.0


def _half_squared(loss: RowLoss, z: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    return z.sub_(wanted).square().mul_(0.5), 1.0


def _absolute(loss: RowLoss, z: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    values = z.sub_(wanted).abs()
    z.sign_()
    return values, 1.0


def _huber(loss: Huber, z: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    error = z.sub_(wanted)
    values = functional.huber_loss(error, error.new_zeros(()).expand_as(error), reduction="none",
                                   delta=loss.delta)  # fmt: skip
    error.clamp_(-loss.delta, loss.delta)
    return values, 1.0


def _pinball(loss: Quantile, z: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    error = z.sub_(wanted)
    values = torch.maximum((1 - loss.quantile) * error, -loss.quantile * error)
    # 1 - q above the target, -q below it, and halfway on it
    error.sign_().mul_(0.5).add_(0.5 - loss.quantile)
    return values, 1.0


def _cross_entropy(loss: CrossEntropy, z: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    if wanted.is_floating_point():
        smooth = loss.smooth(wanted).expand(z.shape)
        values = functional.binary_cross_entropy_with_logits(z, smooth, reduction="none")
        z.sigmoid_().sub_(smooth)
        return values, 1.0
    share, chosen = loss.label_smoothing, wanted.expand(*z.shape[:-2], 1, z.shape[-1])
    logs = torch.log_softmax(z, -2)
    values = -logs.gather(-2, chosen)
    if share:
        values = values.mul_(1 - share).sub_(logs.mean(-2, keepdim=True), alpha=share)
    # softmax less the target: one where the class is the right one, or as smoothing spreads it
    torch.exp(logs, out=z).scatter_add_(-2, chosen, z.new_full((), share - 1).expand(chosen.shape))
    if share:
        z.sub_(share / z.shape[-2])
    return values, 1.0


def _focal(loss: Focal, z: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    cross, factor = _cross_entropy(CrossEntropy(), z, wanted)
    missed = -torch.expm1(-cross)  # 1 - p
    tiny = torch.finfo(missed.dtype).tiny
    kept = missed.clamp(min=tiny)
    slope = kept.pow(loss.gamma - 1) * (1 - missed) * cross * loss.gamma
    slope = torch.where(missed < tiny, 0.0, slope) + kept.pow(loss.gamma)
    z.mul_(slope)
    return kept.pow(loss.gamma) * cross, factor


DERIVATIVES: dict[type[RowLoss], Callable[[Any, Tensor, Tensor], tuple[Tensor, float]]] = {
    MSE: _squared, HalfMSE: _half_squared, MAE: _absolute, Huber: _huber, Quantile: _pinball,
    CrossEntropy: _cross_entropy, Focal: _focal,
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A linear layer, what follows it, and the names of its parameters."""

    weight: str
    bias: str | None
    units: int
    activation: Activation | None = None
    dropout: str | None = None


def blocks_of(layers: Sequence[tuple[str, nn.Module]]) -> list[Block]:
    """Return the blocks of a row of named layers."""
    made: list[Block] = []
    for name, layer in layers:
        if isinstance(layer, nn.Linear):
            bias = f"{name}.bias" if layer.bias is not None else None
            made.append(Block(f"{name}.weight", bias, layer.out_features))
            continue
        last = made.pop()
        if isinstance(layer, nn.Dropout):
            made.append(replace(last, dropout=name if layer.p else None))
        else:
            made.append(replace(last, activation=activation_of(layer)))
    return made


GRADIENT, MOMENTUM, WEIGHTS = "gradient", "momentum", "weights"  # what products are added to
Product = Callable[..., Tensor]


@dataclass
class Pass:
    """A block's tensors for batches of one size: views of parameters, and buffers.

    The first block may see batches that some runs share: its products then take [S, R/S * H, ...]
    where the others take [R, H, ...], or [R * H, ...] where all runs share one. A single run has
    no R.

    Args:
        block: its own.
        w, b, z: weights [.., H, F], biases [.., H, 1] and output [.., H, B], as products take them.
        kept: what the activation's derivative is told from, [R, H, B].
        after: the activation's output, [R, H, B].
        seen: what the next block sees, [R, H, B]: `after`, some of it dropped.
        delta: the derivative of the loss by z, [R, H, B]; the last block's takes the place of z.
        delta_in, delta_rows: the same as products with w take it, and as [R * H, B].
        ones: [B].
        to: what products are added to: (as w, [R * H]) each.
    """

    block: Block
    w: Tensor
    b: Tensor | None
    z: Tensor
    kept: Tensor
    after: Tensor
    seen: Tensor
    delta: Tensor
    delta_in: Tensor
    delta_rows: Tensor
    ones: Tensor
    to: dict[str, tuple[Tensor, Tensor | None]]
    w_back: Tensor  # [R, F, H]
    multiply: Product
    multiply_add: Product


class Fused:
    """The steps of R runs of one linear model or MLP.

    Args:
        stack: the models; a single one's parameters are laid one after another.
        objective: what is minimized.
        rule: of the optimizer.
        options: of each run's optimizer.
    """

    def __init__(
        self,
        stack: StackedModel,
        objective: Objective,
        rule: type[UpdateRule],
        options: Sequence[Options],
    ) -> None:
        assert stack.layers is not None
        self._stack, self._objective = stack, objective
        self._blocks = blocks_of(stack.layers)
        if stack.runs == 1:
            row = stack.lay_in_a_row()
            shapes = [p.shape[1:] for p in stack.parameters.values()]
            self.rule = rule([row], options, shapes)
        else:
            for p in stack.parameters.values():
                p.requires_grad_(False)
            self.rule = rule(list(stack.parameters.values()), options)
        self._begin()

    def _begin(self) -> None:
        """Take the parameters as they lie now."""
        self._single = self._stack.runs == 1
        self._passes: dict[tuple[int, int], list[Pass]] = {}
        self._gradients = [torch.empty_like(p) for p in self.rule.parameters]
        tensors = {GRADIENT: self._gradients, WEIGHTS: self.rule.parameters}
        self._folds = self.rule.folds
        if self._folds and self.rule.has("momentum"):
            tensors[MOMENTUM] = self.rule.buffers()
        self._to = {made: self._views(each) for made, each in tensors.items()}

    def keep(self, runs: Tensor) -> None:
        """Go on with some of the runs only, of which the stack has let go already."""
        self.rule.keep(list(self._stack.parameters.values()), runs)
        self._begin()

    def _views(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return parts of tensors that lie as the rule's parameters do, [R, ...] by name."""
        parts = self.rule.pieces(tensors, 0) if self._single else tensors
        return dict(zip(self._stack.parameters, parts, strict=True))

    # ---- a step

    def __call__(
        self,
        x: Float[Tensor, "S B F"],
        y: Tensor,
        lr: Number,
        masks: Mapping[str, Float[Tensor, "R B H"]],
        measure: bool,
    ) -> tuple[Float[Tensor, "*R"], Float[Tensor, " R"] | None]:
        """Take a step.

        Args:
            x, y: a batch for each of S equally many neighbouring runs.
            lr: of each run, [R], or of all.
            masks: what each dropout layer multiplies by.
            measure: whether to return the norms of the gradients.

        Returns:
            The losses before the step, and the norms; R is left out of a single run's losses.
        """
        size = (x.shape[0], x.shape[1])
        passes = self._passes.get(size) or self._prepare(*size)
        rows = x[0] if passes[0].w.ndim == 2 else x
        self._forward(passes, rows.mT, masks)
        loss, scale = self._loss(passes[-1], y)
        if self._objective.penalizes:
            penalty = self._objective.penalty()
            loss = loss + (penalty[0] if self._single else penalty)
        made = self._made(measure)
        self._backward(passes, rows, masks, made, lr, scale)
        if made == GRADIENT:
            gradients, norm = self._objective.clipped(self._gradients, measure)
            self.rule.step(gradients, lr)
            return loss, norm
        if made == MOMENTUM:
            for p, buffer in zip(self.rule.parameters, self.rule.buffers(), strict=True):
                add_times(p, buffer, beside(-lr, p))
        self.rule.count()
        return loss, None

    def _made(self, measure: bool) -> str:
        """Return what products are added to in this step."""
        if measure or self._objective.clips or not self._folds:
            return GRADIENT
        return MOMENTUM if MOMENTUM in self._to else WEIGHTS

    def _forward(self, passes: Sequence[Pass], h: Tensor, masks: Mapping[str, Tensor]) -> None:
        for one in passes:
            if one.b is None:
                one.multiply(one.w, h, out=one.z)
            else:
                one.multiply_add(one.b, one.w, h, out=one.z)
            if one.block.activation is not None:
                one.block.activation.forward(one.kept, one.after)
            if one.block.dropout is not None:
                torch.mul(one.after, self._mask(masks, one.block.dropout), out=one.seen)
            h = one.seen

    def _mask(self, masks: Mapping[str, Tensor], name: str) -> Tensor:
        return masks[name][0].mT if self._single else masks[name].mT

    def _loss(self, last: Pass, y: Tensor) -> tuple[Float[Tensor, "*R"], float]:
        """Return the losses; leave in `delta` what their derivatives are, but for a factor.

        Returns:
            The losses, and the factor.
        """
        criterion, z, groups = self._objective.criterion, last.kept, len(y)
        if self._single:
            y = y[0]
        elif 1 < groups < len(z):
            z, y = z.view(groups, -1, *z.shape[1:]), y.unsqueeze(1)
        wanted = criterion.targets(y)
        by_class = criterion.task is Task.MULTICLASS
        wanted = wanted.unsqueeze(-2) if by_class else wanted.mT
        values, factor = DERIVATIVES[type(criterion.loss)](criterion.loss, z, wanted)
        scale = factor / (values.shape[-2] * values.shape[-1])
        if criterion.weighted:
            weights = y[..., -1:].mT
            values = values * weights
            z.mul_(weights)
        mean = values.mean((-2, -1))
        return (mean if self._single else mean.view(-1)), scale

    def _backward(
        self, passes: Sequence[Pass], x: Tensor, masks: Mapping[str, Tensor], made: str,
        lr: Number, scale: float,
    ) -> None:  # fmt: skip
        """Go back through the blocks, and add each one's products to what is made."""
        if made == WEIGHTS:  # the lr of each run comes in with delta, one for all with the factor
            scale = -scale if isinstance(lr, Tensor) else -scale * lr
            if isinstance(lr, Tensor):
                passes[-1].delta.mul_(beside(lr, passes[-1].delta))
        multiply = torch.mm if self._single else torch.bmm
        for i in range(len(passes) - 1, -1, -1):
            one, below = passes[i], passes[i - 1]
            if i:
                multiply(one.w_back, one.delta, out=below.delta)
                if below.block.dropout is not None:
                    below.delta.mul_(self._mask(masks, below.block.dropout))
                if below.block.activation is not None:
                    below.block.activation.derive(below.delta, below.kept)
            self._add(one, below.seen.mT if i else x, made, lr, scale)

    def _add(self, one: Pass, seen: Tensor, made: str, lr: Number, scale: float) -> None:
        """Add a block's products, and what else is in its gradient."""
        to_w, to_b = one.to[made]
        beta = 0.0 if made == GRADIENT else 1.0
        if made == WEIGHTS:
            self._add_terms(one.block, made, -lr)
        elif made == MOMENTUM:
            beta = self._fade(one.block)
        one.multiply_add(to_w, one.delta_in, seen, beta=beta, alpha=scale, out=to_w)
        if to_b is not None:
            torch.addmv(to_b, one.delta_rows, one.ones, beta=beta, alpha=scale, out=to_b)
        if made != WEIGHTS:
            self._add_terms(one.block, made, 1.0)

    def _fade(self, block: Block) -> float:
        """Return what is left of a block's momentum; where runs differ in it, it fades here."""
        momentum = self.rule.numbers_of("momentum")
        if not isinstance(momentum, Tensor):
            return momentum
        for name in (block.weight, block.bias):
            if name is not None:
                buffer = self._to[MOMENTUM][name]
                buffer.mul_(beside(momentum, buffer))
        return 1.0

    def _add_terms(self, block: Block, made: str, factor: Number) -> None:
        """Add the gradients of penalties and, where no rule does it, of weight decay."""
        decays, penalizes = (
            made != GRADIENT and self.rule.has("weight_decay"),
            self._objective.penalizes,
        )
        if not (decays or penalizes):
            return
        to, weights = self._to[made], self._to[WEIGHTS]
        w = weights[block.weight]
        decay = self.rule.numbers_of("weight_decay") if decays else 0.0
        l1, l2 = self._objective.numbers if penalizes else (0.0, 0.0)
        signs = w.sign() if penalizes else w
        add_times(to[block.weight], w, beside(factor * (decay + l2), w))
        if penalizes:
            add_times(to[block.weight], signs, beside(factor * l1, w))
        if decays and block.bias is not None:
            b = weights[block.bias]
            add_times(to[block.bias], b, beside(factor * decay, b))

    # ---- buffers

    def _prepare(self, groups: int, rows: int) -> list[Pass]:
        """Make the buffers for batches of so many rows, of which there are so many."""
        ones = torch.ones(rows).to(self._gradients[0])
        made = [self._pass(i, groups, rows, ones) for i in range(len(self._blocks))]
        self._passes[groups, rows] = made
        return made

    def _pass(self, i: int, groups: int, rows: int, ones: Tensor) -> Pass:
        block, runs, last = self._blocks[i], self._stack.runs, i == len(self._blocks) - 1
        lead = () if self._single else (runs,)
        together: tuple[int, ...] = (*lead, block.units)
        if i == 0 and groups < runs:
            together = (
                (groups, runs // groups * block.units) if groups > 1 else (runs * block.units,)
            )

        def taken(t: Tensor) -> Tensor:
            return t.view(*together, t.shape[-1])

        output = ones.new_empty(*lead, block.units, rows)
        told = block.activation is None or block.activation.by_output
        after = output if told else torch.empty_like(output)
        delta = output if last else torch.empty_like(output)
        w = self._to[WEIGHTS][block.weight]
        bias = None if block.bias is None else self._to[WEIGHTS][block.bias].unsqueeze(-1)
        flat = taken(w).ndim == 2
        return Pass(
            block=block, w=taken(w), b=None if bias is None else taken(bias), z=taken(output),
            kept=output, after=after,
            seen=after if block.dropout is None else torch.empty_like(output),
            delta=delta, delta_in=taken(delta), delta_rows=delta.view(-1, rows), ones=ones,
            to={
                made: (taken(each[block.weight]),
                       None if block.bias is None else each[block.bias].view(-1))
                for made, each in self._to.items()
            },
            w_back=w.mT,
            multiply=torch.mm if flat else torch.bmm,
            multiply_add=torch.addmm if flat else torch.baddbmm,
        )  # fmt: skip
