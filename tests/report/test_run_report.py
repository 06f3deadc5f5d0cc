"""`src/report.py` from the run directories to files on disk, and its refusals."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from descent.errors import UserError
from descent.files.atomic import foreign
from descent.records.run import FILES
from descent.report.page import report_directory
from descent.report.run_report import open_report, report

ROOT = Path(__file__).parents[2]
LINE = ("data=line", "model=linear", "optimizer=sgd", "stop.epochs=2")


def draw(*overrides: str) -> Path:
    """Do what `python src/report.py ...` does, in this process."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("report", overrides=list(overrides))
    return report(open_report(cfg))


class Page(HTMLParser):
    """Tags and text of a page; every tag must be closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href", "data", "action", "srcset")]
        if tag not in ("meta", "img", "br", "link", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_one_run_gets_pictures_and_a_page_in_its_directory(train_run):
    run = train_run(*LINE, "optimizer.lr=0.1")
    out = draw(f"run={run.path}")
    assert out == run.path / "report"
    names = sorted(p.name for p in out.iterdir())
    assert foreign(run.path, FILES) == []  # all of it may be cleared away again
    pictures = ("curves", "diagnostics", "surface", "weights")
    pictures += ("predicted", "residuals", "worst")
    assert names == sorted([*(f"{p}.{k}" for p in pictures for k in ("png", "pdf")), "index.html"])
    for path in out.glob("*.png"):
        with Image.open(path) as image:
            image.verify()
            assert image.width > 1000
    assert all(p.read_bytes().startswith(b"%PDF-") for p in out.glob("*.pdf"))
    assert list(run.path.glob("report.*")) == []


def test_the_page_stands_alone_and_says_how_to_repeat_the_run(train_run):
    run = train_run(*LINE, "optimizer.lr=0.1", "model.init=ones")
    page = Page(draw(f"run={run.path}") / "index.html")
    assert page.links
    held = ("data:,", "data:image/png;base64,", "data:text/csv;", "data:text/x-tex;")
    assert all(link.startswith(held) for link in page.links)
    assert "://" not in (run.path / "report" / "index.html").read_text()
    command = re.search(r"python src/train\.py .*optimizer\.lr=0\.1.*", page.text)[0]
    assert "model.init=ones" in command
    result = run.result()
    for figure in (
        result["reason"],
        f"{result['samples']:,}",
        f"{result['metrics']['train/loss']:.4g}",
    ):
        assert figure in page.text


def test_text_from_a_run_is_no_markup(train_run):
    run = train_run(*LINE)
    run.write_result(
        {**run.result(), "reason": "<script>alert(1)</script>", "overrides": ["a='<b>'"]}
    )
    text = (draw(f"run={run.path}") / "index.html").read_text()
    assert "<script>" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text


def test_several_runs_get_one_report_with_a_row_each(train_run, tmp_path):
    runs = [train_run(*LINE, f"optimizer.lr={lr}") for lr in (0.1, 0.2)]
    out = draw(f"run=[{runs[0].path},{runs[1].path}]", f"output={tmp_path / 'both'}", "x=epoch")
    page = Page(out / "index.html")
    assert page.text.count("python src/train.py") == 2
    assert "optimizer.lr=0.1" in page.text


def test_several_runs_lie_under_outputs_by_default(train_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [train_run(*LINE, f"seed={s}") for s in (0, 1)]
    out = draw(f"run=[{runs[0].path},{runs[1].path}]")
    assert out.parent == Path("outputs/reports")
    assert (tmp_path / out / "index.html").is_file()


def test_a_multirun_stands_for_its_runs_and_leaves_out_what_has_not_ended(
    train_run, tmp_path, caplog
):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    for i, lr in enumerate((0.1, 0.2, 0.3)):
        train_run(*LINE, f"optimizer.lr={lr}").path.rename(sweep / str(i))
    (sweep / "3").mkdir()  # refused before it began
    result = json.loads((sweep / "2" / "result.json").read_text())
    (sweep / "2" / "result.json").write_text(json.dumps({**result, "status": "running"}))
    caplog.set_level("INFO")
    page = Page(draw(f"run={sweep}", f"output={tmp_path / 'out'}") / "index.html")
    assert page.text.count("python src/train.py optimizer") == 0
    assert page.text.count("python src/train.py data=line") == 2
    for text in (page.text, caplog.text):
        assert "3 is left out: it was never begun" in text
        assert f"continue it with python src/train.py resume={sweep / '2'}" in text


@pytest.mark.slow
def test_a_pattern_stands_for_what_it_finds(train_run, tmp_path):
    for lr in (0.1, 0.2):
        train_run(*LINE, f"optimizer.lr={lr}")
    page = Page(draw(f"run={tmp_path}/run*", f"output={tmp_path / 'out'}") / "index.html")
    assert page.text.count("python src/train.py") == 2


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (("optimizer.lr=1e15",), "diverged"),  # at its second step
        (("callbacks=bare", "logger=none"), "ok"),
        *(pytest.param(*other, marks=pytest.mark.slow) for other in (
            (("optimizer.lr=1e6", "stop.epochs=9"), "diverged"),
            (("stop.steps=1", "data.val_fraction=0", "data.test_fraction=0"), "ok"),
            (("~callbacks.recorder", "~callbacks.path"), "ok"),
            (("model=mlp", "model.hidden=[3]", "optimizer.lr=1e15"), "diverged"),
            (("model.bias=false", "optimizer.lr=1e15"), "diverged"),
        )),
    ],
    ids=lambda given: " ".join(given),
)  # fmt: skip
def test_a_run_is_drawn_however_it_ended(given, status, train_run):
    run = train_run("data=line", "model=linear", "optimizer=sgd", "stop.epochs=2", *given)
    assert run.result()["status"] == status
    page = Page(draw(f"run={run.path}") / "index.html")
    assert ("This run diverged: " in page.text) == (status == "diverged")


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_a_run_that_was_cut_short_says_so(status, train_run, caplog):
    run = train_run(*LINE)
    run.write_result({**run.result(), "status": status, "reason": "stopped by SIGTERM at step 16"})
    caplog.set_level("INFO")
    page = Page(draw(f"run={run.path}") / "index.html")
    for text in (page.text, caplog.text):
        assert f"This run {'was ' * (status == 'interrupted')}{status}" in text
        assert "stopped by SIGTERM at step 16" in text


@pytest.mark.parametrize("loss", [
    "NaN", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("inf", "1e308", "-1e308", ""))
])  # fmt: skip
def test_losses_of_any_kind_are_survived(loss, train_run):
    run = train_run(*LINE)
    for name in ("steps", "epochs"):
        path = run.path / f"{name}.csv"
        header, *rows = path.read_text().splitlines()
        lost = header.split(",").index("loss" if name == "steps" else "train/full_loss")
        cells = [row.split(",") for row in rows]
        text = [",".join([*r[:lost], loss, *r[lost + 1 :]]) for r in cells]
        path.write_text("\n".join([header, *text]) + "\n")
    draw(f"run={run.path}")


def test_a_surface_that_cannot_be_known_is_left_out_with_the_reason(train_run, tmp_path):
    csv = tmp_path / "some.csv"
    csv.write_text("a,y\n" + "".join(f"{i},{2 * i}\n" for i in range(50)))
    given = (f"data.path={csv}", "data.target=y", "data.batch_size=10", "stop.epochs=2")
    run = train_run("data=table", "model=linear", *given)
    csv.unlink()
    out = draw(f"run={run.path}")
    assert "The surface of the loss is not drawn: " in Page(out / "index.html").text
    assert not (out / "surface.png").exists()
    assert (out / "curves.png").exists()


# ---- refusals


def test_mistakes_are_one_sentence_each(train_run, tmp_path):
    run = train_run(*LINE)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("ten years of work")
    (tmp_path / "file").write_text("text")
    cases = {
        (f"run={tmp_path}/nowhere",): "nowhere does not exist",
        ("run=[]",): "names no run",
        (f"run={tmp_path}/no*",): "No directory matches run=",
        (f"run={tmp_path}",): f"is not a run but holds some; .* run='{tmp_path}/\\*' for all",
        (
            f"run={run.path}",
            "x=hours",
        ): "x=hours does not fit: it must be step, epoch, samples or seconds",
        (
            f"run={run.path}",
            f"output={tmp_path}/foreign",
        ): "foreign holds files that are not a report's",
        (f"run={run.path}", f"output={run.path}"): "holds files that are not a report's",
        (f"run={run.path}", f"output={tmp_path}/file"): "is a file, so no report can lie there",
    }
    for given, sentence in cases.items():
        with pytest.raises(UserError, match=sentence) as refused:
            draw(*given)
        assert "\n" not in str(refused.value)
    assert (tmp_path / "foreign" / "thesis.tex").read_text() == "ten years of work"
    assert not (run.path / "report").exists()


def test_an_old_report_is_replaced_as_a_whole(train_run):
    run = train_run(*LINE)
    out = draw(f"run={run.path}")
    (out / "gone.png").write_bytes(b"of an older version")
    draw(f"run={run.path}")
    assert not (out / "gone.png").exists()
    assert (out / "index.html").is_file()


def test_a_crash_leaves_the_old_report(train_run, tmp_path):
    run = train_run(*LINE)
    out = draw(f"run={run.path}")
    before = (out / "index.html").read_bytes()
    with suppress(ZeroDivisionError), report_directory(out) as part:
        (part / "index.html").write_text("half")
        raise ZeroDivisionError
    assert (out / "index.html").read_bytes() == before
    assert [p.name for p in run.path.glob("report*")] == ["report"]


# ---- as a user types it


def test_the_command_prints_its_files_and_loads_no_more_than_it_needs(
    train_run, start_command, monkeypatch
):
    run = train_run("model=point", "data=landscape", "landscape=valley", "stop.epochs=5")
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done = start_command("report", f"run={run.path}")
    assert done.returncode == 0, done.stderr
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "matplotlib" in imported  # the list is there
    assert not {"torch", "lightning", "sklearn", "scipy"} & imported
    printed = [Path(line) for line in done.stdout.splitlines() if not line.startswith("  ")]
    there = sorted(p.name for p in (run.path / "report").iterdir())
    assert sorted(p.name for p in printed) == there
    assert "The path goes from a loss of 10.5" in done.stdout


def test_eval_takes_one_run():
    from descent.evaluation import open_evaluation

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("eval", overrides=["run=[a,b]"])
    with pytest.raises(UserError, match=r"names several runs; src/eval\.py takes one"):
        open_evaluation(cfg)
