"""The page of a sweep as a file: what it holds, and that no text in it can break out."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import statistics
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from descent.analysis.advice import Advice
from descent.analysis.search import Next
from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import Study, Trial
from descent.report.page import check_output
from descent.report.style import Picture, new_figure, save
from descent.report.sweep.sweep_page import write_sweep_page

HOSTILE = """</script><script>broken()</script> "quoted" 'single' & <b onclick="x"> é 中 \u2028"""
LOSS = Measure("best/val/loss", "best validation loss (nats)", True)
STEPS = Measure("steps to target", "steps to full loss 0.1", True, 0.1)
NEXT = Next(f"python src/train.py -m {HOSTILE}", "Finer.", 4)
VOID = ("meta", "link", "input", "img", "br", "wbr", "source")


class Parsed(HTMLParser):
    """Tags with their attributes, text by the tag it stands in, cells by row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def island(self) -> dict:
        return json.loads(next(t for t in self.texts["script"] if t.startswith('{"count"')))


def a_trial(root: Path, number: int, lr: float, name: str, seed: int, **given) -> Trial:
    directory = root / given.pop("directory", str(number))
    directory.mkdir(parents=True)
    fields = {
        "status": "ok", "reason": "reached stop.epochs=5", "step": 1150 + number,
        "samples": 7360, "seconds": 0.125 + number, "figures": {},
    }  # fmt: skip
    return Trial(
        number=number, values={"optimizer.lr": lr, "model.name": name}, seed=f"seed={seed}",
        directory=directory, command=f"python src/train.py optimizer.lr={lr} seed={seed}",
        **fields | given,
    )  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two settings of two seeds each and one that lost a run, with texts that try to break out."""
    root = tmp_path / "sweep"
    trials = (
        a_trial(root, 0, 0.1, "a", 0, figures={"best/val/loss": 0.1, "train/loss": 1 / 3}),
        a_trial(root, 1, 0.1, "a", 1, figures={"best/val/loss": 0.2, "train/loss": 2.0}),
        a_trial(root, 2, 0.01, HOSTILE, 0, directory="two & <2>", figures={"best/val/loss": 0.5}),
        a_trial(root, 3, 0.01, HOSTILE, 1, figures={"best/val/loss": 0.7, "extra": 5e-324}),
        a_trial(root, 4, 10.0, "a", 0, figures={"best/val/loss": 0.9}),
        a_trial(
            root, 5, 10.0, "a", 1, status="diverged", reason=HOSTILE,
            figures={"best/val/loss": math.nan, "train/loss": math.inf},
        ),
    )  # fmt: skip
    return Study(root, trials, ("optimizer.lr", "model.name"), "val/loss", {}, (HOSTILE,))


def settings_of(study: Study, name: str) -> list[Setting]:
    """Settings in the order of the trials."""
    groups: dict[tuple, list[Trial]] = {}
    for trial in study.trials:
        groups.setdefault(tuple(trial.values.items()), []).append(trial)
    return [
        Setting(
            dict(values),
            tuple(own),
            {t.number: t.figures[name] for t in own if t.status == "ok" and name in t.figures},
        )
        for values, own in groups.items()
    ]


def write(study: Study, measures: tuple[Measure, ...] = (LOSS,), **given) -> Parsed:
    settings = given.pop("settings", {m.name: settings_of(study, m.name) for m in measures})
    report = study.directory / "report"
    report.mkdir(exist_ok=True)
    figure = new_figure()
    figure.add_subplot().plot([1, 2], [2, 1])
    picture = Picture("heat", "Heat map", figure, f"Caption {HOSTILE}")
    save(picture, report)
    best = settings[measures[0].name] if measures else []
    advice = Advice(
        winner=best[0] if best else None,
        tied=tuple(best[1:2]),
        lead=(f"The best is {HOSTILE}.",),
        doubts=("Second sentence.",),
        next_sweeps=given.pop("next_sweeps", (NEXT,)),
    )
    page = report / "index.html"
    write_sweep_page(page, study, measures, settings, advice, [picture], given.pop("notes", ()))
    check_output(report)  # a page of ours: a later report may take its place
    return Parsed(page.read_text(encoding="utf-8"))


def column(island: dict, name: str) -> dict:
    return next(c for c in island["columns"] if c["name"] == name)


def test_the_page_holds_every_run_as_it_is(study):
    island = write(study).island
    assert island["count"] == 6
    assert island["commands"] == [t.command for t in study.trials]
    assert column(island, "run")["texts"] == ["0", "1", "2", "3", "4", "5"]
    assert column(island, "optimizer.lr")["numbers"] == [0.1, 0.1, 0.01, 0.01, 10.0, 10.0]
    assert column(island, "model.name")["texts"] == ["a", "a", HOSTILE, HOSTILE, "a", "a"]
    assert column(island, "seed")["texts"] == ["0", "1", "0", "1", "0", "1"]
    assert column(island, "status")["texts"] == ["ok"] * 5 + ["diverged"]
    assert column(island, "status")["reasons"] == [t.reason for t in study.trials]
    assert column(island, "best/val/loss")["numbers"] == [0.1, 0.2, 0.5, 0.7, 0.9, "nan"]
    assert column(island, "train/loss")["numbers"] == [1 / 3, 2.0, None, None, None, "inf"]
    assert column(island, "extra")["numbers"] == [None, None, None, 5e-324, None, None]
    assert column(island, "step") == {
        "name": "step", "numbers": [1150 + n for n in range(6)], "whole": True,
    }  # fmt: skip
    assert column(island, "seconds")["numbers"] == [0.125 + n for n in range(6)]


def test_what_was_swept_and_measured_comes_first_and_the_rest_on_request(study):
    island = write(study).island
    assert [c["name"] for c in island["columns"]] == [
        "run", "optimizer.lr", "model.name", "seed", "status", "best/val/loss", "step", "samples",
        "seconds", "train/loss", "extra", "directory",
    ]  # fmt: skip
    assert [c["name"] for c in island["columns"] if c.get("more")] == ["train/loss", "extra"]
    assert [c["name"] for c in island["columns"] if c.get("swept")] == [*study.swept]
    assert island["measures"] == [{"label": LOSS.label, "lower": True, "column": 5}]


def test_a_score_that_the_table_does_not_hold_gets_a_column_of_its_own(study):
    best = settings_of(study, "best/val/loss")
    steps = [Setting(s.values, s.trials, {n: 100.0 * n for n in s.scores if n < 3}) for s in best]
    other = [Setting(s.values, s.trials, {n: 2 * v for n, v in s.scores.items()}) for s in best]
    settings = {STEPS.name: steps, LOSS.name: other}
    island = write(study, (STEPS, LOSS), settings=settings).island
    of = [island["columns"][m["column"]] for m in island["measures"]]
    assert of[0]["name"] == "steps to target"
    assert of[0]["numbers"] == [0.0, 100.0, 200.0, None, None, None]
    # the table says 0.1 where the score is 0.2: both are shown
    assert of[1]["name"] == "best validation loss (nats)"
    assert of[1]["numbers"] == [0.2, 0.4, 1.0, 1.4, 1.8, None]
    assert column(island, "best/val/loss")["numbers"][0] == 0.1


def test_links_lead_from_the_page_to_the_runs_and_only_to_those_that_are_there(study):
    study.trials[4].directory.rmdir()
    links = column(write(study).island, "directory")["links"]
    assert links[4] is None
    for trial, link in zip(study.trials, links, strict=True):
        if link is not None:
            there = study.directory / "report" / unquote(link)
            assert there.resolve() == trial.directory.resolve()
            assert not set(link) & set(' <>&"')


def test_a_link_starts_where_the_page_lies(study, tmp_path):
    place = tmp_path / "elsewhere" / "deep"
    place.mkdir(parents=True)
    nothing = Advice(None, (), (), ())
    write_sweep_page(place / "index.html", study, (), {}, nothing, (), ())
    island = Parsed((place / "index.html").read_text()).island
    assert column(island, "directory")["links"][0] == "../../sweep/0/"


def test_no_text_breaks_out_of_its_place(study):
    page = write(study, notes=[HOSTILE])
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == [
        "application/json", "module",
    ]  # fmt: skip
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert not any("style" in a for _, a in page.tags)
    for tag in ("p", "code", "figcaption", "td"):
        assert any(HOSTILE in text for text in page.texts[tag]), tag
    assert page.texts["p"].count(HOSTILE) == 1  # the note that is also among what was left out


def test_the_page_asks_for_nothing_and_lets_nothing_else_run(study):
    page = write(study)
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            if attributes.get(name):
                assert attributes[name].startswith(("data:", "#")), (tag, attributes)
    text = (study.directory / "report" / "index.html").read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    for source in (page.texts["style"][0], page.texts["script"][-1]):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_settings_show_mean_spread_and_what_was_lost(study):
    rows = write(study).rows
    at = next(i for i, row in enumerate(rows) if row and row[0] == "rank")
    assert rows[at][1:] == ["optimizer.lr", "model.name", "runs", "diverged", LOSS.label]
    # standard deviation of two: their distance over the root of two
    assert statistics.stdev([0.1, 0.2]) == pytest.approx(0.1 / math.sqrt(2))
    assert rows[at + 1] == ["1 best", "0.1", "a", "2", "", "0.15 ± 0.071"]
    assert rows[at + 2] == ["2 tied", "0.01", HOSTILE, "2", "", "0.6 ± 0.14"]
    assert rows[at + 3] == ["3", "10", "a", "2", "50%", "0.9 (1 of 2)"]


def test_a_sweep_of_very_many_settings_shows_the_best_and_says_so(study):
    trials = tuple(
        a_trial(study.directory / "many", n, 0.5 + n, "a", 0, figures={"best/val/loss": 1.0 + n})
        for n in range(130)
    )
    many = Study(study.directory, trials, ("optimizer.lr",), "val/loss", {}, ())
    page = write(many)
    assert any("The best 100 of 130" in text for text in page.texts["p"])
    assert [row[0] for row in page.rows if row and row[0].startswith(("100", "101"))] == ["100"]
    assert page.island["count"] == 130


def test_the_head_says_what_was_swept_and_how_runs_ended(study):
    page = write(study)
    assert page.texts["h1"] == ["Sweep of optimizer.lr and model.name, 6 runs"]
    assert {"5 ok", "1 diverged"} <= set(page.texts["span"])
    assert "0.01, 0.1, 10" in page.texts["dd"]


@pytest.mark.parametrize("given", ["no measure", "one run"])
def test_a_page_can_be_written_of_very_little(study, given):
    if given == "no measure":
        page = write(study, (), next_sweeps=())
        assert page.island["measures"] == []
        assert "No run has a value to compare yet." in page.texts["p"]
        assert "Next sweep" not in page.texts.get("h3", [])
    else:
        alone = Study(study.directory, study.trials[:1], (), "val/loss", {}, ())
        page = write(alone)
        assert page.texts["h1"] == ["One setting, 1 run"]
        assert page.island["count"] == 1
