"""Linear, logistic and softmax regression: one layer, the loss makes the difference."""

from __future__ import annotations

from torch import Tensor, nn

from descent.models.init import init_linear
from descent.shapes import Float


class Linear(nn.Module):
    """y = W x + b.

    Args:
        in_features: F.
        out_features: 1 for logistic regression, C for softmax, the targets for linear regression.
        bias: whether there is a b.
        init: `kaiming`, `xavier`, `normal`, `zeros` or `ones`.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, init: str = "zeros"
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, out_features, bias=bias)
        init_linear(self.layer, init)

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Return one output (regression), logit (binary) or C logits per row."""
        return self.layer(x)
