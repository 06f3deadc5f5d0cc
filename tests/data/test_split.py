"""Which rows train, validate and test."""

from __future__ import annotations

import numpy as np
import pytest

from descent.data.arrays import Arrays, Task, numeric
from descent.data.bundled import iris
from descent.data.split import split_rows
from descent.errors import UserError


def regression(rows: int) -> Arrays:
    x = np.arange(float(rows)).reshape(-1, 1)
    return Arrays(x, x[:, 0], Task.REGRESSION, numeric(["x"]))


def classification(*counts: int) -> Arrays:
    """Rows of class 0, then of class 1, ..."""
    targets = np.repeat(np.arange(len(counts)), counts)
    names = tuple("abcdefgh"[: len(counts)])
    x = np.arange(float(len(targets))).reshape(-1, 1)
    task = Task.BINARY if len(counts) == 2 else Task.MULTICLASS
    return Arrays(x, targets, task, numeric(["x"]), "kind", names)


@pytest.mark.parametrize("arrays", [regression(150), iris()], ids=["regression", "classification"])
def test_the_splits_share_out_every_row_once_in_rising_order(arrays: Arrays) -> None:
    rows = split_rows(arrays, 0.1, 0.2, seed=0)
    assert {name: len(r) for name, r in rows.items()} == {"train": 105, "val": 15, "test": 30}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(150))
    for part in rows.values():
        assert (np.diff(part) > 0).all()


def test_every_split_has_its_share_of_every_class() -> None:
    arrays = iris()  # 50 rows of each class
    rows = split_rows(arrays, 0.1, 0.2, seed=3)
    counts = {name: np.bincount(arrays.targets[r]).tolist() for name, r in rows.items()}
    assert counts == {"train": [35, 35, 35], "val": [5, 5, 5], "test": [10, 10, 10]}


def test_rare_classes_keep_their_share() -> None:
    arrays = classification(90, 10)
    rows = split_rows(arrays, 0.1, 0.1, seed=0)
    assert np.bincount(arrays.targets[rows["test"]]).tolist() == [9, 1]
    assert np.bincount(arrays.targets[rows["val"]]).tolist() == [9, 1]


def test_a_seed_gives_the_same_split_again_and_another_seed_another() -> None:
    first, again, other = (split_rows(regression(100), 0.2, 0.2, seed=s) for s in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != other[name]).any()


def test_no_fraction_no_rows_and_no_shuffling() -> None:
    rows = split_rows(regression(10), 0.0, 0.0, seed=0)
    assert rows["train"].tolist() == list(range(10))
    assert len(rows["val"]) == len(rows["test"]) == 0


def test_the_test_rows_do_not_depend_on_the_validation_rows() -> None:
    arrays = regression(100)
    with_val, without = (split_rows(arrays, f, 0.2, seed=0)["test"] for f in (0.3, 0.0))
    np.testing.assert_array_equal(with_val, without)


# ---- limit


@pytest.mark.parametrize(("limit", "kept"), [(30, 30), (30.0, 30), (0.25, 20), (80, 80), (999, 80)])
def test_a_limit_is_a_number_or_a_share_of_the_training_rows(limit: float, kept: int) -> None:
    rows = split_rows(regression(100), 0.1, 0.1, seed=0, limit=limit)
    assert len(rows["train"]) == kept
    assert (len(rows["val"]), len(rows["test"])) == (10, 10)


def test_limited_rows_are_training_rows_in_proportion_to_the_classes() -> None:
    arrays = iris()
    everything = split_rows(arrays, 0.1, 0.1, seed=0)
    limited = split_rows(arrays, 0.1, 0.1, seed=0, limit=30.0)
    assert set(limited["train"]) < set(everything["train"])
    assert np.bincount(arrays.targets[limited["train"]]).tolist() == [10, 10, 10]
    np.testing.assert_array_equal(limited["test"], everything["test"])


# ---- mistakes


@pytest.mark.parametrize(
    ("arrays", "fractions", "limit", "sentence"),
    [
        (regression(4), (0.1, 0.0), None,
         r"data.val_fraction=0.1 of 4 rows leaves no val rows; give another .*or 0 for no val"),
        (regression(10), (0.0, 0.99), None, r"data.test_fraction=0.99 of 10 rows leaves no train"),
        (regression(10), (0.0, 0.0), 0.01, r"data.limit=0.01 of 10 training rows leaves none"),
        (classification(20, 1), (0.1, 0.1), None,
         r"Class 'b' of target 'kind' has only 1 row, and each of the 3 splits needs one; add"),
        (classification(20, 2), (0.1, 0.1), None, r"Class 'b' .* only 2 rows, and each of the 3"),
        (classification(9, 9, 9, 9), (0.05, 0.0), None,
         r"data.val_fraction=0.05 splits 36 rows into 34 and 2, too few for 4 classes; give ano"),
        (classification(9, 9, 9), (0.0, 0.0), 2.0,
         r"data.limit=2 splits 27 rows into 25 and 2, too few for 3 classes"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_split_that_cannot_be_made_is_refused(
    arrays: Arrays, fractions: tuple[float, float], limit: float | None, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        split_rows(arrays, *fractions, seed=0, limit=limit)


def test_a_class_with_just_enough_rows_can_be_split() -> None:
    arrays = classification(27, 3)
    rows = split_rows(arrays, 0.1, 0.1, seed=0)
    # 3 rows of each split, at least one of them of the rare class somewhere; none is lost
    assert sum(len(r) for r in rows.values()) == 30


def test_a_class_of_one_row_may_train_alone() -> None:
    rows = split_rows(classification(20, 1), 0.0, 0.0, seed=0)
    assert len(rows["train"]) == 21


@pytest.mark.parametrize(
    ("counts", "fractions", "limit"),
    [
        ((40, 1, 1), (0.0, 0.0), 20.0),  # a class of one row cannot be drawn from in proportion
        ((30, 3), (0.1, 0.6), None),  # test takes 2 of 3 rows; 1 is left to be shared by two splits
        ((27, 3), (0.3, 0.3), 6.0),  # test and val take one row each; 1 is left to be limited
    ],
)
def test_a_class_that_runs_out_of_rows_is_told_of(
    counts: tuple[int, ...], fractions: tuple[float, float], limit: float | None
) -> None:
    with pytest.raises(UserError, match=r"[Cc]lass"):
        split_rows(classification(*counts), *fractions, seed=0, limit=limit)
