"""The recorded path: thinned, cut where a run was lost, taken up where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from descent.records.pathfile import Trajectory, parameter_names, read_path, write_path
from descent.records.run import Run

LINE = ("data=line", "model=linear", "optimizer=sgd", "logger=none")


def path_of(run: Run) -> Trajectory:
    path = read_path(run.path)
    assert path is not None
    return path


def test_names_follow_flattened_parameters() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1, bias=False))
    names = parameter_names({n: p.shape for n, p in model.named_parameters()})
    assert names == (
        *("0.weight[0,0]", "0.weight[0,1]", "0.weight[1,0]", "0.weight[1,1]"),
        *("0.bias[0]", "0.bias[1]", "1.weight[0,0]", "1.weight[0,1]"),
    )


def test_a_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = Trajectory(np.array([0, 3]), np.array([[1.0, 2.0], [0.1, 1 / 3]]), {"a": (), "b": (1,)})
    write_path(tmp_path, path)
    back = read_path(tmp_path)
    assert back is not None
    assert back.steps.tolist() == [0, 3]
    assert (back.theta == path.theta).all()
    assert back.names == ("a", "b[0]")
    assert read_path(tmp_path / "nowhere") is None
    (tmp_path / "path.npz").write_bytes(b"PK not a zip")
    with pytest.raises(ValueError, match="it cannot be unpacked"):
        read_path(tmp_path)


def test_every_step_is_kept_and_the_last_is_the_final_weights(
    train_run: Callable[..., Run],
) -> None:
    run = train_run(*LINE, "stop.epochs=3")
    path = path_of(run)
    assert path.steps.tolist() == list(range(31))
    state = run.checkpoint("last")["state_dict"]
    assert path.theta[-1].tolist() == [
        float(state["model.layer.weight"]), float(state["model.layer.bias"]),
    ]  # fmt: skip
    assert list(run.result()["weights"].values()) == path.theta[-1].tolist()


def test_a_full_path_is_thinned_evenly_and_keeps_both_ends(
    train_run: Callable[..., Run],
) -> None:
    full = path_of(train_run(*LINE, "stop.steps=150", "stop.epochs=null"))
    thin = path_of(
        train_run(*LINE, "stop.steps=150", "stop.epochs=null", "callbacks.path.points=40")
    )
    # 150 steps in 40 places: every 4th, and the last
    assert thin.steps.tolist() == [*range(0, 150, 4), 150]
    assert (thin.theta == full.theta[thin.steps]).all()


def test_an_interrupted_path_goes_on_as_if_nothing_had_happened(
    train_run: Callable[..., Run],
) -> None:
    thin = "callbacks.path.points=40"
    whole = path_of(train_run(*LINE, thin, "stop.epochs=15"))
    for steps in (33, 90):
        begun = train_run(*LINE, thin, "stop.epochs=15", f"stop.steps={steps}")
        path = path_of(train_run(f"resume={begun.path}", "stop.steps=null"))
        assert path.steps.tolist() == whole.steps.tolist()
        assert (path.theta == whole.theta).all()


def test_a_lost_run_keeps_the_places_before_its_loss_was_lost(
    train_run: Callable[..., Run],
) -> None:
    run = train_run(*LINE, "optimizer.lr=1e12", "callbacks.full_loss=null")
    assert run.result()["status"] == "diverged"
    path = path_of(run)
    assert path.steps.max() <= run.result()["step"]
    assert np.isfinite(path.theta[:-1]).all()


def test_a_model_too_large_leaves_no_path(train_run: Callable[..., Run]) -> None:
    run = train_run("stop.steps=3")  # the default MLP: 26,122 parameters, 102 KiB a place
    path = path_of(run)
    assert path.theta.shape == (4, 26122)
    assert path.theta.dtype == np.float32
    assert run.result()["weights"] == {}
    run = train_run("stop.steps=1", "model.hidden=[256,256]")
    assert read_path(run.path) is None
