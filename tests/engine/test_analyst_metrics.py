"""The metrics that are measured where they are asked for equal scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from descent.errors import UserError
from descent.metrics import METRICS, check_asked, of_task

RUNS, ROWS = 3, 400
DRAWS = np.random.default_rng(0)
Scorer = Callable[[np.ndarray, np.ndarray], float]  # wanted, then probabilities [n, K] or numbers


def chosen(shares: np.ndarray) -> np.ndarray:
    return shares.argmax(axis=1)


def brier_of_many(wanted: np.ndarray, shares: np.ndarray) -> float:
    return float(np.square(shares - np.eye(shares.shape[1])[wanted]).sum(axis=1).mean())


def calibration(wanted: np.ndarray, shares: np.ndarray) -> float:
    """By the definition, bin by bin."""
    sure, hits = shares.max(axis=1), chosen(shares) == wanted
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (sure > low) & (sure <= low + 1 / 15 + 1e-12)
        if inside.any():
            total += inside.mean() * abs(hits[inside].mean() - sure[inside].mean())
    return total


BINARY: dict[str, Scorer] = {
    "accuracy": lambda y, p: sk.accuracy_score(y, chosen(p)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, chosen(p)),
    "f1": lambda y, p: sk.f1_score(y, chosen(p), zero_division=0),
    "precision": lambda y, p: sk.precision_score(y, chosen(p), zero_division=0),
    "recall": lambda y, p: sk.recall_score(y, chosen(p), zero_division=0),
    "auc": lambda y, p: sk.roc_auc_score(y, p[:, 1]),
    "average_precision": lambda y, p: sk.average_precision_score(y, p[:, 1]),
    "log_loss": lambda y, p: sk.log_loss(y, p),
    "brier": lambda y, p: sk.brier_score_loss(y, p[:, 1]),
    "calibration_error": calibration,
}
MULTICLASS: dict[str, Scorer] = {
    **BINARY,
    "f1": lambda y, p: sk.f1_score(y, chosen(p), average="macro", zero_division=0),
    "precision": lambda y, p: sk.precision_score(y, chosen(p), average="macro", zero_division=0),
    "recall": lambda y, p: sk.recall_score(y, chosen(p), average="macro", zero_division=0),
    "auc": lambda y, p: sk.roc_auc_score(y, p, multi_class="ovr"),
    "average_precision": lambda y, p: sk.average_precision_score(np.eye(p.shape[1])[y], p),
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=range(p.shape[1])),
    "brier": brier_of_many,
}
REGRESSION: dict[str, Scorer] = {
    "rmse": lambda y, p: sk.root_mean_squared_error(y, p),
    "mae": lambda y, p: sk.mean_absolute_error(y, p),
    "r2": lambda y, p: sk.r2_score(y, p),
    "mape": lambda y, p: sk.mean_absolute_percentage_error(y, p),
}


def check(name: str, outputs: torch.Tensor, wanted: torch.Tensor, scorer: Scorer) -> None:
    formula = METRICS[name].formula
    assert formula is not None
    got = formula(outputs, wanted)
    assert got.shape == (len(outputs),)
    for r, logits in enumerate(outputs):
        if wanted.ndim > 1:
            shown = logits.numpy()
        elif logits.shape[1] == 1:
            p = logits.sigmoid().numpy()
            shown = np.hstack([1 - p, p])
        else:
            shown = logits.softmax(dim=1).numpy()
        assert float(got[r]) == pytest.approx(scorer(wanted.numpy(), shown), abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.04])
@pytest.mark.parametrize("name", BINARY)
def test_a_metric_of_two_classes_is_that_of_scikit_learn(name: str, share: float) -> None:
    wanted = torch.from_numpy((DRAWS.random(ROWS) < share).astype(np.int64))
    # in eighths, so that many rows tie; one run says no to everything
    outputs = torch.from_numpy(DRAWS.normal(size=(RUNS, ROWS, 1))) + wanted[:, None]
    outputs = (outputs * 8).round() / 8
    outputs[2] = outputs[2] - 16
    check(name, outputs, wanted, BINARY[name])


@pytest.mark.parametrize("name", MULTICLASS)
def test_a_metric_of_several_classes_is_that_of_scikit_learn(name: str) -> None:
    wanted = torch.from_numpy(DRAWS.choice(4, ROWS, p=[0.6, 0.3, 0.07, 0.03]))
    outputs = torch.from_numpy(DRAWS.normal(size=(RUNS, ROWS, 4)))
    outputs[1] += 2 * torch.eye(4)[wanted]
    outputs[2, :, 3] -= 16  # a class that is never predicted
    check(name, outputs, wanted, MULTICLASS[name])


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("name", REGRESSION)
def test_a_metric_of_numbers_is_that_of_scikit_learn(name: str, targets: int) -> None:
    wanted = torch.from_numpy(DRAWS.normal(5, 1, size=(ROWS, targets)))
    outputs = wanted + torch.from_numpy(DRAWS.normal(size=(RUNS, ROWS, targets)))
    scorer = REGRESSION[name]
    if name == "rmse" and targets > 1:  # of all errors together, where scikit-learn takes a mean
        scorer = lambda y, p: float(np.sqrt(np.square(y - p).mean()))  # noqa: E731
    check(name, outputs, wanted, scorer)


def test_every_metric_with_a_formula_is_compared() -> None:
    made = {name for name, metric in METRICS.items() if metric.formula}
    assert made == {*BINARY, *MULTICLASS, *REGRESSION}


def test_the_usual_ones_are_measured_unless_others_are_asked_for() -> None:
    assert [m.name for m in of_task("binary", 9)] == ["accuracy"]
    assert {m.name for m in of_task("binary", 9, ["f1", "auc"])} == {"accuracy", "f1", "auc"}
    assert {m.name for m in of_task("regression", 9, ["all"])} == set(REGRESSION)


def test_a_metric_of_another_task_is_refused() -> None:
    check_asked(["mape"], "regression")
    with pytest.raises(UserError, match=r"metrics.names=\[f1\] is no metric of a regression task"):
        check_asked(["f1"], "regression")
    with pytest.raises(UserError, match=r"\[brir\] is no metric .* did you mean 'brier'"):
        check_asked(["brir"], "binary")
