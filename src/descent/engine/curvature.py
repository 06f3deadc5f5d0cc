"""The largest curvature of a loss, and the learning rate that it bears.

λ comes from Hessian-vector products by Lanczos' method, which is power iteration that keeps its
earlier vectors: where the two largest curvatures lie close (1.99 and 2 on the standardized line)
it needs a few products instead of hundreds. It is written out here, and not SciPy's `eigsh`, since
the runs of a stack have their products together, at little more than the time of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descent.data.tensors import Chunks
from descent.shapes import Float

BASIS = 20  # vectors at a time
BLEND = 1e-3  # of something random in a start: it may be an eigenvector, and not of the largest
LOOSE = 0.1  # relative tolerance that is better than nothing

Product = Callable[[np.ndarray], np.ndarray]
Objective = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
"""(parameters by name, x [n, F], y [n, ...]) -> mean loss of the rows, penalties included: of one
run, or of each of A, whose parameters are [A, ...]."""


def largest_curvature(
    product: Product,
    start: Float[np.ndarray, "*A P"],
    tolerance: float = 1e-6,
    products: int = 100,
) -> tuple[Float[np.ndarray, "*A"], Float[np.ndarray, "*A P"]]:
    """Return the largest eigenvalue of each of A symmetric matrices, and its eigenvector.

    Args:
        product: v [*A, P] -> H v [*A, P].
        start: not 0; the eigenvector of a matrix nearby makes it faster.
        tolerance: relative, of the eigenvalue.
        products: at most so many; then 0.1 is good enough. NaN where that is not met.

    Source: Wu and Simon (2000), *Thick-restart Lanczos*, with every product made orthogonal to all
    vectors. What a run gets does not depend on those beside it.
    """
    if start.ndim == 1:
        values, vectors = largest_curvature(
            lambda v: product(v[0])[None], start[None], tolerance, products
        )
        return values[0], vectors[0]
    krylov = _Krylov(_unit(_unit(start) + BLEND * _unit(random_start(start.shape[1]))))
    values, vectors = np.full(len(start), np.nan), start.copy()
    going = np.ones(len(start), dtype=bool)
    for taken in range(1, products + 1):
        krylov.add(product(krylov.newest))
        top, error = krylov.largest()
        met = error <= (tolerance if taken < products else LOOSE) * np.abs(top)
        found = going & met
        if found.any():
            values[found], vectors[found] = top[found], krylov.vectors()[found]
        going &= ~met
        if not going.any():
            break
        krylov.extend()
    return values, vectors


class _Krylov:
    """Orthogonal vectors [A, m, P], and what the matrices are on them.

    Args:
        start: [A, P], of length 1.
    """

    def __init__(self, start: np.ndarray) -> None:
        runs, size = start.shape
        self._most = min(size, BASIS)
        self._basis = np.zeros((runs, self._most + 1, size))
        self._basis[:, 0] = start
        self._inner = np.zeros((runs, self._most, self._most))
        self._count = 1  # vectors, the newest last

    @property
    def newest(self) -> np.ndarray:
        """The vector that is to be multiplied next, [A, P]."""
        return self._basis[:, self._count - 1]

    def add(self, product: np.ndarray) -> None:
        """Take its product; what is not among the vectors is left over."""
        known, at = self._basis[:, : self._count], self._count - 1
        column, left = np.zeros((len(known), self._count)), product
        for _ in range(2):  # once leaves rounding behind, twice is enough
            part = (known @ left[:, :, None])[:, :, 0]
            left = left - (part[:, None] @ known)[:, 0]
            column += part
        self._inner[:, : at + 1, at] = self._inner[:, at, : at + 1] = column
        self._left, self._length = left, np.linalg.norm(left, axis=1)

    def largest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest eigenvalue so far, and how far its vector is from an eigenvector."""
        inner = self._inner[:, : self._count, : self._count]
        self._values, self._shares = np.linalg.eigh(inner)
        return self._values[:, -1], self._length * np.abs(self._shares[:, -1, -1])

    def vectors(self) -> np.ndarray:
        """Return its vector, [A, P]."""
        return (self._shares[:, None, :, -1] @ self._basis[:, : self._count])[:, 0]

    def extend(self) -> None:
        """Take what was left over as the next vector; when there are many, keep the best half."""
        kept = self._count
        if kept == self._most:
            kept = max(1, self._most // 2)
            best = self._shares[:, :, -kept:].swapaxes(1, 2) @ self._basis[:, : self._count]
            self._basis[:, :kept] = best
            self._inner[:] = 0.0
            at = np.arange(kept)
            self._inner[:, at, at] = self._values[:, -kept:]
        self._basis[:, kept] = _unit(self._left)
        self._count = kept + 1


def _unit(v: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    unit: np.ndarray = np.divide(v, length, out=np.zeros_like(v), where=length > 0)
    return unit


def random_start(size: int) -> np.ndarray:
    """Return a vector [P] that no matrix is known to favour, the same each time."""
    return np.random.default_rng(0).standard_normal(size)


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


def decays_outside(optimizer: type[torch.optim.Optimizer], group: Mapping[str, Any]) -> bool:
    """Whether weight decay shrinks weights by itself, and is no part of what P divides."""
    return optimizer is torch.optim.AdamW or bool(group.get("decoupled_weight_decay"))


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
        decay = group["weight_decay"] if decays_outside(optimizer, group) else 0.0
        return (1 + beta) * (2 - lr * decay) / ((1 - beta) * lr)
    return 2 * (1 + group.get("momentum", 0.0)) / lr


def preconditioned(
    product: Product, p: Float[np.ndarray, "*A P"], decay: float | Float[np.ndarray, "A 1"]
) -> Product:
    """Return the product with P^-1/2 (H + w) P^-1/2, which has the eigenvalues of P⁻¹ (H + w).

    Args:
        product: v [*A, P] -> H v [*A, P].
        p: the diagonal of P, above 0.
        decay: w, of an L2 term inside the optimizer.
    """
    root = np.sqrt(p)
    return lambda v: (product(v / root) + decay * v / root) / root


def hessian_product(
    objective: Objective, parameters: Mapping[str, Tensor], rows: Chunks, lead: tuple[int, ...] = ()
) -> tuple[Product, int]:
    """Return v -> H v for the Hessian of the full loss, and P.

    Args:
        objective: the loss of some rows.
        parameters: by name; where the Hessian is taken, and in what.
        rows: all of them.
        lead: (A,) for A runs at once.
    """
    own = {n: p.detach().requires_grad_() for n, p in parameters.items()}
    leaves = list(own.values())

    def flat(found: Sequence[Tensor]) -> Tensor:
        return torch.cat([g.reshape(*lead, -1) for g in found], dim=-1)

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        loss = objective(own, x, y).sum() * (len(x) / len(rows.x))
        found = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
        return flat(found)

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
                total += flat(found)
        return total.double().cpu().numpy()

    return product, sum(p[(0,) * len(lead)].numel() for p in leaves)
