"""The threshold of two classes: chosen on validation rows, kept, used where classes are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from descent.data.arrays import Task, numeric
from descent.data.prepare import Description, prepare
from descent.data.scale import Scaler
from descent.engine.evaluating import Scores
from descent.errors import UserError
from descent.job import Job
from descent.records.run import Run
from descent.report.predicted import predicted
from descent.report.record import read_record
from descent.training import train_together

Train = Callable[..., Run]
RANDOM = np.random.default_rng(2)
SK = {"accuracy": accuracy_score, "balanced_accuracy": balanced_accuracy_score, "f1": f1_score}
QUICK = ("data=table", "data.target=churn", "model=linear", "logger=none", "picture=false",
         "~callbacks.path", "~callbacks.full_loss", "trainer=float64")  # fmt: skip


def described(classes: int = 2) -> Description:
    one = Scaler(np.zeros(1), np.ones(1))
    return Description(
        Task.BINARY, "y", ("no", "yes"), numeric(["x"]), 1, one, one,
        {"train": 1, "val": 1, "test": 1}, "", metrics=("all",),
    )  # fmt: skip


@pytest.mark.parametrize("name", SK)
def test_the_best_threshold_is_that_of_trying_each(name: str) -> None:
    logits, y = RANDOM.normal(size=(2, 30, 1)), RANDOM.integers(0, 2, 30)
    scores = Scores(described(), torch.tensor(y.astype(float))[:, None])
    found = scores.best_thresholds(torch.tensor(logits), name)
    for run in range(2):
        p = 1 / (1 + np.exp(-logits[run, :, 0]))
        tried = [SK[name](y, p > t) for t in [0, *p]]
        assert SK[name](y, p > float(found[run])) == pytest.approx(max(tried), abs=1e-12)


def test_metrics_of_classes_look_at_the_threshold_and_others_do_not() -> None:
    logits, y = RANDOM.normal(size=(2, 80, 1)), RANDOM.integers(0, 2, 80)
    scores = Scores(described(), torch.tensor(y.astype(float))[:, None])
    made, half = torch.tensor(logits), scores(torch.tensor(logits))
    found = scores(made, torch.tensor([0.3, 0.7], dtype=torch.float64))
    for run, threshold in enumerate((0.3, 0.7)):
        p = 1 / (1 + np.exp(-logits[run, :, 0]))
        for name, scorer in SK.items():
            assert float(found[name][run]) == pytest.approx(scorer(y, p > threshold), abs=1e-12)
        for name in ("auc", "log_loss", "brier", "average_precision"):
            assert found[name][run] == half[name][run]


def churn(path: Path) -> None:
    """Write 400 rows, one in ten of which leaves; two columns say a little of which."""
    random = np.random.default_rng(0)
    x, z = random.normal(size=(2, 400))
    p = 1 / (1 + np.exp(3.2 - 1.2 * x - 0.8 * z))
    left = np.where(random.uniform(size=400) < p, "yes", "no")
    pl.DataFrame({"x": x, "z": z, "churn": left}).write_csv(path)


def test_a_chosen_threshold_is_kept_and_used_by_the_test_the_pictures_and_a_stack(
    train_run: Train, tmp_path: Path
) -> None:
    churn(tmp_path / "churn.csv")
    given = (*QUICK, f"data.path={tmp_path / 'churn.csv'}", "data.threshold=f1", "stop.epochs=3",
             "metrics.names=[f1]", "data.val_fraction=0.3", "data.test_fraction=0.3")  # fmt: skip
    runs = [train_run(*given, f"seed={seed}") for seed in (0, 1)]
    for run in runs:
        result, found = run.result(), predicted(read_record(run.path))
        assert 0 < result["threshold"] < 0.5  # one in ten is rarely likelier than not
        chosen = found.outputs[:, 1] > result["threshold"]
        wanted = f1_score(found.wanted, chosen)
        assert result["metrics"]["test/f1"] == pytest.approx(wanted, abs=1e-12)
        assert found.chosen.tolist() == chosen.astype(int).tolist()
    config = runs[0].config()
    made = [Run(tmp_path / f"stacked{i}") for i in (0, 1)]
    jobs = [
        Job(run.config(), prepare(config["data"]), to, one_of_many=True)
        for run, to in zip(runs, made, strict=True)
    ]
    train_together(jobs, lambda _: None, lambda _, result: None)
    for alone, stacked in zip(runs, made, strict=True):
        ours, theirs = stacked.result(), alone.result()
        assert ours["threshold"] == pytest.approx(theirs["threshold"], rel=1e-9)
        assert ours["metrics"]["test/f1"] == theirs["metrics"]["test/f1"]
        assert ours["predicts_only"] is None


def test_a_model_that_always_says_no_is_told_alone_and_in_stacks(
    train_run: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    churn(tmp_path / "churn.csv")
    given = (*QUICK, f"data.path={tmp_path / 'churn.csv'}", "stop.epochs=1", "optimizer.lr=0.001",
             "model.init=zeros", "optimizer=sgd")  # fmt: skip
    run = train_run(*given, "data.threshold=0.9")
    assert run.result()["predicts_only"] == "no"
    assert run.result()["threshold"] == 0.9
    assert "note: every test row is predicted to be no" in capsys.readouterr().out
    config, made = run.config(), [Run(tmp_path / f"stacked{i}") for i in (0, 1)]
    prepared = prepare(config["data"])
    jobs = [
        Job({**config, "seed": seed}, prepared, to, one_of_many=True)
        for seed, to in enumerate(made)
    ]
    train_together(jobs, lambda _: None, lambda _, result: None)
    assert [r.result()["predicts_only"] for r in made] == ["no", "no"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("data=iris", "data.threshold=0.3"), r"data\.threshold=0\.3 needs a target of two"),
        (("data=breast_cancer", "data.threshold=f1", "data.val_fraction=0"),
         r"chosen on validation rows, and none are kept"),
    ],
)  # fmt: skip
def test_a_threshold_that_cannot_be_is_refused(
    make_job: Callable[..., Job], given: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        make_job(*given)
