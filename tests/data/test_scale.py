"""Scalers beside scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from descent.data import scale
from descent.data.scale import Scaler, fit_scaler

RNG = np.random.default_rng(0)
# columns of very different place and size, as real tables have them
X = RNG.standard_normal((500, 4)) * [1, 1e-6, 1e6, 3] + [0, 5, -1e3, 1e7]
ROWS = np.sort(RNG.permutation(500)[:300])


def test_standardize_is_sklearns_up_to_the_degree_of_freedom() -> None:
    theirs = StandardScaler().fit(X[ROWS])
    ours = fit_scaler("standardize", X, ROWS)
    np.testing.assert_allclose(ours.offset, theirs.mean_, rtol=1e-12)
    # theirs divides by n, ours by n - 1
    np.testing.assert_allclose(ours.scale, theirs.scale_ * np.sqrt(300 / 299), rtol=1e-9)


def test_minmax_is_sklearns() -> None:
    theirs = MinMaxScaler().fit(X[ROWS])
    ours = fit_scaler("minmax", X, ROWS)
    np.testing.assert_allclose(ours.apply(X), theirs.transform(X), rtol=1e-9, atol=1e-9)


def test_none_changes_nothing() -> None:
    ours = fit_scaler("none", X, ROWS)
    assert ours.is_identity
    np.testing.assert_array_equal(ours.apply(X), X)
    assert not fit_scaler("minmax", X, ROWS).is_identity


@pytest.mark.parametrize("kind", ["standardize", "minmax"])
def test_only_training_rows_are_looked_at(kind: str) -> None:
    others = np.setdiff1d(np.arange(500), ROWS)
    spoilt = X.copy()
    spoilt[others] = 1e12
    before, after = fit_scaler(kind, X, ROWS), fit_scaler(kind, spoilt, ROWS)
    np.testing.assert_array_equal(before.offset, after.offset)
    np.testing.assert_array_equal(before.scale, after.scale)


@pytest.mark.parametrize("kind", ["standardize", "minmax"])
def test_training_rows_come_out_as_promised(kind: str) -> None:
    z = fit_scaler(kind, X, ROWS).apply(X)[ROWS]
    if kind == "minmax":
        np.testing.assert_allclose(z.min(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(z.max(axis=0), 1, atol=1e-12)
    else:
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-7)
        np.testing.assert_allclose(z.std(axis=0, ddof=1), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", ["standardize", "minmax"])
def test_a_feature_constant_in_training_is_shifted_but_not_stretched(kind: str) -> None:
    values = np.array([[7.0], [7.0], [9.0]])
    ours = fit_scaler(kind, values, np.array([0, 1]))
    assert ours.apply(values).tolist() == [[0], [0], [2]]


def test_a_constant_that_floats_cannot_hold_is_not_stretched_either() -> None:
    # the mean of 0.1 + 0.1 + ... misses 0.1 by a rounding; dividing by that would give noise
    values = np.full((7, 1), 0.1)
    z = fit_scaler("standardize", values, np.arange(7)).apply(values)
    np.testing.assert_allclose(z, 0, atol=1e-15)


def test_one_training_row_can_be_scaled() -> None:
    ours = fit_scaler("standardize", X, np.array([3]))
    np.testing.assert_array_equal(ours.apply(X)[3], 0)


@pytest.mark.parametrize("kind", ["standardize", "minmax", "none"])
def test_undo_takes_apply_back(kind: str) -> None:
    ours = fit_scaler(kind, X, ROWS)
    np.testing.assert_allclose(ours.undo(ours.apply(X)), X, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("kind", ["standardize", "minmax"])
def test_pieces_give_what_the_whole_gives(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_scaler(kind, X, ROWS)
    monkeypatch.setattr(scale, "CHUNK", 7)  # 300 = 42 * 7 + 6: the last piece is short
    pieces = fit_scaler(kind, X, ROWS)
    np.testing.assert_allclose(pieces.offset, whole.offset, rtol=1e-12)
    np.testing.assert_allclose(pieces.scale, whole.scale, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_any_number_type_is_scaled_in_double_precision(dtype: type) -> None:
    values = RNG.integers(0, 2, (50, 3)).astype(dtype)
    ours = fit_scaler("standardize", values, np.arange(50))
    exact = values.astype(float)
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0, ddof=1)
    np.testing.assert_allclose(ours.apply(values), expected, rtol=1e-12, atol=1e-12)


def test_json_keeps_a_scaler_to_the_last_bit() -> None:
    ours = fit_scaler("standardize", X, ROWS)
    back = Scaler.from_dict(json.loads(json.dumps(ours.to_dict())))
    np.testing.assert_array_equal(back.offset, ours.offset)
    np.testing.assert_array_equal(back.scale, ours.scale)


def test_together_keeps_the_proportions_between_features() -> None:
    values = np.random.default_rng(0).uniform(0, 16, (50, 6)) * np.array([1, 1, 1, 1, 0, 0.01])
    rows = np.arange(40)
    scaler = fit_scaler("together", values, rows)
    scaled = scaler.apply(values[rows])
    assert scaled.mean() == pytest.approx(0, abs=1e-12)
    assert scaled.std(ddof=1) == pytest.approx(1)
    assert len(set(scaler.scale)) == len(set(scaler.offset)) == 1
    assert fit_scaler("together", np.full((5, 2), 3.0), np.arange(5)).scale.tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["standardize", "minmax"])
def test_a_huge_feature_leaves_the_scale_of_its_neighbours_alone(kind: str) -> None:
    small = np.arange(6.0)
    both = fit_scaler(kind, np.column_stack([1e300 * (small + 1), small]), np.arange(6))
    alone = fit_scaler(kind, small[:, None], np.arange(6))
    assert (both.offset[1], both.scale[1]) == (alone.offset[0], alone.scale[0])
    assert both.scale[0] == pytest.approx(1e300 * alone.scale[0], rel=1e-12)
