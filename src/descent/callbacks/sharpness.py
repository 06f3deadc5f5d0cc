"""Sharpness λ, the largest curvature of the full loss, and how near the lr is to its limit."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from descent.callbacks.measurement import Measurement, RunView
from descent.data.tensors import Chunks
from descent.engine.curvature import hessian_product, largest_curvature, stable_lr

log = logging.getLogger(__name__)

SHARPNESS, STABILITY = "diagnostics/sharpness", "diagnostics/stability"


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

    def measure(self, run: RunView) -> dict[str, float]:
        """Return the sharpness, and the stability ratio where there is one."""
        rows = Chunks(*run.rows("train"))
        product, size = hessian_product(run.objective_at, run.trainable(), rows)
        if self._vector is None:
            self._vector = np.random.default_rng(0).standard_normal(size)
        value, self._vector = largest_curvature(
            product, self._vector, self.tolerance, self.products
        )
        if not np.isfinite(value):
            return {}
        if not issubclass(run.optimizer, torch.optim.SGD):
            self._say(run, value, None)
            return {SHARPNESS: value}
        limit = stable_lr(run.options, value)
        self._say(run, value, limit)
        return {SHARPNESS: value, STABILITY: run.lr / limit}

    def _say(self, run: RunView, value: float, limit: float | None) -> None:
        if not run.alone:
            return
        lr, first = run.lr, run.global_step == 0
        if limit is None:
            if first:
                log.info("stability sharpness %.4g; only SGD has a largest stable lr", value)
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
