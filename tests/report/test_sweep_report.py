"""`src/report.py sweep=` from a real multirun to files on disk, and its refusals."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from descent.errors import UserError
from descent.report.run_report import open_report, report

ROOT = Path(__file__).parents[2]
Type = Callable[..., CompletedProcess[str]]
# 2 x 2 x 2 x 2 runs, of which those with lr = 1000 diverge
TYPED = ("data=wine", "model=linear", "stop.epochs=4", "optimizer=sgd,adam", "seed=0,1",
         "data.batch_size=16,64", "optimizer.lr=0.03,1000", "callbacks.divergence.checks=1",
         "callbacks.divergence.factor=2")  # fmt: skip


def opened(*overrides: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return open_report(compose("report", overrides=list(overrides)))


def rows_of(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "results.csv").open() as file:
        return list(csv.DictReader(file))


def island(page: Path) -> dict:
    found = re.search(r'id="study">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompletedProcess[str], Path]:
    """Return a multirun as typed, with the report that it leaves."""
    import subprocess
    import sys

    where = tmp_path_factory.mktemp("multirun")
    command = [sys.executable, str(ROOT / "src" / "train.py"), "-m", *TYPED]
    ended = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    (sweep,) = (where / "outputs" / "multiruns").iterdir()
    return ended, sweep


@pytest.fixture
def sweep(done: tuple[CompletedProcess[str], Path], tmp_path: Path) -> Path:
    return shutil.copytree(done[1], tmp_path / "sweep", ignore=shutil.ignore_patterns("report"))


def test_a_multirun_ends_with_its_report(done: tuple[CompletedProcess[str], Path]) -> None:
    ended, sweep = done
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    names = {path.name for path in (sweep / "report").iterdir()}
    kinds = ("heatmap", "heatmap_train_full_loss", "sensitivity", "scaling", "bands")
    assert {f"{kind}.{end}" for kind in kinds for end in ("png", "pdf")} <= names
    assert "index.html" in names
    for path in (sweep / "report").glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300
    page = ended.stdout.strip().splitlines()[-1]
    assert page.endswith("report/index.html")
    assert (sweep.parents[2] / page).is_file()
    assert "The best setting is " in ended.stdout


def test_numbers_on_the_page_are_those_of_the_table(
    done: tuple[CompletedProcess[str], Path],
) -> None:
    _, sweep = done
    rows, text = rows_of(sweep), (sweep / "report" / "index.html").read_text()
    by: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        key = tuple(row[k] for k in ("optimizer", "data.batch_size", "optimizer.lr"))
        by.setdefault(key, []).append(row)
    means = {
        key: statistics.fmean(float(r["best/val/loss"]) for r in own)
        for key, own in by.items()
        if all(r["status"] == "ok" for r in own)
    }
    assert 4 <= len(means) < len(by)  # some diverged
    best = min(means, key=means.__getitem__)
    sentence = re.search(r"The best setting is (.*?):", text)
    assert sentence
    assert {f"lr={best[2]}", f"batch_size={best[1]}", best[0]} == set(sentence[1].split(", "))
    mean, spread = sentence.string[sentence.end() :].split(" = ")[1].split(" (mean")[0].split(" ± ")
    assert float(mean) == pytest.approx(means[best], abs=10.0 ** -len(mean.partition(".")[2]))
    assert len(mean) == len(spread)  # as many digits as the spread leaves
    diverged = sum(row["status"] == "diverged" for row in rows)
    assert f"{diverged} of {len(rows)} trials diverged" in text
    columns = {
        column["name"]: column for column in island(sweep / "report" / "index.html")["columns"]
    }
    told = columns["best/val/loss"]["numbers"]
    wanted = [float(row["best/val/loss"] or "nan") for row in rows]
    assert [math.nan if n is None else n for n in told] == pytest.approx(wanted, nan_ok=True)


def test_another_measure_and_target_are_asked_for(sweep: Path) -> None:
    out = report(opened(f"multirun={sweep}", "measure=steps to target", "target=0.9"))
    assert out == sweep / "report"
    text = (out / "index.html").read_text()
    assert "steps to full loss 0.9" in text
    between = []
    for row in rows_of(sweep):
        with (sweep / Path(row["directory"]).name / "epochs.csv").open() as file:
            below = list(csv.DictReader(file))
        steps = [int(e["step"]) for e in below if float(e["train/full_loss"]) <= 0.9]
        before = [int(e["step"]) for e in below if float(e["train/full_loss"]) > 0.9]
        known = steps and row["status"] == "ok"
        between.append(([s for s in before if s < steps[0]][-1], steps[0]) if known else None)
    columns = {column["name"]: column for column in island(out / "index.html")["columns"]}
    for told, ends in zip(columns["steps to target"]["numbers"], between, strict=True):
        assert (told is None) == (ends is None)
        assert ends is None or ends[0] < told <= ends[1]
    assert any(between)


def test_an_unfinished_multirun_gets_an_honest_partial_report(sweep: Path) -> None:
    (sweep / "results.csv").unlink()
    shutil.rmtree(sweep / "3")
    jobs = json.loads((sweep / "jobs.json").read_text())
    jobs[3] |= {"status": None, "reason": ""}
    (sweep / "jobs.json").write_text(json.dumps(jobs))
    out = report(opened(f"multirun={sweep}", f"output={sweep.parent / 'elsewhere'}"))
    text = (out / "index.html").read_text()
    assert "15 of 16" in text or "1 not begun" in text, re.findall(r'class="note">(.*?)<', text)


@pytest.mark.slow
def test_no_report_is_written_where_none_is_wanted(type_command: Type, tmp_path: Path) -> None:
    typed = ("-m", "data=wine", "model=linear", "stop.epochs=1", "seed=0,1", "report=false")
    done = type_command("train", *typed)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs" / "multiruns").iterdir()
    assert not (sweep / "report").exists()
    assert f"python src/report.py sweep={sweep.relative_to(tmp_path)}" in done.stdout
    again = type_command("report", f"sweep={sweep.relative_to(tmp_path)}")
    assert again.returncode == 0, again.stderr
    assert (sweep / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "No run is named; give run=<a run's directory>, or sweep=<a multirun's directory>."),
        (["run=a", "multirun=b"], "run=... and sweep=... are two reports"),
        (["multirun=nowhere"], "nowhere"),
        (["multirun={sweep}", "measure=train/ful_loss"], "did you mean 'train/full_loss'?"),
        (["multirun={sweep}", "target=low"], "target=low does not fit"),
        (["multirun={sweep}", "output={sweep}"], "holds files that are not a report's"),
    ],
)
def test_what_cannot_be_reported_is_one_sentence(
    words: list[str], sentence: str, sweep: Path
) -> None:
    before = sorted(path.name for path in sweep.iterdir())
    with pytest.raises(UserError) as caught:
        opened(*(word.format(sweep=sweep) for word in words))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in sweep.iterdir()) == before
