"""Modules as users and other libraries write them: each holds or does something of its own.

Every class takes `in_features` and `out_features`. `ALONE` names, for those that no stack can hold,
words of the line that must say why; all others must be the same stacked as alone.
"""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

CALLS = {"n": 0}


class Net(nn.Module):
    """A hidden layer of six and an output, for others to change."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(in_features, 6), nn.Linear(6, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)))


class Normed(Net):
    kind: type[nn.Module] = nn.Identity

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.norm = self.kind()

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.norm(torch.tanh(self.one(x))))


# ---- attributes and buffers


class Factor(Net):
    """A plain number from an option."""

    def __init__(self, in_features: int, out_features: int, factor: float = 0.5) -> None:
        super().__init__(in_features, out_features)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor


class NestedOptions(Net):
    """Options in a dict, one of them a list."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.options = {"scale": [0.5, 2.0], "name": "x"}

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.options["scale"][1]


class DrawnNumber(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.temperature = 1 + float(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / self.temperature


class DrawnProjection(Net):
    """A random projection as a plain attribute."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.projection = torch.randn(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)) @ self.projection.to(x))


class DrawnInClosure(Net):
    """A random projection that only a function knows."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        projection = torch.randn(6, 6)
        self.project = lambda h: h @ projection.to(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.project(torch.tanh(self.one(x))))


class HiddenLayer(Net):
    """A layer in a plain list: nobody trains it, and each run has its own."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.layers = [nn.Linear(6, 6)]

    def forward(self, x: Tensor) -> Tensor:
        self.layers[0].to(x.dtype)
        with torch.no_grad():
            weight = self.layers[0].weight.detach()
        return self.two(torch.tanh(self.one(x)) @ weight)


class SavedBuffer(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("projection", torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)) @ self.projection)


class UnsavedBuffer(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("projection", torch.randn(6, 6), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)) @ self.projection)


class FixedUnsavedBuffer(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("mask", torch.ones(6, 6).triu(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)) * self.mask[0])


class CountInPlace(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(x))
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * h.detach().mean(dim=0))
        return self.two(h - self.mean)


class CountAnew(Net):
    """A buffer that is another tensor after each pass; it matters from the second step on."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(x))
        out = self.two(h - self.mean)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(dim=0)
        return out


class CountWhileEvaluated(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.calls += 1
        return super().forward(x) * (1 + 0.01 * self.calls)


class Warmup(Net):
    """A plain counter that will matter after fifty steps."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(x) * (0.5 if self.steps > 50 else 1.0)


class WarmupBuffer(Net):
    """Control flow that depends on a buffer."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return super().forward(x) * (0.5 if self.steps > 50 else 1.0)


class ClassCounter(Net):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        ClassCounter.calls += 1
        return super().forward(x) + 1e-3 * math.sin(ClassCounter.calls)


class FileCounter(Net):
    def forward(self, x: Tensor) -> Tensor:
        CALLS["n"] += 1
        return super().forward(x)


class ClassShared(Net):
    """One layer for all objects of the class."""

    shared = torch.full((6,), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)) * self.shared.to(x))


# ---- weights


class Tied(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.one, self.again = nn.Linear(in_features, in_features), nn.Linear(in_features, 1)
        self.again = nn.Linear(in_features, in_features)
        self.again.weight = self.one.weight
        self.two = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.again(torch.tanh(self.one(x)))))


class Spectral(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.one = spectral_norm(self.one)


class SpectralParametrized(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        parametrizations.spectral_norm(self.one)


class WeightNormHook(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.one = weight_norm(self.one)


class WeightNormParametrized(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        parametrizations.weight_norm(self.one)


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).T


class Parametrized(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.one = nn.Linear(in_features, in_features)
        parametrize.register_parametrization(self.one, "weight", Symmetric())
        self.two = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)))


class Frozen(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.one.requires_grad_(False)


class Unused(Net):
    """A parameter that takes no part in the loss."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.spare = nn.Linear(3, 3)


class Lazy(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.LazyLinear(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# ---- randomness


class FunctionalDropout(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.two(functional.dropout(torch.tanh(self.one(x)), 0.3, self.training))


class LayerDropout(Normed):
    kind = staticmethod(lambda: nn.Dropout(0.3))


class Noisy(Net):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(x))
        return self.two(h + 0.1 * torch.randn_like(h) if self.training else h)


class PythonNoise(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 0.1 * random.random() * self.training)


class NumpyNoise(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 0.1 * float(np.random.rand()) * self.training)


class Iterating(Net):
    """An iterator that hands out another number at each pass."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.numbers = itertools.count(1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1e-9 * next(self.numbers)


class CountInClosure(Net):
    """A counter that only a function knows, and that will matter after fifty passes."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        calls = [0]

        def factor() -> float:
            calls[0] += 1
            return 0.5 if calls[0] > 50 else 1.0

        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor()


class Unseeded(Net):
    """Weights that no seed decides."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        with torch.no_grad():
            drawn = np.random.default_rng().normal(size=self.one.weight.shape)
            self.one.weight.copy_(torch.from_numpy(drawn))


class Schedule:
    """An object of the user's own that is called, and keeps count."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> float:
        self.calls += 1
        return 1.0


class CallsObject(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.schedule = Schedule()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.schedule()


class OwnGenerator(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.numbers = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 0.1 * self.numbers.random() * self.training)


class RandomDepth(Net):
    """Layers chosen in __init__ by a draw."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        kinds = [nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.ELU]
        self.act = kinds[int(torch.randint(6, ()))]()

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.act(self.one(x)))


# ---- hooks


class ForwardHook(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.one.register_forward_hook(lambda m, given, out: out * 0.5)


class CountingHook(Net):
    """A hook that counts on the module that registered it."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.seen: list[int] = []
        self.one.register_forward_hook(lambda m, given, out: self.seen.append(len(out)))


class GradientHook(Net):
    """A hook that halves a gradient."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.one.weight.register_hook(lambda grad: grad * 0.5)


class BackwardHook(Net):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.one.register_full_backward_hook(lambda m, given, out: (given[0],))


# ---- layers


class BatchNorm(Normed):
    kind = staticmethod(lambda: nn.BatchNorm1d(6))


class BatchNormOfBatch(Normed):
    kind = staticmethod(lambda: nn.BatchNorm1d(6, track_running_stats=False))


class LayerNorm(Normed):
    kind = staticmethod(lambda: nn.LayerNorm(6))


class GroupNorm(Normed):
    kind = staticmethod(lambda: nn.GroupNorm(2, 6))


class InstanceNorm(Normed):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.norm = nn.InstanceNorm1d(2, affine=True, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(x)).reshape(len(x), 2, 3)
        return self.two(self.norm(h).reshape(len(x), 6))


class Convolution(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(1, 3, 3, padding=1), nn.Linear(3, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.conv(x.unsqueeze(1))).mean(dim=2))


class Embedded(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(5, 4), nn.Linear(4, out_features)

    def forward(self, x: Tensor) -> Tensor:
        codes = (x.clamp(-2, 2) + 2).long()
        return self.out(self.table(codes).mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.gru, self.out = nn.GRU(1, 4, batch_first=True), nn.Linear(4, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(x.unsqueeze(2))[0][:, -1])


class Attention(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.inside = nn.Linear(1, 4)
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.out = nn.Linear(4, out_features)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inside(x.unsqueeze(2))
        return self.out(self.attend(h, h, h)[0].mean(dim=1))


class Complex(Net):
    """Complex numbers within."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.fft.fft(torch.tanh(self.one(x)))
        return self.two(h.abs())


class Branch(Net):
    """Control flow that depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        return self.two(h if h.sum() > 0 else -h)


class ByMode(Net):
    """Another function while training."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.0 if self.training else 0.9)


class BySize(Net):
    """A function of how many rows there are."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 1 / len(x))


class KeepsMode(Net):
    """`train` that leaves one layer in evaluation mode."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.drop = nn.Dropout(0.5)

    def train(self, mode: bool = True) -> KeepsMode:
        super().train(mode)
        self.drop.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.drop(torch.tanh(self.one(x))))


class ScaledInput(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 1.5)


class WritesIntoItsInput(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(1.5))


class Reshaping(Net):
    """Rows pass through a shape that knows nothing of runs."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(x)).view(x.shape[0], 2, 3)
        return self.two(h.flatten(1).contiguous())


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class OwnFunction(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.two(Square.apply(self.one(x)))


DIFFERS, CHANGES, RANDOM, RUNS = "differs from run to run", "changes", "random numbers", "stacked"
ALONE: dict[type[nn.Module], str] = {
    DrawnNumber: DIFFERS, DrawnProjection: DIFFERS, DrawnInClosure: DIFFERS, HiddenLayer: DIFFERS,
    UnsavedBuffer: DIFFERS, CountAnew: RUNS, CountWhileEvaluated: CHANGES, Warmup: CHANGES,
    WarmupBuffer: RUNS, ClassCounter: DIFFERS, FileCounter: DIFFERS,
    Unused: "takes no part", FunctionalDropout: RANDOM, LayerDropout: RANDOM, Noisy: RANDOM,
    PythonNoise: RANDOM, NumpyNoise: RANDOM, OwnGenerator: CHANGES,
    Iterating: CHANGES, CountInClosure: CHANGES,
    Unseeded: "another one each time", CallsObject: CHANGES,
    RandomDepth: "other layers", CountingHook: CHANGES, GradientHook: RUNS,
    BatchNorm: "running statistics", Branch: RUNS, OwnFunction: RUNS,
}  # fmt: skip
EITHER = (Tied, Spectral, SpectralParametrized, WeightNormHook, BackwardHook, Recurrent, KeepsMode,
          InstanceNorm, Attention)  # fmt: skip
MODULES = [
    kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == __name__
    and kind not in (Net, Normed, Symmetric)
]  # fmt: skip
