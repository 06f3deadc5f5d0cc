"""Lines over the learning rate, and the sensitivity against sums done by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descent.analysis.sensitivity import lines
from descent.analysis.settings import Measure
from descent.analysis.study import read_study

LOSS = Measure("train/full_loss", "final full loss", True)
VAL = Measure("best/val/loss", "best val loss", True)
Write = Callable[..., Path]


def job(loss: float, start: float = 2.0, **values: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "values": {key.replace("__", "."): value for key, value in values.items()},
        "metrics": {"train/full_loss": loss, "best/val/loss": 2 * loss},
        "epochs": [(0, start), (10, loss)],
    }
    return made if math.isfinite(loss) else made | {"status": "diverged"}


def test_sensitivity_of_a_parabola_in_log_lr_is_the_closed_form(write_sweep: Write) -> None:
    """loss = 0.5 + 0.1 z², z = -4..4, cut at 2: 0.1 * mean(0, 1, 1, 4, 4, 9, 9, 15, 15) = 58/90.

    At |z| = 4 the loss is 2.1: above the start, from which it is cut to 2 (1.5 above the best).
    """
    jobs = [job(0.5 + 0.1 * z * z, optimizer__lr=10.0**z) for z in range(-4, 5)]
    found = lines(read_study(write_sweep(jobs)), LOSS)
    assert found is not None
    assert found.x == "optimizer.lr"
    (line,) = found.lines
    assert line.sensitivity == pytest.approx(0.1 * (2 * (1 + 4 + 9) + 2 * 15) / 9)
    assert line.x == pytest.approx([10.0**z for z in range(-4, 5)])
    assert line.median == pytest.approx([0.5 + 0.1 * z * z for z in range(-4, 5)])


def test_diverged_trials_count_as_the_start_in_the_figure_and_are_no_dots(
    write_sweep: Write,
) -> None:
    """Means of the cut losses: (1 + 1.5) / 2, (0.5 + 3) / 2 (its seed began at 3), (2 + 3) / 2."""
    jobs = [
        job(1.0, 2, optimizer__lr=0.1, seed=0), job(1.5, 3, optimizer__lr=0.1, seed=1),
        job(0.5, 2, optimizer__lr=0.2, seed=0), job(math.nan, 3, optimizer__lr=0.2, seed=1),
        job(math.inf, 2, optimizer__lr=0.4, seed=0), job(math.nan, 3, optimizer__lr=0.4, seed=1),
    ]  # fmt: skip
    found = lines(read_study(write_sweep(jobs)), LOSS)
    assert found is not None
    (line,) = found.lines
    assert line.sensitivity == pytest.approx((1.25 + 1.75 + 2.5) / 3 - 1.25)
    assert [list(scores) for scores in line.scores] == [[1.0, 1.5], [0.5], []]
    assert line.lost.tolist() == [0, 1, 2]
    assert line.median[:2].tolist() == [1.25, 0.5]
    assert np.isnan(line.median[2])
    assert (line.low[0], line.high[0]) == (1.125, 1.375)


def test_a_loss_that_was_not_measured_at_the_start_has_no_figure(write_sweep: Write) -> None:
    jobs = [job(lr, optimizer__lr=lr) for lr in (0.1, 0.2, 0.3)]
    found = lines(read_study(write_sweep(jobs)), VAL)
    assert found is not None
    assert found.lines[0].median.tolist() == [0.2, 0.4, 0.6]
    assert math.isnan(found.lines[0].sensitivity)


def test_one_line_an_optimizer_through_its_best_setting(write_sweep: Write) -> None:
    """adam is best with batches of 16, sgd with 64: that is where their lines run."""
    best = {"adam": 16, "sgd": 64}
    jobs = [
        job(lr + (b != best[name]), optimizer=name, optimizer__lr=lr, data__batch_size=b)
        for name in best for b in (16, 64) for lr in (0.3, 0.1, 0.2)
    ]  # fmt: skip
    found = lines(read_study(write_sweep(jobs)), LOSS)
    assert found is not None
    adam, sgd = found.lines
    assert (adam.label, adam.fixed) == ("adam", "batch_size=16")
    assert (sgd.label, sgd.fixed) == ("sgd", "batch_size=64")
    assert adam.x.tolist() == sgd.median.tolist() == [0.1, 0.2, 0.3]


def test_one_line_a_batch_size_without_several_optimizers(write_sweep: Write) -> None:
    jobs = [
        job(lr * b, optimizer__lr=lr, data__batch_size=b) for b in (64, 16) for lr in (0.1, 0.2)
    ]
    found = lines(read_study(write_sweep(jobs)), LOSS)
    assert found is not None
    assert [line.label for line in found.lines] == ["batch_size=16", "batch_size=64"]
    assert found.lines[0].fixed == ""


def test_a_random_search_has_the_best_at_each_value(write_sweep: Write) -> None:
    rng = np.random.default_rng(0)
    lrs = np.geomspace(0.001, 1, 20)
    jobs = [
        job(float(lr), optimizer__lr=float(lr), optimizer__momentum=float(rng.random()))
        for lr in lrs
    ]
    found = lines(read_study(write_sweep(jobs)), LOSS)
    assert found is not None
    assert found.lines[0].fixed == "best over momentum"
    assert found.lines[0].x == pytest.approx(lrs)


def test_another_number_serves_where_lr_was_not_swept_and_words_do_not(
    write_sweep: Write,
) -> None:
    jobs = [job(w + d, model__width=w, model__depth=d) for w in (1, 10, 20) for d in (1, 2)]
    found = lines(read_study(write_sweep(jobs, name="numbers")), LOSS)
    assert found is not None
    assert (found.x, found.lines[0].fixed) == ("model.width", "depth=1")
    words = [job(1.0, model__init=init) for init in ("zeros", "ones")]
    assert lines(read_study(write_sweep(words, name="words")), LOSS) is None


def test_each_problem_has_its_lines(write_sweep: Write) -> None:
    jobs = [
        job(lr, data=data, optimizer=name, optimizer__lr=lr)
        for data in ("wine", "iris") for name in ("sgd", "adam") for lr in (0.1, 0.2)
    ]  # fmt: skip
    found = lines(read_study(write_sweep(jobs)), LOSS)
    assert found is not None
    assert [line.label for line in found.lines] == [
        "sgd, data=wine", "adam, data=wine", "sgd, data=iris", "adam, data=iris",
    ]  # fmt: skip
