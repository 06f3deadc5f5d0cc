"""The target and the steps to it, against exponential decays whose crossings are known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descent.analysis.loss_records import full_loss
from descent.analysis.study import read_study
from descent.analysis.targets import choose_target, hit_of, hits, target_words


def decay(rate: float, every: int, until: int, start: float = 4.0) -> list[tuple[int, float]]:
    """Return (step, start * exp(-rate step)) at each `every`-th step."""
    return [(step, start * math.exp(-rate * step)) for step in range(0, until + 1, every)]


def job(values: dict[str, Any], epochs: list[tuple[int, float]], **more: Any) -> dict[str, Any]:
    metrics = {"train/full_loss": epochs[-1][1], "best/val/loss": epochs[-1][1]}
    return {"values": values, "epochs": epochs, "metrics": metrics, **more}


def test_the_first_record_at_or_below_the_target_is_the_hit(
    write_sweep: Callable[..., Path],
) -> None:
    """4 exp(-0.1 s) = 1 at s = 10 ln 4 = 13.86: after the record at 10, by that at 20."""
    jobs = [
        job({"optimizer.lr": 0.1}, decay(0.1, 10, 50)),
        job({"optimizer.lr": 0.2}, decay(0.01, 10, 50)),
        job({"optimizer.lr": 0.3}, [(0, 0.5), (10, 2.0)]),
        job({"optimizer.lr": 0.4}, [(0, 4.0), (10, math.nan), (20, 1.0)]),
    ]
    study = read_study(write_sweep(jobs))
    found = hits(study, 1.0)
    first = found[0]
    assert first is not None
    crossed = 10 * math.log(4)
    assert (first.step, first.samples) == pytest.approx((crossed, 32 * crossed))
    assert first.seconds == pytest.approx(crossed * 1e-3)
    assert (first.earliest, first.latest) == (11, 20)
    assert found[1] is None
    assert found[2] is not None
    assert (found[2].step, found[2].earliest, found[2].latest) == (0, 0, 0)
    assert found[3] is not None
    assert (found[3].step, found[3].earliest, found[3].latest) == (20, 11, 20)


def test_real_runs_that_a_target_ended_hit_it_at_their_last_step(real_sweep: Path) -> None:
    study = read_study(real_sweep)
    assert choose_target(study) == 2.0
    found = hits(study, 2.0)
    ended = [trial for trial in study.trials if "reached the target" in trial.reason]
    assert 0 < len(ended) < len(study.trials)
    for trial in study.trials:
        hit = found[trial.number]
        assert (hit is not None) == (trial in ended)
        if hit is not None:
            assert hit.latest == trial.step
            an_epoch = 1 if trial.values["data.batch_size"] == "full" else 10
            assert hit.earliest == hit.latest - an_epoch + 1
            assert hit.latest - an_epoch <= hit.step <= hit.latest
            assert hit.seconds <= trial.figures["seconds_to_target"]


def test_losses_below_zero_are_crossed_along_a_line(write_sweep: Callable[..., Path]) -> None:
    study = read_study(write_sweep([job({}, [(0, 1.0), (10, -1.0)])]))
    found = hits(study, -0.5)[0]
    assert found is not None
    assert found.step == pytest.approx(7.5)


def test_records_within_epochs_count_where_they_were_taken(
    write_sweep: Callable[..., Path],
) -> None:
    callbacks = {"full_loss": {"every_n_epochs": 1, "every_n_steps": 2, "target": None}}
    sweep = write_sweep([job({}, [(0, 4.0), (10, 1.0)])], config={"callbacks": callbacks})
    table = "step,epoch,samples,seconds,loss,lr,grad_norm,full_loss\n"
    table += "".join(
        f"{s},1,{s * 32},{s * 1e-3},2.0,0.1,,{4 - s / 2 if s % 2 == 0 else ''}\n"
        for s in range(1, 10)
    )
    (sweep / "0" / "steps.csv").write_text(table)
    found = hits(read_study(sweep), 2.0)[0]
    assert found is not None
    assert (found.step, found.samples) == (4, 128)
    assert (found.earliest, found.latest) == (3, 4)


def test_a_table_cut_short_gives_what_is_whole(tmp_path: Path) -> None:
    text = "epoch,step,samples,seconds,train/full_loss\n0,0,0,0,4\n1,10,320,1,2\n2,20,640,2,1"
    (tmp_path / "epochs.csv").write_text(text)
    assert full_loss(tmp_path).loss.tolist() == [4.0, 2.0]
    (tmp_path / "epochs.csv").write_text("epoch,step\n0,0\n")
    assert len(full_loss(tmp_path)) == 0
    assert hit_of(full_loss(tmp_path / "nowhere"), 1.0) is None


def test_a_configured_target_is_the_target(write_sweep: Callable[..., Path]) -> None:
    jobs = [job({"optimizer.lr": lr}, decay(lr, 10, 50)) for lr in (0.1, 0.2)]
    stop = {"stop": {"epochs": 5, "steps": None, "loss": 0.25}}
    assert choose_target(read_study(write_sweep(jobs, config=stop, name="stop"))) == 0.25
    own = {"callbacks": {"full_loss": {"target": 0.5}}}
    assert choose_target(read_study(write_sweep(jobs, config=own, name="own"))) == 0.5
    swept = [job({"stop.loss": loss}, decay(0.1, 10, 50)) for loss in (0.1, 0.3)]
    assert choose_target(read_study(write_sweep(swept, name="swept"))) == 0.3


def test_most_settings_reach_the_derived_target(write_sweep: Callable[..., Path]) -> None:
    """By half their steps the best rates (0.1) of 8, 16, 32 and 64 are at 5 exp(-0.1 * 40 ... 5).

    Three in four are below 5 exp(-1). Of eight settings five end with both seeds at or below
    5 exp(-1) too: the four best, and 8 at its other rate, 5 exp(-0.8), does not.
    """
    ends = {8: 80, 16: 40, 32: 20, 64: 10}
    jobs = [
        job({"data.batch_size": b, "optimizer.lr": lr, "seed": s}, decay(lr, 10, ends[b], 4 + s))
        for b in ends for lr in (0.01, 0.1) for s in (0, 1)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    target = choose_target(study)
    assert target is not None
    # the fifth of eight: 8 rows at 0.01 ends at 5 exp(-0.8), which is above 5 exp(-1)
    assert target == pytest.approx(5 * math.exp(-0.8), rel=1e-3)
    assert target >= 5 * math.exp(-0.8)
    reached = {n for n, hit in hits(study, target).items() if hit}
    assert len(reached) >= 0.6 * len(study.trials)
    assert "chosen so that most settings reach it" in target_words(study, target)


def test_trials_that_never_fell_have_no_target(write_sweep: Callable[..., Path]) -> None:
    flat = [job({"optimizer.lr": lr}, [(0, 1.0), (10, 1.5)]) for lr in (0.1, 0.2)]
    assert choose_target(read_study(write_sweep(flat, name="flat"))) is None
    lost = [job({"optimizer.lr": lr}, decay(0.1, 10, 20), status="failed") for lr in (0.1, 0.2)]
    assert choose_target(read_study(write_sweep(lost, name="lost"))) is None


def test_hits_of_many_trials_come_quickly(write_sweep: Callable[..., Path]) -> None:
    rows = list(zip(range(0, 2100, 100), np.geomspace(4, 0.1, 21), strict=True))
    jobs = [job({"optimizer.lr": lr}, rows) for lr in range(1, 257)]  # type: ignore[arg-type]
    study = read_study(write_sweep(jobs))
    began = time.process_time()
    assert all(hit is not None and hit.latest == 1000 for hit in hits(study, 0.64).values())
    assert time.process_time() - began < 1.0
