"""A finished run as an object, read from its directory alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.api.contained import contained
from descent.api.given import as_frame
from descent.data.arrays import Task
from descent.errors import DescentError

if TYPE_CHECKING:
    import polars as pl
    from torch import nn

    from descent.data.arrays import Column
    from descent.data.prepare import Description, Prepared
    from descent.report.record import Record
    from descent.report.style import Picture

TABLES = {"epoch": "epochs.csv", "step": "steps.csv"}


class TrainedRun:
    """A run that was trained, in Python or by a command.

    Args:
        directory: of the run.
        chosen: for the best run of a multirun, the sentence that says which it is.
        trust: packages beyond Descent's own that its config may instantiate from.

    Raises:
        DescentError: there is no run, or it is damaged.
    """

    def __init__(
        self, directory: Path, chosen: str | None = None, trust: Sequence[str] = ()
    ) -> None:
        from descent.config.check import check_targets, check_values
        from descent.records.run import Run

        self.directory, self.chosen = directory, chosen
        with contained(quiet=True):
            self._run = Run(directory)
            self.config: dict[str, Any] = self._run.config()
            check_targets(self.config, str(directory), trust)
            check_values(self.config)
            self.result: dict[str, Any] = self._run.result()

    # ---- how it went

    @property
    def status(self) -> str:
        """What became of it: `ok`, `diverged`, `failed`, `interrupted` or `running`."""
        return str(self.result["status"])

    @property
    def reason(self) -> str:
        """Why it ended, in words."""
        return str(self.result["reason"])

    @property
    def metrics(self) -> dict[str, float]:
        """The last epoch's figures and the test's: `train/loss`, `val/loss`, `test/rmse`."""
        return {name: _number(v) for name, v in (self.result.get("metrics") or {}).items()}

    @property
    def best(self) -> dict[str, float]:
        """The figures of the best epoch, whose weights are used; empty where none was kept."""
        found = (self.result.get("best") or {}).get("metrics") or {}
        return {name: _number(value) for name, value in found.items()}

    @property
    def options(self) -> dict[str, Any]:
        """The options that tell runs apart, typed, by dotted name."""
        from descent.records.result import hyperparameters

        return hyperparameters(self.config)

    @property
    def classes(self) -> tuple[str, ...]:
        """What `predict` chooses from; empty for a regression."""
        return self._description.classes

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that `predict` needs, in the order in which it takes an array's."""
        return tuple(column.name for column in self._description.columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What those columns were in training: their kinds, categories and gaps."""
        return tuple(self._description.columns)

    def losses(self, by: str = "epoch") -> pl.DataFrame:
        """Return what was measured as it trained, as a frame of Polars.

        Args:
            by: `epoch` (a row each: running, full and validation losses and metrics) or `step`
                (a row each: the step loss, the learning rate).
        """
        import polars as pl

        from descent.records.tables import read_table

        if by not in TABLES:
            raise DescentError(f"losses(by='{by}') is not known; give 'epoch' or 'step'.")
        with contained(quiet=True):
            table = read_table(self.directory / TABLES[by])
        whole = {"epoch", "step", "samples"}
        columns = [
            pl.Series(name, values, nan_to_null=True).cast(
                pl.Int64 if name in whole else pl.Float64
            )
            for name, values in table.items()
        ]
        return pl.DataFrame(columns)

    def plot(self, x: str = "step") -> Picture:
        """Return the picture of its losses, drawn over `step`, `epoch`, `samples` or `seconds`.

        A notebook shows it; `.figure` is matplotlib's.
        """
        from descent.api.drawn import curves

        return curves([self._record], x)

    # ---- what it predicts

    @property
    def module(self) -> nn.Module:
        """The trained module: from scaled features [N, F] to outputs [N, C], in eval mode."""
        return self._module

    def predict(self, data: Any) -> np.ndarray:
        """Return what is predicted for new rows.

        Args:
            data: as in `descent.train`: a frame with the columns the run was trained on (and maybe
                others), an array with those columns in their order, or the path of a table.

        Returns:
            The targets in their own units, [N] or [N, C]; or the likeliest class, [N] texts.

        Raises:
            DescentError: columns are missing, or hold something else than in training.
        """
        values = self._predicted(data)
        if self.classes:
            chosen = self._description.choose(values, self.result.get("threshold"))
            return np.array(self.classes)[chosen]
        return values[:, 0] if values.shape[1] == 1 else values

    def predict_proba(self, data: Any) -> np.ndarray:
        """Return the probabilities [N, K] of the classes, in the order of `classes`.

        Raises:
            DescentError: the run predicts numbers.
        """
        if not self.classes:
            raise DescentError(
                f"{self.directory} predicts numbers, which have no probabilities; use predict."
            )
        return self._predicted(data)

    def evaluate(self, data: Any, target: Any = None) -> dict[str, float]:
        """Return the test's metrics on other rows, which must hold the target.

        Args:
            data: as in `predict`.
            target: the targets' values, where data has no column of that name.
        """
        from descent.evaluation import Evaluation, evaluate

        frame = self._frame(data)
        if target is not None:
            from descent.api.given import with_target

            frame, _ = with_target(frame, target, self._description.target_names)
        with contained(quiet=True):
            prepared, known, table = self._prepared(frame)
            if not known:
                raise DescentError(
                    f"The rows hold no target '{self._description.target}' to compare with; "
                    "predict needs none."
                )
            return evaluate(
                Evaluation(
                    self._run, self.config, self._description, prepared, self._weights, table, True,
                    None, "cpu",
                )
            )  # fmt: skip

    def to_torch(self, wide: bool = False) -> nn.Module:
        """Return a module of its own: from rows as they are [N, columns] to predictions [N, C].

        Scaling, categories and gaps are in it; `descent.api.portable.Portable` says what it takes,
        and `encode` makes that of a frame.

        Args:
            wide: compute in float64, so that a row's prediction does not depend on its neighbours'
                in the last digit.
        """
        from copy import deepcopy

        from descent.api.portable import Portable

        with contained(quiet=True):
            module = deepcopy(self._module)
            return Portable(module.double() if wide else module, self._description)

    def encode(self, data: Any) -> np.ndarray:
        """Return rows as `to_torch` and exported models take them: [N, columns] numbers.

        Args:
            data: as in `predict`.
        """
        from descent.api.portable import inputs_of
        from descent.data.reading import as_table

        frame = self._frame(data)
        self._prepared(frame)
        with contained(quiet=True):
            return inputs_of(as_table(frame, "data"), self._description.columns)

    def _frame(self, data: Any) -> pl.DataFrame:
        import os

        if isinstance(data, (str, os.PathLike)):
            from descent.data.reading import read_table

            with contained(quiet=True):
                return read_table(os.fspath(data)).frame
        return as_frame(data, self.features)

    def _prepared(self, frame: pl.DataFrame) -> tuple[Prepared, bool, pl.DataFrame]:
        from descent.data.reading import as_table
        from descent.evaluation import new_rows

        table = as_table(frame, "data")
        unseen = self.config["data"].get("unseen", "other")
        prepared, known = new_rows(table, self._description, unseen)
        return prepared, known, table.frame

    def _predicted(self, data: Any) -> np.ndarray:
        frame = self._frame(data)
        with contained(quiet=True):
            import torch

            from descent.data.tensors import scaled_tensor
            from descent.evaluation import outputs_of, predictions

            prepared, _, _ = self._prepared(frame)
            features = prepared.arrays.features
            dtype = next(self._module.parameters()).dtype
            every = np.arange(len(features))
            x = scaled_tensor(features, every, prepared.scaler, torch.device("cpu"), dtype)
            return predictions(self._description, outputs_of(self._module, x))

    @cached_property
    def _description(self) -> Description:
        with contained(quiet=True):
            description = self._run.data()
            if description.task is Task.LANDSCAPE:
                raise DescentError(
                    f"{self.directory} walked on a landscape, where there is nothing to predict; "
                    "losses() and plot() tell how."
                )
            return description

    @cached_property
    def _weights(self) -> str:
        from descent.evaluation import kept_weights

        return kept_weights(self._run)

    @cached_property
    def _module(self) -> nn.Module:
        description = self._description
        with contained(quiet=True):
            from descent.evaluation import restored

            learner = restored(self._run, self.config, description, self._weights)
            return learner.model.eval()

    @cached_property
    def _record(self) -> Record:
        from descent.report.record import read_record

        with contained(quiet=True):
            return read_record(self.directory)

    # ---- how it is shown

    def __repr__(self) -> str:
        from descent.files.bounded import shown

        return f"TrainedRun({str(self.directory)!r}): {self.status}: {shown(self.reason)}"

    def _repr_html_(self) -> str:
        from descent.api.shown import run_html

        notes = [*([self.chosen] if self.chosen else []), str(self.directory)]
        return run_html(self.status, self.reason, self.metrics, notes)


def _number(value: Any) -> float:
    """Return a figure of result.json, where one that is not finite is a text."""
    return float("nan") if value is None else float(value)
