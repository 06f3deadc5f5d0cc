"""Weights of rows and of classes, held against scikit-learn and against rows that are repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from descent.data.arrays import Arrays, Task, numeric
from descent.data.row_weights import class_weights, row_weights
from descent.data.tensors import split_tensors
from descent.errors import UserError
from descent.job import Job
from descent.records.run import Run

RANDOM = np.random.default_rng(4)
WHOLE = (
    "data=table", "data.target=y", "model=linear", "optimizer=sgd", "optimizer.lr=0.05",
    "data.batch_size=full", "data.scale=none", "data.scale_target=none", "data.val_fraction=0",
    "data.test_fraction=0", "stop.epochs=20", "trainer=float64", "logger=none",
)  # fmt: skip


def classified(targets: list[int], classes: int = 2) -> Arrays:
    task = Task.BINARY if classes == 2 else Task.MULTICLASS
    names = tuple("abcdef"[:classes])
    return Arrays(np.ones((len(targets), 1)), np.array(targets), task, numeric(["x"]), "y", names)


def test_balanced_weights_are_scikit_learns_of_the_training_rows():
    arrays, train = classified([0] * 7 + [1] * 2 + [2] * 4, 3), np.arange(1, 13)
    notes: list[str] = []
    found = class_weights("balanced", arrays, train, notes)
    y = arrays.targets[train]
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=y)
    assert found == pytest.approx(wanted, rel=1e-15)
    assert notes[0].startswith("losses weigh classes: a 0.6667, b 2, c 1")


@pytest.mark.parametrize(
    ("asked", "says"),
    [([1.0], r"1 numbers for 2 classes; give one for each of a, b, in this order")],
)
def test_weights_that_do_not_fit_the_classes_are_refused(asked, says):
    with pytest.raises(UserError, match=says):
        class_weights(asked, classified([0, 1]), np.arange(2), [])


def test_weights_of_classes_need_classes():
    numbers = Arrays(np.ones((2, 1)), np.ones(2), Task.REGRESSION, numeric(["x"]), "y")
    with pytest.raises(UserError, match=r"data\.class_weight needs classes"):
        class_weights("balanced", numbers, np.arange(2), [])


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_none_is_refused_with_its_row(bad):
    arrays = Arrays(
        np.ones((3, 1)), np.ones(3), Task.REGRESSION, numeric(["x"]), "y",
        weights=np.array([1.0, bad, 2.0]), weight="w",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"data\.weight=w is .* in row 2"):
        row_weights(arrays, {"train": np.arange(3)}, (), [])


def table(path: Path, times: np.ndarray | None) -> None:
    """Write 30 rows of y and x with weights, or each row as often as its weight says."""
    random = np.random.default_rng(0)
    x, w = random.normal(size=30), random.integers(0, 4, 30)
    y = 2 * x + random.normal(size=30)
    frame = pl.DataFrame({"x": x, "w": w, "y": y})
    if times is None:
        frame = frame[np.repeat(np.arange(30), w)].drop("w")
    frame.write_csv(path)


def test_a_row_of_weight_three_trains_as_three_such_rows(
    train_run: Callable[..., Run], tmp_path: Path
) -> None:
    weighted, repeated = tmp_path / "weighted.csv", tmp_path / "repeated.csv"
    table(weighted, np.ones(1))
    table(repeated, None)
    one = train_run(*WHOLE, f"data.path={weighted}", "data.weight=w")
    other = train_run(*WHOLE, f"data.path={repeated}")
    ours, theirs = one.result(), other.result()
    assert [c.name for c in one.data().columns] == ["x"]
    for name, value in theirs["weights"].items():
        assert ours["weights"][name] == pytest.approx(value, rel=1e-12)
    wanted = theirs["metrics"]["train/full_loss"]
    assert ours["metrics"]["train/full_loss"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_weighted_classes_have_torchs_weighted_cross_entropy(
    make_job: Callable[..., Job], tmp_path: Path, classes: int
) -> None:
    from descent.engine.losses import criterion

    y = np.sort(RANDOM.integers(0, classes, 60))
    frame = pl.DataFrame({"x": RANDOM.normal(size=60), "y": [f"c{v}" for v in y]})
    frame.write_csv(tmp_path / "t.csv")
    asked = [0.5, 4.0, 1.5][:classes]
    job = make_job(*WHOLE, f"data.path={tmp_path / 't.csv'}", f"data.class_weight={asked}")
    _, packed = split_tensors(job.prepared, "train", torch.device("cpu"), torch.float64)
    logits = torch.tensor(RANDOM.normal(size=(60, 1 if classes == 2 else classes)))
    found = criterion(job.config, job.prepared.description)(logits, packed)
    both = torch.cat([torch.zeros(60, 1), logits], 1) if classes == 2 else logits
    weights = torch.tensor(asked, dtype=torch.float64)
    wanted = nn.CrossEntropyLoss(weight=weights)(both, torch.tensor(y))
    assert float(found) == pytest.approx(float(wanted), rel=1e-12)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("data.weight=town", "data.weight=town must be a column of .* with a number in every row"),
        ("data.weight=wight", "data.weight=wight: .* has no column 'wight'; did you mean 'weight'"),
        ("data.class_weight=balanced", "data.class_weight needs classes"),
    ],
)
def test_what_cannot_weigh_rows_is_refused(
    make_job: Callable[..., Job], tmp_path: Path, extra: str, says: str
) -> None:
    columns = {"x": RANDOM.normal(size=20), "town": ["a", "b"] * 10, "weight": [1.0] * 20}
    pl.DataFrame({**columns, "y": RANDOM.normal(size=20)}).write_csv(tmp_path / "t.csv")
    with pytest.raises(UserError, match=says):
        make_job(*WHOLE, f"data.path={tmp_path / 't.csv'}", extra)
