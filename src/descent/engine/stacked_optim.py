"""Optimizers over R runs at once, each run with hyperparameters of its own.

`torch.optim` takes one number per parameter group; here every number is a tensor [R], or a plain
one where all runs share it. What a step does is torch 2.13's update, and so are the names in the
state that a checkpoint keeps.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from descent.shapes import Float, Int

Options = Mapping[str, Any]  # of one run's optimizer, by name
Number = Tensor | float  # of each run, [R] or shaped to go with a parameter, or shared by all


class UpdateRule:
    """An optimizer of R runs; subclasses say what a step does.

    Args:
        parameters: [R, ...] each, updated in place.
        options: of each run, as in its config, [R]; what is not given has torch's default.
        shapes: of a run's parameters, where they lie one after another in a single row [1, P].
    """

    torch_class: ClassVar[type[torch.optim.Optimizer]]
    numbers: ClassVar[tuple[str, ...]] = ()  # options that may differ between the runs of a stack
    flags: ClassVar[tuple[str, ...]] = ()  # options that change what is computed

    def __init__(
        self,
        parameters: Sequence[Tensor],
        options: Sequence[Options],
        shapes: Sequence[torch.Size] | None = None,
    ) -> None:
        self.parameters, self._shapes = list(parameters), shapes
        self.steps = 0
        self.clock: Tensor | None = None  # the same count, where a CUDA graph can go on with it
        defaults = _defaults(self.torch_class)
        whole = [{**defaults, **own} for own in options]
        self._flags = {name: bool(whole[0][name]) for name in self.flags}
        self._n: dict[str, Tensor] = {}  # [R] float64
        for name in self.numbers:
            values = torch.tensor([own[name] for own in whole], dtype=torch.float64)
            if values.ndim == 2:
                self._n |= {f"{name}{i + 1}": column for i, column in enumerate(values.T)}
            else:
                self._n[name] = values
        self._state: dict[str, list[Tensor]] = {}
        self._shaped: dict[tuple[str, int], Number] = {}
        self._numbers: dict[str, Number] = {}
        self._nonzero: dict[str, bool] = {}
        self._prepare()

    def _prepare(self) -> None:
        """Derive what the options give once and for all, and the first state."""

    def step(self, gradients: Sequence[Float[Tensor, "R ..."]], lr: Number) -> None:
        """Update the parameters.

        Args:
            gradients: of each parameter; may be overwritten.
            lr: of each run, [R], or of all, at this step.
        """
        self.count()
        for i, (p, g) in enumerate(zip(self.parameters, gradients, strict=True)):
            self._update(i, p, g, beside(lr, p))

    def _update(self, i: int, p: Tensor, g: Tensor, lr: Number) -> None:
        raise NotImplementedError

    def count(self) -> None:
        """Count a step."""
        self.steps += 1
        if self.clock is not None:
            self.clock.add_(1)

    @property
    def taken(self) -> Number:
        """How many steps were counted, to compute with."""
        return self.steps if self.clock is None else self.clock

    def count_on_device(self) -> None:
        """Let steps be counted in a tensor, too, so that replayed ones are."""
        self.clock = torch.full((), self.steps, dtype=torch.float64).to(self._device)

    def changing(self) -> list[Tensor]:
        """Return what a step changes."""
        clock = [] if self.clock is None else [self.clock]
        kept = [t for states in self._state.values() for t in states]
        return [*self.parameters, *kept, *clock]

    @property
    def _device(self) -> torch.device:
        return self.parameters[0].device

    @property
    def folds(self) -> bool:
        """Whether gradients may be added to `buffers`, or to the weights, as they are made."""
        return False

    def buffers(self) -> list[Tensor]:
        """Return the momentum of each parameter."""
        return [self._kept("momentum_buffer", i) for i in range(len(self.parameters))]

    def numbers_of(self, name: str) -> Number:
        """Return each run's number, [R] in float64, or the one that all share."""
        if name not in self._numbers:
            number = common(self._n[name])
            self._numbers[name] = number.to(self._device) if isinstance(number, Tensor) else number
        return self._numbers[name]

    def has(self, name: str) -> bool:
        """Return whether any run has more than 0 of it."""
        if name not in self._nonzero:
            self._nonzero[name] = bool((self._n[name] != 0).any())
        return self._nonzero[name]

    def _get(self, name: str, like: Tensor) -> Number:
        """Return a number of each run, [R, 1, ...] for a parameter, or the one they share."""
        key = (name, like.ndim)
        if key not in self._shaped:
            self._shaped[key] = beside(self.numbers_of(name), like)
        return self._shaped[key]

    def _kept(self, name: str, i: int, start: float = 0.0) -> Tensor:
        """Return the state of a parameter, made when it is first asked for."""
        if name not in self._state:
            self._state[name] = [torch.full_like(p, start) for p in self.parameters]
        return self._state[name][i]

    def _decayed(self, p: Tensor, g: Tensor) -> Tensor:
        """Return the gradient with that of the L2 penalty inside the optimizer."""
        if self.has("weight_decay"):
            return add_times(g, p, self._get("weight_decay", p))
        return g

    def keep(self, parameters: Sequence[Tensor], runs: Int[Tensor, " r"]) -> None:
        """Go on with some of the runs only.

        Args:
            parameters: those of the runs that stay.
            runs: which ones.
        """
        self.parameters = list(parameters)
        self._n = {name: values[runs.cpu()] for name, values in self._n.items()}
        self._state = {
            name: [s.index_select(0, runs) for s in states] for name, states in self._state.items()
        }
        self._shaped, self._nonzero, self._numbers = {}, {}, {}

    def state(self, run: int) -> dict[int, dict[str, Any]]:
        """Return a run's state as `torch.optim.Optimizer.state_dict` has it, on the CPU."""
        if not self.steps:
            return {}
        kept = {
            name: self.pieces(states, run)
            for name, states in self._state.items()
            if self._has(name, run)
        }
        made: dict[int, dict[str, Any]] = {}
        for i in range(len(self._shapes or self.parameters)):
            own = self._state_of(run)
            made[i] = own | {name: pieces[i].cpu().clone() for name, pieces in kept.items()}
        return {i: own for i, own in made.items() if own}

    def pieces(self, tensors: Sequence[Tensor], run: int) -> list[Tensor]:
        """Return a run's part of some tensors that lie as the parameters do, one a parameter."""
        if self._shapes is None:
            return [t[run] for t in tensors]
        parts = tensors[0][run].split([shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def load(self, run: int, state: Mapping[int, Mapping[str, Any]]) -> None:
        """Take one run's state back; steps are counted for all together."""
        for i, own in state.items():
            for name, value in own.items():
                if name != "step" and value is not None:
                    self._kept(name, 0)
                    kept = self.pieces(self._state[name], run)[int(i)]
                    kept.copy_(value)

    def _state_of(self, run: int) -> dict[str, Any]:
        # torch counts in its default type, which Lightning sets to that of the parameters
        return {"step": torch.tensor(float(self.steps), dtype=self.parameters[0].dtype)}

    def _has(self, name: str, run: int) -> bool:
        """Whether torch keeps this state for a run."""
        return name != "momentum_buffer" or bool(self._n["momentum"][run] != 0)


class SGD(UpdateRule):
    """Gradient descent with momentum, dampening, Nesterov's look-ahead and weight decay.

    Source: Sutskever et al. (2013), in the form of `torch.optim.SGD`.
    """

    torch_class = torch.optim.SGD
    numbers = ("momentum", "dampening", "weight_decay")
    flags = ("nesterov",)

    def _prepare(self) -> None:
        # torch asks for dampening only where there is momentum
        still = self._n["momentum"] == 0
        self._n["fresh"] = torch.where(still, 1.0, 1.0 - self._n["dampening"])

    @property
    def folds(self) -> bool:
        """Whether the step is linear in the gradient, and looks at it once."""
        return not self._flags["nesterov"] and not bool((self._n["fresh"] != 1.0).any())

    def _update(self, i: int, p: Tensor, g: Tensor, lr: Number) -> None:
        g = self._decayed(p, g)
        if self.has("momentum"):
            momentum = self._get("momentum", p)
            first = "momentum_buffer" not in self._state or self.steps == 1
            buffer = self._kept("momentum_buffer", i)
            if first:
                buffer.copy_(g)
            elif self.has("dampening"):
                add_times(buffer.mul_(momentum), g, self._get("fresh", p))
            else:
                buffer.mul_(momentum).add_(g)
            g = add_times(g, buffer, momentum) if self._flags["nesterov"] else buffer
        add_times(p, g, -lr)

    def _state_of(self, run: int) -> dict[str, Any]:
        return {}


class Adagrad(UpdateRule):
    """Each parameter's lr falls with the sum of its squared gradients.

    Source: Duchi et al. (2011), in the form of `torch.optim.Adagrad`.
    """

    torch_class = torch.optim.Adagrad
    numbers = ("lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def _prepare(self) -> None:
        for i, p in enumerate(self.parameters):
            self._kept("sum", i).add_(self._get("initial_accumulator_value", p))

    def _update(self, i: int, p: Tensor, g: Tensor, lr: Number) -> None:
        g = self._decayed(p, g)
        lr = lr / (1 + (self.taken - 1) * self._get("lr_decay", p))
        total = self._kept("sum", i).addcmul_(g, g)
        add_ratio(p, g, total.sqrt().add_(self._get("eps", p)), -lr)

    def _state_of(self, run: int) -> dict[str, Any]:
        # made before Lightning sets the default type, unlike the counters of the others
        return {"step": torch.tensor(float(self.steps), dtype=torch.float32)}


class RMSprop(UpdateRule):
    """Each parameter's lr is divided by a running root mean square of its gradient.

    Source: Hinton (2012), lecture 6e, and Graves (2013) for the centred form, in the form of
    `torch.optim.RMSprop`.
    """

    torch_class = torch.optim.RMSprop
    numbers = ("alpha", "eps", "weight_decay", "momentum")
    flags = ("centered",)

    def _prepare(self) -> None:
        self._n["rest"] = 1.0 - self._n["alpha"]

    def _update(self, i: int, p: Tensor, g: Tensor, lr: Number) -> None:
        g = self._decayed(p, g)
        alpha, rest = self._get("alpha", p), self._get("rest", p)
        square = add_square(self._kept("square_avg", i).mul_(alpha), g, rest)
        if self._flags["centered"]:
            mean = self._kept("grad_avg", i).lerp_(g, rest)
            root = square.addcmul(mean, mean, value=-1).sqrt_()
        else:
            root = square.sqrt()
        change = g.div_(root.add_(self._get("eps", p)))
        if self.has("momentum"):
            buffer = self._kept("momentum_buffer", i)
            change = buffer.mul_(self._get("momentum", p)).add_(change)
        add_times(p, change, -lr)


class Adam(UpdateRule):
    """Momentum over a running root mean square, both corrected for their start at zero.

    Source: Kingma and Ba (2015), in the form of `torch.optim.Adam`.
    """

    torch_class = torch.optim.Adam
    numbers = ("betas", "eps", "weight_decay")
    flags = ("amsgrad",)

    def _prepare(self) -> None:
        self._n["rest1"], self._n["rest2"] = 1.0 - self._n["betas1"], 1.0 - self._n["betas2"]

    def step(self, gradients: Sequence[Float[Tensor, "R ..."]], lr: Number) -> None:
        """Update the parameters; both corrections are those of the new step."""
        t = self.taken + 1
        like = {p.ndim: p for p in self.parameters}
        for name, beta, power in (("bias1", "betas1", 1.0), ("bias2", "betas2", 0.5)):
            # in float64: a power of 0.999 must not be rounded before it leaves 1
            made = (1.0 - self.numbers_of(beta) ** t) ** power
            for ndim, p in like.items():
                self._shaped[name, ndim] = beside(made, p)
        super().step(gradients, lr)

    def _update(self, i: int, p: Tensor, g: Tensor, lr: Number) -> None:
        g = self._with_decay(p, g, lr)
        mean = self._kept("exp_avg", i).lerp_(g, self._get("rest1", p))
        square = self._kept("exp_avg_sq", i).mul_(self._get("betas2", p))
        add_square(square, g, self._get("rest2", p))
        if self._flags["amsgrad"]:
            most = self._kept("max_exp_avg_sq", i)
            square = torch.maximum(most, square, out=most)
        root = square.sqrt().div_(self._get("bias2", p)).add_(self._get("eps", p))
        add_ratio(p, mean, root, -lr / self._get("bias1", p))

    def _with_decay(self, p: Tensor, g: Tensor, lr: Number) -> Tensor:
        return self._decayed(p, g)


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves.

    Source: Loshchilov and Hutter (2019), in the form of `torch.optim.AdamW`.
    """

    torch_class = torch.optim.AdamW  # type: ignore[assignment]

    def _with_decay(self, p: Tensor, g: Tensor, lr: Number) -> Tensor:
        p.mul_(1 - lr * self._get("weight_decay", p))
        return g


RULES = {f"torch.optim.{rule.__name__}": rule for rule in (SGD, Adagrad, RMSprop, Adam, AdamW)}


def beside(number: Number, like: Float[Tensor, "R ..."]) -> Number:
    """Return a number of each run as [R, 1, ...], to go with a parameter; one of all as it is."""
    return spread(number.to(like), like) if isinstance(number, Tensor) else number


def common(values: Float[Tensor, " R"]) -> Number:
    """Return the number that all runs share, or their numbers."""
    first = float(values[0])
    return first if bool((values == first).all()) else values


def add_times(t: Tensor, other: Tensor, number: Number) -> Tensor:
    """Return t + number * other, in place."""
    if isinstance(number, Tensor):
        return t.addcmul_(other, number)
    return t.add_(other, alpha=number)


def add_square(t: Tensor, other: Tensor, number: Number) -> Tensor:
    """Return t + number * other^2, in place."""
    if isinstance(number, Tensor):
        return t.addcmul_(other * number, other)
    return t.addcmul_(other, other, value=number)


def add_ratio(t: Tensor, top: Tensor, bottom: Tensor, number: Number) -> Tensor:
    """Return t + number * top / bottom, in place."""
    if isinstance(number, Tensor):
        return t.addcdiv_(top * number, bottom)
    return t.addcdiv_(top, bottom, value=number)


def spread(values: Float[Tensor, " R"], like: Float[Tensor, "R ..."]) -> Float[Tensor, "R ..."]:
    """Return one value a run as [R, 1, ...], to be multiplied with a parameter."""
    return values.view(-1, *[1] * (like.ndim - 1))


def unstackable(options: Options) -> str | None:
    """Return why runs with this optimizer train alone; None if they stack."""
    rule = RULES.get(str(options.get("_target_")))
    if rule is None:
        return f"{options.get('_target_')} has no rule for stacks"
    known = {"_target_", "_partial_", "lr", *rule.numbers, *rule.flags}
    odd = [name for name, value in options.items() if name not in known and value]
    return f"optimizer.{odd[0]} is not known to stacks" if odd else None


def _defaults(optimizer: type) -> dict[str, Any]:
    parameters = inspect.signature(optimizer).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
