"""Which rows train, validate and test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from descent.data.arrays import Arrays, Task, numeric
from descent.data.bundled import iris
from descent.data.drawing import draw
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


def test_two_rows_train_and_validate_and_that_is_told() -> None:
    notes: list[str] = []
    rows = split_rows(regression(2), 0.1, 0.1, seed=0, notes=notes)
    assert {name: len(r) for name, r in rows.items()} == {"train": 1, "val": 1, "test": 0}
    assert notes == ["2 rows: one trains, one validates, and none is left for the test"]


def test_every_split_has_its_share_of_every_class() -> None:
    arrays = iris()  # 50 rows of each class
    rows = split_rows(arrays, 0.1, 0.2, seed=3)
    counts = {name: np.bincount(arrays.targets[r]).tolist() for name, r in rows.items()}
    assert counts == {"train": [35, 35, 35], "val": [5, 5, 5], "test": [10, 10, 10]}


def test_a_class_that_proportion_rounds_to_none_has_a_row_in_each_split() -> None:
    arrays = classification(115, 5)  # of which 12 rows hold half a row
    for seed in range(5):
        rows = split_rows(arrays, 0.1, 0.1, seed)
        counts = [np.bincount(arrays.targets[rows[s]]).tolist() for s in ("train", "val", "test")]
        assert counts == [[93, 3], [11, 1], [11, 1]]


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
        (regression(1), (0.1, 0.1), None, r"data.test_fraction=0.1 of 1 rows leaves no train"),
        (regression(10), (0.0, 0.99), None, r"data.test_fraction=0.99 of 10 rows leaves no train"),
        (regression(10), (0.0, 0.0), 0.01, r"data.limit=0.01 of 10 training rows leaves none"),
    ],
    ids=range(3),
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
    ("counts", "fractions", "limit", "note"),
    [
        ((20, 1), (0.1, 0.1), None, "classes with fewer rows than the 3 splits only train: b"),
        ((20, 2), (0.1, 0.1), None, "classes with fewer rows than the 3 splits only train: b"),
        ((1, 1, 2, 2, 1), (0.1, 0.1), None, "most classes are too rare to be split in proportion"),
        ((9, 9, 9, 9), (0.05, 0.0), None, "2 of 36 rows cannot hold all 4 classes in proportion"),
        ((9, 9, 9), (0.0, 0.0), 2.0, "2 of 27 rows cannot hold all 3 classes in proportion"),
        ((40, 1, 1), (0.0, 0.0), 20.0, "20 of 42 rows cannot hold all 3 classes"),
        ((30, 3), (0.1, 0.6), None, "cannot hold all 2 classes"),
        ((27, 3), (0.3, 0.3), 6.0, "cannot hold all 2 classes"),
    ],
)
def test_rare_classes_are_split_as_well_as_they_can_be_and_told_of(
    counts: tuple[int, ...], fractions: tuple[float, float], limit: float | None, note: str
) -> None:
    arrays, notes = classification(*counts), []
    rows = split_rows(arrays, *fractions, seed=0, limit=limit, notes=notes)
    assert any(note in line for line in notes), notes
    together = np.concatenate(list(rows.values()))
    assert len(np.unique(together)) == len(together)
    assert limit or len(together) == sum(counts)
    for name, fraction in zip(("val", "test"), fractions, strict=True):
        held = 0 if "only train" not in note else counts[-1]
        assert len(rows[name]) == max(round(fraction * sum(counts)), fraction > 0), held


def test_rare_classes_train() -> None:
    rows = split_rows(classification(20, 1), 0.1, 0.1, seed=0)
    assert 20 in rows["train"]


@pytest.mark.parametrize(("count", "sizes"), [(4, (2, 1, 1)), (3, (1, 1, 1))])
def test_each_split_of_a_tiny_table_gets_a_row(count: int, sizes: tuple[int, ...]) -> None:
    rows = split_rows(regression(count), 0.1, 0.1, seed=0)
    assert tuple(len(rows[name]) for name in ("train", "val", "test")) == sizes


# ---- groups, time, folds


def test_rows_of_a_group_stay_together() -> None:
    groups = np.repeat(np.arange(20), 5)
    arrays = replace(regression(100), groups=groups)
    rows = split_rows(arrays, 0.2, 0.2, seed=0)
    sides = [set(groups[r]) for r in rows.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20
    assert [len(r) for r in rows.values()] == [60, 20, 20]


def test_the_latest_rows_are_for_test_and_the_ones_before_for_validation() -> None:
    times = np.random.default_rng(0).permutation(100).astype(float)
    rows = split_rows(replace(regression(100), times=times), 0.1, 0.2, seed=0)
    assert times[rows["train"]].max() == 69
    assert sorted(times[rows["val"]]) == list(range(70, 80))
    assert sorted(times[rows["test"]]) == list(range(80, 100))


def test_rows_of_one_moment_are_not_parted() -> None:
    times = np.repeat(np.arange(10), 10)
    rows = split_rows(replace(regression(100), times=times), 0.0, 0.15, seed=0)
    assert set(times[rows["test"]]) == {8, 9}


@pytest.mark.parametrize("arrays", [regression(103), classification(60, 43)])
def test_folds_cut_all_but_the_test_rows_into_equal_parts(arrays: Arrays) -> None:
    made = [split_rows(arrays, 0.5, 0.1, seed=0, folds=5, fold=k) for k in range(5)]
    assert all(np.array_equal(m["test"], made[0]["test"]) for m in made)
    held = np.concatenate([m["val"] for m in made])
    assert sorted([*held, *made[0]["test"]]) == list(range(103))
    assert {len(m["val"]) for m in made} <= {18, 19}
    if arrays.classes:  # and in proportion to the classes
        ones = [arrays.targets[m["val"]].sum() for m in made]
        assert max(ones) - min(ones) <= 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"folds": 3, "fold": 3}, r"data.fold=3 counts from 0, so it must be below 3"),
        ({"folds": 99}, r"data.folds=99 is more than the 9 rows there are"),
    ],
)
def test_folds_that_cannot_be_had_are_refused(options: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        split_rows(regression(10), 0.1, 0.1, seed=0, **options)


@given(
    st.lists(st.integers(2, 12), min_size=1, max_size=5), st.integers(0, 2**32 - 1), st.data(),
    st.booleans(),
)  # fmt: skip
def test_the_rows_drawn_are_scikit_learns(sizes, seed, data, stratified) -> None:
    classes = np.random.RandomState(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = len(classes)
    count = data.draw(st.integers(len(sizes), rows - len(sizes)))
    of_class = classes if stratified else None
    expected = train_test_split(
        np.arange(rows), test_size=count, random_state=seed, stratify=of_class
    )
    for mine, theirs in zip(draw(rows, count, seed, of_class), expected, strict=True):
        np.testing.assert_array_equal(mine, np.sort(theirs))
