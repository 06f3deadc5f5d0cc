"""After training: the pictures of finished runs and a page that holds them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from descent.analysis.best import run_meant
from descent.config.check import check, not_run, plain
from descent.config.overruled import REPORT, Asked, told
from descent.config.spelling import command
from descent.errors import UserError
from descent.records import document
from descent.records.endings import Status
from descent.records.multirun import job_directories
from descent.records.run import CONFIG, RESULT
from descent.report.comparison import ComparisonReporting, open_comparison, report_comparison
from descent.report.page import PAGE, check_output, report_directory, write_page
from descent.report.record import Axis, Record, check_comparable, labelled, read_record
from descent.report.sweep_report import SweepReporting, open_sweep, report_sweep

log = logging.getLogger(__name__)

GLOB = set("*?[")


@dataclass(frozen=True)
class Reporting:
    """What to draw, read and checked.

    Args:
        records: the runs.
        x: what curves are drawn over.
        output: the report's directory.
        trust: packages that the runs' configs may instantiate from beside ours.
        notes: what the reader must know first.
    """

    records: list[Record]
    x: Axis
    output: Path
    trust: tuple[str, ...]
    notes: tuple[str, ...]


def open_report(cfg: DictConfig) -> Reporting | SweepReporting | ComparisonReporting:
    """Read and check everything; nothing is drawn or written yet.

    Raises:
        UserError: a run or the output cannot be used, or the runs cannot share a picture.
    """
    check(cfg)
    asked = plain(cfg)
    if (asked["run"] is None) == (asked["multirun"] is None):
        both = "run=... and sweep=... are two reports" if asked["run"] else "No run is named"
        raise UserError(f"{both}; give run=<a run's directory>, or sweep=<a multirun's directory>.")
    if asked["best"] and asked["multirun"] is not None:
        raise UserError(
            "best=true draws the best run alone; give run=<a multirun's directory> with it."
        )
    for words in told(REPORT, Asked(asked)).values():
        log.info("note: %s.", words)
    if asked["multirun"] is None:
        return _open_runs(asked)
    given = asked["multirun"] if isinstance(asked["multirun"], list) else [asked["multirun"]]
    if not given:
        raise UserError("sweep=[] names no multirun; give sweep=<directory>, or several in a list.")
    output = asked["output"] and Path(asked["output"])
    (sweep, *others), measure, target = map(Path, given), asked["measure"], asked["target"]
    if not others:
        return open_sweep(sweep, measure, target, output, asked["trust"])
    outputs = Path(asked["paths"]["outputs"])
    return open_comparison([sweep, *others], measure, target, output, outputs)


def _open_runs(asked: Mapping[str, Any]) -> Reporting:
    given = asked["run"] if isinstance(asked["run"], list) else [asked["run"]]
    if not given:
        raise UserError("run=[] names no run; give run=<directory>, or run=[<one>,<another>].")
    chosen = [_best_of(word) for word in given] if asked["best"] else []
    records, notes = _read_all([str(run) for run, _ in chosen] or given)
    notes += [sentence for _, sentence in chosen]
    check_comparable(records)
    records = labelled(records)
    output = Path(asked["output"] or _default_output(records, asked["paths"]["outputs"]))
    check_output(output)
    notes += [note for record in records if (note := _ending(record, len(records) > 1))]
    return Reporting(records, Axis(asked["x"]), output, tuple(asked["trust"]), tuple(notes))


def _best_of(word: str) -> tuple[Path, str]:
    path, sentence = run_meant(Path(word))
    if sentence is None:
        raise UserError(f"best=true chooses among the runs of a multirun, and {word} is none.")
    return path, sentence


def _default_output(records: Sequence[Record], outputs: str) -> Path:
    if len(records) == 1:
        return records[0].run.path / "report"
    return Path(outputs) / "reports" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def _read_all(given: Sequence[str]) -> tuple[list[Record], list[str]]:
    """Return the runs that are meant, each once, and why members of a multirun are left out."""
    records: dict[Path, Record] = {}
    notes = []
    for word in given:
        named = _named(word)
        for path in named:
            left_out = _left_out(path) if len(named) > 1 or path != Path(word) else None
            if left_out:
                notes.append(left_out)
            elif path.resolve() not in records:
                records[path.resolve()] = read_record(path)
    if not records:
        raise UserError(f"{given[0]} holds no finished run. {' '.join(notes)}")
    return list(records.values()), notes


def _named(word: str) -> list[Path]:
    """Return the runs a word stands for: itself, a multirun's jobs, or what a pattern finds."""
    path = Path(word)
    if GLOB & set(word) and not path.exists():
        base = Path(path.anchor or ".")
        found = sorted(p for p in base.glob(str(path.relative_to(path.anchor))) if p.is_dir())
        if not found:
            raise UserError(f"No directory matches run={word}.")
        return [run for one in found for run in _named(str(one))]
    if path.is_dir() and not (path / CONFIG).is_file():
        jobs = job_directories(path)
        if jobs:
            return jobs
        if any((p / CONFIG).is_file() for p in path.iterdir() if p.is_dir()):
            raise UserError(
                f"{path} is not a run but holds some; give one of them, or run='{path}/*' for all."
            )
    return [path]


def _left_out(path: Path) -> str | None:
    """Return why one of many is left out rather than refused; None if it is not."""
    from descent.records.run import Run

    if not (path / RESULT).is_file():
        return f"{path} is left out: it was never begun."
    if Run(path).result()["status"] == Status.RUNNING:
        return (
            f"{path} is left out: it is still being trained, or was killed; continue it with "
            f"{command('train')} resume={path}"
        )
    return None


def _ending(record: Record, many: bool) -> str | None:
    """Return what a reader must know of a run that did not end well."""
    if record.status is Status.OK:
        return None
    who = record.label if many else "This run"
    words = {
        Status.DIVERGED: "diverged",
        Status.INTERRUPTED: "was interrupted; the pictures show what there is",
        Status.FAILED: "failed; the pictures show what there is",
    }
    return f"{who} {words[record.status]}: {record.result['reason']}."


def report(reporting: Reporting | SweepReporting | ComparisonReporting) -> Path:
    """Draw the pictures, write the page, and say what was written and what there is to see.

    Returns:
        The report's directory.
    """
    if isinstance(reporting, SweepReporting):
        study = reporting.study
        if refused := not_run(study.config, str(study.directory), reporting.trust):
            log.info("note: %s It was not run.", refused)
        return report_sweep(reporting)
    if isinstance(reporting, ComparisonReporting):
        return report_comparison(reporting)
    from descent.report.gallery import run_pictures
    from descent.report.style import look, save

    notes = list(reporting.notes)
    with report_directory(reporting.output) as part:
        with look():
            pictures = run_pictures(reporting.records, reporting.x, reporting.trust, notes)
            if not pictures:
                notes.append("No step was recorded, so there is nothing to draw.")
            for picture in pictures:
                save(picture, part)
        asked = (not_run(r.config, str(r.run.path), reporting.trust) for r in reporting.records)
        untold = [one for one in asked if one and not any(one.fault in note for note in notes)]
        notes += [f"{one} It was not run." for one in untold]
        write_page(part / PAGE, reporting.records, pictures, notes)
    for note in notes:
        log.info("note: %s", note)
    for picture in pictures:
        log.info("%s", reporting.output / f"{picture.name}.png")
        log.info("%s", reporting.output / f"{picture.name}.pdf")
        log.info("  %s", picture.caption)
    document.note("report", reporting.output / PAGE)
    log.info("%s", reporting.output / PAGE)
    return reporting.output
