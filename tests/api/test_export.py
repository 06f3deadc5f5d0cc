"""Exported models: the predictions of the run, from other programs, without Descent."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import descent
from descent.api.exporting import export, open_export
from descent.api.trained import TrainedRun
from descent.data.arrays import Column, Kind
from descent.data.encoding import encode
from descent.data.reading import as_table
from descent.errors import UserError

ROOT = Path(__file__).parents[2]
WORDS = (
    "stop.epochs=2",
    "picture=false",
    "logger=none",
    "model.hidden=[8]",
    "data.test_fraction=0",
)
RNG = np.random.default_rng(0)
ROWS = 300


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def every_kind() -> pl.DataFrame:
    """A table with every kind of column, gaps in each, and more texts than are categories."""
    moments = [
        datetime.datetime(1999, 12, 28) + datetime.timedelta(hours=13.7 * i) for i in range(ROWS)
    ]
    frame = pl.DataFrame({
        "area": RNG.normal(100, 20, ROWS),
        "rooms": RNG.integers(1, 7, ROWS),
        "sold": moments,
        "garden": RNG.random(ROWS) < 0.5,
        "town": RNG.choice(["Ulm", "Bonn", "Köln"], ROWS),
        "agent": [f"agent {i % 140}" for i in range(ROWS)],
    })  # fmt: skip
    gaps = [
        pl.when(pl.Series(RNG.random(ROWS) > 0.1)).then(pl.col(n)).alias(n) for n in frame.columns
    ]
    priced = frame.with_columns(gaps)
    ulm = (frame["town"] == "Ulm").cast(pl.Int64)
    value = 3 * frame["area"] + 20 * frame["garden"].cast(pl.Int64) + 50 * ulm
    return priced.with_columns(price=value + RNG.normal(0, 5, ROWS) + 1000)


def exported(run: TrainedRun, format: str, **more: Any) -> Path:
    from hydra import compose, initialize_config_dir

    words = [f"run={run.directory}", f"format={format}", *(f"{k}={v}" for k, v in more.items())]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return export(open_export(compose("export", overrides=words)))


PROBLEMS: dict[str, tuple[tuple[str, ...], str]] = {
    "regression": (("data.log_target=true", "data.high_cardinality=hash"), "price"),
    "classes": (("data.dates=elapsed", "data.exclude=[price]"), "town"),
    "two classes": (("data.exclude=[price]", "data.scale=minmax"), "garden"),
}


def trained(problem: str) -> tuple[TrainedRun, pl.DataFrame]:
    words, target = PROBLEMS[problem]
    table = every_kind()
    run = descent.train(*WORDS, *words, data=table, target=target, quiet=True)
    strange = pl.Series("town", ["Rom"], dtype=pl.String)
    new = table.head(40).with_columns(town=pl.concat([strange, table["town"].slice(1, 39)]))
    return run, new


def expected(run: TrainedRun, new: pl.DataFrame) -> np.ndarray:
    return run.predict_proba(new) if run.classes else run.predict(new).reshape(len(new), -1)


@pytest.mark.parametrize(
    "problem", ["regression", *(pytest.param(p, marks=pytest.mark.slow) for p in [*PROBLEMS][1:])]
)
def test_a_module_of_its_own_predicts_what_the_run_does(problem: str) -> None:
    run, new = trained(problem)
    module = run.to_torch()
    given = torch.from_numpy(run.encode(new))
    with torch.no_grad():
        np.testing.assert_allclose(
            module(given).numpy(), expected(run, new), rtol=1e-12, atol=1e-12
        )


def test_parts_of_any_date_are_those_of_polars() -> None:
    from descent.api.portable import _Dates

    parts = ("year", "month", "day", "weekday", "hour", "days")
    column = Column("at", None, Kind.DATE, fill=20000.25, gap=True, parts=parts)
    minutes = RNG.integers(-100 * 365 * 1440, 200 * 365 * 1440, 5000)
    epoch = datetime.datetime(1970, 1, 1)
    moments = [epoch + datetime.timedelta(minutes=int(m)) for m in minutes]
    moments += [datetime.datetime(y, m, d) for y in (1900, 2000, 2024, 2100) for m, d in
                ((1, 1), (2, 28), (3, 1), (12, 31))]  # fmt: skip
    frame = pl.DataFrame({"at": [*moments, None]})
    wanted, _ = encode(as_table(frame, "dates"), [column])
    days = frame["at"].cast(pl.Int64) / 86_400_000_000
    given = torch.from_numpy(days.fill_null(float("nan")).to_numpy().copy()).reshape(-1, 1)
    np.testing.assert_allclose(_Dates(0, column)(given).numpy(), wanted, atol=1e-9)


def test_what_an_export_takes_is_said_beside_it() -> None:
    run, _ = trained("classes")
    file = exported(run, "state_dict")
    told = json.loads(Path(f"{file}.json").read_text())
    assert [one["name"] for one in told["inputs"]] == list(run.features)
    assert told["classes"] == ["Bonn", "Köln", "Ulm"]
    kept = torch.load(file, weights_only=True)
    for name, tensor in run.module.state_dict().items():
        assert torch.equal(kept[f"module.{name}"], tensor)
    with pytest.raises(UserError, match=r"model.pt exists already; give another output"):
        exported(run, "state_dict")
    assert exported(run, "state_dict", overwrite="true") == file


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"format": "keras"}, "format=keras does not fit: it must be onnx, torch_export or state"),
        ({"run": "nowhere"}, "nowhere does not exist"),
        ({"output": "no/such/place.onnx"}, "There is no directory"),
    ],
)
def test_what_cannot_be_exported_is_refused(words: dict[str, str], sentence: str) -> None:
    from hydra import compose, initialize_config_dir

    run = descent.train("data=iris", "model=linear", "stop.epochs=1", quiet=True)
    given = {"run": str(run.directory), "format": "state_dict", **words}
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("export", overrides=[f"{key}={value}" for key, value in given.items()])
    with pytest.raises(UserError) as caught:
        open_export(cfg)
    assert sentence in str(caught.value)


# programs that know nothing of Descent
READERS = {
    "onnx": """
import sys, json, numpy as np, onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
told = json.loads(session.get_modelmeta().custom_metadata_map["inputs.json"])
out, = session.run(["predictions"], {"x": np.load(sys.argv[2])})
assert "torch" not in sys.modules
""",
    "torch_export": """
import sys, json, numpy as np, torch
more = {"inputs.json": ""}
program = torch.export.load(sys.argv[1], extra_files=more)
told = json.loads(more["inputs.json"])
out = program.module()(torch.from_numpy(np.load(sys.argv[2]))).detach().numpy()
""",
}
END = """
np.save(sys.argv[3], out)
assert not [name for name in sys.modules if name.startswith("descent")]
try:  # the clone's commands lie in a folder of that name, which is no package
    import descent.engine
except ImportError:
    print(",".join(one["name"] for one in told["inputs"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "format"),
    [*((problem, "onnx") for problem in PROBLEMS), ("classes", "torch_export")],
)
def test_a_program_without_descent_predicts_the_same(
    format: str, problem: str, tmp_path: Path
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    run, new = trained(problem)
    file = exported(run, format)
    np.save("given.npy", run.encode(new))
    # without site: neither the clone nor an editable install is found, only packages themselves
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {**os.environ, "PYTHONPATH": packages}
    done = subprocess.run(
        [sys.executable, "-S", "-c", READERS[format] + END, str(file), "given.npy", "out.npy"],
        capture_output=True, text=True, env=environment, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ",".join(run.features) + "\n"
    np.testing.assert_allclose(np.load("out.npy"), expected(run, new), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_command_exports_the_best_run_of_a_sweep(
    type_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    pytest.importorskip("onnx", reason="the export extra is not installed")
    sweep = descent.sweep("data=iris", "model=linear", "stop.epochs=2", "seed=0,1", quiet=True)
    done = type_command("export", f"run={sweep.directory}", "output=iris.onnx")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    first, *_ = done.stdout.splitlines()
    assert first == sweep.best().chosen
    assert Path("iris.onnx").is_file()
