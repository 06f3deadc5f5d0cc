"""Permutation importance: how much worse a run predicts when one column is shuffled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from descent.data.arrays import Column, Task
from descent.errors import joined
from descent.report.predicted import Predicted
from descent.report.style import BLUE, Picture, new_figure, shown

REPEATS = 10
MOST_ROWS = 1000
MOST_COLUMNS = 100  # that are shuffled
MOST_BARS = 20


class _Gathered:
    """A model of row numbers: column j of X says from which row each column j is taken.

    scikit-learn shuffles one column of X, and all features that a column of the table became move
    together.
    """

    def __init__(self, found: Predicted, features: np.ndarray, spans: Sequence[slice]) -> None:
        self._found, self._features, self._spans = found, features, spans

    def fit(self, x: object, y: object) -> _Gathered:
        """Do nothing: it is fitted."""
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return predictions for rows that are put together from others'."""
        rows = x.astype(np.int64)
        made = np.empty((len(x), self._features.shape[1]), dtype=self._features.dtype)
        for j, span in enumerate(self._spans):
            made[:, span] = self._features[rows[:, j], span]
        return self._found.predict(made)


def importance(found: Predicted, notes: list[str]) -> tuple[Picture | None, list[Column]]:
    """Draw how much each column matters; None for images, one column, or very many.

    Args:
        found: the predictions.
        notes: gets why nothing is drawn.

    Returns:
        The picture, and the columns, the most important first.
    """
    columns = list(found.record.data.columns)
    if found.arrays.image is not None or len(columns) < 2 or len(found.rows) < 2:
        return None, columns
    if len(columns) > MOST_COLUMNS:
        notes.append(
            f"Permutation importance is not drawn: {len(columns)} columns would take long."
        )
        return None, columns
    from sklearn.inspection import permutation_importance

    step = max(1, -(-len(found.rows) // MOST_ROWS))
    features, wanted = found.features[::step], found.wanted[::step]
    ends = np.cumsum([len(c.features) for c in columns]).tolist()
    spans = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    x = np.repeat(np.arange(len(features))[:, None], len(columns), axis=1)
    made = permutation_importance(
        _Gathered(found, features, spans), x, wanted, scoring=_score(found), random_state=0,
        n_repeats=REPEATS,
    )  # fmt: skip
    mean, spread = made.importances_mean, made.importances_std
    order = np.argsort(-mean, kind="stable")
    return (
        _drawn(found, [columns[i] for i in order], mean[order], spread[order], len(features)),
        [columns[i] for i in order],
    )


def _score(found: Predicted):  # type: ignore[no-untyped-def]  # scikit-learn's scorer
    if found.arrays.task is Task.REGRESSION:
        unit = found.wanted.std(axis=0)
        unit = np.where(unit > 0, unit, 1.0)

        def rmse(model: _Gathered, x: np.ndarray, y: np.ndarray) -> float:
            away = (model.predict(x) - y) / (unit if y.shape[1] > 1 else 1.0)
            return -float(np.sqrt(np.square(away).mean()))

        return rmse

    def log_loss(model: _Gathered, x: np.ndarray, y: np.ndarray) -> float:
        shares = model.predict(x)[np.arange(len(y)), y]
        return float(np.log(np.maximum(shares, 1e-12)).mean())

    return log_loss


def _drawn(
    found: Predicted, columns: Sequence[Column], mean: np.ndarray, spread: np.ndarray, rows: int
) -> Picture:
    many = min(len(columns), MOST_BARS)
    names = [c.name if len(c.name) <= 30 else f"{c.name[:29]}…" for c in columns[:many]]
    figure = new_figure(height=1.2 + 0.3 * many)
    axes = figure.add_subplot()
    places = np.arange(many)[::-1]
    axes.barh(places, mean[:many], xerr=spread[:many], color=BLUE, alpha=0.8, capsize=2)
    axes.set_yticks(places, names)
    axes.axvline(0, color="black", linewidth=0.8)
    what = "RMSE" if found.arrays.task is Task.REGRESSION else "log loss"
    several = found.arrays.task is Task.REGRESSION and found.wanted.shape[1] > 1
    unit = ", in units of each target's spread" if several else ""
    axes.set_xlabel(f"rise of the {what} when the column is shuffled{unit}")
    sure = [c.name for c, m, s in zip(columns, mean, spread, strict=True) if m > 2 * s and m > 0]
    hidden = f" Drawn are {many} of {len(columns)} columns." if len(columns) > many else ""
    more = f" and {len(sure) - 4} more" if len(sure) > 4 else ""
    told = f"Beyond two of these matter {joined(sure[:4])}{more}" if sure else (
        "No column matters beyond two of these"
    )  # fmt: skip
    caption = (
        f"{rows:,} of {found.who}, {REPEATS} shuffles; the bars are means, the lines standard "
        f"deviations over shuffles. {told}; "
        f"shuffling {columns[0].name} costs {shown(mean[0])} ± {shown(spread[0])}.{hidden}"
    )
    return Picture("importance", "What the predictions depend on", figure, caption)
