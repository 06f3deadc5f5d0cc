"""A run's directory as pictures read it: arrays as written, names by what differs, refusals."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from descent.errors import UserError
from descent.report.record import Axis, check_comparable, labelled, read_record

LINE = ("data=line", "model=linear", "optimizer=sgd", "optimizer.lr=0.1", "stop.epochs=3")


def test_curves_are_the_columns_of_the_tables(train_run):
    run = train_run(*LINE, "callbacks.full_loss.every_n_steps=3")
    record = read_record(run.path)
    steps, epochs = (pl.read_csv(run.path / f"{name}.csv") for name in ("steps", "epochs"))
    np.testing.assert_array_equal(record.step_loss.value, steps["loss"])
    np.testing.assert_array_equal(
        record.running_loss.known().value, epochs["train/loss"].drop_nulls()
    )
    # the full loss stands in both tables, each step once
    known = {**dict(zip(epochs["step"], epochs["train/full_loss"], strict=True))}
    known |= {s: v for s, v in zip(steps["step"], steps["full_loss"], strict=True) if v is not None}
    assert record.full_loss.step.tolist() == sorted(known)
    assert record.full_loss.value.tolist() == [known[s] for s in sorted(known)]


def test_a_step_lies_where_the_tables_say_on_every_axis(train_run):
    run = train_run(*LINE, "data.batch_size=64", "data.val_fraction=0", "data.test_fraction=0")
    record = read_record(run.path)  # 200 rows in batches of 64, 64, 64 and 8
    at = np.array([0, 1, 4, 6])
    np.testing.assert_array_equal(record.at(Axis.STEP, at), at)
    np.testing.assert_array_equal(record.at(Axis.EPOCH, at), at / 4)
    np.testing.assert_array_equal(record.at(Axis.SAMPLES, at), [0, 64, 200, 328])
    seconds = pl.read_csv(run.path / "steps.csv")["seconds"]
    assert record.at(Axis.SECONDS, at)[1:].tolist() == [seconds[0], seconds[3], seconds[5]]


def test_runs_are_named_by_what_was_typed_differently(train_run):
    runs = [train_run(*LINE[:3], f"optimizer.lr={lr}", "stop.epochs=1") for lr in (0.1, 0.2)]
    labels = [r.label for r in labelled([read_record(run.path) for run in runs])]
    assert labels == ["optimizer.lr=0.1", "optimizer.lr=0.2"]


def test_an_option_that_one_run_left_at_its_default_still_names_both(train_run):
    runs = [train_run(*LINE[:3], "stop.epochs=1", *more) for more in ((), ("seed=7",))]
    labels = [r.label for r in labelled([read_record(run.path) for run in runs])]
    assert labels == ["seed=0", "seed=7"]


def test_runs_that_do_not_differ_are_named_by_their_directories(train_run):
    runs = [train_run(*LINE[:3], "stop.epochs=1") for _ in range(2)]
    labels = [r.label for r in labelled([read_record(run.path) for run in runs])]
    assert labels == [run.path.name for run in runs]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("config.yaml", "a: [", r"config.yaml is damaged and cannot be read"),
        ("result.json", "{", r"result.json is damaged and cannot be read"),
        ("result.json", '{"status": "ok", "reason": 3, "step": 1}', "'reason' is '3', not a text"),
        ("data.json", "[]", r"data.json is damaged and cannot be read"),
        ("steps.csv", "", r"steps.csv is damaged and cannot be read"),
        ("steps.csv", "a,b\n1,2\n", r"steps.csv is damaged .*: it has no column 'step'"),
        ("steps.csv", "step,loss\n1,x\n", r"row 1 of column 'loss' is no number"),
        ("steps.csv", "step,loss\n2,1\n1,1\n", r"steps.csv .* its steps do not rise"),
        ("epochs.csv", "step,train/loss\n1,2,3,4\n", r"epochs.csv is damaged and cannot be read"),
        ("path.npz", "PK", r"path.npz is damaged and cannot be read: it cannot be unpacked"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_in_one_sentence(name, text, sentence, train_run):
    run = train_run(*LINE[:3], "stop.epochs=1")
    (run.path / name).write_text(text)
    with pytest.raises(UserError, match=sentence) as refused:
        read_record(run.path)
    assert "\n" not in str(refused.value)


def test_what_is_no_finished_run_is_refused(train_run, tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist"):
        read_record(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty is empty; give a directory that src/train.py made"):
        read_record(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"other is not a run directory: it has no config.yaml"):
        read_record(tmp_path / "other")
    run = train_run(*LINE[:3], "stop.epochs=1")
    result = json.loads((run.path / "result.json").read_text())
    run.write_result({**result, "status": "running"})
    with pytest.raises(UserError, match=rf"was killed; .*: python src/train.py resume={run.path}"):
        read_record(run.path)


WALK = ("model=point", "data=landscape", "stop.epochs=1")


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (("data=line", "model=linear"), ("data=wine",), "one is regression, the other multiclass"),
        ((*WALK, "landscape=bowl"), (*WALK, "landscape=valley"), "one walks on bowl, the other on"),
        (
            ("data=line", "model=linear", "data.source.noise=2.0"), ("data=line", "model=linear"),
            r"different data \(data.source.noise is 2.0 in one and 1.0 in the other\)",
        ),
    ],
)  # fmt: skip
def test_runs_that_cannot_share_a_picture_are_named(one, other, why, train_run):
    runs = [train_run(*given, "stop.epochs=1") for given in (one, other)]
    with pytest.raises(UserError, match=why) as refused:
        check_comparable([read_record(run.path) for run in runs])
    assert all(str(run.path) in str(refused.value) for run in runs)


def test_walks_on_one_landscape_with_other_noise_are_comparable(train_run):
    runs = [train_run(*WALK, "landscape=bowl", f"data.source.noise={n}") for n in (0.0, 1.0)]
    check_comparable([read_record(run.path) for run in runs])
