"""`import descent`: the commands' engine and directories, in a Python that stays as it was."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf.basecontainer import BaseContainer
from sklearn.datasets import load_iris

import descent
from descent import DescentError
from descent.api.given import Given
from descent.records.run import Run

ROOT = Path(__file__).parents[2]
LINE = ("model=linear", "optimizer=sgd", "stop.epochs=3", "picture=false", "logger=none")
WEIGHTS = np.array([3.0, -2.0])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    return {"a": x[:, 0], "b": x[:, 1], "y": x @ WEIGHTS + 1}


# ---- train


def test_a_run_is_the_one_that_the_command_trains(
    train_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = descent.train("data=iris", *LINE)
    told = capsys.readouterr().out
    theirs = train_run("data=iris", *LINE).result()
    assert (run.status, run.reason) == ("ok", "reached stop.epochs=3")
    assert run.metrics == theirs["metrics"]
    assert run.best == theirs["best"]["metrics"]
    assert run.directory.parent == Path("outputs/runs")
    for said in ("data      iris: 120 train", f"run       {run.directory}", "test"):
        assert said in told
    assert f"run       {run.directory}" in (run.directory / "train.log").read_text()


@pytest.mark.slow
def test_quiet_prints_nothing_and_draws_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    run = descent.train("data=iris", "model=linear", "stop.epochs=2", quiet=True)
    sweep = descent.sweep("data=iris", "model=linear", "stop.epochs=2", "seed=0,1", quiet=True)
    assert capfd.readouterr() == ("", "")
    assert not (run.directory / "curves.png").exists()
    assert not (sweep.directory / "report").exists()
    assert (sweep.directory / "results.csv").is_file()


@pytest.mark.slow
def test_a_run_goes_on_in_its_directory() -> None:
    run = descent.train("data=iris", *LINE, quiet=True)
    again = descent.train(f"resume={run.directory}", "stop.epochs=5", quiet=True)
    whole = descent.train("data=iris", *LINE[:2], "stop.epochs=5", *LINE[3:], quiet=True)
    assert again.directory == run.directory
    assert again.metrics == whole.metrics


@pytest.mark.slow
def test_an_interrupted_run_raises_keyboard_interrupt_and_can_go_on() -> None:
    handler = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while not list(Path("outputs").rglob("result.json")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        descent.train("data=iris", *LINE[:2], "stop.epochs=100000", *LINE[3:], quiet=True)
    thread.join()
    assert signal.getsignal(signal.SIGINT) is handler
    (directory,) = Path("outputs/runs").iterdir()
    run = descent.load(directory)
    assert run.status == "interrupted"
    steps = run.result["step"]
    assert (
        descent.train(f"resume={directory}", f"stop.steps={steps + 10}", quiet=True).status == "ok"
    )


# ---- rows from memory


def kinds(rows: dict[str, np.ndarray]) -> dict[str, Any]:
    x = np.column_stack([rows["a"], rows["b"]])
    return {
        "polars": (pl.DataFrame(rows), "y"),
        "lazy": (pl.LazyFrame(rows), "y"),
        "pandas": (pd.DataFrame(rows), "y"),
        "mapping": (rows, "y"),
        "values": (pd.DataFrame(rows).drop(columns="y"), pd.Series(rows["y"], name="y")),
        "arrays": (x, rows["y"]),
        "pair": ((x, rows["y"]), None),
        "tensors": (torch.from_numpy(x), torch.from_numpy(rows["y"])),
    }  # fmt: skip


def test_any_frame_or_array_becomes_the_same_table(rows: dict[str, np.ndarray]) -> None:
    paths = {}
    for kind, (data, target) in kinds(rows).items():
        given = Given(data, target)
        assert given.overrides[0] == "data=table"
        paths[kind] = given.overrides[1]
        given.write(f"{kind}.parquet")
        kept = pl.read_parquet(f"{kind}.parquet")
        np.testing.assert_array_equal(kept.to_numpy(), np.column_stack(list(rows.values())))
    assert paths.pop("tensors") == paths.pop("arrays") == paths.pop("pair")
    assert len(set(paths.values())) == 1


def test_arrays_are_learnt_to_their_closed_form(rows: dict[str, np.ndarray]) -> None:
    x = np.column_stack([rows["a"], rows["b"]])
    words = (*LINE, "data.batch_size=4", "stop.epochs=20")
    run = descent.train(*words, data=x, target=rows["y"], quiet=True)
    np.testing.assert_allclose(run.predict(torch.from_numpy(x)), x @ WEIGHTS + 1, atol=1e-2)
    assert run.features == ("x0", "x1")


@pytest.mark.slow
def test_rows_are_written_once_and_a_run_of_them_goes_on(rows: dict[str, np.ndarray]) -> None:
    run = descent.train(*LINE, data=rows, target="y", quiet=True)
    descent.sweep(*LINE, "seed=1,2", data=pd.DataFrame(rows), target="y", quiet=True)
    assert len(list(Path("outputs/tables").iterdir())) == 1
    assert descent.train(f"resume={run.directory}", "stop.epochs=4", quiet=True).status == "ok"


def test_a_frame_of_pandas_own_types_is_read_as_what_it_is() -> None:
    iris = load_iris(as_frame=True)
    frame = pd.DataFrame({
        "size": iris.data.iloc[:, 2].astype("Float64"),
        "made": pd.date_range("2024-01-01", periods=150, freq="D"),
        "kind": pd.Categorical(np.where(np.arange(150) % 2, "odd", "even")),
        "note": pd.array([None if i % 3 else "third" for i in range(150)], dtype="string"),
        "species": [str(iris.target_names[t]) for t in iris.target],
    })  # fmt: skip
    frame.loc[3, "size"] = pd.NA
    run = descent.train(*LINE, data=frame, target="species", quiet=True)
    kinds = {column.name: column.kind for column in Run(run.directory).data().columns}
    assert kinds == {"size": "number", "made": "date", "kind": "category", "note": "category"}
    assert run.classes == ("setosa", "versicolor", "virginica")
    chances = run.predict_proba(frame)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
    assert (run.predict(frame) == np.array(run.classes)[chances.argmax(axis=1)]).all()


def test_predictions_are_those_of_the_command(rows: dict[str, np.ndarray], tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir

    from descent.evaluation import evaluate, open_evaluation

    run = descent.train(*LINE, data=rows, target="y", quiet=True)
    pl.DataFrame(rows).write_csv("new.csv")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        words = [f"run={run.directory}", "data.path=new.csv", "predict=out.csv", "accelerator=cpu"]
        evaluation = open_evaluation(compose("eval", overrides=words))
    metrics = evaluate(evaluation)
    told = pl.read_csv("out.csv")["predicted_y"].to_numpy()
    np.testing.assert_allclose(run.predict(rows), told, rtol=1e-12)
    np.testing.assert_allclose(run.predict("new.csv"), told, rtol=1e-6)
    assert run.evaluate(rows) == pytest.approx(metrics, rel=1e-9)
    values = run.evaluate(pl.DataFrame(rows).drop("y"), target=rows["y"])
    assert values == pytest.approx(metrics, rel=1e-9)


def test_what_was_composed_or_saved_elsewhere_is_told_its_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hydra import compose, initialize_config_dir

    from descent.engine.learner import Learner
    from descent.errors import UserError
    from descent.job import open_job

    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # of another test's job
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=["data=iris"])
    with pytest.raises(UserError, match=r"descent\.train\(\.\.\.\) with the overrides"):
        open_job(config)
    with pytest.raises(UserError, match=r"descent\.load\('<run>'\)\.module"):
        Learner.load_from_checkpoint("best.ckpt")


# ---- sweeps and the runs of a directory


@pytest.mark.slow
def test_a_sweep_has_a_best_run_and_typed_options() -> None:
    sweep = descent.sweep("data=iris", *LINE, "optimizer.lr=0.001,0.1", "seed=0,1", quiet=True)
    frame = sweep.runs.frame
    assert frame.schema["optimizer.lr"] == pl.Float64
    assert frame.schema["seed"] == pl.Int64
    assert frame["optimizer.lr"].to_list() == [0.001, 0.001, 0.1, 0.1]
    best = sweep.best()
    losses = frame.filter(pl.col("optimizer.lr") == 0.1)["best/val/loss"]
    assert best.best["val/loss"] == losses.min()
    assert best.options["optimizer.lr"] == 0.1
    assert best.chosen is not None
    assert descent.load(sweep.directory).directory == best.directory
    assert sweep.answer[0].startswith("The best setting is lr=0.1: best val loss")
    low = sweep.runs.where({"optimizer.lr": lambda lr: lr < 0.01}, seed=1)
    assert [run.options["optimizer.lr"] for run in low] == [0.001]
    assert len(sweep.runs.where(lambda row: row["optimizer.lr"] == 0.1)) == 2
    assert len(sweep.runs.where(status=["ok", "failed"])) == 4
    assert "<table>" in sweep._repr_html_()
    assert sweep.plot()._repr_png_()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_runs_of_a_directory_are_ranked_within_one_problem() -> None:
    for words in (("data=iris", "optimizer.lr=0.001"), ("data=iris",), ("data=wine",)):
        descent.train(*words, *LINE, quiet=True)
    found = descent.runs()
    assert len(found) == 3
    assert found.counted == "3 runs: 3 ok"
    with pytest.raises(DescentError, match=r"differ in data, .*where\(\{'data': \.\.\.\}\)"):
        found.best()
    best = found.where(data="iris").best()
    assert best.best["val/loss"] == min(
        run.best["val/loss"] for run in found if run.options["data.source"] == "iris"
    )
    assert found.where(data="iris").best("val/accuracy").chosen is not None
    with pytest.raises(DescentError, match=r"has 'optimizer.lrr'; did you mean 'optimizer.lr'\?"):
        found.where({"optimizer.lrr": 1})


def test_losses_are_frames_and_pictures_are_inline() -> None:
    run = descent.train("data=iris", *LINE, quiet=True)
    epochs, steps = run.losses(), run.losses("step")
    assert epochs["epoch"].to_list() == [0, 1, 2, 3]
    assert steps["step"].to_list() == list(range(1, run.result["step"] + 1))
    assert epochs["train/full_loss"][-1] == run.metrics["train/full_loss"]
    assert run.plot()._repr_png_()[:4] == b"\x89PNG"
    html = run._repr_html_()
    assert "<b>ok</b>: reached stop.epochs=3" in html
    assert "<th>val</th>" in html
    x = torch.zeros(2, 4)
    assert torch.equal(run.module(x)[0], run.module(x)[1])


# ---- mistakes

MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: descent.train("optimizer.learnin_rate=0.1"),
     "There is no option 'optimizer.learnin_rate'; did you mean 'optimizer.lr'?"),
    (lambda: descent.train("optimizer=adm"), "optimizer=adm does not exist; did you mean 'adam'?"),
    (lambda: descent.train("stop.epochs=-1"), "stop.epochs=-1 does not fit"),
    (lambda: descent.train("-m", "seed=0,1"), "'-m' is a flag of the command line"),
    (lambda: descent.train("seed=0,1"), "seed=0,1 gives several values"),
    (lambda: descent.train("experiment=optimizers_on_a_valley"), "compares several runs"),
    (lambda: descent.train("trainer.devices=2"), "Several devices are for the command line"),
    (lambda: descent.train(3), "Overrides are texts such as 'optimizer=adam'; 3 is none"),
    (lambda: descent.train("data=iris", data=[[1.0]], target=[1.0]), "cannot be typed as well"),
    (lambda: descent.train(data=np.zeros(3), target="y"), "data has the shape (3,)"),
    (lambda: descent.train(data=np.zeros((3, 2)), target=np.zeros(4)), "target has the shape (4,)"),
    (lambda: descent.train(data=np.zeros((3, 2))), "target=... is missing"),
    (lambda: descent.train(data=[[1.0], [1.0, 2.0]], target="y"), "cannot be read as rows and"),
    (lambda: descent.train(target="y"), "target=... goes with data=..."),
    (lambda: descent.train(data={"a": [1, 2], "y": [1, 2]}, target="z"), "'z'; they have a, y."),
    (lambda: descent.train(data="nowhere.csv", target="y"), "There is no file"),
    (lambda: descent.sweep("seed=0,1", "hydra/launcher=basic"), "hydra/launcher=stack"),
    (lambda: descent.sweep("optimizer.lr=interval(0,1)"), "how many values are to be drawn"),
    (lambda: descent.load("nowhere"), "nowhere does not exist"),
    (lambda: descent.load("."), "is not a run directory"),
    (lambda: descent.runs("nowhere"), "There is no directory nowhere"),
    (lambda: descent.runs("."), "holds no runs"),
]  # fmt: skip


@pytest.mark.parametrize(
    "number",
    [pytest.param(i, marks=[pytest.mark.slow] if i > 5 else []) for i in range(len(MISTAKES))],
)
def test_a_mistake_raises_one_class_with_one_sentence_and_leaves_nothing(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    act, sentence = MISTAKES[number]
    with pytest.raises(DescentError) as caught:
        act()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert capfd.readouterr().err == ""
    assert not list(Path().rglob("config.yaml"))


def test_what_a_run_cannot_do_is_said(rows: dict[str, np.ndarray]) -> None:
    run = descent.train(*LINE, data=rows, target="y", quiet=True)
    for act, sentence in (
        (lambda: run.predict_proba(rows), "predicts numbers, which have no probabilities"),
        (lambda: run.predict({"a": rows["a"]}), "no column 'b'"),
        (lambda: run.predict(np.zeros((2, 3))), "data has 3 columns, where the run was trained"),
        (lambda: run.evaluate({"a": rows["a"], "b": rows["b"]}), "hold no target 'y'"),
        (lambda: run.losses("year"), "losses(by='year') is not known"),
        (lambda: run.plot("stepp"), "There is no axis 'stepp'; did you mean 'step'?"),
    ):  # fmt: skip
        with pytest.raises(DescentError) as caught:
            act()
        assert sentence in str(caught.value)


def test_a_sweep_in_which_a_job_fails_has_the_others() -> None:
    sweep = descent.sweep("data=iris", *LINE, "optimizer.lr=0.1,1e12", quiet=True)
    assert [run.status for run in sweep.runs] == ["ok", "diverged"]


# ---- a Python that stays as it was


def state() -> dict[str, Any]:
    """Return what an engine might change in its process."""
    known = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    loggers = {
        logger.name: (logger.level, logger.handlers[:], logger.propagate, logger.disabled)
        for logger in known
        if isinstance(logger, logging.Logger)
    }
    return {
        "threads": torch.get_num_threads(),
        "torch's numbers": torch.random.get_rng_state().tolist(),
        "numpy's numbers": repr(np.random.get_state()),
        "python's numbers": random.getstate(),
        "loggers": loggers,
        "directory": Path.cwd(),
        "environment": dict(os.environ),
        "argv": sys.argv,
        "argv's words": sys.argv[:],
        "warnings": warnings.filters[:],
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
        "resolvers": dict(BaseContainer._resolvers),
        "dtype": torch.get_default_dtype(),
        "strict": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
        "streams": (sys.stdout, sys.stderr),
        "path": sys.path[:],
        "hooks": (sys.excepthook, threading.excepthook),
    }


@pytest.fixture
def odd_settings() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    logging.getLogger("descent").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").addHandler(handler)
    os.environ["HYDRA_FULL_ERROR"] = "0"
    BaseContainer._resolvers["now"] = mine = lambda *_: "noon"  # a resolver of somebody's own
    yield
    torch.set_num_threads(threads)
    logging.getLogger().removeHandler(handler)
    logging.getLogger("descent").setLevel(logging.NOTSET)
    logging.getLogger("lightning.pytorch").removeHandler(handler)
    del os.environ["HYDRA_FULL_ERROR"]
    assert BaseContainer._resolvers["now"] is mine
    del BaseContainer._resolvers["now"]


@pytest.mark.slow
@pytest.mark.usefixtures("odd_settings")
def test_nothing_of_the_process_is_changed(rows: dict[str, np.ndarray]) -> None:
    descent.train(*LINE, data=rows, target="y", quiet=True)  # so that all is imported
    before = state()
    run = descent.train(*LINE, "trainer.deterministic=true", data=rows, target="y")
    sweep = descent.sweep(*LINE, "seed=0,1", data=rows, target="y")
    run.predict(rows)
    run.evaluate(rows)
    run.plot()
    sweep.plot()
    sweep.best()
    with pytest.raises(DescentError):
        descent.train("optimizer=adm")
    with pytest.raises(DescentError):
        descent.sweep("optimizer.lrr=1,2")
    after = state()
    after["loggers"] = {name: after["loggers"][name] for name in before["loggers"]}
    assert {key for key in before if before[key] != after[key]} == set()


def test_importing_it_imports_nothing_else() -> None:
    code = (
        "import sys, logging; before = set(sys.modules); import descent; dir(descent)\n"
        "heavy = {'torch', 'hydra', 'lightning', 'polars', 'numpy', 'omegaconf'}\n"
        "print(sorted(heavy & set(sys.modules)), logging.getLogger().handlers)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


@pytest.mark.slow
def test_a_script_without_a_guard_sweeps_with_workers(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import descent\n"
        "print('begun')\n"
        "s = descent.sweep('data=iris', 'model=linear', 'seed=range(40)', 'stop.epochs=2',\n"
        "                  'hydra.launcher.workers=2', quiet=True)\n"
        "print(s.runs.counted)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("begun\n40 runs: 40 ok\n", 0), done.stderr


@pytest.mark.slow
def test_the_command_trains_the_same_run_to_the_last_bit(
    type_command: Callable[..., subprocess.CompletedProcess[str]], rows: dict[str, np.ndarray]
) -> None:
    words = ("data=iris", *LINE, "optimizer=adam")
    mine = descent.train(*words, quiet=True)
    assert type_command("train", *words, "hydra.run.dir=theirs").returncode == 0
    assert descent.load("theirs").metrics == mine.metrics


def test_own_code_that_was_trained_here_is_read_back_and_elsewhere_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, in_features, out_features):\n"
        "        super().__init__(in_features, out_features)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("~model", "+model._target_=acme_net.Net", "data=iris", "stop.epochs=2")
    run = descent.train(*words, quiet=True)
    rows = np.zeros((3, 4))
    there = run.predict(rows)
    with pytest.raises(DescentError, match=r"trust=\[acme_net\]"):
        descent.load(run.directory)
    assert (descent.load(run.directory, trust=["acme_net"]).predict(rows) == there).all()


def test_choices_of_ones_own_are_found_in_conf_and_where_they_are_said_to_be(
    tmp_path: Path,
) -> None:
    for place, lr in (("conf", 0.002), ("elsewhere", 0.004)):
        (tmp_path / place / "optimizer").mkdir(parents=True)
        own = f"_target_: torch.optim.NAdam\n_partial_: true\nlr: {lr}\n"
        (tmp_path / place / "optimizer" / "mine.yaml").write_text(own)
    words = ("optimizer=mine", *LINE)
    words = tuple(word for word in words if word != "optimizer=sgd")
    assert descent.train(*words, quiet=True).options["optimizer.lr"] == 0.002
    there = descent.train(*words, quiet=True, config_dir="elsewhere")
    assert there.options["optimizer.lr"] == 0.004
    found = descent.sweep(*words, "seed=0,1", quiet=True, config_dir=Path("elsewhere"))
    assert found.best().options["optimizer.lr"] == 0.004
    with pytest.raises(DescentError, match="There is no directory nowhere"):
        descent.train(*words, config_dir="nowhere")
