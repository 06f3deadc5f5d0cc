"""The estimators are scikit-learn's: by its own checks, and among its own tools."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.estimator_checks import check_estimator

import descent
from descent import DescentClassifier, DescentError, DescentRegressor


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


KINDS = ("dense", "sparse")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DescentRegressor, DescentClassifier])
def test_scikit_learns_own_checks_pass(kind: Callable[[], Any]) -> None:
    # steps of mini-batches of weighted rows are not those of repeated rows; so it is for
    # scikit-learn's own SGDClassifier and MLPClassifier
    known = {f"check_sample_weight_equivalence_on_{kind}_data": "by mini-batches" for kind in KINDS}
    found = check_estimator(kind(), on_fail="raise", on_skip=None, expected_failed_checks=known)
    found = [one for one in found if one["check_name"] not in known]
    skipped = [one["check_name"] for one in found if one["status"] != "passed"]
    assert skipped == ["check_array_api_input"]  # for which scipy must be told by the environment
    assert len(found) > 50


def test_a_linear_model_with_full_batches_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(80, 3)), rng.normal(size=(80, 2))
    y = x @ rng.normal(size=(3, 2)) + 0.1 * noise
    words = ("data.scale=none", "data.scale_target=none", "trainer=float64")
    mine = DescentRegressor("linear", "sgd", 0.3, 300, "full", words).fit(x, y)
    theirs = LinearRegression().fit(x, y)
    np.testing.assert_allclose(mine.predict(x), theirs.predict(x), atol=1e-9)
    assert mine.losses_["epoch"][-1] == 300
    assert list(Path().iterdir()) == []  # the run was not kept


def test_a_classifier_gives_its_own_classes_back_and_survives_a_pickle() -> None:
    x, y = load_iris(return_X_y=True)
    words = np.array(["setosa", "versicolor", "virginica"])[y]
    twelve = np.arange(len(y)) % 12  # of which 10 comes before 2, as texts
    mine = DescentClassifier("linear", epochs=10).fit(x, words)
    again = pickle.loads(pickle.dumps(mine))
    assert set(mine.predict(x)) == {*mine.classes_}
    assert mine.score(x, words) > 0.9
    assert (again.predict_proba(x) == mine.predict_proba(x)).all()
    sorted_rows = DescentClassifier("linear", epochs=40, lr=0.5).fit(np.eye(12)[twelve], twelve)
    assert (sorted_rows.predict(np.eye(12)) == np.arange(12)).all()


def test_weighted_rows_are_weighted_least_squares() -> None:
    rng = np.random.default_rng(1)
    x, y, weights = rng.normal(size=(40, 2)), rng.normal(size=40), rng.uniform(0, 3, size=40)
    words = ("data.scale=none", "data.scale_target=none", "trainer=float64")
    mine = DescentRegressor("linear", "sgd", 0.2, 300, "full", words)
    mine.fit(x, y, sample_weight=weights)
    theirs = LinearRegression().fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(mine.predict(x), theirs.predict(x), atol=1e-8)
    with pytest.raises(ValueError, match="Negative values"):
        mine.fit(x, y, sample_weight=-weights)


def test_a_frame_may_have_texts_and_gaps_among_its_columns() -> None:
    towns = ["York", "Bath", "Hull"] * 20
    area = [float(i % 7) if i % 9 else None for i in range(60)]
    frame = pd.DataFrame({"town": towns, "area": area})
    price = np.array([{"York": 1.0, "Bath": 5.0, "Hull": 9.0}[town] for town in towns])
    mine = DescentRegressor("linear", "adam", 0.05, 150, "full").fit(frame, price)
    assert list(mine.feature_names_in_) == ["town", "area"]
    np.testing.assert_allclose(mine.predict(frame), price, atol=0.2)
    again = pickle.loads(pickle.dumps(mine))
    assert (again.predict(frame) == mine.predict(frame)).all()
    with pytest.raises(ValueError, match="feature names"):
        mine.predict(frame[["area", "town"]])
    words = np.where(price > 4, "dear", "cheap")
    clever = DescentClassifier("linear", epochs=60, lr=0.5).fit(frame, words)
    assert cross_val_score(clever, frame, words, cv=2).mean() > 0.9


def test_a_run_can_be_kept() -> None:
    x, y = load_diabetes(return_X_y=True)
    mine = DescentRegressor("linear", epochs=2, directory="kept").fit(x, y)
    run = descent.load(mine.directory_)
    np.testing.assert_allclose(run.predict(x), mine.predict(x), rtol=1e-4)
    assert run.directory.parent.parent == Path("kept")


def test_mistakes_are_one_sentence() -> None:
    x, y = load_iris(return_X_y=True)
    with pytest.raises(DescentError, match=r"^optimizer=adm does not exist; did you mean 'adam'"):
        DescentClassifier(optimizer="adm").fit(x, y)
    with pytest.raises(DescentError, match=r"^Training did not end well: diverged"):
        DescentRegressor("linear", "sgd", lr=1e6, epochs=30).fit(x, y)
    with pytest.raises(DescentError, match="y has one class"):
        DescentClassifier().fit(x, np.zeros(len(x)))


@pytest.mark.slow
def test_scikit_learns_tools_work_on_them() -> None:
    x, y = load_diabetes(return_X_y=True)
    mine = DescentRegressor("linear", epochs=20, lr=0.001)
    pipeline = make_pipeline(PolynomialFeatures(2, include_bias=False), clone(mine))
    scores = cross_val_score(pipeline, x, y, cv=3)
    plain = cross_val_score(LinearRegression(), x, y, cv=3)
    assert abs(scores.mean() - plain.mean()) < 0.15
    found = GridSearchCV(mine, {"lr": [1e-5, 0.01]}, cv=3).fit(x, y)
    assert found.best_params_ == {"lr": 0.01}
    x = np.random.default_rng(0).normal(size=(100, 3))
    y = x @ [3.0, -2.0, 0.0]
    mine.fit(x, y)
    drops = permutation_importance(mine, x, y, n_repeats=5, random_state=0)
    assert (np.argsort(drops.importances_mean) == [2, 1, 0]).all()
