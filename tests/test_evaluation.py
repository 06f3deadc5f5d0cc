"""A run directory, used again: the same metrics, and predictions for new rows."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir

from descent.errors import UserError
from descent.evaluation import evaluate, open_evaluation
from descent.records.run import Run

CONF = Path(__file__).parents[1] / "conf"
SHORT = ("stop.epochs=2", "logger=none")


def run_eval(*overrides: str) -> dict[str, float]:
    """Do what `python src/eval.py ...` does, in this process."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("eval", overrides=list(overrides))
    return evaluate(open_evaluation(cfg))


def recorded(run: Run) -> dict[str, float]:
    return {k: v for k, v in run.result()["metrics"].items() if k.startswith("test/")}


# ---- the run's own test rows


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
@pytest.mark.parametrize("data", ["digits", "breast_cancer", "diabetes"])
def test_the_test_metrics_are_repeated_exactly(data, precision, train_run):
    run = train_run(f"data={data}", f"trainer.precision={precision}", "model.hidden=[9]", *SHORT)
    metrics = run_eval(f"run={run.path}")
    assert metrics == recorded(run)  # not a bit may differ
    assert len(metrics) == (4 if data == "diabetes" else 2)


def test_best_and_last_weights_are_told_apart(train_run):
    run = train_run("data=iris", "optimizer.lr=0.1", "stop.epochs=30", "logger=none")
    assert run.result()["best"]["epoch"] < 30  # it overfits
    best, last = (run_eval(f"run={run.path}", f"checkpoint={name}") for name in ("best", "last"))
    assert best == recorded(run)
    assert last != best


def test_evaluation_says_that_metrics_are_as_recorded(caplog, train_run):
    run = train_run("data=iris", *SHORT)
    caplog.set_level(logging.INFO)
    caplog.clear()
    metrics = run_eval(f"run={run.path}")
    assert f"best weights of {run.path} on 15 rows" in caplog.messages
    assert f"test/loss      {metrics['test/loss']!r}, as recorded" in caplog.messages


def test_a_run_without_validation_rows_is_evaluated_with_its_last_weights(caplog, train_run):
    run = train_run("data=diabetes", "data.batch_size=20", "data.val_fraction=0.0", *SHORT)
    caplog.set_level(logging.INFO)
    assert run_eval(f"run={run.path}") == recorded(run)
    assert any("has no best.ckpt" in message for message in caplog.messages)


INTERRUPTING = """
import os, signal
from lightning.pytorch import Callback
class Interrupt(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 6: os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_job) -> Run:
    """A run stopped by Ctrl-C in its first epoch, before any validation."""
    from descent.training import train

    (tmp_path / "interrupting.py").write_text(INTERRUPTING)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("interrupting")
    job = make_job("data=diabetes", "data.batch_size=20", "data.window=3", "picture=false",
                   "logger=none",
                   "+callbacks.interrupt._target_=interrupting.Interrupt")  # fmt: skip
    with pytest.raises(SystemExit):
        train(job)
    yield job.run
    del sys.modules["interrupting"]


def test_an_interrupted_run_is_evaluated_with_its_last_weights(interrupted):
    assert interrupted.result()["status"] == "interrupted"
    metrics = run_eval(f"run={interrupted.path}", "trust=[interrupting]")
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_run_that_names_foreign_code_needs_trust(interrupted):
    with pytest.raises(UserError, match=r"'interrupting\.Interrupt' .*add trust=\[interrupting\]"):
        run_eval(f"run={interrupted.path}")


# ---- a table of the user's own


def rows(count: int, seed: int) -> pl.DataFrame:
    """Return rows of price = 3 size - 2 age + (5 if the colour is green) + noise."""
    random = np.random.default_rng(seed)
    size, age = random.uniform(20, 90, count), random.integers(0, 40, count)
    colour = random.choice(["red", "green", "blue"], count)
    price = 3 * size - 2 * age + 5 * (colour == "green") + random.normal(size=count)
    kind = np.where(price > np.median(price), "dear", "cheap")
    return pl.DataFrame({"size": size, "colour": colour, "age": age, "price": price, "kind": kind})


@pytest.fixture
def priced(tmp_path: Path, train_run) -> Callable[..., Run]:
    """Return a function that trains a linear model on the table."""
    rows(120, seed=0).write_csv(tmp_path / "prices.csv")

    def train(*given: str) -> Run:
        return train_run(
            "data=table", f"data.path={tmp_path / 'prices.csv'}", "data.target=price",
            "data.features=[size,colour,age]", "data.batch_size=16", "model=linear",
            "stop.epochs=5", "logger=none", *given,
        )  # fmt: skip

    return train


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A file of new rows, without what is to be predicted."""
    rows(30, seed=1).drop("price", "kind").write_csv(tmp_path / "new.csv")
    return tmp_path / "new.csv"


def outputs_by_hand(run: Run, table: pl.DataFrame) -> np.ndarray:
    """Encode, scale and multiply, from what the run directory keeps."""
    about = json.loads((run.path / "data.json").read_text())
    colours = ["blue", "green", "red"]
    assert about["columns"][1] == {"name": "colour", "kind": "category", "categories": colours}
    one_hot = [(table["colour"] == colour).cast(pl.Float64) for colour in colours]
    x = np.column_stack([table["size"], *one_hot, table["age"]])
    x = (x - about["scaler"]["offset"]) / about["scaler"]["scale"]
    state = torch.load(run.path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    weight, bias = (state[f"model.layer.{n}"].double().numpy() for n in ("weight", "bias"))
    return x @ weight.T + bias


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    # in units of the target's deviation: scaled rows, weights and a sum of six terms of at most 3,
    # each rounded by 2^-24 = 6e-8 or 2^-53 = 1e-16
    [("32-true", 2e-6), ("64-true", 1e-14)],
)
def test_predictions_equal_a_computation_from_the_saved_files(
    precision, tolerance, tmp_path, new, priced
):
    run, out = priced(f"trainer.precision={precision}"), tmp_path / "out.csv"
    assert run_eval(f"run={run.path}", f"data.path={new}", f"predict={out}") == {}
    given, got = pl.read_csv(new), pl.read_csv(out)
    assert got.drop("predicted_price").equals(given)  # the new rows as they were, and beside them
    scaler = json.loads((run.path / "data.json").read_text())["target_scaler"]
    wanted = outputs_by_hand(run, given)[:, 0] * scaler["scale"][0] + scaler["offset"][0]
    error = np.abs(got["predicted_price"].to_numpy() - wanted).max()
    assert error <= tolerance * scaler["scale"][0]


def test_classes_are_predicted_with_their_probabilities(tmp_path, new, priced):
    run, out = priced("data.target=kind"), tmp_path / "out.csv"
    run_eval(f"run={run.path}", f"data.path={new}", f"predict={out}")
    got = pl.read_csv(out)
    p = 1 / (1 + np.exp(-outputs_by_hand(run, pl.read_csv(new))[:, 0]))  # of 'dear', the second
    np.testing.assert_allclose(got["probability_dear"], p, rtol=1e-5)
    np.testing.assert_allclose(got["probability_cheap"], 1 - p, rtol=1e-5)
    assert got["predicted_kind"].to_list() == ["dear" if share > 0.5 else "cheap" for share in p]
    assert {"dear", "cheap"} == set(got["predicted_kind"])


def test_several_classes_are_predicted_with_probabilities_that_sum_to_one(tmp_path, new, priced):
    run = priced("data.target=colour", "data.features=[size,age]")
    run_eval(f"run={run.path}", f"data.path={new}", f"predict={tmp_path / 'out.csv'}")
    got = pl.read_csv(tmp_path / "out.csv")
    shares = got.select("probability_blue", "probability_green", "probability_red").to_numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    names = np.array(["blue", "green", "red"])
    assert got["predicted_colour"].to_list() == names[shares.argmax(axis=1)].tolist()


def test_neither_the_order_nor_the_number_of_columns_matters(tmp_path, new, priced):
    run = priced()
    shuffled = pl.read_csv(new).select("age", "size", "colour").with_columns(more=pl.lit("text"))
    shuffled.write_csv(tmp_path / "shuffled.csv")
    for name in ("new", "shuffled"):
        run_eval(f"run={run.path}", f"data.path={tmp_path / name}.csv",
                 f"predict={tmp_path / name}_out.csv")  # fmt: skip
    one, other = (pl.read_csv(tmp_path / f"{name}_out.csv") for name in ("new", "shuffled"))
    assert one["predicted_price"].equals(other["predicted_price"])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow"])
def test_predictions_are_written_in_the_format_of_the_suffix(suffix, tmp_path, new, priced):
    run, out = priced(), tmp_path / f"out.{suffix}"
    run_eval(f"run={run.path}", f"data.path={new}", f"predict={out}")
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "arrow": pl.read_ipc}[suffix]
    assert read(out).columns == ["size", "colour", "age", "predicted_price"]
    assert read(out).height == 30
    assert not list(tmp_path.glob("*.part"))


def test_new_rows_with_their_target_get_metrics(tmp_path, priced):
    run, table = priced("trainer.precision=64-true"), rows(50, seed=2)
    table.write_parquet(tmp_path / "known.parquet")
    metrics = run_eval(f"run={run.path}", f"data.path={tmp_path / 'known.parquet'}")
    scaler = json.loads((run.path / "data.json").read_text())["target_scaler"]
    predicted = outputs_by_hand(run, table)[:, 0] * scaler["scale"][0] + scaler["offset"][0]
    price = table["price"].to_numpy()
    error = predicted - price
    # torchmetrics adds up in float32
    assert metrics["test/rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert metrics["test/mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    r2 = 1 - np.sum(error**2) / np.sum((price - price.mean()) ** 2)
    assert metrics["test/r2"] == pytest.approx(r2, rel=1e-5)


# ---- mistakes, each one sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop("age"), r"wrong.csv: no column 'age'; it has size, colour\."),
        (lambda t: t.with_columns(age=pl.lit("old")), "column 'age' must hold numbers, but holds"),
        (
            lambda t: t.with_columns(predicted_price=1.0),
            "has a column 'predicted_price' already, which predictions would overwrite",
        ),
        (lambda t: t.head(0), "has no rows below its header"),
    ],
    ids=["missing", "text", "taken", "empty"],
)
def test_new_rows_that_do_not_fit_are_refused(change, sentence, tmp_path, new, priced):
    run = priced()
    change(pl.read_csv(new)).write_csv(tmp_path / "wrong.csv")
    with pytest.raises(UserError, match=sentence):
        run_eval(f"run={run.path}", f"data.path={tmp_path}/wrong.csv", f"predict={tmp_path}/o.csv")
    assert not (tmp_path / "o.csv").exists()


def test_predictions_are_overwritten_only_when_told(tmp_path, new, priced):
    run, out = priced(), tmp_path / "out.csv"
    out.write_text("mine")
    given = (f"run={run.path}", f"data.path={new}", f"predict={out}")
    with pytest.raises(UserError, match=r"exists already; give another name, or overwrite=true\."):
        run_eval(*given)
    assert out.read_text() == "mine"
    run_eval(*given, "overwrite=true")
    assert pl.read_csv(out).height == 30


@pytest.mark.parametrize(
    ("predict", "sentence"),
    [
        ("out.xlsx", r"out\.xlsx has none of the known suffixes \.csv, \.parquet, \.arrow\."),
        ("nowhere/out.csv", "There is no directory .*nowhere to write out.csv in"),
    ],
)
def test_predictions_need_a_place_and_a_format(predict, sentence, tmp_path, new, priced):
    run = priced()
    with pytest.raises(UserError, match=sentence):
        run_eval(f"run={run.path}", f"data.path={new}", f"predict={tmp_path / predict}")


def test_predictions_need_rows(tmp_path, priced):
    run = priced()
    with pytest.raises(UserError, match=r"predict=\.\.\. needs rows to predict for; give data\.p"):
        run_eval(f"run={run.path}", f"predict={tmp_path / 'out.csv'}")


def test_changed_data_cannot_repeat_the_metrics(tmp_path, priced):
    run = priced()
    rows(120, seed=3).write_csv(tmp_path / "prices.csv")
    with pytest.raises(UserError, match=r"The data have changed since .* was trained"):
        run_eval(f"run={run.path}")


def test_a_run_without_test_rows_asks_for_others(train_run):
    run = train_run("data=diabetes", "data.batch_size=20", "data.test_fraction=0.0", *SHORT)
    with pytest.raises(UserError, match=r"kept no test rows .*give data\.path"):
        run_eval(f"run={run.path}")


def test_a_damaged_checkpoint_is_named(train_run):
    run = train_run("data=iris", *SHORT)
    run.checkpoint_path("best").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"best\.ckpt is damaged and cannot be read"):
        run_eval(f"run={run.path}")


def test_a_checkpoint_of_another_model_does_not_fit(train_run):
    small, large = (train_run("data=iris", f"model.hidden=[{n}]", *SHORT) for n in (3, 4))
    large.checkpoint_path("best").replace(small.checkpoint_path("best"))
    with pytest.raises(UserError, match=r"layers\.0\.weight' is \(4, 4\), not \(3, 4\)"):
        run_eval(f"run={small.path}")


@pytest.mark.slow
def test_the_command_predicts_and_answers_mistakes_with_one_line(
    tmp_path, new, priced, type_command
):
    run = priced()
    done = type_command("eval", f"run={run.path}", f"data.path={new}", "predict=out.csv")
    assert done.returncode == 0, done.stderr
    assert "out.csv: 30 rows with predicted_price" in done.stdout
    assert pl.read_csv(tmp_path / "out.csv").height == 30
    again = type_command("eval", f"run={run.path}", f"data.path={new}", "predict=out.csv")
    assert again.returncode == 2
    assert again.stderr == "error: out.csv exists already; give another name, or overwrite=true.\n"


def test_a_walk_on_a_landscape_has_nothing_to_evaluate(train_run: Callable[..., Run]) -> None:
    run = train_run("model=point", "data=landscape", "landscape=bowl", "stop.epochs=1")
    with pytest.raises(UserError, match="walked on a landscape, where there is nothing to test"):
        run_eval(f"run={run.path}")
