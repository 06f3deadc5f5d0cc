"""Initialisation of linear layers by name."""

from __future__ import annotations

from torch import nn

# Of `normal`: small enough that a few layers neither saturate nor blow up.
NORMAL_STD = 0.01


def init_linear(layer: nn.Linear, scheme: str, nonlinearity: str = "linear") -> None:
    """Initialise weights by `scheme` and set biases to 0, in place.

    Args:
        layer: weight [out, in], bias [out] or None.
        scheme: `kaiming` (He et al. 2015, fan-in, normal), `xavier` (Glorot and Bengio 2010,
            uniform), `normal` (standard deviation 0.01), `zeros` or `ones`.
        nonlinearity: what follows the layer, for the gain of `kaiming`: a name that
            `torch.nn.init.calculate_gain` knows.
    """
    if scheme == "kaiming":
        nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)  # type: ignore[arg-type]
    elif scheme == "xavier":
        nn.init.xavier_uniform_(layer.weight)
    elif scheme == "ones":
        nn.init.ones_(layer.weight)
    elif scheme == "normal":
        nn.init.normal_(layer.weight, std=NORMAL_STD)
    else:
        nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
