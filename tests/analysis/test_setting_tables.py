"""The table of settings as CSV and LaTeX, recomputed from the runs' own table."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from descent.analysis.advice import advice
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study
from descent.report.sweep.setting_tables import escaped, settings_csv, settings_latex

VAL = Measure("best/val/loss", "best val loss", True)


@pytest.fixture
def sweep(write_sweep: Callable[..., Path]) -> Path:
    jobs = [
        {"values": {"optimizer.lr": lr, "model.activation": name, "seed": seed},
         "metrics": {"best/val/loss": loss + seed / 7}}
        for lr, name, loss in ((0.1, "a_b", 1.0), (0.2, "a_b", 2.0), (0.1, "c", 30.0))
        for seed in range(3)
    ]  # fmt: skip
    jobs[-1] |= {"status": "diverged", "metrics": {}}
    return write_sweep(jobs)


def test_the_csv_holds_means_and_deviations_of_all_settings_to_the_last_digit(sweep: Path) -> None:
    study = read_study(sweep)
    own = {VAL.name: settings(study, VAL)}
    given = advice(study, own[VAL.name], (), VAL)
    found = pl.read_csv(io.StringIO(settings_csv(study.swept, [VAL], own, given)))
    runs = pl.read_csv(sweep / "results.csv")
    keys = ["optimizer.lr", "model.activation"]
    score = pl.col("best/val/loss").cast(pl.Float64)
    wanted = runs.group_by(keys).agg(
        score.mean().alias("mean"), score.std().alias("sd"), pl.len().alias("runs"),
        (pl.col("status") == "diverged").sum().alias("diverged"), score.count().alias("n"),
    )  # fmt: skip
    both = found.join(wanted, on=keys, suffix="_own")
    assert len(both) == 3
    for name, other in (("", "mean"), (" sd", "sd"), (" n", "n")):
        assert both[f"best/val/loss{name}"].to_list() == pytest.approx(both[other].to_list())
    assert both["runs"].to_list() == both["runs_own"].to_list()
    assert both["diverged"].to_list() == both["diverged_own"].to_list()
    assert found["mark"].to_list()[0] == "best"


def test_the_latex_table_has_a_line_for_each_setting_and_the_best_in_bold(sweep: Path) -> None:
    study = read_study(sweep)
    own = {VAL.name: settings(study, VAL)}
    given = advice(study, own[VAL.name], (), VAL)
    head, *rest = settings_latex(study.swept, [VAL], own, given).splitlines()
    assert head == r"\begin{tabular}{llrr}"
    rows = [line.removesuffix(r" \\").split(" & ") for line in rest if line.endswith(r"\\")]
    assert [len(row) for row in rows] == [4] * 4
    order = [study.swept.index(key) for key in ("optimizer.lr", "model.activation")]
    assert [rows[1][i] for i in order] == [r"\textbf{0.1}", r"\textbf{a\_b}"]
    assert rows[1][3] == r"\textbf{1.14 $\pm$ 0.14}"  # 1, 1 + 1/7 and 1 + 2/7
    assert rows[3][3].endswith("(2 of 3)")
    assert not any("textbf" in cell for row in rows[2:] for cell in row)


def test_what_latex_reads_as_a_command_is_escaped() -> None:
    assert escaped("a_b & 50%") == r"a\_b \& 50\%"
    assert escaped("x^2\\{~}") == r"x\textasciicircum{}2\textbackslash{}\{\textasciitilde{}\}"
