"""Several sweeps on one page: recomputed from their own tables, on one problem only."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir

import descent
from descent.errors import UserError
from descent.report.comparison import (
    ComparisonReporting,
    open_comparison,
    overlay,
    report_comparison,
)
from descent.report.run_report import open_report

SHORT = ("model=linear", "stop.epochs=3", "picture=false", "logger=none", "seed=0,1,2")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Return two sweeps of one problem, which differ in optimizer, batch size and grid."""
    where = tmp_path_factory.mktemp("sweeps")
    patch = pytest.MonkeyPatch()
    patch.chdir(where)
    descent.sweep("data=iris", *SHORT, "optimizer.lr=0.01,0.1", "hydra.sweep.dir=a", quiet=True)
    more = ("optimizer=adam", "optimizer.lr=0.003,0.03,0.3", "data.batch_size=8")
    descent.sweep("data=iris", *SHORT, *more, "hydra.sweep.dir=b", quiet=True)
    yield {name: where / name for name in "ab"}
    patch.undo()


def scores(sweep: Path) -> dict[float, np.ndarray]:
    """Return the best validation losses by lr, from the sweep's own table."""
    table = pl.read_csv(sweep / "results.csv").sort("seed")
    return {
        lr: own["best/val/loss"].to_numpy()
        for (lr,), own in table.group_by("optimizer.lr", maintain_order=True)
    }


def test_the_page_holds_what_the_tables_of_the_sweeps_say(
    sweeps: dict[str, Path], tmp_path: Path
) -> None:
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        cfg = compose(
            "report", [f"multirun=[{','.join(map(str, sweeps.values()))}]", f"output={tmp_path}/r"]
        )
    reporting = open_report(cfg)
    assert isinstance(reporting, ComparisonReporting)
    output = report_comparison(reporting)
    page = (output / "index.html").read_text()
    best = {name: min(scores(path).values(), key=np.mean) for name, path in sweeps.items()}
    first, second = sorted(best, key=lambda name: best[name].mean())
    lead = re.search(r'<p class="lead">(.*?)</p>', page)
    assert lead is not None
    assert f"best val loss is {first}: {best[first].mean():.3g}"[:-1] in lead[1]
    table = pl.read_csv(output / "winners.csv")
    assert table["sweep"].to_list() == [first, second]
    assert table["best/val/loss"].to_list() == pytest.approx(
        [best[first].mean(), best[second].mean()]
    )
    assert table["sd"].to_list() == pytest.approx([best[n].std(ddof=1) for n in (first, second)])
    logs = np.log(best[second] / best[first])
    assert float(table["behind"][1]) == pytest.approx(np.expm1(logs.mean()))
    won = np.subtract.outer(best[first], best[second])
    assert float(table["pairs won by the best"][1]) == (won < 0).sum() + (won == 0).sum() / 2
    spent = pl.read_csv(output / "budgets.csv")
    for name, path in sweeps.items():
        own, row = pl.read_csv(path / "results.csv"), spent.filter(pl.col("sweep") == name)
        assert row["runs"].item() == len(own)
        assert row["steps"].item() == own["step"].sum()
        assert row["samples"].item() == own["samples"].sum()
    differ = dict(zip(*pl.read_csv(output / "options.csv").select("option", "b"), strict=True))
    assert differ["data.batch_size"] == "8"
    assert differ["optimizer.lr"].startswith("0.003, 0.03, 0.3 (best: ")
    assert not any(key.startswith(("seed", "paths.")) for key in differ)
    # a page that was moved still holds its tables
    held = re.search(r'download="winners.csv" href="data:text/csv;[^,]*,([^"]*)"', page)
    assert held is not None
    assert base64.b64decode(held[1]).decode() == (output / "winners.csv").read_text()
    picture = overlay(reporting.found)
    assert picture is not None
    assert picture.figure.axes[0].get_xlabel() == "samples (training rows consumed)"


CHANGED = {
    ("data", "data.json"): ('"fingerprint": "[^"]*"', f'"fingerprint": "{"0" * 64}"'),
    ("loss", "config.yaml"): ("losses.Usual", "losses.Focal"),
    ("metric", "config.yaml"): ("optimized_metric: val/loss", "optimized_metric: val/accuracy"),
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("data", "they were trained on different data"),
        ("loss", "loss is CrossEntropy in one and Focal in the other"),
        ("metric", "is judged by best/val/loss and"),
        ("twice", "names one multirun twice"),
    ],
)
def test_sweeps_of_different_problems_are_refused_in_one_sentence(
    change: str, sentence: str, sweeps: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(sweeps["b"], other)
    for file in [*other.glob("*/config.yaml"), *other.glob("*/data.json")]:
        old, new = CHANGED.get((change, file.name), ("", ""))
        file.write_text(re.sub(old, new, file.read_text()))
    places = [sweeps["a"], sweeps["a"] if change == "twice" else other]
    with pytest.raises(UserError) as caught:
        open_comparison(places)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_python_compares_sweeps_as_the_command_does(sweeps: dict[str, Path]) -> None:
    one, other = (descent.api.swept.SweepResult(path) for path in sweeps.values())
    found = one.compare(other)
    assert found.answer[0].startswith("The best of the 2 sweeps by best val loss is ")
    assert [row["behind"] is None for row in found.winners] == [True, False]
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    assert "<table>" in found._repr_html_()
    with pytest.raises(descent.DescentError, match="nowhere"):
        one.compare("nowhere")
