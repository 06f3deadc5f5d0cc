"""From a directory to a study: its table and jobs as found, without those of another multirun."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from descent.analysis.influence import influence, sorted_by
from descent.analysis.trials import ENDED, Study, Trial, Value, number_in, text
from descent.config.options import is_problem, is_seed
from descent.config.spelling import command_words, program
from descent.errors import UserError, joined
from descent.files.bounded import DamageError
from descent.files.bounded import read_rows as read_csv_rows
from descent.records.endings import Status
from descent.records.multirun import (
    JOBS,
    NOT_BEGUN,
    REPEATS,
    RESULTS,
    compare,
    listed_jobs,
    read_jobs,
)
from descent.records.run import CONFIG, RESULT, SWEEP, Run
from descent.seeds import why_seeds_do_nothing

STATUSES = frozenset([*map(str, Status), NOT_BEGUN])
NAMED = 8  # jobs named in a sentence


@dataclass(frozen=True)
class ListedJob:
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
class TableRow:
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


def read_rows(sweep: Path) -> tuple[list[tuple[ListedJob, TableRow]], list[str]]:
    """Return the jobs with their rows, by number, and sentences on what is not among them.

    Rows come from `results.csv`; those that it lacks, from the runs' own records.
    """
    jobs, listed, notes = _jobs(sweep)
    lines, damage = _lines(sweep / RESULTS)
    rows, strange = _matched(lines, jobs)
    if listed:
        if strange:
            names = [line.cells["directory"] for line in strange]
            notes.append(
                f"{RESULTS} tells of runs that {JOBS} does not list: {joined(names, NAMED)}."
            )
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


def _jobs(sweep: Path) -> tuple[list[ListedJob], bool, list[str]]:
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


def _job(entry: Mapping[str, Any], sweep: Path) -> ListedJob | None:
    try:
        number, directory = int(entry["number"]), str(entry["directory"])
        typed = entry["overrides"] if "overrides" in entry else _typed(sweep / directory)
        words = None if typed is None else [str(word) for word in typed]
        overrides = None if words is None else tuple(w for w in words if w != REPEATS)
        status = entry.get("status")
    except (KeyError, TypeError, ValueError):
        return None
    return ListedJob(number, directory, overrides, None if status is None else str(status))


def _typed(directory: Path) -> Sequence[str] | None:
    """Return the overrides that a run was made by, from its own records."""
    try:
        found = Run(directory).result().get("overrides")
    except UserError:
        return None
    return found if isinstance(found, list) else None


def _job_of(line: TableRow, taken: set[int]) -> ListedJob:
    """Return the job that a row tells of, where nothing else does."""
    name = PurePosixPath(line.cells["directory"]).name
    free = max(taken, default=-1) + 1
    number = int(name) if name.isdigit() and int(name) not in taken else free
    return ListedJob(number, name, None, None)


def _lines(path: Path) -> tuple[list[TableRow], list[str]]:
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


def _row(header: Sequence[str], split: int, line: Sequence[str]) -> TableRow:
    cells = dict(zip(header[split:], line[split:], strict=True))
    return TableRow(dict(zip(header[:split], line[:split], strict=True)), cells)


def _own(sweep: Path) -> list[TableRow]:
    """Return the rows that the runs' own records make."""
    try:
        return [_told(row) for row in compare(sweep)]
    except (KeyError, TypeError, AttributeError):  # an entry of jobs.json that somebody edited
        return []


def _told(row: Mapping[str, Any]) -> TableRow:
    """Return a row of `compare` as the table would hold it."""
    cells = ["" if value is None else str(value) for value in row.values()]
    return _row(list(row), list(row).index("status"), cells)


def _matched(
    lines: Sequence[TableRow], jobs: Sequence[ListedJob]
) -> tuple[dict[int, TableRow], list[TableRow]]:
    """Return rows by their job, known by the end of the directory's path, and the rest."""
    places = {PurePosixPath(job.directory).parts: job.number for job in jobs}
    depths = sorted({len(parts) for parts in places}, reverse=True)
    rows: dict[int, TableRow] = {}
    strange = []
    for line in lines:
        parts = PurePosixPath(line.cells["directory"].replace("\\", "/")).parts
        number = next((places[parts[-d:]] for d in depths if parts[-d:] in places), None)
        if number is None:
            strange.append(line)
        else:
            rows[number] = line
    return rows, strange


def _lacks(row: TableRow | None, job: ListedJob) -> bool:
    """Whether a row is missing, or may be older than what has become of its job."""
    if row is None:
        return True
    status = row.cells["status"]
    return status not in ENDED or (job.status is not None and job.status != status)


def _newer(own: TableRow, row: TableRow | None) -> bool:
    """Whether a run's own records say more than the table does."""
    return row is None or own.cells["status"] != row.cells["status"]


def _unlisted(sweep: Path, jobs: Sequence[ListedJob]) -> list[str]:
    """Return the directories that hold a run of no listed job."""
    known = {PurePosixPath(job.directory).parts[0] for job in jobs}
    there = [path for path in sweep.iterdir() if path.name not in known]
    return sorted(path.name for path in there if (path / RESULT).is_file())


def numbered(numbers: Sequence[int]) -> str:
    """Return `job 3`, `jobs 3, 4 and 7`, or `jobs 3, 4, ... and 90 more`."""
    if len(numbers) == 1:
        return f"job {numbers[0]}"
    return f"jobs {joined(list(map(str, numbers)), NAMED)}"


METRIC = "optimized_metric"
TASKS = ("val/accuracy", "val/r2")  # each measured in one kind of task only
# What a multirun that is continued may be given anew: none of it changes what is learnt.
INCIDENTAL = ("trust", "picture", "report", "logger", "name", "resume", "sweep_dir", "after")


@dataclass(frozen=True)
class Found:
    """A job, its row of the table, its options by name, and the multirun that it is of."""

    job: ListedJob
    row: TableRow
    options: Mapping[str, str]
    sweep: Path

    @property
    def seed(self) -> str:
        """What makes it differ from others of its setting, such as `seed=3`; empty if nothing."""
        return " ".join(f"{key}={value}" for key, value in self.options.items() if is_seed(key))


def found(job: ListedJob, row: TableRow, sweep: Path) -> Found:
    """Return a job with its options: those typed, else those that the table shows."""
    if job.overrides is None:
        return Found(job, row, _telling(row.options), sweep)
    typed = (word.lstrip("+").partition("=") for word in job.overrides)
    return Found(job, row, _telling({key: value for key, equals, value in typed if equals}), sweep)


def _telling(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options that may change what is learnt."""
    return {k: v for k, v in options.items() if k not in INCIDENTAL and not k.startswith("paths.")}


def swept_among(jobs: Sequence[Found]) -> list[str]:
    """Return the options that differ between jobs."""
    keys = jobs[0].options if jobs else ()
    return [key for key in keys if len({one.options[key] for one in jobs}) > 1]


def of_one_multirun(jobs: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """Return the jobs that most have their kind in common with, and why the others are left out.

    One multirun gives all its jobs the same options, with other values: jobs with more or fewer
    are of another. So are those that optimize another metric, or, if all have one problem, those
    that have another task.
    """
    jobs, notes = _most(jobs, lambda one: frozenset(one.options), _unlike)
    kept, others = _most(
        jobs, lambda one: one.options.get(METRIC, ""),
        lambda most, other: f"optimized for {other}, the rest for {most}",
    )  # fmt: skip
    notes += others
    if any(map(is_problem, swept_among(kept))):
        return kept, notes
    known = [one for one in kept if _task(one)]
    same, others = _most(
        known, _task, lambda most, other: f"measured by {other}, the rest by {most}"
    )
    lost = {one.job.number for one in known} - {one.job.number for one in same}
    return [one for one in kept if one.job.number not in lost], [*notes, *others]


def _task(one: Found) -> str:
    return next((name for name in TASKS if one.row.cells.get(name)), "")


def _unlike(most: frozenset[str], other: frozenset[str]) -> str:
    words = [f"with {key}" for key in sorted(other - most)]
    words += [f"without {key}" for key in sorted(most - other)]
    return f"made {' and '.join(words[:3])}, unlike the rest"


def _most(
    jobs: Sequence[Found], kind: Callable[[Found], Hashable], words: Callable[[Any, Any], str]
) -> tuple[list[Found], list[str]]:
    """Return the jobs of the commonest kind, and a sentence on those of each other one."""
    groups: dict[Hashable, list[Found]] = {}
    for one in jobs:
        groups.setdefault(kind(one), []).append(one)
    if len(groups) < 2:
        return list(jobs), []
    most = Counter({name: len(own) for name, own in groups.items()}).most_common(1)[0][0]
    notes = []
    for other, own in groups.items():
        if other != most:
            who = numbered([one.job.number for one in own]).capitalize()
            verbs = ("is", "it was") if len(own) == 1 else ("are", "they were")
            notes.append(f"{who} {verbs[0]} left out: {verbs[1]} {words(most, other)}.")
    return groups[most], notes


TAKEN = ("step", "samples", "seconds")
OTHER = ("status", "reason", "directory", *TAKEN)  # columns that are no figures
RECIPES = ("sweep", "experiment")  # groups whose choices may ask for many jobs
MOST_CONFIGS = 5  # that may be damaged before it is given up
AFTER = "after="
MOST_EARLIER = 20  # multiruns in a row that are read


def read_study(sweep: Path) -> Study:
    """Read a multirun's directory; the runs' own directories only where the table lacks them.

    Where it follows others (`after=`), their trials are among its own as long as the seeds are the
    same: they are one search. With other seeds it confirms what was found before.

    Raises:
        UserError: it is not the directory of a multirun, or not one of its jobs has begun.
    """
    own, notes = _jobs_of(sweep)
    if not own:
        raise UserError(f"{sweep} has no job that was begun. {' '.join(notes)}".rstrip())
    earlier, confirmed = _before(own, sweep, notes)
    told = {frozenset(one.options.items()) for one in own}
    jobs = [*own, *(one for one in earlier if frozenset(one.options.items()) not in told)]
    swept = swept_among(jobs)
    numbers = {k for k in swept if all(number_in(one.options[k]) is not None for one in jobs)}
    last = max(one.job.number for one in own)
    trials = tuple(
        _trial(one.job.number if i < len(own) else last + 1 + i, one, swept, numbers)
        for i, one in enumerate(jobs)
    )
    config, damage = _config(trials)
    notes += damage
    first = jobs[0]
    shared = _shared(first.job, swept)
    metric = str(config.get(METRIC) or first.options.get(METRIC) or "val/loss")
    keys = tuple(key for key in swept if not is_seed(key))
    places = tuple(dict.fromkeys(one.sweep for one in earlier))
    study = Study(
        sweep, trials, keys, metric, config, tuple(notes), shared, _added(first.job),
        earlier=places,
    )  # fmt: skip
    confirms = read_study(confirmed) if confirmed else None
    return _by_influence(replace(study, confirms=confirms))


def _jobs_of(sweep: Path) -> tuple[list[Found], list[str]]:
    """Return the jobs of a multirun that belong together, and sentences on what is left out."""
    check_multirun(sweep)
    rows, notes = read_rows(sweep)
    jobs, left_out = of_one_multirun([found(job, row, sweep) for job, row in rows])
    return jobs, [*notes, *left_out]


def _before(own: Sequence[Found], sweep: Path, notes: list[str]) -> tuple[list[Found], Path | None]:
    """Return the jobs of earlier multiruns of one search, and that which this one confirms."""
    seeds, options = {one.seed for one in own}, set(own[0].options)
    places, jobs = [sweep.resolve()], own
    earlier: list[Found] = []
    while (place := _followed(jobs[0], places[-1])) and len(places) <= MOST_EARLIER:
        if place.resolve() in places:
            break
        try:
            jobs, _ = _jobs_of(place)
        except UserError as error:
            notes.append(f"The sweep before this one is not counted: {error}")
            break
        if not jobs:
            break
        if seeds.isdisjoint(one.seed for one in jobs):
            return earlier, place if len(places) == 1 else None
        earlier += [one for one in jobs if one.seed in seeds and set(one.options) == options]
        places.append(place.resolve())
    return earlier, None


def _followed(job: Found, sweep: Path) -> Path | None:
    """Return the multirun that a job's multirun was typed to follow: as typed, or beside it."""
    typed = [word for word in job.job.overrides or () if word.startswith(AFTER)]
    place = Path(typed[-1].removeprefix(AFTER)) if typed else None
    if place is None or place.is_dir():
        return place
    return sweep.parent / place.name


def seeds_do_nothing(study: Study) -> str:
    """Return a sentence where no trial draws anything, by the configs of all; else nothing."""
    reasons: dict[str, None] = {}
    for trial in study.trials:
        try:
            why = why_seeds_do_nothing(Run(trial.directory).config())
        except UserError:
            return ""
        if why is None:
            return ""
        reasons[why] = None
    return (
        f"Nothing is left to chance here ({' or '.join(sorted(reasons))}): another seed gives "
        "these very figures."
    )


def part_of(study: Study, trials: Sequence[Trial], drop: Sequence[str]) -> Study:
    """Return a study of some of the trials.

    Args:
        study: the whole.
        trials: those to keep.
        drop: swept options that have one value in all of them, which becomes a shared override.
    """
    typed = [study.as_typed(f"{key}={text(trials[0].values[key])}") for key in drop]
    kept = tuple(replace(t, values=_without(t.values, drop)) for t in trials)
    keys = tuple(key for key in study.swept if key not in drop)
    made = replace(study, trials=kept, swept=keys, shared=(*study.shared, *typed))
    return _by_influence(replace(made, config=_config(kept)[0]))


def _without(values: Mapping[str, Value], drop: Sequence[str]) -> dict[str, Value]:
    return {key: value for key, value in values.items() if key not in drop}


def _by_influence(study: Study) -> Study:
    shares = influence(study)
    keys = sorted_by(shares, study.swept)
    trials = tuple(replace(t, values={key: t.values[key] for key in keys}) for t in study.trials)
    return replace(study, trials=trials, swept=keys, influence=shares)


def _trial(number: int, one: Found, swept: Sequence[str], numbers: set[str]) -> Trial:
    job, cells, options = one.job, one.row.cells, one.options
    luck = [key for key in swept if is_seed(key)]
    directory = one.sweep / job.directory
    figures = {key: _float(cell) for key, cell in cells.items() if key not in OTHER}
    step, samples, seconds = (_float(cells.get(key, "")) for key in TAKEN)
    return Trial(
        number=number,
        values={
            key: float(options[key]) if key in numbers else options[key]
            for key in swept
            if key not in luck
        },
        seed=" ".join(f"{key}={options[key]}" for key in luck),
        status=cells["status"],
        reason=cells.get("reason", ""),
        step=None if step is None else int(step),
        samples=None if samples is None else int(samples),
        seconds=seconds,
        figures={key: value for key, value in figures.items() if value is not None},
        directory=directory,
        command=_command(job, options),
    )


def _float(cell: str) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return None


def _command(job: ListedJob, options: Mapping[str, str]) -> str:
    typed = job.overrides
    words = [f"{key}={value}" for key, value in options.items()] if typed is None else [*typed]
    words = [word for word in words if not word.startswith(AFTER)]
    if any(key in options for key in RECIPES):
        words.append(REPEATS)
    return shlex.join([*command_words("train"), *words])


def _config(trials: Sequence[Trial]) -> tuple[dict[str, Any], list[str]]:
    """Return the resolved config of the first run that has one, of those that ended well first.

    Where none has one, the second is a sentence on why the first of them has not.
    """
    best_first = sorted(trials, key=lambda trial: trial.status != "ok")
    damage: list[str] = []
    for trial in best_first[:MOST_CONFIGS]:
        try:
            return Run(trial.directory).config(), []
        except UserError as error:
            if (trial.directory / CONFIG).exists():
                damage.append(str(error))
    return {}, damage[:1]


def _shared(job: ListedJob, swept: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that a job shares with all others, as typed."""
    words = [word for word in job.overrides or () if not word.startswith(AFTER)]
    return tuple(word for word in words if word.lstrip("+").partition("=")[0] not in swept)


def _added(job: ListedJob) -> dict[str, str]:
    """Return the plus signs of options that were typed with some."""
    keys = [word.partition("=")[0] for word in job.overrides or () if word.startswith("+")]
    return {key.lstrip("+"): key[: len(key) - len(key.lstrip("+"))] for key in keys}
