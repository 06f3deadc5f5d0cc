"""Sharpness λ, the largest curvature of the full loss, and how near the lr is to its limit.

λ comes from Hessian-vector products by Lanczos' method, which is power iteration that keeps its
earlier vectors: where the two largest curvatures lie close (1.99 and 2 on the standardized line)
it needs a few products instead of hundreds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descent.callbacks.measurement import Measurement
from descent.data.tensors import Chunks
from descent.learner import Learner
from descent.shapes import Float

log = logging.getLogger(__name__)

SHARPNESS, STABILITY = "diagnostics/sharpness", "diagnostics/stability"

Product = Callable[[np.ndarray], np.ndarray]


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


class Sharpness(Measurement):
    """Records λ and lr / (largest stable lr), and warns where that is above 1.

    Costs some twenty Hessian-vector products, each about as long as three passes over the rows.
    Only SGD, with or without momentum, has such a limit; for others λ alone is recorded.

    Args:
        every_n_epochs: measure after each n-th epoch.
        tolerance: relative, of λ.
        products: at most about so many Hessian-vector products.
    """

    metrics = (SHARPNESS, STABILITY)

    def __init__(
        self, every_n_epochs: int = 1, tolerance: float = 1e-6, products: int = 100
    ) -> None:
        super().__init__(every_n_epochs)
        self.tolerance, self.products = tolerance, products
        self._vector: np.ndarray | None = None  # the last eigenvector: a good start for the next
        self._warned = False

    def measure(self, learner: Learner) -> dict[str, float]:
        """Return the sharpness, and the stability ratio where there is one."""
        product, size = hessian_product(learner)
        if self._vector is None:
            self._vector = np.random.default_rng(0).standard_normal(size)
        value, self._vector = largest_curvature(
            product, self._vector, self.tolerance, self.products
        )
        if not np.isfinite(value):
            return {}
        optimizer = learner.trainer.optimizers[0]
        if not isinstance(optimizer, torch.optim.SGD):
            self._say(learner, value, None)
            return {SHARPNESS: value}
        limit = stable_lr(optimizer.param_groups[0], value)
        self._say(learner, value, limit)
        return {SHARPNESS: value, STABILITY: learner.lr / limit}

    def _say(self, learner: Learner, value: float, limit: float | None) -> None:
        if not learner.trainer.is_global_zero:
            return
        lr, first = learner.lr, learner.global_step == 0
        if limit is None:
            if first:
                log.info("stability sharpness %.4g; only SGD has a largest stable lr", value)
            return
        if first:
            words = "stability sharpness %.4g, largest stable lr %.4g; lr %g is %.4g of it"
            log.info(words, value, limit, lr, lr / limit)
        if lr > limit and not self._warned:
            self._warned = True
            when = "" if first else f" at step {learner.global_step}"
            log.warning(
                "warning: lr %g is above the largest stable lr %.4g%s: on a quadratic it diverges; "
                "try optimizer.lr=%.2g",
                lr, limit, when, 0.5 * limit,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the last eigenvector, so that a continued run measures the same."""
        vector = self._vector
        return {
            "vector": None if vector is None else torch.from_numpy(vector.copy()),
            "warned": self._warned,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        vector = state_dict["vector"]
        self._vector = None if vector is None else vector.numpy()
        self._warned = state_dict["warned"]


def hessian_product(learner: Learner) -> tuple[Product, int]:
    """Return v -> H v for the Hessian of the full loss at the present weights, and P."""
    parameters = {n: p.detach().requires_grad_() for n, p in learner.trainable().items()}
    leaves = list(parameters.values())
    x, y = learner.rows("train")
    pieces = Chunks(x, y)

    def gradient(xb: Tensor, yb: Tensor) -> Tensor:
        loss = learner.objective_at(parameters, xb, yb) * (len(xb) / len(x))
        found = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
        return torch.cat([g.reshape(-1) for g in found])

    # the graph of one piece is kept from product to product; several might not fit
    kept = [gradient(*piece) for piece in pieces] if len(pieces) == 1 else None

    def product(v: np.ndarray) -> np.ndarray:
        vector = torch.from_numpy(np.ascontiguousarray(v)).to(leaves[0])
        total = torch.zeros_like(vector)
        for slope in kept or (gradient(*piece) for piece in pieces):
            if slope.requires_grad:
                found = torch.autograd.grad(
                    slope, leaves, vector, retain_graph=kept is not None, materialize_grads=True
                )
                total += torch.cat([h.reshape(-1) for h in found])
        return total.double().cpu().numpy()

    return product, sum(p.numel() for p in leaves)
