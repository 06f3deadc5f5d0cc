"""`--json`: one document on stdout, by which a script or an agent can go on alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from descent.config import spelling
from descent.errors import UserError
from descent.records import document

jsonschema = pytest.importorskip("jsonschema", reason="make installs it")
SCHEMA = json.loads((Path(document.__file__).parent / "document.schema.json").read_text())
Type = Callable[..., subprocess.CompletedProcess[str]]


def read(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The document of a command, which is all that it wrote to stdout."""
    said: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(said, SCHEMA)
    assert said["exit_code"] == done.returncode
    return said


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_refusal_is_a_document_with_its_sentence(type_command: Type, tmp_path: Path) -> None:
    done = type_command("train", "optimizer.learnin_rate=0.1", "--json")
    said = read(done)
    assert said["outcome"] == "refused"
    assert said["error"].endswith("did you mean 'optimizer.lr'?")
    assert done.stderr == f"error: {said['error']}\n"
    assert said["typed"] == ["optimizer.learnin_rate=0.1"]
    assert list(tmp_path.iterdir()) == []


def in_this_process(
    words: list[str], work: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], str]:
    """The document of some work, and what went to stderr."""
    try:
        with document.one_document(words):
            work()
    except (SystemExit, ZeroDivisionError):
        pass
    out, error = capfd.readouterr()
    said: dict[str, Any] = json.loads(out)
    jsonschema.validate(said, SCHEMA)
    return said, error


def test_whatever_is_printed_goes_to_stderr_and_comes_back(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["src/train.py"])

    def work() -> None:
        subprocess.run([sys.executable, "-c", "print('of a child')"], check=True)
        document.note("report", Path("x") / "index.html")

    words = ["a=1", "--json"]
    said, error = in_this_process(words, work, capfd)
    assert words == ["a=1"]
    assert error == "of a child\n"
    assert (said["report"], said["outcome"]) == (str(Path("x") / "index.html"), "ok")


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0, "ok"), (None, "ok"), (1, "failed"), (2, "refused"), (143, "interrupted")],
)
def test_exit_codes_have_their_words(
    code: int | None, outcome: str, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["src/train.py"])

    def work() -> None:
        raise SystemExit(code)

    said, _ = in_this_process(["--json"], work, capfd)
    assert (said["outcome"], said["exit_code"]) == (outcome, code or 0)


def test_a_bug_is_a_failure_with_its_name(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["src/train.py"])
    said, _ = in_this_process(["--json"], lambda: print(1 // 0), capfd)
    assert said["outcome"] == "failed"
    assert said["error"].startswith("ZeroDivisionError: ")


def test_numbers_that_are_not_finite_are_texts() -> None:
    found = document.speakable({"a": [float("nan"), -float("inf"), 1.5], "b": Path("c")})
    assert found == {"a": ["nan", "-inf", 1.5], "b": "c"}


def test_it_does_not_go_with_what_does_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["src/train.py"])

    def work() -> None:
        with pytest.raises(UserError, match="--cfg only shows something; leave one out"):
            document.check_flags("train", ["--cfg", "job"])
        with pytest.raises(UserError, match="the dashboard, which has no end"):
            document.check_flags("dashboard", [])

    in_this_process(["--json"], work, capfd)
    document.check_flags("dashboard", [])  # without it anything goes


def test_the_next_command_needs_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = {"next": []}
    monkeypatch.setattr(document, "_document", said)
    document.follow("python src/train.py -m 'seed=range(0,3)'", "more seeds")
    document.follow("descent train seed=1", "another seed", runs=1)
    first, second = (entry["argv"] for entry in said["next"])
    assert first == [sys.executable, str(spelling.script_path("train")), "-m", "seed=range(0,3)"]
    assert Path(first[1]).is_file()
    assert second == [sys.executable, "-m", "descent", "train", "seed=1"]


@pytest.mark.slow
def test_an_agent_trains_reads_what_is_next_and_trains_by_it_alone(
    type_command: Type, tmp_path: Path
) -> None:
    small = ("data=iris", "model=linear", "stop.epochs=2", "report=false")
    said = read(type_command("train", "--json", "-m", *small, "optimizer.lr=0.1,0.2", "seed=0,1"))
    assert [run["status"] for run in said["runs"]] == ["ok"] * 4
    best = said["study"]["winners"][0]["best_run"]
    assert best in {run["directory"] for run in said["runs"]}
    following = said["next"][0]
    done = subprocess.run(
        [*following["argv"], "--json"], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    second = read(done)
    assert second["outcome"] == "ok", done.stderr
    assert len(second["runs"]) == following["runs"]
    tried = {run["overrides"][-1] for run in second["runs"]}
    assert tried
    # what was found is used: the sweep's directory stands for its best run
    sweep = second["multirun"]["directory"]
    judged = read(type_command("eval", "--json", f"run={sweep}"))
    assert judged["evaluation"]["directory"] == second["study"]["winners"][0]["best_run"]
    recorded = next(
        run for run in second["runs"] if run["directory"] == judged["evaluation"]["directory"]
    )
    for name, value in judged["evaluation"]["metrics"].items():
        assert recorded["metrics"][name] == pytest.approx(value, rel=1e-6)
    drawn = read(type_command("report", "--json", f"run={sweep}", "best=true"))
    assert Path(drawn["report"]).parts[-3] == Path(judged["evaluation"]["directory"]).name
    assert (tmp_path / drawn["report"]).is_file()
    refused = read(type_command("report", "--json", f"run={best}", "best=true"))
    assert refused["error"].startswith("best=true chooses among the runs of a multirun")
    # a single run is a document too
    one = read(type_command("train", "--json", *small[:3], "picture=false"))
    assert (len(one["runs"]), one["study"], one["next"]) == (1, None, [])
