"""The dashboard in a real browser: the pages load and show the chosen runs with their numbers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 90  # seconds, on a machine with other work
# the squared error on standardized diabetes has a largest curvature of about 8: descent is stable
# below lr = 2/8, and lr=3 diverges whatever the batch
SWEEP = (
    "model=linear", "data=diabetes", "optimizer=sgd", "stop.epochs=5", "report=false",
    "data.batch_size=20,100", "optimizer.lr=1e-3,1e-2,1e-1,3", "seed=range(3)",
)  # fmt: skip
SWEPT = {"data.batch_size": "batch_size", "optimizer.lr": "lr", "seed": "seed"}

# elements that match a selector, inside shadow roots too, each mapped by an expression of `e`
DEEP = """
const [selector, expression] = arguments, found = [];
const walk = (root) => {
  for (const e of root.querySelectorAll('*')) {
    if (e.matches(selector)) found.push(e);
    if (e.shadowRoot) walk(e.shadowRoot);
  }
};
walk(document);
return found.map(new Function('e', 'return ' + expression));
"""
# of a chart's lines: the series, and the symbol that it is drawn with
SYMBOLS = "Object.values(e._nameToDataSeries).map(s => [s.getTag(), s.getSymbol().character])"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Served:
    """A dashboard that runs: its pages by name, its table as read from results.csv."""

    pages: dict[str, str]
    results: pl.DataFrame


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Train 24 runs of 8 settings as a user does, and open the dashboard without naming them."""
    place = tmp_path_factory.mktemp("dashboard")
    train = [sys.executable, str(ROOT / "src" / "train.py"), "-m", *SWEEP]
    subprocess.run(train, cwd=place, check=True, capture_output=True, timeout=180)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "src" / "dashboard.py"), "port=0"], cwd=place, text=True,
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while "Ctrl-C ends it." not in lines[-1]:
            assert lines[-1], "the dashboard ended by itself"
            lines.append(process.stdout.readline())
        assert lines[0].startswith("8 of 24 runs of outputs/multiruns/")
        pages = dict(re.findall(r"^(\w+) +(http://localhost:\S+)$", "".join(lines), re.MULTILINE))
        (table,) = place.glob("outputs/multiruns/*/results.csv")
        as_typed = {"optimizer.lr": pl.String}
        yield Served(pages, pl.read_csv(table, schema_overrides=as_typed))
    finally:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
        process.stdout.close()


def until(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """Return what `look` sees when it is as wanted; what it saw last where time runs out."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return seen


def best_of_settings(results: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the run with the least best validation loss of each setting that lost none.

    Settings stand in the order of their mean over seeds.
    """
    groups = results.group_by("data.batch_size", "optimizer.lr").agg(
        pl.col("best/val/loss").mean().alias("mean"), (pl.col("status") == "ok").all().alias("good")
    )
    kept = []
    for setting in groups.filter("good").sort("mean").iter_rows(named=True):
        same = (pl.col(key) == setting[key] for key in ("data.batch_size", "optimizer.lr"))
        kept.append(results.filter(*same).sort("best/val/loss").row(0, named=True))
    return kept


def name_of(row: dict[str, Any], rank: int) -> str:
    words = [f"{short}={row[key]}" for key, short in SWEPT.items()]
    return " ".join([f"{rank:02d}", *([] if row["status"] == "ok" else ["diverged"]), *words])


def test_the_overlay_charts_draw_four_losses_of_each_of_the_best_runs(browser, served):
    good = best_of_settings(served.results)[:4]
    browser.look(1280, 1200)
    browser.open(served.pages["losses"])
    seen = until(
        lambda: browser.run(DEEP, "path.line", "e.getAttribute('d').split('L').length"),
        lambda paths: len(paths) == 32 and min(paths) > 1,
    )
    assert len(seen) == 2 * 4 * 4  # charts by step and by samples, losses, runs
    assert min(seen) > 1  # each line has more than one point
    titles = browser.run(DEEP, "tf-custom-scalar-multi-line-chart-card", "e._titleDisplayString")
    told = "◼ step  ◆ running  ▲ full  ★ validation loss"
    assert titles == [f"{told}, by step", f"{told}, by samples"]
    symbols = browser.run(DEEP, "tf-custom-scalar-multi-line-chart-card", SYMBOLS)
    words = {"train/step_loss": "◼", "train/loss": "◆", "train/full_loss": "▲", "val/loss": "★"}
    for axis, drawn in zip(("by_step", "by_samples"), symbols, strict=True):
        assert set(map(tuple, drawn)) == {(f"{axis}/{k}", symbol) for k, symbol in words.items()}
    series = browser.run(DEEP, "tf-custom-scalar-multi-line-chart-card", "e._seriesNames")
    names = [name_of(row, rank) for rank, row in enumerate(good, 1)]
    losses = ("train/step_loss", "train/loss", "train/full_loss", "val/loss")
    for axis, drawn in zip(("by_step", "by_samples"), series, strict=True):
        assert sorted(drawn) == sorted(
            f"{axis}/{loss} ({name})" for loss in losses for name in names
        )
    assert (browser.errors(), browser.failed_requests()) == ([], [])


def test_the_table_of_options_has_every_chosen_run_with_the_numbers_of_results_csv(browser, served):
    browser.look(1700, 1200)
    browser.open(served.pages["options"])
    cells = until(
        lambda: [
            text
            for text in browser.run(DEEP, "vaadin-grid-cell-content", "e.textContent.trim()")
            if text
        ],
        lambda cells: any(cell.startswith("08 ") for cell in cells),
    )
    headings = cells[: next(i for i, cell in enumerate(cells) if cell.startswith("01 "))]
    assert headings[:8] == [
        "Trial ID", "Show Metrics", "data.batch_size", "optimizer.lr", "seed", "status",
        "final/best/val/loss", "final/val/loss",
    ]  # fmt: skip
    starts = [i for i, cell in enumerate(cells) if re.match(r"\d\d ", cell)]
    rows = [cells[i:j] for i, j in zip(starts, [*starts[1:], len(cells)], strict=True)]
    good = best_of_settings(served.results)
    assert [row[0] for row in rows[:6]] == [name_of(row, i) for i, row in enumerate(good, 1)]
    for shown, row in zip(rows, good, strict=False):
        assert [float(cell) for cell in shown[1:4]] == [float(row[key]) for key in SWEPT]
        assert shown[4] == "ok"
        losses = [row["best/val/loss"], row["val/loss"]]
        assert [float(cell) for cell in shown[5:7]] == pytest.approx(losses, rel=1e-4)
    lost = served.results.filter(pl.col("status") == "diverged").sort("step", descending=True)
    longest = lost.unique("data.batch_size", keep="first", maintain_order=True).rows(named=True)
    assert [row[0] for row in rows[6:]] == [name_of(row, i) for i, row in enumerate(longest, 7)]
    assert [row[4] for row in rows[6:]] == ["diverged"] * 2
    assert (browser.errors(), browser.failed_requests()) == ([], [])


def test_curves_show_the_good_runs_first_and_the_diverged_when_the_filter_is_emptied(
    browser, served
):
    listed = "return [...document.querySelectorAll('runs-data-table tb-data-table-content-row')]"
    listed += ".map(e => e.textContent.trim())"
    browser.look(1280, 1200)
    browser.open(served.pages["curves"])
    names = [name_of(row, i) for i, row in enumerate(best_of_settings(served.results), 1)]
    assert until(lambda: browser.run(listed), lambda seen: len(seen) == 6) == names
    # only charts within the window are drawn, each with a table of its runs at the last step
    rows = "return [...document.querySelectorAll('scalar-card')].map(card => "
    rows += "[card.querySelectorAll('line-chart').length, "
    rows += "card.querySelectorAll('tb-data-table-content-row').length])"
    cards = until(lambda: browser.run(rows), lambda cards: cards[:2] == [[1, 6], [1, 6]])
    assert cards[:2] == [[1, 6], [1, 6]]

    browser.open("about:blank")
    browser.open(served.pages["curves"].split("?")[0])
    everyone = until(lambda: browser.run(listed), lambda seen: len(seen) == 8)
    assert everyone[:6] == names
    assert [name.split()[:2] for name in everyone[6:]] == [["07", "diverged"], ["08", "diverged"]]
    assert (browser.errors(), browser.failed_requests()) == ([], [])
