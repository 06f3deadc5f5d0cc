"""The bundled sets are the published ones, and the made line is the tutorials' line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from descent.data import bundled
from descent.data.arrays import Arrays, Task, check_arrays, fingerprint, numeric
from descent.data.line import line, three_points
from descent.data.scale import fit_scaler
from descent.errors import UserError

# name: (rows, features, task, rows by class), as the UCI repository and scikit-learn publish them
CLASSIFICATIONS = {
    "digits": (1797, 64, Task.MULTICLASS, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
    "breast_cancer": (569, 30, Task.BINARY, [212, 357]),
    "wine": (178, 13, Task.MULTICLASS, [59, 71, 48]),
    "iris": (150, 4, Task.MULTICLASS, [50, 50, 50]),
}


@pytest.mark.parametrize("name", CLASSIFICATIONS)
def test_a_bundled_classification_has_the_published_shape(name: str) -> None:
    rows, features, task, by_class = CLASSIFICATIONS[name]
    arrays = getattr(bundled, name)()
    assert arrays.features.shape == (rows, features)
    assert arrays.targets.shape == (rows,)
    assert arrays.targets.dtype == np.int64
    assert arrays.task is task
    assert np.bincount(arrays.targets).tolist() == by_class
    assert len(arrays.classes) == len(by_class)
    assert len(arrays.feature_names) == features
    check_arrays(arrays)


def test_classes_have_their_names() -> None:
    assert bundled.iris().classes == ("setosa", "versicolor", "virginica")
    assert bundled.breast_cancer().classes == ("malignant", "benign")
    assert bundled.digits().classes == tuple("0123456789")


def test_diabetes_has_the_published_shape_and_range() -> None:
    arrays = bundled.diabetes()
    assert arrays.features.shape == (442, 10)
    assert arrays.task is Task.REGRESSION
    assert (arrays.targets.min(), arrays.targets.max()) == (25, 346)
    assert arrays.classes == ()
    assert arrays.feature_names[:4] == ("age", "sex", "bmi", "bp")
    check_arrays(arrays)


def test_outputs_are_one_for_two_classes_and_one_each_for_more() -> None:
    assert bundled.breast_cancer().outputs == 1
    assert bundled.iris().outputs == 3
    assert bundled.diabetes().outputs == 1
    two_targets = Arrays(np.ones((3, 1)), np.ones((3, 2)), Task.REGRESSION, ())
    assert two_targets.outputs == 2


# ---- the line


def test_the_line_is_the_tutorials_line() -> None:
    arrays = line()
    x = arrays.features[:, 0].astype(float)
    np.testing.assert_array_equal(x, np.linspace(100, 300, 200, dtype=np.float32))
    # the tutorials seed, and draw the noise right after
    torch.manual_seed(1024)
    noise = torch.randn(200).numpy()
    z = (x - x.mean()) / x.std(ddof=1)
    np.testing.assert_allclose(arrays.targets, 10 * z + 5 + noise, rtol=0, atol=1e-5)


def test_least_squares_on_the_standardized_line_gives_the_known_fit() -> None:
    arrays = line()
    everything = np.arange(arrays.rows)
    z = fit_scaler("standardize", arrays.features, everything).apply(arrays.features)[:, 0]
    y = arrays.targets.astype(float)
    # z has mean 0 and sum of squares n - 1, so the normal equations fall apart:
    a, b = z @ y / (z @ z), y.mean()
    mse = np.mean((y - a * z - b) ** 2)
    assert a == pytest.approx(9.934819, abs=5e-7)
    assert b == pytest.approx(5.093296, abs=5e-7)
    assert mse == pytest.approx(1.104883, abs=5e-7)


def test_a_line_without_noise_is_exact_in_standard_units() -> None:
    arrays = line(rows=50, slope=-3.0, intercept=7.0, noise=0.0, start=-1.0, end=4.0)
    x = arrays.features[:, 0].astype(float)
    z = (x - x.mean()) / x.std(ddof=1)
    np.testing.assert_allclose(arrays.targets, 7 - 3 * z, rtol=1e-6)


def test_the_noise_has_its_own_seed_and_leaves_torch_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = line(seed=1)
    assert torch.equal(torch.rand(1), expected)
    np.testing.assert_array_equal(first.targets, line(seed=1).targets)
    assert (first.targets != line(seed=2).targets).all()


def test_a_line_may_be_as_short_as_two_points() -> None:
    arrays = line(rows=2, noise=0.0)
    # two points standardize to -1/sqrt(2) and 1/sqrt(2)
    np.testing.assert_allclose(arrays.targets, 5 + np.array([-10, 10]) / np.sqrt(2), rtol=1e-6)


def test_a_line_without_length_is_refused() -> None:
    with pytest.raises(UserError, match=r"start and data.source.end are both 3; a line needs two"):
        line(start=3.0, end=3.0)


def test_three_points_lie_on_y_equals_2x() -> None:
    arrays = three_points()
    assert arrays.features.tolist() == [[1], [2], [3]]
    assert arrays.targets.tolist() == [2, 4, 6]
    assert arrays.task is Task.REGRESSION


# ---- what all sources share


def test_the_fingerprint_notices_one_changed_value() -> None:
    before, after = three_points(), three_points()
    assert fingerprint(before) == fingerprint(after)
    after.targets[1] += 1e-12
    assert fingerprint(before) != fingerprint(after)


@pytest.mark.filterwarnings("error")  # a warning would be a second line beside the sentence
@pytest.mark.parametrize(
    ("features", "targets", "sentence"),
    [
        (np.ones((0, 2)), np.ones(0), "no rows"),
        (np.ones((3, 0)), np.ones(3), "no features"),
        ([[1.0], [np.nan], [np.nan]], np.ones(3),
         r"hold NaN in feature 'f0', row 2 \(2 rows in all\)"),
        ([[1.0], [2.0], [-np.inf]], np.ones(3), "hold inf in feature 'f0', row 3"),
        ([[1.0], [2.0], [3.0]], [1.0, np.inf, 2.0], "hold inf in target 'target', row 2"),
        # inf and -inf: the sum is NaN, the value is not
        ([[np.inf], [-np.inf], [3.0]], np.ones(3), "hold inf in feature 'f0', row 1"),
        ([[2.0], [2.0], [2.0]], np.ones(3), "Every feature is constant"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_unusable_arrays_are_refused(features: list, targets: list, sentence: str) -> None:
    features = np.asarray(features)
    names = [f"f{i}" for i in range(features.shape[1])]
    arrays = Arrays(features, np.asarray(targets), Task.REGRESSION, numeric(names))
    with pytest.raises(UserError, match=sentence):
        check_arrays(arrays)


@pytest.mark.filterwarnings("error")
def test_finite_values_whose_sum_overflows_are_no_mistake() -> None:
    huge = np.array([[1e308], [1.5e308]])
    check_arrays(Arrays(huge, np.ones(2), Task.REGRESSION, ()))


@pytest.mark.parametrize("found", [True, False], ids=["its files", "through it"])
def test_what_is_read_without_scikit_learn_is_what_it_reads(found, monkeypatch) -> None:
    if not found:
        monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    for ours, theirs in (
        (bundled.digits(), load_digits()),
        (bundled.diabetes(), load_diabetes()),
    ):
        np.testing.assert_array_equal(ours.features, theirs.data)
        np.testing.assert_array_equal(ours.targets, theirs.target)
        assert ours.feature_names == tuple(theirs.feature_names)
