"""The largest curvature of a loss, and the learning rate that it bears.

λ comes from Hessian-vector products by Lanczos' method, which is power iteration that keeps its
earlier vectors: where the two largest curvatures lie close (1.99 and 2 on the standardized line)
it needs a few products instead of hundreds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descent.data.tensors import Chunks
from descent.shapes import Float

Product = Callable[[np.ndarray], np.ndarray]
Objective = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
"""(parameters by name, x [n, F], y [n, ...]) -> mean loss of the rows, penalties included."""


def largest_curvature(
    product: Product, start: Float[np.ndarray, " P"], tolerance: float = 1e-6, products: int = 100
) -> tuple[float, Float[np.ndarray, " P"]]:
    """Return the largest eigenvalue of a symmetric matrix, and its eigenvector.

    Args:
        product: v [P] -> H v [P].
        start: [P], not 0; the eigenvector of a matrix nearby makes it faster.
        tolerance: relative, of the eigenvalue.
        products: at most about so many; then the tolerance is widened. NaN if it cannot be met.
    """
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    size = len(start)
    if size == 1:
        return float(product(np.ones(1))[0]), np.ones(1)
    if not product(start).any():  # Lanczos cannot start from there
        start = np.random.default_rng(0).standard_normal(size)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    restarts = max(2, products // 10)
    for wider in (tolerance, 1e-3, 1e-1):
        try:
            values, vectors = eigsh(
                operator, k=1, which="LA", v0=start, tol=max(tolerance, wider), maxiter=restarts
            )
            return float(values[0]), vectors[:, 0]
        except ArpackNoConvergence:
            continue
        except ArpackError:  # the matrix is 0
            return 0.0, start
    return float("nan"), start


def stable_lr(group: Mapping[str, Any], curvature: float) -> float:
    """Return the lr above which SGD diverges on a quadratic of this largest curvature.

    Args:
        group: `torch.optim.SGD`'s parameter group: momentum, dampening, nesterov, weight_decay.
        curvature: λ; infinity is returned where it is not above 0.

    Source: the characteristic polynomial of the two-step recurrence has its roots within the unit
    circle iff lr λ < 2 (1 + β) / (1 - τ), with Nesterov lr λ < 2 (1 + β) / (1 + 2 β); Polyak (1964)
    for the heavy ball. Weight decay adds to λ.
    """
    curvature = curvature + group["weight_decay"]
    if curvature <= 0:
        return float("inf")
    beta = group["momentum"]
    if not beta:
        return 2 / curvature
    share = 1 + 2 * beta if group["nesterov"] else 1 - group["dampening"]
    return 2 * (1 + beta) / (share * curvature) if share else float("inf")


ADAMS = (torch.optim.Adam, torch.optim.AdamW)
ADAPTIVE = (*ADAMS, torch.optim.RMSprop, torch.optim.Adagrad)  # whose preconditioner is known


def preconditioner(
    optimizer: type[torch.optim.Optimizer], group: Mapping[str, Any], state: Mapping[str, Any]
) -> Tensor | None:
    """Return P, by which the next step divides one parameter's (averaged) gradient, in float64.

    Args:
        optimizer: of `ADAPTIVE`.
        group: its options.
        state: what it keeps of the parameter.

    Returns:
        As the parameter is shaped; None before the first step, and for other optimizers.

    Source: Cohen et al. (2022), *Adaptive gradient methods at the edge of stability*, section 2;
    the corrections of Adam's two averages are part of P.
    """
    if not state or optimizer not in ADAPTIVE:
        return None
    eps, t = group["eps"], float(state["step"])
    if optimizer in ADAMS:
        first, second = map(float, group["betas"])
        square = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"].double()
        found: Tensor = (1 - first**t) * ((square / (1 - second**t)).sqrt() + eps)
    elif optimizer is torch.optim.RMSprop:
        square = state["square_avg"].double()
        if group["centered"]:
            square = square - state["grad_avg"].double() ** 2
        found = square.sqrt() + eps
    else:
        found = (state["sum"].double().sqrt() + eps) * (1 + (t - 1) * group["lr_decay"])
    return found


def stable_curvature(
    optimizer: type[torch.optim.Optimizer], group: Mapping[str, Any], lr: float
) -> float:
    """Return the largest eigenvalue of P⁻¹H at which an adaptive optimizer's steps are stable.

    With P held fixed its steps are those of SGD on the preconditioned loss: of Adam's kind with an
    averaged momentum β, stable below (2 + 2 β) / ((1 - β) lr), which is 38 / lr at β = 0.9.

    Args:
        optimizer: of `ADAPTIVE`.
        group: its options; AdamW's decay, outside of P, lowers the bound by (1 + β) w / (1 - β).
        lr: of the step; infinity is returned at 0.
    """
    if lr <= 0:
        return float("inf")
    if optimizer in ADAMS:
        beta = float(group["betas"][0])
        outside = optimizer is torch.optim.AdamW or group.get("decoupled_weight_decay", False)
        decay = group["weight_decay"] if outside else 0.0
        return (1 + beta) * (2 - lr * decay) / ((1 - beta) * lr)
    return 2 * (1 + group.get("momentum", 0.0)) / lr


def preconditioned(product: Product, p: Float[np.ndarray, " P"], decay: float) -> Product:
    """Return the product with P^-1/2 (H + w) P^-1/2, which has the eigenvalues of P⁻¹ (H + w).

    Args:
        product: v [P] -> H v [P].
        p: the diagonal of P, above 0.
        decay: w, of an L2 term inside the optimizer.
    """
    root = np.sqrt(p)
    return lambda v: (product(v / root) + decay * v / root) / root


def hessian_product(
    objective: Objective, parameters: Mapping[str, Tensor], rows: Chunks
) -> tuple[Product, int]:
    """Return v -> H v for the Hessian of the full loss, and P.

    Args:
        objective: the loss of some rows.
        parameters: by name; where the Hessian is taken, and in what.
        rows: all of them.
    """
    own = {n: p.detach().requires_grad_() for n, p in parameters.items()}
    leaves = list(own.values())

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        loss = objective(own, x, y) * (len(x) / len(rows.x))
        found = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
        return torch.cat([g.reshape(-1) for g in found])

    # the graph of one piece is kept from product to product; several might not fit
    kept = [gradient(*piece) for piece in rows] if len(rows) == 1 else None

    def product(v: np.ndarray) -> np.ndarray:
        vector = torch.from_numpy(np.ascontiguousarray(v)).to(leaves[0])
        total = torch.zeros_like(vector)
        for slope in kept or (gradient(*piece) for piece in rows):
            if slope.requires_grad:
                found = torch.autograd.grad(
                    slope, leaves, vector, retain_graph=kept is not None, materialize_grads=True
                )
                total += torch.cat([h.reshape(-1) for h in found])
        return total.double().cpu().numpy()

    return product, sum(p.numel() for p in leaves)
