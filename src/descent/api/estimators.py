"""Estimators of scikit-learn that train with Descent: for cross-validation, pipelines, searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from descent.errors import DescentError

if TYPE_CHECKING:
    import polars as pl

    Rows = np.ndarray | pl.DataFrame

# All rows train: whoever evaluates an estimator holds back rows by itself.
ALWAYS = ("data.val_fraction=0", "data.test_fraction=0", "logger=none", "picture=false")
OPTIONS = {
    "model": "model",
    "optimizer": "optimizer",
    "lr": "optimizer.lr",
    "epochs": "stop.epochs",
    "batch_size": "data.batch_size",
}


class _Trained(BaseEstimator):
    """What both estimators share: the commands' engine, and no run directory."""

    def __init__(
        self,
        model: str | None = None,
        optimizer: str | None = None,
        lr: float | None = None,
        epochs: int | None = None,
        batch_size: int | str | None = None,
        overrides: Sequence[str] = (),
        random_state: Any = 0,
        directory: str | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.overrides = overrides
        self.random_state = random_state
        self.directory = directory

    def _checked(
        self, x: Any, y: Any, targets: Callable[[Any], np.ndarray], **of_numbers: Any
    ) -> tuple[Rows, np.ndarray]:
        """Return rows and targets as scikit-learn asks them to be.

        Args:
            x: rows, as given.
            y: targets, as given.
            targets: checks those of a frame with other columns than numbers.
            of_numbers: of `validate_data`, where all are numbers.
        """
        frame = _mixed(x)
        if frame is None:
            rows, y = validate_data(
                self, x, y, dtype=np.float64, ensure_min_samples=2, **of_numbers
            )
            return rows, y
        validate_data(self, x, skip_check_array=True)
        y = targets(y)
        check_consistent_length(frame, y)
        return frame, y

    def _fit(self, x: Rows, y: np.ndarray, task: str, weights: Any) -> None:
        """Train, and keep what predicts.

        Args:
            x: [N, F] numbers, or a frame with columns of any kind.
            y: [N] or [N, C] numbers; of classes, their places.
            task: `regression` or `classification`.
            weights: [N], of the rows in the loss; None for all alike.

        Raises:
            DescentError: an option is refused, or the run did not end well.
        """
        import polars as pl

        from descent.api.given import as_frame, quoted
        from descent.api.start import train
        from descent.files.atomic import scratch

        state = self.random_state
        seed = state if isinstance(state, Integral) else check_random_state(state).randint(2**31)
        chosen = {key: getattr(self, name) for name, key in OPTIONS.items()}
        words = [f"{key}={value}" for key, value in chosen.items() if value is not None]
        frame = as_frame(x)
        names = ",".join(map(quoted, frame.columns))
        if weights is not None:
            weights = _check_sample_weight(weights, x, dtype=np.float64, ensure_non_negative=True)
            column = "weight" + "_" * sum(len(name) for name in frame.columns)
            frame = frame.with_columns(pl.Series(column, weights))
            words.append(f"data.weight={column}")
        words = [
            *(f"data.features=[{names}]", f"data.task={task}", f"seed={seed}", *ALWAYS),
            *words,
            *self.overrides,
        ]
        with scratch() as place:
            outputs = str(place) if self.directory is None else self.directory
            run = train(*words, *_outputs(outputs), data=frame, target=y, quiet=True)
            if run.status != "ok":
                raise DescentError(f"Training did not end well: {run.status}: {run.reason}.")
            self.module_ = run.to_torch(wide=True)
            self.columns_ = None if isinstance(x, np.ndarray) else run.columns
            self.losses_ = run.losses()
            self.directory_ = None if self.directory is None else str(run.directory)
            self._classes = run.classes

    def _predicted(self, x: Any) -> np.ndarray:
        import torch

        check_is_fitted(self)
        if self.columns_ is None:
            x = validate_data(self, x, dtype=np.float64, reset=False)
        else:
            from descent.api.contained import contained
            from descent.api.given import as_frame
            from descent.api.portable import inputs_of
            from descent.data.reading import as_table

            validate_data(self, x, reset=False, skip_check_array=True)
            with contained(quiet=True):
                x = inputs_of(as_table(as_frame(x), "data"), self.columns_)
        x = np.require(x, dtype=np.float64, requirements=["C", "W"])
        with torch.no_grad():
            made: np.ndarray = self.module_(torch.from_numpy(x)).numpy()
        return made


def _mixed(rows: Any) -> pl.DataFrame | None:
    """Return a frame that has other columns than numbers; None for rows of numbers."""
    if not hasattr(rows, "columns"):
        return None
    import polars as pl

    from descent.api.given import as_frame

    frame = as_frame(rows)
    numbers = all(kind.is_numeric() or kind == pl.Boolean for kind in frame.dtypes)
    return None if numbers else frame


def _outputs(place: str) -> list[str]:
    from descent.api.given import quoted

    return [f"paths.outputs={quoted(str(Path(place)))}"]


class DescentRegressor(RegressorMixin, _Trained):
    """A regressor of scikit-learn, of one or several targets.

    Args:
        model: a choice of conf/model, `linear` or `mlp`; None, here and below, for the command's.
        optimizer: a choice of conf/optimizer.
        lr: its learning rate.
        epochs: passes over the rows.
        batch_size: rows to a step, or `full`.
        overrides: any others, as typed behind `python src/train.py`: `("model.hidden=[32]",)`.
        random_state: a number or a generator for the run's seed; None for another one each time.
        directory: where the run and the rows are kept, as `paths.outputs`; None to keep neither.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X [N, F] and targets y, [N] or [N, C].

        Args:
            X: numbers; or a frame with texts, dates and gaps among its columns.
            y: numbers.
            sample_weight: [N], of the rows in the loss.
        """
        numbers = partial(check_array, ensure_2d=False, dtype=np.float64)
        x, y = self._checked(X, y, numbers, multi_output=True, y_numeric=True)
        self._fit(x, np.asarray(y, dtype=np.float64), "regression", sample_weight)
        self.flat_ = y.ndim == 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return what is predicted for rows X, in the shape of y."""
        made = self._predicted(X)
        return made[:, 0] if self.flat_ else made

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class DescentClassifier(ClassifierMixin, _Trained):
    """A classifier of scikit-learn.

    Args: as of `DescentRegressor`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X [N, F] and classes y [N] of any type.

        Args:
            X: numbers; or a frame with texts, dates and gaps among its columns.
            y: classes.
            sample_weight: [N], of the rows in the loss.
        """
        x, y = self._checked(X, y, partial(column_or_1d, warn=True))
        check_classification_targets(y)
        self.classes_, places = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DescentError(
                f"A classification needs at least two classes, but y has one class, {y[0]!r}."
            )
        self._fit(x, places, "classification", sample_weight)
        # the table's classes are texts of these places, in an order of their own
        self.order_ = np.argsort([int(text) for text in self._classes])
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities [N, K] of the classes, in the order of `classes_`."""
        return self._predicted(X)[:, self.order_]

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each row."""
        places = self.predict_proba(X).argmax(axis=1)
        chosen: np.ndarray = self.classes_[places]
        return chosen
