"""Bands over seeds: quartiles at common steps, the worst, and what was lost when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descent.analysis.bands import bands
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study

LOSS = Measure("train/full_loss", "final full loss", True)
Write = Callable[..., Path]


def job(name: str, lr: float, seed: int, losses: list[float], **more: Any) -> Any:
    return {
        "values": {"optimizer": name, "optimizer.lr": lr, "seed": seed},
        "epochs": [(10 * i, loss) for i, loss in enumerate(losses)],
        "metrics": {"train/full_loss": losses[-1]}, **more,
    }  # fmt: skip


@pytest.fixture
def sweep(write_sweep: Write) -> Path:
    jobs = [
        job(name, lr, seed, [4.0 + seed, 2.0 + seed, lr + level + seed / 10])
        for name, level in (("sgd", 1.0), ("adam", 0.5)) for lr in (0.1, 0.2)
        for seed in (0, 1, 2)
    ]  # fmt: skip
    jobs[1]["epochs"].append((30, 0.5))  # trained on for longer
    reason = "step loss is inf at step 15 (epoch 2, lr 9); try a smaller lr"
    jobs += [
        job("sgd", lr, seed, [4.0, 1e30], status="diverged", reason=reason)
        for lr in (9.0, 99.0) for seed in range(8)
    ]  # fmt: skip
    return write_sweep(jobs)


def test_the_best_of_each_optimizer_and_the_worst_with_quartiles_by_hand(sweep: Path) -> None:
    study = read_study(sweep)
    found = bands(study, settings(study, LOSS))
    assert found.loss == "full loss"
    adam, sgd = found.best
    assert (adam.label, sgd.label) == ("adam, lr=0.1", "sgd, lr=0.1")
    assert adam.step.tolist() == sgd.step.tolist() == [0, 10, 20]
    assert adam.each.shape == (3, 3)
    assert adam.median == pytest.approx([5, 3, 0.7])
    assert adam.low == pytest.approx([4.5, 2.5, 0.65])
    assert adam.high == pytest.approx([5.5, 3.5, 0.75])
    assert found.worst is not None
    assert found.worst.label == "sgd, lr=0.2"


def test_ten_of_the_lost_with_one_of_each_setting_first(sweep: Path) -> None:
    study = read_study(sweep)
    lost = bands(study, settings(study, LOSS)).lost
    assert [one.trial.number for one in lost] == [12, 13, 14, 15, 16, 17, 18, 19, 20, 21]
    assert lost[0].trial.reason.startswith("step loss is inf at step 15")
    assert (lost[0].name, lost[0].loss.tolist()) == ("full loss", [4.0, 1e30])


def test_what_was_lost_at_once_is_told_by_its_steps(sweep: Path) -> None:
    (sweep / "12" / "steps.csv").write_text(
        "step,epoch,samples,seconds,loss,lr\n"
        + "".join(f"{s},1,{s},0.1,{10.0**s},9\n" for s in range(1, 6))
    )
    study = read_study(sweep)
    first = bands(study, settings(study, LOSS)).lost[0]
    assert first.name == "step loss"
    assert first.step.tolist() == [1, 2, 3, 4, 5]
    assert first.loss.tolist() == [10, 100, 1e3, 1e4, 1e5]


def test_the_running_loss_serves_where_the_full_loss_was_not_measured(sweep: Path) -> None:
    for path in sweep.glob("*/epochs.csv"):
        rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
        text = "epoch,step,samples,seconds,train/loss\n"
        text += "".join(f"{r[0]},{r[1]},{r[2]},{r[3]},{float(r[5]) * 2}\n" for r in rows)
        path.write_text(text)
    study = read_study(sweep)
    found = bands(study, settings(study, LOSS))
    assert found.loss == "running loss"
    assert found.best[0].median == pytest.approx([10, 6, 1.4])


def test_a_study_in_which_everything_was_lost_has_no_bands(write_sweep: Write) -> None:
    jobs = [job("sgd", lr, 0, [1.0, np.inf], status="diverged") for lr in (1, 2)]
    study = read_study(write_sweep(jobs))
    found = bands(study, settings(study, LOSS))
    assert (found.best, found.worst, len(found.lost)) == ((), None, 2)
