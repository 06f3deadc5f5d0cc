"""What a finished run predicts, from its directory alone: torch, without Lightning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from descent.config.check import check_targets, check_values
from descent.data.arrays import Arrays, Task
from descent.data.prepare import prepare
from descent.engine.blueprint import build_model
from descent.engine.continuing import read_weights
from descent.errors import UserError
from descent.records.run import BEST, LAST
from descent.report.record import Record
from descent.shapes import Float, Int, Shaped

PIECE = 2**16  # rows predicted at a time
WORDS = {"test": "test", "val": "validation", "train": "training"}


@dataclass(frozen=True)
class Predicted:
    """Rows that were not trained on, where there are any, with what the run says of them.

    Args:
        record: the run.
        arrays: its data, all rows.
        split: `test`, `val` or `train`.
        weights: `best` or `last`, whichever predicted.
        rows: their numbers.
        wanted: classes [n], or numbers [n, C] in their own units.
        outputs: probabilities [n, K], or predictions [n, C] in the targets' own units.
        predict: the same from other unscaled features [m, F].
    """

    record: Record
    arrays: Arrays
    split: str
    weights: str
    rows: Int[np.ndarray, " n"]
    wanted: Shaped[np.ndarray, "n ..."]
    outputs: Float[np.ndarray, "n K"]
    predict: Callable[[np.ndarray], np.ndarray]

    @property
    def features(self) -> Shaped[np.ndarray, "n F"]:
        """The unscaled features."""
        return self.arrays.features[self.rows]

    @property
    def who(self) -> str:
        """Which rows these are, in words."""
        rows = "row" if len(self.rows) == 1 else "rows"
        return f"{len(self.rows):,} {WORDS[self.split]} {rows}"

    @property
    def chosen(self) -> Int[np.ndarray, " n"]:
        """The predicted classes."""
        return self.record.data.choose(self.outputs, self.record.result.get("threshold"))

    @property
    def losses(self) -> Float[np.ndarray, " n"]:
        """How wrong each prediction is: minus log-probability, or the error's size.

        Of several targets, the mean over them of errors in units of each one's spread.
        """
        if self.arrays.task.is_classification:
            p = self.outputs[np.arange(len(self.wanted)), self.wanted]
            return -np.log(np.maximum(p, 1e-300))
        away = np.abs(self.outputs - self.wanted)
        if away.shape[1] == 1:
            return away[:, 0]
        spread = self.wanted.std(axis=0)
        return (away / np.where(spread > 0, spread, 1.0)).mean(axis=1)


def predicted(record: Record, trust: Sequence[str] = ()) -> Predicted:
    """Rebuild a run's best model, or its last, and predict the rows that it was not trained on.

    Args:
        record: the run.
        trust: packages that its config may instantiate from beside ours.

    Raises:
        UserError: its data or its weights cannot be had any more.
    """
    config, run = record.config, record.run
    check_values(config)
    nodes = {"data": config["data"], "model": config["model"]}
    check_targets(nodes, str(run.path), trust)
    prepared = prepare(config["data"])
    if prepared.describe()["fingerprint"] != record.data.fingerprint:
        raise UserError(f"the data have changed since {run.path} was trained")
    name = next((n for n in (BEST, LAST) if run.checkpoint_path(n).is_file()), None)
    if name is None:
        raise UserError(f"{run.path} kept no weights")
    model = build_model(config, record.data)
    kept = read_weights(run, name, model)["state_dict"]
    model.load_state_dict({k.removeprefix("model."): v for k, v in kept.items()})
    model = model.eval()
    dtype = next(model.parameters()).dtype

    @torch.no_grad()
    def predict(features: np.ndarray) -> np.ndarray:
        pieces = []
        for at in range(0, len(features), PIECE):
            x = torch.from_numpy(prepared.scaler.apply(features[at : at + PIECE])).to(dtype)
            pieces.append(model(x).double())
        return _told(torch.cat(pieces), record)

    split = next(s for s in ("test", "val", "train") if len(prepared.rows[s]))
    rows, arrays = prepared.rows[split], prepared.arrays
    wanted = arrays.targets[rows]
    if not arrays.task.is_classification:
        wanted = wanted.reshape(len(rows), -1).astype(np.float64)
    outputs = predict(arrays.features[rows])
    if not np.isfinite(outputs).all():
        raise UserError("some predictions are not finite")
    return Predicted(record, arrays, split, name, rows, wanted, outputs, predict)


def _told(outputs: torch.Tensor, record: Record) -> np.ndarray:
    """Return outputs as probabilities, or in the target's own units."""
    if record.data.task is Task.REGRESSION:
        return record.data.target_scaler.undo(outputs.numpy())
    if record.data.task is Task.MULTICLASS:
        return outputs.softmax(dim=1).numpy()
    p = outputs.sigmoid().numpy()
    return np.hstack([1 - p, p])
