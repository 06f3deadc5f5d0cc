"""R models of one shape as one: parameters [R, ...], outputs [R, B, C]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from descent.models.linear import Linear
from descent.models.mlp import ACTIVATIONS, MLP
from descent.shapes import Float, Int


class StackedModel:
    """R models whose outputs are computed together.

    Linear models and MLPs go through batched matrix products, layer by layer; any other module
    through `torch.func.vmap` over its own `forward`.

    Args:
        models: of one class and shape; their weights are copied.
        device: where to.
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device | str = "cpu") -> None:
        first = models[0]
        each = [_tensors(m) for m in models]
        columns = {n: torch.stack([own[n] for own in each]).to(device) for n in each[0]}
        trained = {n for n, p in first.named_parameters() if p.requires_grad}
        self.parameters = {n: t.requires_grad_() for n, t in columns.items() if n in trained}
        self.constants = {n: t for n, t in columns.items() if n not in trained}
        self.penalized = [n for n, t in self.parameters.items() if t.ndim > 2]
        self.names = list(first.state_dict())  # in the order of a checkpoint
        self.dropouts = [n for n, m in first.named_modules() if isinstance(m, nn.Dropout) and m.p]
        self.layers = layers_of(first)
        self.skeleton, self.in_a_row = first, False
        self._modules = dict(first.named_modules())

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and constants, [R, ...] by name."""
        return {**self.parameters, **self.constants}

    @property
    def runs(self) -> int:
        """R."""
        return len(next(iter(self.parameters.values())))

    def __call__(
        self,
        x: Float[Tensor, "S B F"],
        masks: dict[str, Float[Tensor, "R B H"]] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "R B C"]:
        """Return the outputs.

        Args:
            x: a batch for each of S equally many neighbouring runs; S = 1 for one shared by all.
            masks: what each dropout layer multiplies by, while training.
            weights: of every tensor, instead of the model's own.
        """
        own = self.tensors() if weights is None else weights
        if self.layers is not None:
            return self._through_layers(own, x, masks or {})
        return self._through_vmap(own, x)

    def _through_layers(
        self, own: Mapping[str, Tensor], x: Tensor, masks: dict[str, Tensor]
    ) -> Tensor:
        assert self.layers is not None
        # units before rows: gradients of the weights then come out as the weights lie
        h, shared = x.transpose(1, 2), True
        for name, layer in self.layers:
            if isinstance(layer, nn.Linear):
                w = own[f"{name}.weight"]
                b = own[f"{name}.bias"] if layer.bias is not None else None
                h = _shared_product(w, h, b) if shared else _product(w, h, b)
                shared = False
            elif isinstance(layer, nn.Dropout):
                h = h * masks[name].transpose(1, 2) if name in masks else h
            else:
                h = layer(h)
        return h.transpose(1, 2)

    def _through_vmap(self, own: Mapping[str, Tensor], x: Tensor) -> Tensor:
        def one(weights: dict[str, Tensor], rows: Tensor) -> Tensor:
            made: Tensor = functional_call(self.skeleton, weights, (rows,))
            return made

        if len(x) == 1:
            return vmap(one, in_dims=(0, None))(dict(own), x[0])
        return vmap(one)(dict(own), repeated(x, len(next(iter(own.values())))))

    def lay_in_a_row(self) -> Float[Tensor, "1 P"]:
        """Lay the parameters of a single run one after another; return that row.

        The skeleton is then the run's own model: its parameters are views of the row as well.
        """
        shapes = {name: p.shape for name, p in self.parameters.items()}
        row = torch.cat([p.detach().reshape(1, -1) for p in self.parameters.values()], dim=1)
        parts = row.split([shape.numel() for shape in shapes.values()], dim=1)
        self.parameters = {
            name: part.view(shape)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }
        for name, parameter in self.skeleton.named_parameters():
            parameter.data = self.parameters[name][0]
        self.in_a_row = True
        return row

    def train(self, mode: bool) -> None:
        """Tell modules that behave differently in training."""
        self.skeleton.train(mode)

    def keep(self, runs: Int[Tensor, " r"]) -> None:
        """Go on with some of the runs only."""
        with torch.no_grad():
            for tensors in (self.parameters, self.constants):
                for name, t in tensors.items():
                    tensors[name] = t.index_select(0, runs).requires_grad_(t.requires_grad)

    def state_of(self, run: int) -> dict[str, Tensor]:
        """Return one run's weights as its model's `state_dict` has them, copied."""
        both = self.tensors()
        return {name: both[name][run].detach().cpu().clone() for name in self.names}

    def load(self, run: int, state: Mapping[str, Tensor]) -> None:
        """Take one run's weights back."""
        with torch.no_grad():
            for name, t in self.tensors().items():
                t[run] = state[name].to(t)

    def dropout_of(self, name: str) -> float:
        """Return the share that a dropout layer drops."""
        return float(self._modules[name].p)

    def width_before(self, name: str) -> int:
        """Return how many units a dropout layer of an MLP sees."""
        assert self.layers is not None
        width = 0
        for known, layer in self.layers:
            if known == name:
                return width
            width = layer.out_features if isinstance(layer, nn.Linear) else width
        raise KeyError(name)


def unstackable(model: nn.Module) -> str | None:
    """Return why runs of this model train alone; None if they stack."""
    if layers_of(model) is not None:
        return None
    random = (nn.modules.dropout._DropoutNd, nn.RReLU)
    for name, module in model.named_modules():
        if isinstance(module, random):
            return f"model.{name} draws random numbers in every step"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            return f"model.{name} keeps running statistics"
    return None


def repeated(x: Float[Tensor, "S ..."], runs: int) -> Float[Tensor, "R ..."]:
    """Return what S equally many neighbouring runs share, once for each run."""
    if len(x) == runs:
        return x
    if len(x) == 1:
        return x.expand(runs, *x.shape[1:])
    return x.repeat_interleave(runs // len(x), dim=0)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach() for name, t in model.state_dict(keep_vars=True).items()}


def layers_of(model: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """Return the layers of a model known to be nothing but a row of them, with their names."""
    if type(model) is Linear:
        return [("layer", model.layer)]
    if type(model) is not MLP:
        return None
    known = (nn.Linear, nn.Dropout, *ACTIVATIONS.values())
    layers = [(f"layers.{name}", layer) for name, layer in model.layers.named_children()]
    return layers if all(type(layer) in known for _, layer in layers) else None


def _shared_product(
    w: Float[Tensor, "R H F"], x: Float[Tensor, "S F B"], b: Float[Tensor, "R H"] | None
) -> Float[Tensor, "R H B"]:
    """Return w x + b; runs that share a batch go through one large product."""
    (s, features, rows), (runs, units, _) = x.shape, w.shape
    if s == runs:
        return _product(w, x, b)
    h = torch.bmm(w.reshape(s, runs // s * units, features), x).view(runs, units, rows)
    return h if b is None else h + b.unsqueeze(2)


def _product(
    w: Float[Tensor, "R H F"], h: Float[Tensor, "R F B"], b: Float[Tensor, "R H"] | None
) -> Float[Tensor, "R H B"]:
    return torch.bmm(w, h) if b is None else torch.baddbmm(b.unsqueeze(2), w, h)
