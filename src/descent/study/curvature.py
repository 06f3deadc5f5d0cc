"""The sharpness at which a trial began, measured again from its config."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from descent.config import check_targets
from descent.errors import UserError

WORK = 1e8  # parameters times rows of all that is measured: about three seconds on one core
TOLERANCE = 1e-4  # relative, of λ: more than a picture shows
BATCHING = ("batch_size", "order", "drop_last", "window")  # what the full loss does not depend on


class Sharpnesses:
    """Measures λ at the start, once for all trials that begin at the same weights and loss.

    Args:
        trust: packages that configs may instantiate from beside ours.
        work: parameters times rows that may be spent in all.
    """

    def __init__(self, trust: tuple[str, ...] = (), work: float = WORK) -> None:
        self.trust, self.left = trust, work
        self._known: dict[str, float | UserError] = {}
        self._data: dict[str, Any] = {}

    def of(self, config: Mapping[str, Any], directory: Path) -> float:
        """Return λ of the full loss at the first weights.

        Args:
            config: resolved, of the trial.
            directory: of the trial, for error sentences and the fingerprint of its data.

        Raises:
            UserError: it cannot be measured, or would take long.
        """
        key = json.dumps(_start(config), sort_keys=True, default=str)
        if key not in self._known:
            try:
                self._known[key] = self._measured(config, directory)
            except UserError as error:
                self._known[key] = error
            except (KeyError, TypeError) as error:  # a config that somebody cut short
                self._known[key] = UserError(f"{directory}/config.yaml lacks {error}.")
        found = self._known[key]
        if isinstance(found, UserError):
            raise found
        return found

    def _measured(self, config: Mapping[str, Any], directory: Path) -> float:
        import torch
        from torch.func import functional_call

        from descent.blueprint import build_model
        from descent.curvature import hessian_product, largest_curvature
        from descent.data.tensors import Chunks, split_tensors
        from descent.losses import criterion, penalty

        parts = {key: config.get(key) for key in ("data", "model", "loss")}
        check_targets(parts, str(directory), self.trust)
        prepared = self._prepared(config["data"], directory)
        data = prepared.description
        with torch.random.fork_rng(devices=[]):
            model = build_model(config, data).double().eval()
        parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        size, rows = sum(p.numel() for p in parameters.values()), data.rows["train"]
        if size * rows > self.left:
            raise UserError(
                f"{size:,} parameters times {rows:,} rows would take long to measure the sharpness "
                "of; train with diagnostics=[sharpness] to have it recorded."
            )
        self.left -= size * rows
        loss, node = criterion(config, data), config.get("penalty") or {}
        l1, l2 = node.get("l1", 0), node.get("l2", 0)

        def objective(
            named: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
        ) -> torch.Tensor:
            height = loss(functional_call(model, named, (x,)), y)
            weights = [p for p in named.values() if p.ndim > 1]
            return height + penalty(weights, l1, l2) if l1 or l2 else height

        x, y = split_tensors(prepared, "train", torch.device("cpu"), torch.float64)
        product, size = hessian_product(objective, parameters, Chunks(x, y))
        start = np.random.default_rng(0).standard_normal(size)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # so small a product is over before a second one has begun
        try:
            found, _ = largest_curvature(product, start, TOLERANCE)
        finally:
            torch.set_num_threads(threads)
        if not math.isfinite(found):
            raise UserError(f"the sharpness of {directory} cannot be told to 10%.")
        return found

    def _prepared(self, node: Mapping[str, Any], directory: Path) -> Any:
        from descent.data.prepare import prepare
        from descent.runs import Run

        data = {k: v for k, v in node.items() if k not in BATCHING}
        key = json.dumps(data, sort_keys=True, default=str)
        if key not in self._data:
            self._data[key] = prepare({**node, "batch_size": "full"})
        made = self._data[key]
        try:
            recorded = Run(directory).data().fingerprint
        except UserError:  # a config alone says enough
            return made
        if made.describe()["fingerprint"] != recorded:
            raise UserError(f"the data have changed since {directory} was trained.")
        return made


def _start(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the full loss and the first weights depend on."""
    data = {k: v for k, v in (config.get("data") or {}).items() if k not in BATCHING}
    own = {key: config.get(key) for key in ("model", "loss", "penalty", "seed")}
    return {**own, "data": data}
