"""Several processes for one run: the same losses as one device."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from descent.records.run import Run

pytestmark = pytest.mark.slow

# 354 training rows in batches of 25: every batch has an odd number of rows, the last one 4
GIVEN = (
    "data=diabetes", "data.batch_size=25", "model.hidden=[16]", "optimizer.lr=0.02",
    "penalty.l2=0.01", "clip.norm=1.0", "stop.epochs=3", "picture=false",
)  # fmt: skip
TWO = ("trainer=ddp", "trainer.accelerator=cpu")


def table(run: Run, name: str) -> pl.DataFrame:
    frame = pl.read_csv(run.path / f"{name}.csv", infer_schema_length=None)
    return frame.drop("seconds").cast(pl.Float64)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [
        # Each rank sums half of a batch, so that gradients are rounded at other places: by up to
        # eps = 2^-23 = 1.2e-7 each, which 45 steps of momentum can add up to some 100 eps.
        ("32-true", 1e-5),
        ("64-true", 1e-12),  # the same with eps = 2.2e-16, with room to spare
    ],
)
def test_two_processes_give_the_losses_of_one(
    precision, tolerance, tmp_path, type_command, train_run
):
    given = (*GIVEN, f"trainer.precision={precision}")
    done = type_command("train", *given, *TWO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    (path,) = (tmp_path / "outputs" / "runs").iterdir()  # one run, one directory
    assert len(list(path.glob("events.*"))) == 1
    two, one = Run(path), train_run(*given)
    assert two.result()["status"] == "ok"
    assert two.result()["step"] == one.result()["step"] == 45
    assert "2 x cpu" in done.stdout
    for name in ("steps", "epochs"):
        got, wanted = table(two, name), table(one, name)
        assert got.columns == wanted.columns
        for column in got.columns:
            # what is evaluated is a float32 metric in any precision
            loose = max(tolerance, 1e-5) if column.startswith("val/") else tolerance
            np.testing.assert_allclose(
                got[column].to_numpy(), wanted[column].to_numpy(), rtol=loose, err_msg=column
            )
    metrics = one.result()["metrics"]
    assert two.result()["metrics"] == pytest.approx(metrics, rel=1e-5)
    assert two.result()["samples"] == one.result()["samples"] == 3 * 354


def test_a_run_of_two_processes_is_evaluated_by_one(tmp_path, type_command):
    done = type_command("train", *GIVEN, *TWO, "hydra.run.dir=two")
    assert done.returncode == 0, done.stdout + done.stderr
    again = type_command("eval", "run=two")
    assert again.returncode == 0, again.stderr
    recorded = Run(tmp_path / "two").result()["metrics"]
    assert f"{recorded['test/loss']!r}, as recorded" in again.stdout


def test_two_processes_stop_at_the_same_step_and_diverge_together(tmp_path, type_command):
    done = type_command("train", *GIVEN, *TWO, "stop.steps=20", "hydra.run.dir=stopped")
    assert done.returncode == 0, done.stdout + done.stderr
    assert table(Run(tmp_path / "stopped"), "steps").height == 20
    lost = type_command("train", *GIVEN, *TWO, "optimizer.lr=1e15", "hydra.run.dir=lost")
    assert lost.returncode == 0, lost.stdout + lost.stderr
    assert Run(tmp_path / "lost").result()["status"] == "diverged"
