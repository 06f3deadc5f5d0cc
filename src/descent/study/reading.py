"""From a multirun's directory to a study."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from descent.comparison import REPEATS
from descent.errors import UserError
from descent.runs import Run
from descent.seeds import why_seeds_do_nothing
from descent.spelling import command_words
from descent.study.influence import influence, sorted_by
from descent.study.mixed import METRIC, Found, found, of_one_multirun, swept_among
from descent.study.options import number_in, text
from descent.study.table import Job, check_multirun, read_rows
from descent.study.trials import Study, Trial, Value
from descent.summary import is_seed

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
    config, first = _config(trials), jobs[0]
    shared = _shared(first.job, swept)
    metric = str(config.get(METRIC) or first.options.get(METRIC) or "val/loss")
    keys = tuple(key for key in swept if not is_seed(key))
    places = tuple(dict.fromkeys(one.sweep for one in earlier))
    study = Study(sweep, trials, keys, metric, config, tuple(notes), shared, earlier=places)
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
    typed = [f"{key}={text(trials[0].values[key])}" for key in drop]
    kept = tuple(replace(t, values=_without(t.values, drop)) for t in trials)
    keys = tuple(key for key in study.swept if key not in drop)
    made = replace(study, trials=kept, swept=keys, shared=(*study.shared, *typed))
    return _by_influence(replace(made, config=_config(kept)))


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


def _command(job: Job, options: Mapping[str, str]) -> str:
    typed = job.overrides
    words = [f"{key}={value}" for key, value in options.items()] if typed is None else [*typed]
    words = [word for word in words if not word.startswith(AFTER)]
    if any(key in options for key in RECIPES):
        words.append(REPEATS)
    return shlex.join([*command_words("train"), *words])


def _config(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the resolved config of the first run that has one, of those that ended well first."""
    best_first = sorted(trials, key=lambda trial: trial.status != "ok")
    for trial in best_first[:MOST_CONFIGS]:
        try:
            return Run(trial.directory).config()
        except UserError:
            continue
    return {}


def _shared(job: Job, swept: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that a job shares with all others, as typed."""
    words = [word for word in job.overrides or () if not word.startswith(AFTER)]
    return tuple(word for word in words if word.lstrip("+").partition("=")[0] not in swept)
