"""The full loss as a function of the parameters: what a path is drawn over.

Landscapes are known in closed form, and linear regression's loss is an exact quadratic; both need
NumPy alone. Other models are rebuilt with torch, by `report/rebuilt.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from descent.config.check import check_targets, check_values, flatten
from descent.data.arrays import Task
from descent.data.naming import LINEAR
from descent.data.prepare import Prepared, prepare
from descent.errors import UserError
from descent.models.landscapes import landscape_named
from descent.report.record import Record
from descent.shapes import Float


@dataclass(frozen=True)
class Heights:
    """A loss to look down on.

    Args:
        loss: from parameters [n, P] to losses [n].
        minima, local_minima, saddles: known places, [P] each.
        lowest: what `minima` are called.
        note: what a caption must admit; empty if nothing.
        quick: whether a fine grid of losses costs nothing to speak of.
    """

    loss: Callable[[np.ndarray], np.ndarray]
    minima: tuple[np.ndarray, ...] = ()
    local_minima: tuple[np.ndarray, ...] = ()
    saddles: tuple[np.ndarray, ...] = ()
    lowest: str = "minimum"
    note: str = ""
    quick: bool = True


def heights_of(records: Sequence[Record], trust: Sequence[str] = ()) -> Heights:
    """Return the full loss that all these runs descended.

    Args:
        records: runs with paths, of the same data.
        trust: packages that a run's config may instantiate from beside ours.

    Raises:
        UserError: they descended different losses, or the data cannot be had any more.
    """
    first = records[0]
    for other in records[1:]:
        check_same_loss(first, other)
    if first.landscape is not None:
        return _landscape(first.landscape)
    check_values(first.config)  # complete too: an older config may lack an option
    check_targets({"data": first.config["data"]}, str(first.run.path), trust)
    prepared = prepare(first.config["data"])
    if prepared.describe()["fingerprint"] != first.data.fingerprint:
        raise UserError(f"the data have changed since {first.run.path} was trained")
    if _is_linear_regression(first):
        return quadratic(prepared, bool(first.config["model"].get("bias", True)), first.penalties)
    nodes = {key: first.config.get(key) for key in ("model", "loss")}
    check_targets(nodes, str(first.run.path), trust)
    from descent.report.rebuilt import rebuilt

    loss, note = rebuilt(first, prepared)
    return Heights(loss, note=note, quick=False)


def check_same_loss(a: Record, b: Record) -> None:
    """Refuse runs whose losses are different functions of their parameters.

    Raises:
        UserError: which two, and the option in which they differ.
    """
    if a.path is None or b.path is None or a.path.shapes != b.path.shapes:
        raise UserError(f"{a.label} and {b.label} have different parameters")
    ours, theirs = _loss_options(a), _loss_options(b)
    for key in {**ours, **theirs}:
        if ours.get(key) != theirs.get(key):
            raise UserError(
                f"{a.label} and {b.label} descend different losses ({key} is {ours.get(key)} in "
                f"one, {theirs.get(key)} in the other)"
            )


def _loss_options(record: Record) -> dict[str, object]:
    """Return all options that the full loss depends on; where a run starts is none of them."""
    shared = {key: record.config.get(key) for key in ("model", "penalty", "loss")}
    if record.landscape is None:
        data = dict(record.config["data"])
        shared["data"] = {k: v for k, v in data.items() if k not in BATCHING}
    left_out = ("model.init", "model.start", "model.dropout")
    return {k: v for k, v in flatten(shared) if k not in left_out}


SQUARED = (None, "descent.engine.losses.Usual", "descent.engine.losses.MSE")
BATCHING = ("batch_size", "order", "drop_last", "window", "augment", "source", "path")


def _landscape(name: str) -> Heights:
    ground = landscape_named(name)

    def loss(theta: Float[np.ndarray, "n P"]) -> Float[np.ndarray, " n"]:
        with np.errstate(all="ignore"):
            return np.asarray(ground.function(*np.asarray(theta, dtype=np.float64).T), dtype=float)

    def places(found: Sequence[tuple[float, ...]]) -> tuple[np.ndarray, ...]:
        return tuple(map(np.array, found))

    many = len(ground.minima) > 1 or bool(ground.local_minima)
    return Heights(
        loss, places(ground.minima), places(ground.local_minima), places(ground.saddles),
        "global minimum" if many else "minimum",
    )  # fmt: skip


def _is_linear_regression(record: Record) -> bool:
    plain = record.config["model"].get("_target_") == LINEAR and record.data.outputs == 1
    usual = (record.config.get("loss") or {}).get("_target_") in SQUARED
    return plain and usual and record.data.task is Task.REGRESSION and not record.data.weighted


def quadratic(prepared: Prepared, bias: bool, penalties: tuple[float, float]) -> Heights:
    """Return linear regression's loss over its scaled training rows.

    With Z = [X 1], the loss is (theta' Z'Z theta - 2 theta' Z'y + y'y) / N, written around the
    least-squares solution so that nothing is lost to cancellation near it.

    Args:
        prepared: the data.
        bias: whether the last parameter is one.
        penalties: weights of the L1 and L2 terms, which act on all parameters but the bias.
    """
    arrays, rows = prepared.arrays, prepared.rows["train"]
    x = prepared.scaler.apply(arrays.features[rows])
    y = prepared.target_scaler.apply(arrays.targets[rows].reshape(len(rows), -1))[:, 0]
    z = np.column_stack([x, np.ones(len(x))]) if bias else x
    best = np.linalg.lstsq(z, y, rcond=None)[0]
    curvature = z.T @ z / len(z)
    floor = float(np.mean(np.square(z @ best - y)))
    l1, l2 = penalties
    weights = slice(0, x.shape[1])

    def loss(theta: Float[np.ndarray, "n P"]) -> Float[np.ndarray, " n"]:
        theta = np.asarray(theta, dtype=np.float64)
        with np.errstate(all="ignore"):
            away = theta - best
            height = floor + np.einsum("ni,ij,nj->n", away, curvature, away, optimize=True)
            w = theta[:, weights]
            return height + l1 * np.abs(w).sum(axis=1) + l2 / 2 * np.square(w).sum(axis=1)

    note = "the least-squares solution is that of the loss without penalties" if l1 or l2 else ""
    return Heights(loss, (best,), lowest="least squares", note=note)
