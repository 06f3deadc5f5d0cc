"""A LightningModule of the user's: its own step, under our data, records and directories."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from descent.engine.grouping import why_alone
from descent.errors import ForeignError, UserError
from descent.records.result import optimized

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


def test_what_it_writes_into_a_batch_does_not_change_the_data(train_run) -> None:
    given = (*IRIS, "data.batch_size=full", "test=false")
    one, other = (train_run(*given, own(name)) for name in ("Shifts", "WritesIntoItsBatch"))
    assert one.result()["metrics"] == other.result()["metrics"]


def test_what_it_logs_becomes_columns_of_the_epochs(train_run) -> None:
    run = train_run(*IRIS, own("Plain"))
    first, second = rows(run)[-2:]
    numbers, weights = range(8), [16] * 7 + [8]  # 120 rows, 16 a batch
    for row in (first, second):
        assert float(row["learner/number"]) == np.average(numbers, weights=weights)
    assert (float(first["learner/epoch"]), float(second["learner/epoch"])) == (0, 1)
    assert 0 < float(second["learner/train_loss"]) < float(first["learner/train_loss"])
    assert "learner/number" in run.result()["metrics"]


def test_it_evaluates_itself_as_lightnings_own_loop_does(train_run) -> None:
    from own_learners import Evaluates

    from descent.data.prepare import prepare
    from descent.data.tensors import split_tensors

    run = train_run(*IRIS, own("Evaluates"))
    result, prepared = run.result(), prepare(run.config()["data"])
    shadow = L.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    found = {}
    for split, checkpoint in (("val", "last"), ("test", "best")):
        module = Evaluates(4, 3)
        weights = run.checkpoint(checkpoint)["state_dict"]
        module.load_state_dict({k.removeprefix("model."): v for k, v in weights.items()})
        tensors = split_tensors(prepared, split, torch.device("cpu"), torch.float32)
        loader = DataLoader(TensorDataset(*tensors), batch_size=16)
        evaluate = shadow.validate if split == "val" else shadow.test
        found |= evaluate(module, loader, verbose=False)[0]
        assert not any(module.mode)
    found.pop("val_noise")
    assert len(found) == 8
    for name, value in found.items():
        assert result["metrics"][f"learner/{name}"] == pytest.approx(value, rel=1e-6), name
    assert result["metrics"]["learner/val_loss"] == pytest.approx(result["metrics"]["val/loss"])
    assert result["metrics"]["learner/test_acc"] == pytest.approx(
        result["metrics"]["test/accuracy"]
    )
    plain = train_run(*IRIS, own("Plain"))  # its evaluations leave no trace in the steps
    key = "train/full_loss"
    assert result["metrics"][key] == plain.result()["metrics"][key]


def test_what_it_logs_can_be_watched_and_optimized(train_run) -> None:
    watched = (
        "optimized_metric=learner/val_acc", "callbacks=early_stopping", "stop.epochs=9",
        "callbacks.early_stopping.monitor=learner/val_noise",
        "callbacks.early_stopping.mode=min", "callbacks.early_stopping.patience=1",
        "callbacks.checkpoint.monitor=learner/val_most_error",
    )  # fmt: skip
    run = train_run(*IRIS, own("Evaluates"), *watched)
    result = run.result()
    assert result["stopped_early"]
    errors = [float(row["learner/val_most_error"]) for row in rows(run)[1:]]
    assert result["best"]["epoch"] == 1 + int(np.argmin(errors))
    assert optimized(result, "learner/val_acc") == result["best"]["metrics"]["learner/val_acc"]
    with pytest.raises(UserError, match=r"learner/val_f1 is not recorded: it logs learner/"):
        train_run(*IRIS, own("Evaluates"), "optimized_metric=learner/val_f1")
    with pytest.raises(
        UserError, match=r"optimized_metric=learner/val_noise is better; give optimized_mode"
    ):
        train_run(*IRIS, own("Evaluates"), "optimized_metric=learner/val_noise")
    with pytest.raises(UserError, match=r"records .*, learner/<what it logs>"):
        train_run(*IRIS, own("Evaluates"), "optimized_metric=val_acc")


def test_its_own_schedule_follows_what_it_logs(train_run) -> None:
    run = train_run(*IRIS, own("Watching"))
    with (run.path / "steps.csv").open() as file:
        lrs = [float(row["lr"]) for row in csv.DictReader(file)]
    assert (lrs[0], lrs[-1]) == (0.1, 0.1)
    assert run.checkpoint("last")["optimizer_states"][0]["param_groups"][0]["lr"] == 0.05


def test_its_hooks_are_called_in_lightnings_order(train_run, monkeypatch) -> None:
    import own_learners

    made: list[L.LightningModule] = []
    plain = own_learners.Noting.on_fit_end

    def keep(self):
        plain(self)
        made.append(self)

    monkeypatch.setattr(own_learners.Noting, "on_fit_end", keep)
    train_run(*IRIS, own("Noting"), "data.batch_size=60", "stop.epochs=1")
    called, shadow = made[0].called, own_learners.Noting(4, 3)
    x, y = torch.randn(120, 4), torch.randint(3, (120,))
    shadow.configure_optimizers = lambda: torch.optim.SGD(shadow.parameters(), 0.1)
    L.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, max_epochs=1, num_sanity_val_steps=0,
    ).fit(
        shadow, DataLoader(TensorDataset(x, y), 60), DataLoader(TensorDataset(x[:15], y[:15]), 60)
    )  # fmt: skip
    assert set(own_learners.HOOKS) <= set(called)
    assert called == shadow.called


def test_what_it_logs_late_has_no_column_and_is_told(train_run, caplog) -> None:
    caplog.set_level("INFO")
    run = train_run(*IRIS, own("Late"))
    assert "learner/late" not in rows(run)[-1]
    assert "'late' is not recorded: log it from the first batch on" in caplog.text


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
        ("Hooked", "Hooked.optimizer_step would never be called"),
        ("Twice", "logs 'train_loss' in training and in validation"),
        ("Rows", r"what is logged as 'rows' has shape \(2,\)"),
        ("Reduces", "reduce_fx='median' of 'own' is not offered"),
        ("Unlogged", r"configure_optimizers watches val_falling_score, which is not recorded"),
        ("Skips", "on_train_batch_start returns -1"),
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
    sentence = r"learner: Fails.on_validation_epoch_end fails: .*at the end"
    with pytest.raises(ForeignError, match=sentence):
        train_run(*IRIS, own("Fails"))
