"""Pictures of predictions: their figures are the run's own, and scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from descent.records.run import Run
from descent.report.importance import importance
from descent.report.predicted import Predicted, predicted
from descent.report.predictions import prediction_pictures
from descent.report.record import read_record
from descent.report.style import shown

Train = Callable[..., Run]
QUICK = ("logger=none", "picture=false", "~callbacks.full_loss", "~callbacks.path")


def houses(path: Path) -> None:
    """Write 200 rows whose price is about 2 area + 40 in Bonn; noise means nothing."""
    random = np.random.default_rng(0)
    area, town = random.normal(100, 20, 200), random.choice(["Bonn", "Ulm"], 200)
    price = 2 * area + 40 * (town == "Bonn") + random.normal(0, 8, 200)
    columns = {"noise": random.normal(size=200), "area": area, "town": town, "price": price}
    pl.DataFrame(columns).write_csv(path)


def found_of(run: Run) -> Predicted:
    return predicted(read_record(run.path))


@pytest.fixture
def of_numbers(train_run: Train, tmp_path: Path) -> Run:
    houses(tmp_path / "houses.csv")
    return train_run(
        "data=table", f"data.path={tmp_path / 'houses.csv'}", "data.target=price", "model=linear",
        "optimizer.lr=0.05", *QUICK,
    )  # fmt: skip


def test_numbers_are_predicted_as_the_run_tested_them(of_numbers: Run) -> None:
    found, metrics = found_of(of_numbers), of_numbers.result()["metrics"]
    away = found.outputs - found.wanted
    assert np.sqrt(np.square(away).mean()) == pytest.approx(metrics["test/rmse"], rel=1e-5)
    notes: list[str] = []
    pictures = {p.name: p for p in prediction_pictures([read_record(of_numbers.path)], [], notes)}
    assert list(pictures) == ["predicted", "residuals", "worst", "importance"]
    assert notes == []
    told = pictures["predicted"].caption
    assert told.startswith("20 test rows, by the best weights; price: RMSE ")
    assert f"R² {shown(metrics['test/r2'])}" in told
    table = pictures["worst"].figure.axes[0].tables[0].get_celld()
    order = np.argsort(-np.abs(away[:, 0]), kind="stable")
    first = [f"{found.rows[i] + 1}" for i in order[:8]]
    assert [table[row + 1, 0].get_text().get_text() for row in range(8)] == first
    values = pl.read_csv(of_numbers.config()["data"]["path"])["town"]
    towns = [values[int(found.rows[i])] for i in order[:8]]
    heads = [table[0, column].get_text().get_text() for column in range(7)]
    at = heads.index("town")
    assert [table[row + 1, at].get_text().get_text() for row in range(8)] == towns


def test_importance_ranks_columns_by_what_they_decide(of_numbers: Run) -> None:
    found = found_of(of_numbers)
    picture, order = importance(found, [])
    assert [column.name for column in order] == ["area", "town", "noise"]
    assert picture is not None
    lengths = [bar.get_width() for bar in picture.figure.axes[0].patches]
    # shuffling one of two equally spread independent draws adds twice its variance
    spread = 2 * found.features[:, 1].std()
    assert lengths[0] == pytest.approx(np.sqrt(2) * spread, rel=0.35)
    assert abs(lengths[2]) < 0.05 * lengths[0]
    assert "Beyond two of these matter area and town" in picture.caption


def test_classes_are_counted_and_ranked_as_scikit_learn_does(train_run: Train) -> None:
    run = train_run("data=breast_cancer", "model=linear", "stop.epochs=3", *QUICK)
    found = found_of(run)
    accuracy = float((found.chosen == found.wanted).mean())
    assert accuracy == run.result()["metrics"]["test/accuracy"]
    pictures = {p.name: p for p in prediction_pictures([read_record(run.path)], [], [])}
    assert list(pictures) == ["confusion", "rankings", "calibration", "worst", "importance"]
    texts = [t.get_text() for t in pictures["confusion"].figure.axes[0].texts]
    counts = confusion_matrix(found.wanted, found.chosen)
    assert texts == [str(n) for n in counts.ravel()]
    area = roc_auc_score(found.wanted, found.outputs[:, 1])
    assert f"Area under the ROC curve: benign {shown(area)}." in pictures["rankings"].caption


def test_two_features_get_a_boundary_and_its_caption_counts_what_lies_wrong(
    train_run: Train, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(2, 300))
    kind = np.where(x + y + 0.5 * random.normal(size=300) > 0, "up", "down")
    pl.DataFrame({"x": x, "y": y, "kind": kind}).write_csv(tmp_path / "t.csv")
    run = train_run("data=table", f"data.path={tmp_path / 't.csv'}", "data.target=kind",
                    "model=linear", "stop.epochs=5", *QUICK)  # fmt: skip
    found = found_of(run)
    pictures = {p.name: p for p in prediction_pictures([read_record(run.path)], [], [])}
    wrong = int((found.chosen != found.wanted).sum())
    assert f"; {wrong} lie on another's ground" in pictures["boundary"].caption


def test_images_with_wrong_labels_are_shown_the_surest_first(train_run: Train) -> None:
    run = train_run("data=digits", "model=linear", "stop.epochs=1", *QUICK)
    found = found_of(run)
    pictures = {p.name: p for p in prediction_pictures([read_record(run.path)], [], [])}
    assert "worst" not in pictures
    wrong = np.flatnonzero(found.chosen != found.wanted)
    sure = wrong[np.argmax(found.outputs[wrong, found.chosen[wrong]])]
    axes = pictures["wrong_images"].figure.axes[0]
    assert axes.get_title() == f"{found.chosen[sure]}, not {found.wanted[sure]}"
    shown_image = axes.images[0].get_array().ravel()
    assert shown_image.tolist() == found.arrays.features[found.rows[sure]].tolist()


def test_predictions_are_not_drawn_of_data_that_changed(of_numbers: Run) -> None:
    path = Path(of_numbers.config()["data"]["path"])
    path.write_text(path.read_text() + "0.5,90.0,Ulm,180.0\n")
    notes: list[str] = []
    assert prediction_pictures([read_record(of_numbers.path)], [], notes) == []
    assert notes == [
        f"Predictions are not drawn: the data have changed since {of_numbers.path} was trained."
    ]
