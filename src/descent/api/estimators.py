"""Estimators of scikit-learn that train with Descent: for cross-validation, pipelines, searches."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from descent.errors import DescentError

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
    """What both estimators share: rows of numbers, the commands' engine, no run directory."""

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

    def _fit(self, x: np.ndarray, y: np.ndarray, task: str) -> None:
        """Train, and keep what predicts.

        Args:
            x: [N, F] numbers.
            y: [N] or [N, C] numbers; of classes, their places.
            task: `regression` or `classification`.

        Raises:
            DescentError: an option is refused, or the run did not end well.
        """
        from descent.api.start import train
        from descent.files.atomic import scratch

        state = self.random_state
        seed = state if isinstance(state, Integral) else check_random_state(state).randint(2**31)
        chosen = {key: getattr(self, name) for name, key in OPTIONS.items()}
        words = [f"{key}={value}" for key, value in chosen.items() if value is not None]
        names = ",".join(f"x{i}" for i in range(x.shape[1]))
        words = [
            *(f"data.features=[{names}]", f"data.task={task}", f"seed={seed}", *ALWAYS),
            *words,
            *self.overrides,
        ]
        with scratch() as place:
            outputs = str(place) if self.directory is None else self.directory
            run = train(*words, *_outputs(outputs), data=x, target=y, quiet=True)
            if run.status != "ok":
                raise DescentError(f"Training did not end well: {run.status}: {run.reason}.")
            self.module_ = run.to_torch(wide=True)
            self.losses_ = run.losses()
            self.directory_ = None if self.directory is None else str(run.directory)
            self._classes = run.classes

    def _predicted(self, x: Any) -> np.ndarray:
        import torch

        check_is_fitted(self)
        x = np.require(
            validate_data(self, x, dtype=np.float64, reset=False), requirements=["C", "W"]
        )
        with torch.no_grad():
            made: np.ndarray = self.module_(torch.from_numpy(x)).numpy()
        return made


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

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X [N, F] of numbers and targets y, [N] or [N, C]."""
        x, y = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=2
        )
        self._fit(x, np.asarray(y, dtype=np.float64), "regression")
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

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X [N, F] of numbers and classes y [N] of any type."""
        x, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, places = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DescentError(
                f"A classification needs at least two classes, but y has one class, {y[0]!r}."
            )
        self._fit(x, places, "classification")
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
