"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from descent.models.init import init_linear
from descent.shapes import Float

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}
# Whose gain `kaiming` takes; activations shaped like relu take relu's.
GAINS = {"tanh": "tanh", "sigmoid": "sigmoid", "leaky_relu": "leaky_relu"}


class MLP(nn.Module):
    """Linear layers with an activation, and dropout if any, between them.

    Args:
        in_features: F.
        out_features: C.
        hidden: widths of the hidden layers, first to last; empty gives a linear model.
        activation: a key of `ACTIVATIONS`.
        dropout: share of hidden units dropped in training.
        init: `kaiming`, `xavier`, `normal`, `zeros` or `ones`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_features
        for units in hidden:
            layers += [nn.Linear(width, units), ACTIVATIONS[activation]()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = units
        layers.append(nn.Linear(width, out_features))
        self.layers = nn.Sequential(*layers)
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.Linear):
                last = i == len(layers) - 1
                init_linear(layer, init, "linear" if last else GAINS.get(activation, "relu"))

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Return C outputs per row."""
        return self.layers(x)
