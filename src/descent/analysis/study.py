"""From a directory to a study: its jobs as their runs tell, without those of another multirun."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from descent.analysis.influence import influence, sorted_by
from descent.analysis.trials import Study, Trial, Value, number_in, text
from descent.config.options import is_problem, is_seed
from descent.config.spelling import command_words, program
from descent.errors import UserError, joined
from descent.files.schema import NOT_FINITE
from descent.records.endings import Status
from descent.records.multirun import (
    JOBS,
    REPEATS,
    figures,
    is_sweep,
    job_results,
    listed_jobs,
    read_jobs,
)
from descent.records.run import CONFIG, RESULT, Run
from descent.seeds import why_seeds_do_nothing

NAMED = 8  # jobs named in a sentence
TRAINED = (Status.OK, Status.DIVERGED)  # with a record to tell of it


def check_multirun(sweep: Path) -> None:
    """Refuse a directory that is no multirun.

    Raises:
        UserError: it does not exist, is a single run, or holds nothing of a multirun.
    """
    if not sweep.is_dir():
        what = "is a file" if sweep.exists() else "does not exist"
        raise UserError(f"{sweep} {what}; give the directory that {program('train')} -m made.")
    if is_sweep(sweep) and ((sweep / JOBS).is_file() or read_jobs(sweep)):
        return
    if (sweep / CONFIG).is_file():
        raise UserError(f"{sweep} is a single run, not a multirun; give run={sweep} instead.")
    raise UserError(
        f"{sweep} is not a multirun: it has neither {JOBS} nor runs; give a directory that "
        f"{program('train')} -m made."
    )


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
    """A job, and what its run recorded.

    Args:
        number: of the job.
        typed: its overrides.
        options: those that may change what is learnt, by name.
        figures: of its run, by column: status, reason, step, metrics.
        directory: of its run.
        sweep: the multirun that it is of.
    """

    number: int
    typed: tuple[str, ...]
    options: Mapping[str, str]
    figures: Mapping[str, Any]
    directory: Path
    sweep: Path

    @property
    def seed(self) -> str:
        """What makes it differ from others of its setting, such as `seed=3`; empty if nothing."""
        return " ".join(f"{key}={value}" for key, value in self.options.items() if is_seed(key))


def _recorded(sweep: Path) -> tuple[list[Found], list[str]]:
    """Return the jobs that left a record, by number, and sentences on the others."""
    entries = read_jobs(sweep)
    listed, notes = any("overrides" in entry for entry in entries), []
    if listed:
        damaged = sum(damage is not None for _, damage in listed_jobs(sweep))
        if damaged:
            many = "1 entry" if damaged == 1 else f"{damaged:,} entries"
            notes.append(f"{many} of {JOBS} cannot be read and left out.")
    elif (sweep / JOBS).is_file():
        notes.append(f"{JOBS} is damaged: the jobs are those that left a directory.")
    jobs = [
        _found(job, result, sweep)
        for job, result in job_results(sweep, entries)
        if result["status"] not in TRAINED or "step" in result
    ]
    nothing = sorted({entry["number"] for entry in entries} - {one.number for one in jobs})
    if nothing:
        notes.append(f"{numbered(nothing).capitalize()} left no records that can be read.")
    known = {PurePosixPath(entry["directory"]).parts[0] for entry in entries}
    there = sorted(path.name for path in sweep.iterdir() if path.name not in known)
    notes += [
        f"{name} is left out: it holds a run that {JOBS} does not list."
        for name in (there if listed else ())
        if (sweep / name / RESULT).is_file()
    ]
    return sorted(jobs, key=lambda one: one.number), notes


def _found(job: Mapping[str, Any], result: Mapping[str, Any], sweep: Path) -> Found:
    given = job["overrides"] if job.get("overrides") is not None else result.get("overrides")
    typed = tuple(word for word in given or () if word != REPEATS)
    pairs = (word.lstrip("+").partition("=") for word in typed)
    options = _telling({key: value for key, equals, value in pairs if equals})
    place = sweep / job["directory"]
    return Found(job["number"], typed, options, figures(result), place, sweep)


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
    lost = {one.number for one in known} - {one.number for one in same}
    return [one for one in kept if one.number not in lost], [*notes, *others]


def _task(one: Found) -> str:
    return next((name for name in TASKS if one.figures.get(name) is not None), "")


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
            who = numbered([one.number for one in own]).capitalize()
            verbs = ("is", "it was") if len(own) == 1 else ("are", "they were")
            notes.append(f"{who} {verbs[0]} left out: {verbs[1]} {words(most, other)}.")
    return groups[most], notes


TAKEN = ("step", "samples", "seconds")
RECIPES = ("sweep", "experiment")  # groups whose choices may ask for many jobs
MOST_CONFIGS = 5  # that may be damaged before it is given up
AFTER = "after="
MOST_EARLIER = 20  # multiruns in a row that are read


def read_study(sweep: Path) -> Study:
    """Read a multirun's directory and what each of its runs recorded.

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
    last = max(one.number for one in own)
    trials = tuple(
        _trial(one.number if i < len(own) else last + 1 + i, one, swept, numbers)
        for i, one in enumerate(jobs)
    )
    config, damage = _config(trials)
    notes += damage
    first = jobs[0]
    shared = _shared(first.typed, swept)
    metric = str(config.get(METRIC) or first.options.get(METRIC) or "val/loss")
    keys = tuple(key for key in swept if not is_seed(key))
    places = tuple(dict.fromkeys(one.sweep for one in earlier))
    study = Study(
        sweep, trials, keys, metric, config, tuple(notes), shared, _added(first.typed),
        earlier=places,
    )  # fmt: skip
    confirms = read_study(confirmed) if confirmed else None
    return _by_influence(replace(study, confirms=confirms))


def _jobs_of(sweep: Path) -> tuple[list[Found], list[str]]:
    """Return the jobs of a multirun that belong together, and sentences on what is left out."""
    check_multirun(sweep)
    found, notes = _recorded(sweep)
    jobs, left_out = of_one_multirun(found)
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
    typed = [word for word in job.typed if word.startswith(AFTER)]
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
    options, told = one.options, one.figures
    luck = [key for key in swept if is_seed(key)]
    step, samples, seconds = (told.get(key) for key in TAKEN)
    return Trial(
        number=number,
        values={
            key: float(options[key]) if key in numbers else options[key]
            for key in swept
            if key not in luck
        },
        seed=" ".join(f"{key}={options[key]}" for key in luck),
        status=str(told["status"]),
        reason=str(told.get("reason") or ""),
        step=step,
        samples=samples,
        seconds=seconds,
        figures={
            key: float(value)
            for key, value in told.items()
            if key not in TAKEN and (isinstance(value, (int, float)) or value in NOT_FINITE)
        },
        directory=one.directory,
        command=_command(one),
    )


def _command(one: Found) -> str:
    words = [word for word in one.typed if not word.startswith(AFTER)]
    if any(key in one.options for key in RECIPES):
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


def _shared(typed: Sequence[str], swept: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that a job shares with all others, as typed."""
    words = [word for word in typed if not word.startswith(AFTER)]
    kept = [word for word in words if word.lstrip("+").partition("=")[0] not in swept]
    return tuple(map(_in_hydra_s_words, kept))


HYDRA_S = {"True": "true", "False": "false", "None": "null"}


def _in_hydra_s_words(word: str) -> str:
    """Return `picture=false` of `picture=False`, as Hydra lists what was typed."""
    key, equals, value = word.partition("=")
    return f"{key}{equals}{HYDRA_S.get(value, value)}"


def _added(typed: Sequence[str]) -> dict[str, str]:
    """Return the plus signs of options that were typed with some."""
    keys = [word.partition("=")[0] for word in typed if word.startswith("+")]
    return {key.lstrip("+"): key[: len(key) - len(key.lstrip("+"))] for key in keys}
