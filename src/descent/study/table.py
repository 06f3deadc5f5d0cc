"""`results.csv` and `jobs.json` as found: whole, cut short, or not there yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from descent.comparison import JOBS, NOT_BEGUN, REPEATS, RESULTS, compare, listed_jobs, read_jobs
from descent.endings import Status
from descent.errors import UserError
from descent.recording.bounded import DamageError
from descent.recording.bounded import read_rows as read_csv_rows
from descent.runs import CONFIG, RESULT, SWEEP, Run
from descent.spelling import program
from descent.study.trials import ENDED

STATUSES = frozenset([*map(str, Status), NOT_BEGUN])
NAMED = 8  # jobs named in a sentence


@dataclass(frozen=True)
class Job:
    """An entry of `jobs.json`.

    Args:
        number: of the job.
        directory: below the multirun's.
        overrides: as typed; None where they are not known.
        status: how it ended; None if it had not.
    """

    number: int
    directory: str
    overrides: tuple[str, ...] | None
    status: str | None


@dataclass(frozen=True)
class Row:
    """A line of the table: the options that it gives, and all other columns."""

    options: Mapping[str, str]
    cells: Mapping[str, str]


def check_multirun(sweep: Path) -> None:
    """Refuse a directory that is no multirun.

    Raises:
        UserError: it does not exist, is a single run, or holds nothing of a multirun.
    """
    if not sweep.is_dir():
        what = "is a file" if sweep.exists() else "does not exist"
        raise UserError(f"{sweep} {what}; give the directory that {program('train')} -m made.")
    if any((sweep / name).is_file() for name in (JOBS, RESULTS)):
        return
    if (sweep / CONFIG).is_file():
        raise UserError(f"{sweep} is a single run, not a multirun; give run={sweep} instead.")
    if not (sweep / SWEEP).is_file() or not read_jobs(sweep):
        raise UserError(
            f"{sweep} is not a multirun: it has neither {JOBS} nor {RESULTS}; give a directory "
            f"that {program('train')} -m made."
        )


def read_rows(sweep: Path) -> tuple[list[tuple[Job, Row]], list[str]]:
    """Return the jobs with their rows, by number, and sentences on what is not among them.

    Rows come from `results.csv`; those that it lacks, from the runs' own records.
    """
    jobs, listed, notes = _jobs(sweep)
    lines, damage = _lines(sweep / RESULTS)
    rows, strange = _matched(lines, jobs)
    if listed:
        if strange:
            names = [line.cells["directory"] for line in strange]
            notes.append(f"{RESULTS} tells of runs that {JOBS} does not list: {_listed(names)}.")
    else:
        for line in strange:
            job = _job_of(line, {job.number for job in jobs})
            jobs.append(job)
            rows[job.number] = line
    lacking = [job.number for job in jobs if _lacks(rows.get(job.number), job)]
    if lacking:
        own, _ = _matched(_own(sweep), jobs)
        newer = [n for n in lacking if n in own and _newer(own[n], rows.get(n))]
        rows |= {n: own[n] for n in newer}
        damage = damage or [f"{RESULTS} is older than the runs."] if newer else damage
        if newer and len(newer) < len(jobs):
            damage.append(f"The records of {numbered(newer)} were read instead.")
        nothing = [n for n in lacking if n not in rows]
        if nothing:
            notes.append(f"{numbered(nothing).capitalize()} left no records.")
    notes += [
        f"{name} is left out: it holds a run that {JOBS} does not list."
        for name in (_unlisted(sweep, jobs) if listed else ())
    ]
    found = sorted(jobs, key=lambda job: job.number)
    return [(job, rows[job.number]) for job in found if job.number in rows], [*damage, *notes]


def _jobs(sweep: Path) -> tuple[list[Job], bool, list[str]]:
    """Return the jobs, whether `jobs.json` lists them, and what is wrong with it."""
    entries = read_jobs(sweep)
    made = [job for entry in entries if (job := _job(entry, sweep)) is not None]
    if not (sweep / JOBS).is_file():
        return made, False, []
    if not any("overrides" in entry for entry in entries):
        return made, False, [f"{JOBS} is damaged: the jobs are those that left a directory."]
    lost = sum(damage is not None for _, damage in listed_jobs(sweep))
    many = "1 entry" if lost == 1 else f"{lost:,} entries"
    return made, True, [f"{many} of {JOBS} cannot be read and left out."] if lost else []


def _job(entry: Mapping[str, Any], sweep: Path) -> Job | None:
    try:
        number, directory = int(entry["number"]), str(entry["directory"])
        typed = entry["overrides"] if "overrides" in entry else _typed(sweep / directory)
        words = None if typed is None else [str(word) for word in typed]
        overrides = None if words is None else tuple(w for w in words if w != REPEATS)
        status = entry.get("status")
    except (KeyError, TypeError, ValueError):
        return None
    return Job(number, directory, overrides, None if status is None else str(status))


def _typed(directory: Path) -> Sequence[str] | None:
    """Return the overrides that a run was made by, from its own records."""
    try:
        found = Run(directory).result().get("overrides")
    except UserError:
        return None
    return found if isinstance(found, list) else None


def _job_of(line: Row, taken: set[int]) -> Job:
    """Return the job that a row tells of, where nothing else does."""
    name = PurePosixPath(line.cells["directory"]).name
    free = max(taken, default=-1) + 1
    number = int(name) if name.isdigit() and int(name) not in taken else free
    return Job(number, name, None, None)


def _lines(path: Path) -> tuple[list[Row], list[str]]:
    """Return the rows that are whole, and what is wrong with the table."""
    if not path.exists():
        return [], [f"{path.name} is not there yet: the runs' own records were read."]
    try:
        found, whole = read_csv_rows(path)
    except DamageError as error:
        return [], [f"{path.name} cannot be read: {error}."]
    header, *lines = found or [[]]
    if "status" not in header or header[-1:] != ["directory"] or len({*header}) < len(header):
        return [], [f"{path.name} is damaged: it has no header that can be read."]
    split = header.index("status")
    kept = [line for line in lines if len(line) == len(header) and line[split] in STATUSES]
    rows = [_row(header, split, line) for line in kept]
    if whole and len(kept) == len(lines):
        return rows, []
    return rows, [f"{path.name} is damaged: {len(kept):,} of its rows are whole."]


def _row(header: Sequence[str], split: int, line: Sequence[str]) -> Row:
    cells = dict(zip(header[split:], line[split:], strict=True))
    return Row(dict(zip(header[:split], line[:split], strict=True)), cells)


def _own(sweep: Path) -> list[Row]:
    """Return the rows that the runs' own records make."""
    try:
        return [_told(row) for row in compare(sweep)]
    except (KeyError, TypeError, AttributeError):  # an entry of jobs.json that somebody edited
        return []


def _told(row: Mapping[str, Any]) -> Row:
    """Return a row of `compare` as the table would hold it."""
    cells = ["" if value is None else str(value) for value in row.values()]
    return _row(list(row), list(row).index("status"), cells)


def _matched(lines: Sequence[Row], jobs: Sequence[Job]) -> tuple[dict[int, Row], list[Row]]:
    """Return rows by their job, known by the end of the directory's path, and the rest."""
    places = {PurePosixPath(job.directory).parts: job.number for job in jobs}
    depths = sorted({len(parts) for parts in places}, reverse=True)
    rows: dict[int, Row] = {}
    strange = []
    for line in lines:
        parts = PurePosixPath(line.cells["directory"].replace("\\", "/")).parts
        number = next((places[parts[-d:]] for d in depths if parts[-d:] in places), None)
        if number is None:
            strange.append(line)
        else:
            rows[number] = line
    return rows, strange


def _lacks(row: Row | None, job: Job) -> bool:
    """Whether a row is missing, or may be older than what has become of its job."""
    if row is None:
        return True
    status = row.cells["status"]
    return status not in ENDED or (job.status is not None and job.status != status)


def _newer(own: Row, row: Row | None) -> bool:
    """Whether a run's own records say more than the table does."""
    return row is None or own.cells["status"] != row.cells["status"]


def _unlisted(sweep: Path, jobs: Sequence[Job]) -> list[str]:
    """Return the directories that hold a run of no listed job."""
    known = {PurePosixPath(job.directory).parts[0] for job in jobs}
    there = [path for path in sweep.iterdir() if path.name not in known]
    return sorted(path.name for path in there if (path / RESULT).is_file())


def numbered(numbers: Sequence[int]) -> str:
    """Return `job 3`, `jobs 3, 4 and 7`, or `jobs 3, 4, ... and 90 more`."""
    if len(numbers) == 1:
        return f"job {numbers[0]}"
    return f"jobs {_listed(list(map(str, numbers)))}"


def _listed(words: Sequence[str]) -> str:
    if len(words) > NAMED:
        return f"{', '.join(words[:NAMED])} and {len(words) - NAMED:,} more"
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
