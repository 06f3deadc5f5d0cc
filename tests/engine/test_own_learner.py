"""A LightningModule of the user's: its own step, under our data, records and directories."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from descent.engine.grouping import why_alone
from descent.errors import ForeignError, UserError

sys.path.insert(0, str(Path(__file__).parent))

IRIS = ("data=iris", "model=linear", "stop.epochs=2")


def own(name: str) -> str:
    return f"+learner._target_=own_learners.{name}"


def rows(run) -> list[dict[str, str]]:
    with (run.path / "epochs.csv").open() as file:
        return list(csv.DictReader(file))


def test_its_steps_are_those_of_a_loop_written_by_hand(train_run) -> None:
    run = train_run(*IRIS, own("Whole"))
    state = run.checkpoint("last")["state_dict"]
    # the same rows in the same order, and the same start, from the run's own records
    from descent.data.prepare import prepare
    from descent.data.tensors import split_tensors
    from descent.data.windows import Windows
    from descent.engine.blueprint import build_model

    prepared = prepare(run.config()["data"])
    model = build_model(run.config(), prepared.description)
    x, y = split_tensors(prepared, "train", torch.device("cpu"), torch.float32)
    lr = 0.1
    for epoch in range(2):
        windows = Windows(x, y, batch_size=16, seed=0, order="shuffle", single=True)
        windows.epoch = epoch
        for xb, yb in windows:
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(xb), yb).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= lr * parameter.grad
        lr *= 0.5
    for name, value in model.state_dict().items():
        found = next(v for key, v in state.items() if key.endswith(name))
        torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-7)


def test_what_it_logs_becomes_columns_of_the_epochs(train_run) -> None:
    run = train_run(*IRIS, own("Plain"))
    first, second = rows(run)[-2:]
    steps = 8  # 120 rows, 16 a batch
    assert float(first["own/number"]) == np.mean(range(steps))
    assert float(second["own/number"]) == np.mean(range(steps, 2 * steps))
    assert (float(first["own/epoch"]), float(second["own/epoch"])) == (0, 1)
    assert 0 < float(second["learner/train_loss"]) < float(first["learner/train_loss"])
    assert "own/number" in run.result()["metrics"]


def test_the_chosen_optimizer_takes_the_steps_where_it_brings_none(train_run) -> None:
    slow = train_run(*IRIS, own("Plain"), "optimizer=sgd", "optimizer.lr=1e-9")
    fast = train_run(*IRIS, own("Plain"), "optimizer=sgd", "optimizer.lr=0.1")
    assert slow.result()["metrics"]["train/full_loss"] > 1
    assert fast.result()["metrics"]["train/full_loss"] < 0.9
    with pytest.raises(UserError, match=r"optimizer=sgd has no effect: Whole makes its optimizer"):
        train_run(*IRIS, own("Whole"), "optimizer=sgd")


def test_it_goes_on_where_it_was_stopped(train_run) -> None:
    whole = train_run(*IRIS, own("Plain"), "stop.epochs=4")
    part = train_run(*IRIS, own("Plain"))
    on = train_run(f"resume={part.path}", "stop.epochs=4", "trust=[own_learners]")
    a, b = (run.checkpoint("last")["state_dict"] for run in (whole, on))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_mixup_mixes_and_draws_from_the_runs_own_stream(train_run) -> None:
    first, again = (train_run(*IRIS, "learner=mixup", "learner.alpha=1") for _ in range(2))
    plain = train_run(*IRIS)
    a, b, c = (run.result()["metrics"]["train/full_loss"] for run in (first, again, plain))
    assert a == b != c
    assert 0 < float(rows(first)[-1]["learner/share"]) < 1


def test_in_sweeps_it_trains_one_by_one() -> None:
    node = OmegaConf.create({"learner": {"_target_": "x.Y"}, "trainer": {}, "callbacks": {}})
    assert why_alone(node) == "a learner takes the steps of one run"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Manual", "steps its optimizers itself"),
        ("Hooked", "Hooked.on_after_backward would never be called"),
        ("Number", "returns float; it must return the loss of the batch"),
        ("Each", r"returns a tensor of shape \(2,\)"),
        ("Detached", "returns a loss without a gradient"),
        ("Two", "must return one optimizer"),
        ("Stepless", "has no training_step"),
    ],
)
def test_what_is_not_done_is_refused_before_anything_is_written(
    name: str, sentence: str, train_run, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        train_run(*IRIS, own(name))
    assert not list(tmp_path.rglob("result.json"))


def test_what_is_no_learner_is_refused(train_run) -> None:
    with pytest.raises(UserError, match="makes a Linear, not a LightningModule"):
        train_run(*IRIS, "+learner._target_=torch.nn.Linear")
    with pytest.raises(UserError, match=r"learner\.alpha=0 does not fit: it must be a num"):
        train_run(*IRIS, "learner=mixup", "learner.alpha=0")


def test_what_its_step_raises_names_it(train_run) -> None:
    with pytest.raises(ForeignError, match=r"learner: Raises.training_step fails: .*of its own"):
        train_run(*IRIS, own("Raises"))
