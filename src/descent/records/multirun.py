"""The jobs of a multirun side by side: results.csv."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from descent.errors import UserError
from descent.files.atomic import write
from descent.files.bounded import DamageError, read_json
from descent.files.schema import Check, check_fields, each, is_text, maybe
from descent.metrics import LOGGED
from descent.records.endings import Reason, ended_by
from descent.records.run import CONFIG, SWEEP, Run

RESULTS = "results.csv"
JOBS = "jobs.json"  # the jobs of a multirun: number, overrides, directory, status and reason
NOT_BEGUN = "not begun"
OF_BEST = ("val/", LOGGED)  # what of the best epoch stands in the table
REPEATS = "hydra.mode=RUN"  # repeats one job alone where a recipe asks for many


def read_jobs(sweep: Path) -> list[dict[str, Any]]:
    """Return the jobs of a multirun by number: as listed, or as its directories tell."""
    try:
        listed = listed_jobs(sweep)
        kept = [entry for entry, damage in listed if damage is None]
        if listed and not kept:
            raise DamageError("none of its entries is whole")
        return kept
    except (FileNotFoundError, DamageError):
        numbered = [path for path in sweep.iterdir() if path.is_dir() and is_count_name(path.name)]
        return [
            {"number": int(path.name), "directory": path.name, "status": None, "reason": ""}
            for path in sorted(numbered, key=lambda path: int(path.name))
        ]


def is_count_name(name: str) -> bool:
    """Whether a directory is called as a job's is."""
    return name.isdecimal() and name.isascii() and len(name) < 9


def listed_jobs(sweep: Path) -> list[tuple[dict[str, Any], DamageError | None]]:
    """Return the entries of `jobs.json`, each with what is wrong with it.

    Raises:
        FileNotFoundError: there is none.
        DamageError: it is no list.
    """
    entries = read_json(sweep / JOBS)
    if not isinstance(entries, list):
        raise DamageError("it is no list")
    found: list[tuple[dict[str, Any], DamageError | None]] = []
    for number, entry in enumerate(entries):
        try:
            check_job(entry)
            found.append((entry, None))
        except DamageError as error:
            found.append(({}, DamageError(f"in entry {number}, {error}")))
    return found


def write_jobs(sweep: Path, jobs: Sequence[Mapping[str, Any]]) -> None:
    """Write the list of jobs."""
    write(sweep / JOBS, json.dumps(list(jobs), indent=1) + "\n")


def job_directories(sweep: Path) -> list[Path]:
    """Return the directories of a multirun's jobs, by number."""
    return [sweep / job["directory"] for job in read_jobs(sweep)]


JobResult = tuple[dict[str, Any], dict[str, Any]]  # a job as listed, and its result


def job_results(sweep: Path, jobs: Sequence[dict[str, Any]] | None = None) -> list[JobResult]:
    """Return each job of a multirun with its result, by number.

    Args:
        sweep: the multirun's directory.
        jobs: of `read_jobs`, where they have been read.
    """
    found: list[JobResult] = []
    for job in read_jobs(sweep) if jobs is None else jobs:
        try:
            result = Run(sweep / job["directory"]).result()
        except UserError:  # a job that was never begun, was refused, or whose worker died
            if "overrides" not in job:
                continue
            status = job["status"] or NOT_BEGUN
            result = {"overrides": job["overrides"], "status": status, "reason": job["reason"]}
        found.append((job, result))
    return found


def compare(sweep: Path, found: Sequence[JobResult] | None = None) -> list[dict[str, Any]]:
    """Return one row a job: its overrides, its result, its directory.

    Columns are the overrides that differ between jobs, `seed`, then `status`, `reason`, `step`,
    `samples`, `seconds`, `seconds_to_target`, `predicts_only`, final metrics, the best epoch's as
    `best/...`, weights of small models, and at last `directory`.

    Args:
        sweep: the multirun's directory.
        found: of `job_results`, where they have been read.
    """
    found = job_results(sweep) if found is None else found
    typed = [_values(result) for _, result in found]
    keys = dict.fromkeys(key for overrides in typed for key in overrides)
    swept = [key for key in keys if len({overrides.get(key) for overrides in typed}) > 1]
    rows = [
        {key.lstrip("+"): overrides.get(key, "") for key in swept}
        | figures(result)
        | {"directory": str(sweep / job["directory"])}
        for (job, result), overrides in zip(found, typed, strict=True)
    ]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "directory"))
    return [{name: row.get(name) for name in [*names, "directory"]} for row in rows]


def _values(result: Mapping[str, Any]) -> dict[str, str]:
    typed = [o for o in result.get("overrides") or [] if "=" in o and o != REPEATS]
    return dict(o.split("=", 1) for o in typed)


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's result tells, by the columns that `compare` names."""
    row = {key: result.get(key) for key in ("status", "reason", "step", "samples", "seconds")}
    if ended_by(result, Reason.TARGET):
        row["seconds_to_target"] = result.get("seconds")
    if result.get("predicts_only") is not None:
        row["predicts_only"] = result["predicts_only"]
    row |= result.get("metrics") or {}
    best = result.get("best") or {}
    row |= {f"best/{k}": v for k, v in best.get("metrics", {}).items() if k.startswith(OF_BEST)}
    return row | (result.get("weights") or {})


def write_comparison(sweep: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write results.csv."""
    import polars as pl

    path = sweep / RESULTS
    frame = pl.DataFrame([dict(row) for row in rows], infer_schema_length=None, strict=False)
    write(path, frame.write_csv())
    return path


MOST_JOBS = 10_000_000
JOB: Mapping[str, tuple[Check, str]] = {
    "number": (
        lambda value: type(value) is int and 0 <= value < MOST_JOBS,
        f"a whole number below {MOST_JOBS:,}",
    ),
    "overrides": (maybe(each(is_text)), "a list of texts"),
    "directory": (lambda value: is_text(value) and is_inside(value), "a path below the multirun's"),
    "status": (maybe(is_text), "a text"),
    "reason": (maybe(is_text), "a text"),
}


def is_inside(name: str) -> bool:
    """Whether a path leads to something below where it begins."""
    path = PurePosixPath(name)
    return (
        bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    )


def check_job(values: Any) -> None:
    """Check an entry of `jobs.json`.

    Raises:
        DamageError: a field is missing or not what it must be.
    """
    check_fields(values, JOB)
    lacking = [key for key in ("number", "directory") if key not in values]
    if lacking:
        raise DamageError(f"it has no {lacking[0]}")


# ---- where runs lie


def is_run(path: Path) -> bool:
    """Whether this is the directory of one run."""
    return (path / CONFIG).is_file()


def is_sweep(path: Path) -> bool:
    """Whether this is the directory of a multirun, begun or ended."""
    listed = (path / JOBS).is_file() or (path / SWEEP).is_file()
    return listed or any(p.name.isdigit() and is_run(p) for p in inside(path))


def runs_below(path: Path) -> Iterator[Path]:
    """Yield every run in a directory, however deep; a run's own directory is not looked into."""
    if is_run(path):
        yield path
        return
    for inner in sorted(inside(path)):
        yield from runs_below(inner)


def inside(path: Path) -> Iterator[Path]:
    """Yield the directories in a directory; links are not followed."""
    if path.is_dir():
        yield from (p for p in path.iterdir() if p.is_dir() and not p.is_symlink())
