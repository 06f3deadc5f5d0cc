"""The page of a sweep in a real browser: sorting, filtering, dots, links, copying, looks, speed."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import polars as pl
import pytest

from descent.analysis.advice import Advice
from descent.analysis.search import Next
from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import Study, Trial
from descent.report import style
from descent.report.style import Picture, save
from descent.report.sweep.sweep_page import write_sweep_page

pytest.importorskip("selenium", reason="selenium is not installed: the extra `browser` has it")
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.slow

LOSS = Measure("best/val/loss", "best validation loss (nats)", True)
ACCURACY = Measure("best/val/accuracy", "best validation accuracy", False)
STEPS = Measure("steps to target", "steps to full loss 0.1", True, 0.1)
MOST_SECONDS = 0.3
MOST_MEGABYTES = 6.0

# what a person sees next: the second frame begins when the first has been drawn
UNTIL_DRAWN = """
const done = arguments[arguments.length - 1];
const start = performance.now();
ACT;
requestAnimationFrame(() => requestAnimationFrame(() => done((performance.now() - start) / 1000)));
"""
READ_ROWS = """
const next = document.getElementById("next-page");
const previous = document.getElementById("previous-page");
while (!previous.disabled) previous.click();
const rows = [];
for (;;) {
  for (const row of document.querySelectorAll("#runs tbody tr")) rows.push(Number(row.dataset.run));
  if (next.disabled) return rows;
  next.click();
}
"""
CHOOSE = """
const [select, text] = arguments;
select.value = [...select.options].find((option) => option.text === text).value;
select.dispatchEvent(new Event("change", { bubbles: true }));
"""


@dataclass(frozen=True)
class Page:
    """A written page and what it must say."""

    path: Path
    study: Study
    scores: dict[str, dict[int, float]]

    def order(self, of: Callable[[Trial], Any], falling: bool = False) -> list[int]:
        """Runs by a value; those without one last, ties by number."""
        known = [t for t in self.study.trials if of(t) is not None and of(t) == of(t)]
        ranked = sorted(known, key=of, reverse=falling)  # stable either way
        rest = [t for t in self.study.trials if t not in known]
        return [t.number for t in [*ranked, *rest]]


def made(root: Path, lrs: int, seeds: int) -> Page:
    """A sweep of 3 optimizers x 4 batch sizes x learning rates x seeds, each run a directory."""
    rng = random.Random(5)
    trials = []
    grid = itertools.product(
        ("adam", "momentum", "sgd"), (16, 64, 256, 1024), np.geomspace(1e-3, 10, lrs).tolist(),
        range(seeds),
    )  # fmt: skip
    for number, (optimizer, batch, lr, seed) in enumerate(grid):
        tuned = {"adam": 0.01, "momentum": 0.1, "sgd": 0.5}[optimizer] * math.sqrt(batch / 64)
        loss = 0.08 * (1 + math.log10(lr / tuned) ** 2) + rng.gauss(0, 0.004)
        status, reason = "ok", "reached stop.epochs=5"
        figures = {"train/loss": loss * 1.1, "best/val/loss": loss, "best/val/accuracy": 1 - loss}
        figures |= {f"diagnostics/measure_{k}": rng.gauss(0, 1) for k in range(12)}
        if lr > 20 * tuned:
            status, reason = "diverged", f"step loss is nan at step {rng.randint(2, 90)}"
            figures = {"train/loss": rng.choice([math.nan, math.inf])}
        directory = root / str(number)
        directory.mkdir(parents=True)
        trials.append(
            Trial(
                number,
                {"optimizer.lr": lr, "data.batch_size": float(batch), "optimizer": optimizer},
                f"seed={seed}", status, reason, rng.randint(20, 2000), 7185, rng.random(), figures,
                directory, f"python src/train.py optimizer={optimizer} seed={seed} lr={lr}",
            )
        )  # fmt: skip
    lost = trials[7]
    trials[7] = Trial(
        7, lost.values, lost.seed, "failed", 'OSError: no <space> left "on device"', None, None,
        None, {}, root / "gone", lost.command,
    )  # fmt: skip
    study = Study(
        root, tuple(trials), ("optimizer.lr", "data.batch_size", "optimizer"), "val/loss", {}, ()
    )
    return written(study)


def written(study: Study) -> Page:
    scores: dict[str, dict[int, float]] = {
        m.name: {
            t.number: t.figures[m.name] for t in study.trials if t.status == "ok" and m != STEPS
        }
        for m in (LOSS, ACCURACY)
    }
    # a score that is not in the table, and that not all runs have
    scores[STEPS.name] = {n: 1000.0 * v for n, v in scores[LOSS.name].items() if v < 0.1}
    groups: dict[tuple, list[Trial]] = {}
    for trial in study.trials:
        groups.setdefault(tuple(trial.values.items()), []).append(trial)
    settings = {
        name: [
            Setting(dict(v), tuple(own), {t.number: of[t.number] for t in own if t.number in of})
            for v, own in groups.items()
        ]
        for name, of in scores.items()
    }
    report = study.directory / "report"
    report.mkdir()
    advice = Advice(
        settings[LOSS.name][0], tuple(settings[LOSS.name][1:3]),
        ("adam with lr=0.01 is best.",), ("Two others are tied with it.",),
        next_sweeps=(
            Next("python src/train.py -m optimizer=adam 'seed=range(8,16)'", "New seeds.", 8),
        ),
    )  # fmt: skip
    page = report / "index.html"
    write_sweep_page(
        page, study, (LOSS, ACCURACY, STEPS), settings, advice, pictures(report), ("A note.",)
    )
    return Page(page, study, scores)


def pictures(directory: Path) -> list[Picture]:
    """Eight pictures as heavy as those of a report: thousands of dots each."""
    drawn = []
    rng = np.random.default_rng(0)
    for k in range(8):
        figure = style.new_figure()
        figure.add_subplot().scatter(*rng.normal(size=(2, 3000)), c=rng.random(3000), s=8)
        drawn.append(Picture(f"picture{k}", f"Picture {k}", figure, "What it shows."))
        save(drawn[-1], directory)
    return drawn


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return made(tmp_path_factory.mktemp("small"), 5, 2)  # 120 runs


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    page = made(tmp_path_factory.mktemp("thousand"), 11, 8)  # 1,056 runs
    assert len(page.study.trials) >= 1024
    return page


@pytest.fixture(scope="module")
def thousands(tmp_path_factory):
    page = made(tmp_path_factory.mktemp("thousands"), 21, 20)  # 5,040 runs
    assert len(page.study.trials) >= 5000
    return page


def heading(browser, name):
    script = (
        "return [...document.querySelectorAll('#runs thead button')]"
        ".find((button) => button.textContent === arguments[0])"
    )
    return browser.run(script, name)


def sort(browser, name):
    """Click a heading; give back which way the column is now sorted."""
    button = heading(browser, name)
    browser.run("arguments[0].click()", button)
    return browser.run("return arguments[0].closest('th').ariaSort", button)


def listed(browser):
    return browser.run(READ_ROWS)


def choose(browser, name, text):
    label = next(
        label for label in browser.driver.find_elements("css selector", ".controls label")
        if label.text.split("\n")[0] == name
    )  # fmt: skip
    browser.run(CHOOSE, label.find_element("tag name", "select"), text)


def find(browser, words):
    box = browser.driver.find_element("id", "filter-text")
    box.clear()
    box.send_keys(words)


# ---- the page as a whole


def test_the_page_opens_without_an_error_and_asks_for_nothing(browser, thousand):
    browser.open(thousand.path)
    assert len(browser.driver.find_elements("css selector", "#runs tbody tr")) == 50
    assert browser.driver.find_element("id", "runs-counted").text == "1–50 of 1,056 runs"
    assert browser.errors() == []
    assert browser.failed_requests() == []
    size = thousand.path.stat().st_size / 1e6
    print(f"{len(thousand.study.trials)} runs and 8 pictures: {size:.2f} MB")
    assert size <= MOST_MEGABYTES


def test_without_script_the_answer_and_the_settings_are_still_there(browser, small):
    cdp = browser.driver.execute_cdp_cmd
    try:
        cdp("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.open(small.path)
        text = browser.driver.find_element("tag name", "body").text
        assert "adam with lr=0.01 is best." in text
        assert "This part needs JavaScript" in text
        assert "find" not in text
        rows = browser.driver.find_elements("css selector", "#settings tbody tr")
        assert len(rows) == 60
        assert rows[0].is_displayed()
    finally:
        cdp("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_page_of_one_run_without_a_measure_opens_too(browser, tmp_path):
    (tmp_path / "0").mkdir()
    alone = Trial(
        0, {}, "", "running", "", None, None, None, {}, tmp_path / "0", "python src/train.py"
    )
    study = Study(tmp_path, (alone,), (), "val/loss", {}, ())
    page = tmp_path / "index.html"
    write_sweep_page(page, study, (), {}, Advice(None, (), (), ()), (), ())
    browser.open(page)
    assert listed(browser) == [0]
    assert len(browser.driver.find_elements("css selector", "#plot-marks path")) == 1
    assert browser.errors() == []


# ---- sorting and filtering


def test_a_click_on_a_heading_sorts_by_the_true_numbers_the_missing_last(browser, thousand):
    browser.open(thousand.path)
    browser.run("document.getElementById('every-column').click()")
    scores = thousand.scores
    assert listed(browser) == thousand.order(lambda t: scores[LOSS.name].get(t.number))
    for name, of in (
        ("steps to target", lambda t: scores[STEPS.name].get(t.number)),
        ("best/val/accuracy", lambda t: t.figures.get("best/val/accuracy")),
        ("diagnostics/measure_3", lambda t: t.figures.get("diagnostics/measure_3")),
        ("train/loss", lambda t: t.figures.get("train/loss")),
        ("optimizer.lr", lambda t: t.values["optimizer.lr"]),
        ("data.batch_size", lambda t: t.values["data.batch_size"]),
        ("optimizer", lambda t: t.values["optimizer"]),
        ("seed", lambda t: int(t.seed.partition("=")[2])),
        ("seconds", lambda t: t.seconds),
        ("run", lambda t: t.number),
    ):
        for way in ("ascending", "descending"):
            assert sort(browser, name) == way, name
            assert listed(browser) == thousand.order(of, way == "descending"), (name, way)
    assert len(browser.driver.find_elements("css selector", "#runs th[aria-sort]")) == 1
    sort(browser, "status")
    statuses = [thousand.study.trials[run].status for run in listed(browser)]
    assert [word for word, _ in itertools.groupby(statuses)] == ["diverged", "failed", "ok"]


def test_headings_are_reached_and_pressed_by_keys(browser, small):
    browser.open(small.path)
    browser.run("arguments[0].focus()", heading(browser, "run"))
    active = browser.driver.switch_to.active_element
    active.send_keys(Keys.TAB)
    active = browser.driver.switch_to.active_element
    assert active.get_attribute("textContent") == "optimizer.lr"
    active.send_keys(Keys.ENTER)
    assert listed(browser) == small.order(lambda t: t.values["optimizer.lr"])
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_filters_leave_exactly_the_runs_that_pass(browser, thousand):
    browser.open(thousand.path)
    sort(browser, "run")
    trials = thousand.study.trials

    def expected(passes):
        return [t.number for t in trials if passes(t)]

    choose(browser, "status", "diverged")
    assert listed(browser) == expected(lambda t: t.status == "diverged")
    choose(browser, "optimizer", "adam")
    adam = expected(lambda t: t.status == "diverged" and t.values["optimizer"] == "adam")
    assert listed(browser) == adam
    assert f"of {len(adam)} runs that pass, 1,056 in all" in counted(browser)
    browser.driver.find_element("id", "clear-filters").click()
    assert listed(browser) == expected(lambda t: True)
    lr = trials[30].values["optimizer.lr"]
    choose(browser, "optimizer.lr", style.shown(lr))
    choose(browser, "data.batch_size", "1024")
    wanted = {"optimizer.lr": lr, "data.batch_size": 1024.0}
    both = expected(lambda t: wanted.items() <= t.values.items())
    assert len(both) == 24
    assert listed(browser) == both
    browser.driver.find_element("id", "clear-filters").click()
    for words in ("NO <space> left", "step 4", "adam 0.07", "0.01585", "of no kind"):
        find(browser, words)
        found = [t.number for t in trials if passes(thousand, t, words.lower())]
        assert bool(found) == (words != "of no kind")
        assert listed(browser) == found, words
    assert counted(browser) == "None of 1,056 runs passes the filters."
    assert browser.errors() == []


def passes(page, trial, words):
    """Whether every word is in one of the cells that the table shows at first."""
    scores = [page.scores[m.name].get(trial.number) for m in (LOSS, ACCURACY, STEPS)]
    numbers = [*scores, trial.step, trial.samples, trial.seconds]
    cells = [
        str(trial.number), *map(style.shown, [*trial.values.values(), *numbers]), trial.status,
        trial.reason, trial.seed.removeprefix("seed="), trial.directory.name,
    ]  # fmt: skip
    text = "\n".join(cells).lower()
    return all(word in text for word in words.split())


def counted(browser):
    return browser.driver.find_element("id", "runs-counted").text


def test_cells_show_what_the_study_holds(browser, small):
    browser.open(small.path)
    names = browser.run(
        "return [...document.querySelectorAll('#runs th')].map((c) => c.textContent)"
    )
    cells = browser.run(
        "return [...document.querySelectorAll('#runs tbody tr')].map((row) => "
        "[row.dataset.run, [...row.children].map((cell) => cell.textContent)])"
    )
    assert len(cells) == 50
    for run, texts in cells:
        trial = small.study.trials[int(run)]
        row = dict(zip(names, texts, strict=True))
        assert row["run"] == str(trial.number)
        assert row["optimizer"] == trial.values["optimizer"]
        assert row["optimizer.lr"] == style.shown(trial.values["optimizer.lr"])
        assert row["best/val/loss"] == style.shown(trial.figures.get("best/val/loss"))
        assert row["steps to target"] == style.shown(small.scores[STEPS.name].get(trial.number))
        assert row["step"] == style.shown(trial.step)
        assert row["status"] == f"{trial.status} {trial.reason}"


def test_numbers_are_written_as_in_the_rest_of_the_report(browser):
    rng = random.Random(1)
    values = [rng.uniform(-1, 1) * 10 ** rng.randint(-12, 14) for _ in range(3000)]
    values += [float(f"{rng.randint(1, 99999)}e{rng.randint(-9, 9)}") for _ in range(3000)]
    # halfway between two shown numbers, exactly: C rounds these to even
    values += [n / 32 for n in range(40000)]
    values += [0.0, -0.0, 1e-4, 9.9995e-5, 9999.5, 10000.0, 1e12, 1e11, 1e300, 5e-324, 1e-310]
    source = (Path(style.__file__).parent / "sweep" / "script" / "shown.js").read_text(
        encoding="utf-8"
    )
    told = browser.run(f"{source}; return arguments[0].map((value) => shown(value));", values)
    # selenium writes -0.0 as a number without a sign in some versions: asked apart
    assert browser.run(f"{source}; return shown(-0)") == style.shown(-0.0)
    pairs = zip(values, told, strict=True)
    wrong = [(v, js, style.shown(v)) for v, js in pairs if js != style.shown(v) and v != 0]
    assert wrong == []
    words = browser.run(f"{source}; return [null, NaN, Infinity, -Infinity].map((v) => shown(v))")
    assert words == [style.shown(v) for v in (None, math.nan, math.inf, -math.inf)]
    whole = [0, 7, 1437, -20000, 10**9]
    asked = f"{source}; return arguments[0].map((value) => shown(value, true));"
    assert browser.run(asked, whole) == [style.shown(v) for v in whole]


# ---- links and commands


def test_links_lead_to_the_runs_directories(browser, small):
    browser.open(small.path)
    browser.driver.find_element("id", "next-page").click()
    rows = browser.driver.find_elements("css selector", "#runs tbody tr")
    assert len(rows) == 50
    for row in rows:
        trial = small.study.trials[int(row.get_attribute("data-run"))]
        found = row.find_elements("tag name", "a")
        if trial.number == 7:
            assert found == []
            continue
        place = Path(unquote(urlparse(found[0].get_attribute("href")).path))
        assert place.is_dir()
        assert place == trial.directory.resolve()


@pytest.mark.parametrize("which", ["row", "next sweep", "chosen run"])
def test_a_button_copies_the_command(browser, small, which):
    browser.open(small.path)
    if which == "row":
        row = browser.driver.find_element("css selector", "#runs tbody tr:nth-child(3)")
        button = row.find_element("css selector", "button.copy")
        command = small.study.trials[int(row.get_attribute("data-run"))].command
    elif which == "chosen run":
        row = browser.driver.find_element("css selector", "#runs tbody tr:nth-child(4)")
        row.find_element("css selector", "button.choose").click()
        button = browser.driver.find_element("css selector", "#chosen button.copy")
        command = small.study.trials[int(row.get_attribute("data-run"))].command
    else:
        button = browser.driver.find_element("css selector", "#answer button.copy")
        command = "python src/train.py -m optimizer=adam 'seed=range(8,16)'"
    button.click()
    WebDriverWait(browser.driver, 5).until(lambda _: button.text == "Copied")
    assert browser.driver.find_element("id", "said").get_attribute("textContent") == "Copied"
    box = browser.driver.find_element("id", "filter-text")
    box.send_keys(Keys.CONTROL, "v")
    assert box.get_attribute("value") == command


# ---- dots


def test_tables_are_saved_from_a_page_that_was_moved(browser, small, tmp_path):
    """Runs as filtered and sorted, read by polars; settings as they lie beside the page."""
    alone, saved = tmp_path / "moved.html", tmp_path / "saved"
    alone.write_bytes(small.path.read_bytes())
    saved.mkdir()
    allowed = {"behavior": "allow", "downloadPath": str(saved)}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    browser.open(alone)
    find(browser, "adam")
    names = ("runs.csv", "runs.tex", "settings.csv", "settings.tex")
    for name in names:
        at = f"#{name.replace('.', '-')}" if name.startswith("runs") else f"a[download='{name}']"
        browser.run("document.querySelector(arguments[0]).click()", at)
        WebDriverWait(browser.driver, 10).until(lambda _, name=name: (saved / name).is_file())
    rows = pl.read_csv(saved / "runs.csv", infer_schema_length=None)
    assert rows["run"].to_list() == listed(browser)
    adams = {t.number: t for t in small.study.trials if t.values["optimizer"] == "adam"}
    assert set(rows["run"]) == set(adams)
    for run, lr, status, reason in rows.select("run", "optimizer.lr", "status", "reason").rows():
        trial = adams[run]
        assert (lr, status, reason) == (trial.values["optimizer.lr"], trial.status, trial.reason)
    lines = (saved / "runs.tex").read_text().splitlines()
    assert lines[0].startswith(r"\begin{longtable}{")
    assert sum(line.endswith(r"\\") for line in lines) == len(adams) + 1
    for name in names[2:]:
        assert (saved / name).read_bytes() == small.path.with_name(name).read_bytes()
    assert browser.errors() == []
    assert browser.failed_requests() == []


def test_every_run_has_one_dot_and_those_that_diverged_a_strip_of_their_own(browser, thousand):
    browser.open(thousand.path)
    places = browser.run(
        "return [...document.querySelectorAll('#plot-marks path')]"
        ".map((dot) => [dot.dataset.run, dot.getAttribute('transform')])"
    )
    assert [int(run) for run, _ in places] == [t.number for t in thousand.study.trials]
    dots = [(int(run), float(place.partition(",")[2].rstrip(")"))) for run, place in places]
    strip = browser.driver.find_element("css selector", "#plot .strip")
    top, high = (float(strip.get_attribute(name)) for name in ("y", "height"))
    inside = {run for run, y in dots if top <= y <= top + high}
    assert inside == {t.number for t in thousand.study.trials if t.status == "diverged"}
    # less is lower: of two runs with scores the better one lies lower in the window
    scores = thousand.scores[LOSS.name]
    heights = [(scores[run], y) for run, y in dots if run in scores]
    ranked = [y for _, y in sorted(heights)]
    assert all(a >= b - 0.2 for a, b in itertools.pairwise(ranked))


def show_plot(browser):
    browser.run("document.getElementById('plot').scrollIntoView({ block: 'center' })")


def move_to(browser, run):
    dot = browser.driver.find_element("css selector", f"#plot-marks [data-run='{run}']")
    ActionChains(browser.driver).move_to_element(dot).perform()
    return browser.driver.find_element("id", "plot-tip")


def test_pointing_at_a_dot_tells_its_run(browser, small):
    browser.open(small.path)
    show_plot(browser)
    for run in (0, 7, 13, 50, 88, 119):
        trial = small.study.trials[run]
        tip = move_to(browser, run)
        assert tip.is_displayed()
        text = tip.text
        assert f"run {run}: {trial.status}" in text
        assert f"optimizer\n{trial.values['optimizer']}" in text
        assert style.shown(trial.values["optimizer.lr"]) in text
        assert trial.reason in text
        assert style.shown(small.scores[LOSS.name].get(run)) in text
    heading = browser.driver.find_element("id", "all-runs-title")
    ActionChains(browser.driver).move_to_element(heading).perform()
    assert not tip.is_displayed()


def test_choosing_a_dot_marks_its_row_and_a_row_its_dot(browser, small):
    browser.open(small.path)
    worst = small.order(lambda t: small.scores[LOSS.name].get(t.number))[-1]  # on the last page
    show_plot(browser)
    move_to(browser, worst)
    ActionChains(browser.driver).click().perform()
    marked = browser.driver.find_elements("css selector", "#runs tr.chosen")
    assert [row.get_attribute("data-run") for row in marked] == [str(worst)]
    card = browser.driver.find_element("id", "chosen").text
    assert f"run {worst}" in card
    assert small.study.trials[worst].command in card
    browser.driver.find_element("id", "previous-page").click()
    row = browser.driver.find_element("css selector", "#runs tbody tr:nth-child(5)")
    browser.run("arguments[0].scrollIntoView({ block: 'center' })", row)
    row.find_element("css selector", "td:nth-child(4)").click()
    run = row.get_attribute("data-run")
    ring, dot = browser.run(
        "return [document.getElementById('ring-chosen'),"
        "document.querySelector(`#plot-marks [data-run='${arguments[0]}']`)].map((shape) => {"
        "const box = shape.getBoundingClientRect();"
        "return [(box.left + box.right) / 2, (box.top + box.bottom) / 2]; })",
        run,
    )
    assert ring == pytest.approx(dot, abs=1)
    choose(browser, "status", "failed")
    assert "The filters hide its row." in browser.driver.find_element("id", "chosen").text


def test_dots_are_reached_by_keys(browser, small):
    browser.open(small.path)
    choose(browser, "status", "ok")
    plot = browser.driver.find_element("css selector", "#plot svg")
    browser.run("arguments[0].focus()", plot)
    seen = []
    for key in (Keys.HOME, *[Keys.ARROW_RIGHT] * 120):
        plot.send_keys(key)
        title = browser.driver.find_element("css selector", "#plot-tip strong").text
        if title not in seen:
            seen.append(title)
    ok = {f"run {t.number}: ok" for t in small.study.trials if t.status == "ok"}
    assert set(seen) == ok
    plot.send_keys(Keys.ENTER)
    assert browser.driver.find_element("css selector", "#chosen h3").text == seen[-1]


def test_the_plot_shows_another_measure_option_and_colour(browser, small):
    browser.open(small.path)
    choose(browser, "measure", ACCURACY.label)
    choose(browser, "across", "optimizer")
    choose(browser, "colour", "data.batch_size")
    texts = browser.run(
        "return [...document.querySelectorAll('#plot text')].map((t) => t.textContent)"
    )
    assert {"adam", "momentum", "sgd", f"{ACCURACY.label} (higher is better)"} <= set(texts)
    legend = browser.driver.find_element("id", "plot-legend").text
    assert legend.split("\n") == ["data.batch_size:", "16", "64", "256", "1024"]
    fills = browser.run(
        "return [...document.querySelectorAll('#plot-marks path')]"
        ".map((dot) => getComputedStyle(dot).fill)"
    )
    by_batch: dict[float, set[str]] = {}
    for trial, fill in zip(small.study.trials, fills, strict=True):
        by_batch.setdefault(trial.values["data.batch_size"], set()).add(fill)
    assert all(len(colours) == 1 for colours in by_batch.values())
    assert len(set.union(*by_batch.values())) == 4
    assert browser.errors() == []


# ---- looks

# every element with text of its own: its size, its colour and what lies behind it
READ_LOOKS = """
const channels = (colour) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = channels(getComputedStyle(at).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return [255, 255, 255, 255];
};
const own = (element) => [...element.childNodes].some(
  (node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
return [...document.body.querySelectorAll("*")]
  .filter((element) => own(element) && element.checkVisibility() && !element.closest(".unseen"))
  .filter((element) => !["SCRIPT", "NOSCRIPT", "OPTION", "title"].includes(element.tagName))
  .map((element) => {
    const look = getComputedStyle(element);
    const ink = element.namespaceURI.endsWith("svg") ? look.fill : look.color;
    return [element.tagName + " " + element.textContent.slice(0, 40), parseFloat(look.fontSize),
            channels(ink), behind(element)];
  });
"""


def contrast(one, other):
    """The ratio of WCAG 2: of relative luminances."""

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in (value / 255 for value in colour[:3])
        ]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_guideline():
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    assert contrast([119, 119, 119], [255, 255, 255]) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_legible(browser, small, width, scheme):
    browser.look(width, 900, scheme)
    browser.open(small.path)
    browser.run("document.querySelector('#runs .choose').click()")
    assert browser.run("return innerWidth") == width
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    looks = browser.run(READ_LOOKS)
    assert len(looks) > 300
    assert [text for text, size, _, _ in looks if size < 12] == []
    assert [
        (text, round(contrast(ink, paper), 2))
        for text, _, ink, paper in looks
        if contrast(ink, paper) < 4.5
    ] == []
    paper = rgb(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert (sum(paper) > 380) == (scheme == "light")
    dots = browser.run(
        "return [...new Set([...document.querySelectorAll('#plot-marks path')]"
        ".map((dot) => getComputedStyle(dot).fill))]"
    )
    assert len(dots) == 3
    assert all(contrast(rgb(colour), paper) >= 3 for colour in dots), dots


def rgb(text):
    """Channels of a computed colour such as `rgb(26, 26, 26)`."""
    return [int(channel) for channel in text[4:-1].split(",")]


# ---- speed


@pytest.mark.parametrize("size", ["thousand", "thousands"])
def test_sorting_and_filtering_make_nobody_wait(browser, size, request):
    page = request.getfixturevalue(size)
    browser.open(page.path)
    browser.run_async(UNTIL_DRAWN.replace("ACT", ""))
    press = (
        "[...document.querySelectorAll('#runs thead button')]"
        ".find((button) => button.textContent === {!r}).click()"
    )
    fill = (
        "const box = document.getElementById('filter-text'); box.value = {!r};"
        "box.dispatchEvent(new Event('input', {{ bubbles: true }}))"
    )
    acts = {
        **{
            f"sort by {name}": press.format(name)
            for name in ("best/val/loss", "steps to target", "optimizer", "status", "run")
        },
        **{f"find {words!r}": fill.format(words) for words in ("a", "adam 0.0", "")},
    }
    for name, act in acts.items():
        seconds = browser.run_async(UNTIL_DRAWN.replace("ACT", act))
        print(f"{len(page.study.trials)} runs, {name}: {seconds:.3f} s")
        assert seconds <= MOST_SECONDS, name
    assert browser.errors() == []
