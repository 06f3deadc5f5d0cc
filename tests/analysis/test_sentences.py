"""What the page of a sweep says, recomputed from its table and its runs' epochs by other means."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from descent.report.style import look
from descent.report.sweep_report import drawn, open_sweep

KEYS = ["optimizer", "optimizer.lr", "data.batch_size"]
LRS, SIZES, SEEDS = (0.01, 0.1, 1.0), (16, 64, 256), 3
EPOCHS = 8


@pytest.fixture
def page(write_sweep: Callable[..., Path]) -> tuple[pl.DataFrame, dict[str, str], list[str]]:
    """Return a sweep's table, the captions of its pictures by name, and its sentences.

    Momentum is best by validation loss, Adam by the full loss; one SGD setting ends above its
    start and one diverged with every seed, as in sweeps of digits and of diabetes.
    """
    rng = np.random.default_rng(3)
    jobs = []
    best = {"sgd": (1.0, 0.50), "momentum": (0.1, 0.40), "adam": (0.01, 0.45)}
    for name, (at, level) in best.items():
        for lr in LRS:
            for size in SIZES:
                for seed in range(SEEDS):
                    off = 0.2 * abs(math.log10(lr / at)) + 0.05 * math.log2(size / 16)
                    val = (level + off) * math.exp(rng.normal(0, 0.03))
                    end = val * (0.1 if name == "adam" else 0.3)
                    end = 5.0 if (name, lr, size) == ("sgd", 0.01, 256) else end
                    lost = (name, lr, size) == ("momentum", 1.0, 16)
                    steps = 1024 // size
                    rows = [
                        (i * steps, 2.5 * (end / 2.5) ** (i / EPOCHS)) for i in range(EPOCHS + 1)
                    ]
                    jobs.append({
                        "values": {"optimizer": name, "optimizer.lr": lr, "data.batch_size": size,
                                   "seed": seed},
                        "status": "diverged" if lost else "ok", "step": EPOCHS * steps,
                        "reason": "step loss is inf at step 9 (epoch 1)" if lost else "reached",
                        "epochs": rows[:2] if lost else rows,
                        "metrics": {} if lost else {"best/val/loss": val, "train/full_loss": end},
                    })  # fmt: skip
    sweep = write_sweep(jobs)
    reporting = open_sweep(sweep)
    with look():
        answer, pictures = drawn(reporting, [])
    captions = {picture.name: picture.caption for picture in pictures}
    return pl.read_csv(sweep / "results.csv"), captions, list(answer.sentences)


def settings_of(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return mean, median and deviation of each setting that lost no trial."""
    whole = table.group_by(KEYS).agg(
        pl.col(column).mean().alias("mean"), pl.col(column).median().alias("median"),
        pl.col(column).std().alias("spread"), (pl.col("status") == "ok").all().alias("whole"),
    )  # fmt: skip
    return whole.filter("whole").sort("mean")


def called(row: dict[str, object]) -> str:
    return f"{row['optimizer']}, lr={row['optimizer.lr']:g}, batch_size={row['data.batch_size']}"


@pytest.mark.slow
def test_each_sentence_is_that_of_the_table(
    page: tuple[pl.DataFrame, dict[str, str], list[str]],
) -> None:
    table, captions, told = page
    by_val, by_full = (settings_of(table, c) for c in ("best/val/loss", "train/full_loss"))
    winner = by_val.row(0, named=True)

    # the winner, in the answer and in the heat map, with the same figures
    assert told[0].startswith(f"The best setting is {called(winner)}: best val loss = ")
    stated = re.search(r"= ([\d.]+) ± ([\d.]+) \(mean ± standard deviation over 3 seeds", told[0])
    assert stated
    assert float(stated[1]) == pytest.approx(winner["mean"], abs=10.0 ** -len(stated[1][2:]))
    assert float(stated[2]) == pytest.approx(winner["spread"], rel=0.06)
    assert f"at {called(winner)}" in captions["heatmap"].split(".  ")[0]
    lowest = by_full.row(0, named=True)
    assert f"at {called(lowest)}" in captions["heatmap_train_full_loss"]
    assert called(lowest) != called(winner)

    # edges: the answer's and the picture's are of the same option; other panels are counted
    assert f"Its batch_size={winner['data.batch_size']} is the smallest that was tried" in " ".join(
        told
    )
    assert "data.batch_size=16 is the smallest tried" in captions["heatmap"]
    firsts = by_val.group_by("optimizer", maintain_order=True).first()
    on_edge = firsts.filter((pl.col("data.batch_size") == 16) | (pl.col("optimizer.lr") != 0.1))
    assert f"as does the best of {len(on_edge) - 1} other panels" in captions["heatmap"]

    # the sensitivity's median, and the mean where it lies elsewhere
    median = by_val.sort("median").row(0, named=True)
    assert f"Lowest median best val loss: {median['median']:.4g}" in captions["sensitivity"]
    assert ("lowest mean" in captions["sensitivity"]) == (called(median) != called(winner))

    # curves are of each optimizer's best by validation loss, and their ends are compared as such
    full = {called(row): row["median"] for row in by_full.iter_rows(named=True)}
    ends = {called(row): full[called(row)] for row in firsts.iter_rows(named=True)}
    least = min(ends, key=ends.__getitem__)
    assert f"lowest full loss at the end: {ends[least]:.4g}" in captions["bands"]
    assert f"with {least}, while 2 others end between" in captions["bands"]
    worst = by_val.row(-1, named=True)
    assert (
        f"The worst by best val loss that lost no trial, {called(worst)}, ends at "
        in captions["bands"]
    )

    # what diverged, and what ended above its start without being called so
    lost = table.filter(pl.col("status") == "diverged")
    assert (
        f"{len(lost)} of {len(table)} trials diverged ({100 * len(lost) / len(table):.3g}%)"
        in " ".join(told)
    )
    risen = table.filter(pl.col("train/full_loss") > 2.5)
    assert f"{len(risen)} trials that are not counted as diverged ended above" in " ".join(told)
    assert "at up to 2 times it, all with lr=0.01 and batch_size=256 and optimizer=sgd" in " ".join(
        told
    )


@pytest.mark.slow
def test_the_derived_target_is_reached_by_most_and_misses_are_told_by_optimizer(
    page: tuple[pl.DataFrame, dict[str, str], list[str]],
) -> None:
    table, captions, told = page
    (sentence,) = (one for one in told if one.startswith("The target, a full loss of "))
    target = float(re.findall(r"[\d.]+", sentence)[0])
    reached = table.filter(pl.col("train/full_loss") <= target)
    assert len(reached) >= 0.6 * len(table)
    assert f"steps to full loss {target:.4g}" in captions["heatmap_steps_to_target"]
    # a point only where the interval is closed within a factor of ten, else a bound or nothing
    for low, high in re.findall(
        r"B_crit = [\d.,e]+ \(95%: ([\d.,e]+) to ([^)]+)\)", captions["scaling"]
    ):
        assert float(high.replace(",", "")) <= 10 * float(low.replace(",", ""))
    assert "beyond any size" not in captions["scaling"]
