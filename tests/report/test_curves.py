"""The picture of a run's losses: there, readable and not blank, however the run ended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import colors, image

from descent.records.run import Run
from descent.report.curves import CLOUD, FULL, RUNNING, VALIDATION, draw_curves

GIVEN = ("data=diabetes", "data.batch_size=20", "model=linear", "optimizer=sgd", "picture=true")


def pixels(path: Path) -> np.ndarray:
    """Return the picture as [height, width, 3] numbers from 0 to 1."""
    shown = image.imread(path)[:, :, :3]
    assert shown.shape[0] > 300
    assert shown.shape[1] > 500
    assert 0.01 < np.mean(shown.min(axis=2) < 0.9) < 0.5  # neither blank nor blotted
    return shown


def has(shown: np.ndarray, colour: str) -> bool:
    """Whether a fair number of pixels are of this colour."""
    return (np.abs(shown - colors.to_rgb(colour)).max(axis=2) < 0.02).sum() > 50


def test_a_finished_run_shows_all_its_losses(train_run):
    run = train_run(*GIVEN, "optimizer.lr=0.02", "stop.epochs=5")
    shown = pixels(run.path / "curves.png")
    assert all(has(shown, colour) for colour in (RUNNING, FULL, VALIDATION))
    assert not list(run.path.glob("*.part"))


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (("optimizer.lr=1e6",), "diverged"),  # within its first epoch: there are only step losses
        (("optimizer.lr=1", "stop.epochs=9"), "diverged"),  # after some epochs
        (("stop.steps=25",), "ok"),  # within its second epoch
        (("stop.steps=1",), "ok"),
        (("logger=none", "callbacks=bare", "stop.epochs=1"), "ok"),
        (("data.val_fraction=0.0", "data.test_fraction=0.0", "stop.epochs=1"), "ok"),
    ],
    ids=lambda given: given[0],
)
def test_a_picture_is_drawn_however_the_run_ended(given, status, train_run):
    run = train_run(*GIVEN, *given)
    assert run.result()["status"] == status
    pixels(run.path / "curves.png")


def test_a_diverged_run_says_so_in_its_picture(train_run):
    run = train_run(*GIVEN, "optimizer.lr=1e6")
    shown = pixels(run.path / "curves.png")
    bare = pixels(draw_curves(run.path, "the same without a note"))
    reddish = [int((p[:, :, 0] - p[:, :, 2] > 0.3).sum()) for p in (shown, bare)]
    # the note's frame, the only thing in colour where nothing was validated
    assert reddish[0] > 200
    assert reddish[1] == 0


def test_no_picture_is_drawn_when_none_is_wanted(train_run):
    run = train_run(*GIVEN, "stop.epochs=1", "picture=false")
    assert not (run.path / "curves.png").exists()


def write_tables(directory: Path, losses: list[str]) -> Run:
    steps = [f"{i},1,{i},0.1,{loss},0.1,," for i, loss in enumerate(losses, start=1)]
    header = "step,epoch,samples,seconds,loss,lr,grad_norm,full_loss"
    (directory / "steps.csv").write_text("\n".join([header, *steps]) + "\n")
    header = "epoch,step,samples,seconds,train/loss,train/full_loss,val/loss,lr,grad_norm"
    (directory / "epochs.csv").write_text(header + "\n0,0,0,0.0,,1.5,,,\n")
    return Run(directory)


@pytest.mark.parametrize(
    "losses",
    [["NaN"], ["inf"], ["1.0", "1e30", "inf"], ["0.0", "0.0"], ["-1.0", "-100.0"], ["1e-300"]],
    ids=" ".join,
)
def test_losses_of_any_kind_are_drawn(losses, tmp_path):
    pixels(draw_curves(write_tables(tmp_path, losses).path, "a title"))


def test_a_long_run_is_drawn_from_a_part_of_its_steps(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda self, x, *a, **k: drawn.append(len(x)) or plot(self, x, *a, **k)
    )
    shown = pixels(draw_curves(write_tables(tmp_path, ["1.0", "2.0"] * 50_000).path, "long"))
    assert 2000 <= drawn[0] <= 4000  # of the 100,000
    assert has(shown, CLOUD)
