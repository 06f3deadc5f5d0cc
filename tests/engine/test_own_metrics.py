"""Metrics of torchmetrics, named by `_target_`: scikit-learn's figures, directions, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from scipy import stats
from sklearn import metrics as sk

from descent.config.check import check_values
from descent.data.arrays import Task
from descent.data.own_metrics import OwnFormula, settle_metrics
from descent.data.prepare import prepare
from descent.errors import UserError
from descent.evaluation import evaluate, open_evaluation
from descent.job import Job
from descent.metrics import OWN, direction
from descent.records.run import Run
from descent.training import train_together

CONF = Path(__file__).parents[2] / "conf"
N, DRAWS = 300, np.random.default_rng(3)
TABLE = ("data=table", "data.target=churn", "model=linear", "picture=false", "logger=none")
KAPPA = ("+metrics.kappa._target_=torchmetrics.CohenKappa",)
BINARY = {
    "CohenKappa": lambda y, p: sk.cohen_kappa_score(y, p[:, 1] > 0.5),
    "MatthewsCorrCoef": lambda y, p: sk.matthews_corrcoef(y, p[:, 1] > 0.5),
    "AUROC": lambda y, p: sk.roc_auc_score(y, p[:, 1]),
    # of two classes, what counts classes is given both columns
    "classification.MulticlassCohenKappa": lambda y, p: sk.cohen_kappa_score(y, p[:, 1] > 0.5),
}
MULTICLASS = {
    "CohenKappa": lambda y, p: sk.cohen_kappa_score(y, p.argmax(axis=1)),
    "AUROC": lambda y, p: sk.roc_auc_score(y, p, multi_class="ovr"),
    "JaccardIndex": lambda y, p: sk.jaccard_score(y, p.argmax(axis=1), average="macro"),
}


def by_target(correlation: Callable[..., tuple[float, float]]) -> Callable[..., float]:
    """Return the mean over columns of what SciPy gives of one."""
    return lambda y, p: float(np.mean([correlation(*c)[0] for c in zip(y.T, p.T, strict=True)]))


NUMBERS = {
    "PearsonCorrCoef": by_target(stats.pearsonr),
    "SpearmanCorrCoef": by_target(stats.spearmanr),
    "ExplainedVariance": sk.explained_variance_score,
    "MeanSquaredError": sk.mean_squared_error,
}
CASES = [
    *((Task.BINARY, 1, *case) for case in BINARY.items()),
    *((Task.MULTICLASS, 3, *case) for case in MULTICLASS.items()),
    *((Task.REGRESSION, targets, *case) for targets in (1, 2) for case in NUMBERS.items()),
]


@pytest.mark.parametrize(
    ("task", "outputs", "name", "scorer"), CASES, ids=lambda v: str(v) if isinstance(v, str) else ""
)
def test_a_metric_of_torchmetrics_is_that_of_scikit_learn_and_scipy(
    task: Task, outputs: int, name: str, scorer: Callable[..., float]
) -> None:
    classes = max(outputs, 2) if task.is_classification else 0
    wanted = DRAWS.integers(classes, size=N) if classes else DRAWS.normal(5, 1, (N, outputs))
    made = torch.from_numpy(DRAWS.normal(size=(2, N, outputs)))
    if classes:
        shares = made.softmax(dim=2) if outputs > 1 else made.sigmoid()
        shares = shares if outputs > 1 else torch.cat([1 - shares, shares], dim=2)
    else:
        made = made + torch.from_numpy(wanted)
        shares = made
    formula = OwnFormula("k", {"_target_": f"torchmetrics.{name}"}, task, outputs)
    got = formula(made, torch.from_numpy(wanted))
    for run in (0, 1):
        assert float(got[run]) == pytest.approx(scorer(wanted, shares[run].numpy()), abs=1e-6)


def churn(path: Path) -> str:
    x, z = DRAWS.normal(size=(2, 300))
    left = np.where(DRAWS.random(300) < 1 / (1 + np.exp(1 - 2 * x)), "yes", "no")
    pl.DataFrame({"x": x, "z": z, "churn": left}).write_csv(path)
    return f"data.path={path}"


def test_it_is_recorded_and_decides_alone_in_a_stack_and_in_predictions(
    train_run: Callable[..., Run], tmp_path: Path
) -> None:
    given = (*TABLE, churn(tmp_path / "churn.csv"), *KAPPA, "stop.epochs=3",
             "callbacks.checkpoint.monitor=val/kappa", "optimized_metric=val/kappa",
             "data.threshold=f1", "data.test_fraction=0.3", "seed=1")  # fmt: skip
    run = train_run(*given)
    result, config = run.result(), run.config()
    assert config["metrics"]["kappa"]["mode"] == "max"
    OWN.clear()  # as in a process that has only read the directory
    run.config()
    assert direction("val/kappa") == "maximize"
    epochs = pl.read_csv(run.path / "epochs.csv")["val/kappa"]
    assert result["best"]["metrics"]["val/kappa"] == epochs.max()

    made = [Run(tmp_path / f"stacked{seed}") for seed in (0, 1)]
    OWN.clear()  # as in a worker, which is given a config
    jobs = [
        Job({**config, "seed": seed}, prepare(config["data"]), to, one_of_many=True)
        for seed, to in enumerate(made)
    ]
    train_together(jobs, lambda _: None, lambda _, result: None)
    assert made[1].result()["metrics"]["test/kappa"] == result["metrics"]["test/kappa"]

    predicted = tmp_path / "predicted.csv"
    words = [f"run={run.path}", f"data.path={tmp_path / 'churn.csv'}", f"predict={predicted}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = evaluate(open_evaluation(compose("eval", overrides=words)))
    rows = pl.read_csv(predicted)
    kappa = sk.cohen_kappa_score(rows["churn"], rows["predicted_churn"])
    assert found["test/kappa"] == pytest.approx(kappa, abs=1e-6)


KAPPA_NODE = {"_target_": "torchmetrics.CohenKappa"}
REFUSED: list[tuple[str, str, object, str]] = [
    ("iris", "k", "torchmetrics.CohenKapa", "cannot be found; did you mean 'CohenKappa'?"),
    ("iris", "k", "torchmetrics.ConfusionMatrix", r"gives values \[3, 3\], not one number"),
    ("iris", "k", "torchmetrics.ROC", "gives a tuple, not one number"),
    ("iris", "k", "torchmetrics.R2Score", "is for numbers, but the target holds classes"),
    ("iris", "k", "torchmetrics.functional.accuracy", "is a function; name a class"),
    ("iris", "k", "torchmetrics.classification.BinaryAccuracy", "of the 15 validation rows"),
    ("iris", "k", "collections.Counter", "makes a Counter, no metric; name a class"),
    ("iris", "k", 5, "must be options with a _target_"),
    ("iris", "f1", "torchmetrics.F1Score", "a metric that is there already"),
    ("iris", "a-b", "torchmetrics.F1Score", r"metrics\.a-b is no name"),
    ("iris", "k", {"threshold": 0.2}, "metrics.k has no _target_"),
    ("iris", "k", {**KAPPA_NODE, "mode": "min"}, "better the higher it is"),
    ("iris", "k", {**KAPPA_NODE, "mode": "up"}, "must be min or max"),
    ("iris", "k", {**KAPPA_NODE, "wieghts": "a"}, "Unexpected keyword .*wieghts"),
    ("diabetes", "k", KAPPA_NODE, "is for classes, but the target holds numbers"),
    ("diabetes", "k", "torchmetrics.PearsonCorrCoef", r"Nothing says .* \+metrics\.k\.mode=max"),
]


def test_what_is_no_metric_of_the_task_is_refused_in_one_sentence(
    make_job: Callable[..., Job],
) -> None:
    jobs = {data: make_job(f"data={data}") for data in ("iris", "diabetes")}
    for data, name, node, says in REFUSED:
        node = {"_target_": node} if isinstance(node, str) else node
        with pytest.raises(UserError, match=says) as refused:
            settle(jobs[data], {"names": [], name: node})
        assert "\n" not in str(refused.value)


def settle(job: Job, metrics: dict[str, object]) -> None:
    config = {**job.config, "metrics": metrics}
    check_values(config)
    settle_metrics(config, job.prepared)


def test_a_direction_that_nothing_says_can_be_said(make_job: Callable[..., Job]) -> None:
    job = make_job("data=diabetes", "+metrics.k={_target_:torchmetrics.PearsonCorrCoef,mode:max}")
    assert job.prepared.metrics == ("k",)
    assert direction("val/k") == "maximize"
