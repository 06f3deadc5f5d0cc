"""Sharpness λ, the largest curvature of the full loss, and how near the lr is to its limit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from descent.callbacks.measurement import Measurement, RunView, StackView
from descent.data.tensors import Chunks
from descent.engine.curvature import (
    ADAPTIVE,
    Product,
    decays_outside,
    hessian_product,
    largest_curvature,
    preconditioned,
    preconditioner,
    random_start,
    stable_curvature,
    stable_lr,
)
from descent.shapes import Float

log = logging.getLogger(__name__)

SHARPNESS, STABILITY = "diagnostics/sharpness", "diagnostics/stability"
PRECONDITIONED = "diagnostics/preconditioned_sharpness"


class Sharpness(Measurement):
    """Records λ and how much of what is stable that is, and warns where it is above 1.

    Costs some twenty Hessian-vector products, each about as long as three passes over the rows;
    twice that for adaptive optimizers (Adam, AdamW, RMSprop, Adagrad), whose steps are stable by
    the curvature of the loss divided by what they divide gradients by, P. For SGD the ratio is lr
    over the largest stable one; for them the largest eigenvalue of P⁻¹H over the largest stable
    one, which is 38 / lr for Adam. They have none before their first step, and no warning: P
    follows the curvature, so that training goes on at the edge. Others have λ alone.

    Args:
        every_n_epochs: measure after each n-th epoch.
        tolerance: relative, of λ.
        products: at most so many Hessian-vector products.
    """

    metrics = (SHARPNESS, STABILITY, PRECONDITIONED)

    def __init__(
        self, every_n_epochs: int = 1, tolerance: float = 1e-6, products: int = 100
    ) -> None:
        super().__init__(every_n_epochs)
        self.tolerance, self.products = tolerance, products
        # the last eigenvectors: good starts for the next
        self._vectors: dict[str, np.ndarray] = {}
        self._warned = False

    def measure_all(self, stack: StackView) -> dict[str, Float[np.ndarray, " a"]]:
        """Return it of each run, and the stability ratio where there is one.

        All runs have their products together.
        """
        rows = Chunks(*stack.rows("train"))
        product, size = hessian_product(stack.objective_at, stack.parameters, rows, stack.lead)
        runs = [RunView(stack.learner, int(column)) for column in stack.columns]
        value = self._largest(runs, SHARPNESS, product, size)
        ratio, divided = np.full((2, len(runs)), np.nan)
        limits: list[float | None] = [None] * len(runs)
        if issubclass(runs[0].optimizer, torch.optim.SGD):
            limits = [stable_lr(run.options, v) for run, v in zip(runs, value, strict=True)]
            ratio = np.array([run.lr for run in runs]) / limits
        else:
            each = [_preconditioner(run) for run in runs]
            known = np.array([p is not None for p in each])
            if known.any():
                p = np.stack([np.ones(size) if p is None else p for p in each])
                decay = np.array([[_decay(run)] for run in runs])
                made = preconditioned(product, p, decay)
                divided = self._largest(runs, PRECONDITIONED, made, size)
                divided = np.where(known, divided, np.nan)
                bounds = [stable_curvature(run.optimizer, run.options, run.lr) for run in runs]
                ratio = divided / bounds
        there = np.isfinite(value)
        if runs[0].alone and there[0]:
            self._of(runs[0].run)._say(runs[0], value[0], limits[0])
        found = {SHARPNESS: value, STABILITY: ratio, PRECONDITIONED: divided}
        return {name: np.where(there, of, np.nan) for name, of in found.items()}

    def _largest(
        self, runs: Sequence[RunView], name: str, product: Product, size: int
    ) -> Float[np.ndarray, " a"]:
        each = [self._of(run.run) for run in runs]
        starts = np.stack([own._start(name, size) for own in each])
        found, vectors = largest_curvature(product, starts, self.tolerance, self.products)
        for own, vector in zip(each, vectors, strict=True):
            own._keep(name, vector)
        return found

    def _start(self, name: str, size: int) -> np.ndarray:
        known = self._vectors.get(name)
        return random_start(size) if known is None else known

    def _keep(self, name: str, vector: np.ndarray) -> None:
        self._vectors = {**self._vectors, name: vector}  # a copy's own: each run has one

    def _say(self, run: RunView, value: float, limit: float | None) -> None:
        lr, first = run.lr, run.global_step == 0
        if limit is None:
            if first and run.optimizer in ADAPTIVE:
                words = "stability sharpness %.4g; what %s bears is known after its first step"
                log.info(words, value, run.optimizer.__name__)
            elif first:
                words = "stability sharpness %.4g; no largest stable lr of %s is known"
                log.info(words, value, run.optimizer.__name__)
            return
        if first:
            words = "stability sharpness %.4g, largest stable lr %.4g; lr %g is %.4g of it"
            log.info(words, value, limit, lr, lr / limit)
        if lr > limit and not self._warned:
            self._warned = True
            when = "" if first else f" at step {run.global_step}"
            log.warning(
                "warning: lr %g is above the largest stable lr %.4g%s: on a quadratic it diverges; "
                "try optimizer.lr=%.2g",
                lr, limit, when, 0.5 * limit,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the last eigenvectors, so that a continued run measures the same."""
        vectors = {name: torch.from_numpy(v.copy()) for name, v in self._vectors.items()}
        return {"vectors": vectors, "warned": self._warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        kept = state_dict.get("vectors")
        if kept is None:  # of a run that was begun before there were two
            kept = {SHARPNESS: v} if (v := state_dict.get("vector")) is not None else {}
        self._vectors = {name: v.numpy() for name, v in kept.items()}
        self._warned = state_dict["warned"]


def _decay(run: RunView) -> float:
    """Return the weight decay that an adaptive optimizer adds to its gradients."""
    outside = decays_outside(run.optimizer, run.options)
    return 0.0 if outside else float(run.options["weight_decay"])


def _preconditioner(run: RunView) -> Float[np.ndarray, " P"] | None:
    """Return the diagonal of P; None where it is not known."""
    if run.optimizer not in ADAPTIVE:
        return None
    parameters, made = run.trainable(), []
    for name, state in run.optimizer_state().items():
        found = preconditioner(run.optimizer, run.options, state)
        if found is None or found.shape != parameters[name].shape:
            return None
        made.append(found.reshape(-1).cpu())
    p = torch.cat(made).numpy()
    return p if (np.isfinite(p) & (p > 0)).all() else None
