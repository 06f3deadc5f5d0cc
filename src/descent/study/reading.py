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


def read_study(sweep: Path) -> Study:
    """Read a multirun's directory; the runs' own directories only where the table lacks them.

    Raises:
        UserError: it is not the directory of a multirun, or not one of its jobs has begun.
    """
    check_multirun(sweep)
    rows, notes = read_rows(sweep)
    jobs, left_out = of_one_multirun([found(job, row) for job, row in rows])
    if not jobs:
        raise UserError(f"{sweep} has no job that was begun. {' '.join(notes)}".rstrip())
    swept = swept_among(jobs)
    numbers = {k for k in swept if all(number_in(one.options[k]) is not None for one in jobs)}
    trials = tuple(_trial(sweep, one, swept, numbers) for one in jobs)
    config, first = _config(trials), jobs[0]
    shared = _shared(first.job, swept)
    metric = str(config.get(METRIC) or first.options.get(METRIC) or "val/loss")
    keys = tuple(key for key in swept if not is_seed(key))
    return _by_influence(Study(sweep, trials, keys, metric, config, (*notes, *left_out), shared))


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


def _trial(sweep: Path, one: Found, swept: Sequence[str], numbers: set[str]) -> Trial:
    job, cells, options = one.job, one.row.cells, one.options
    luck = [key for key in swept if is_seed(key)]
    directory = sweep / job.directory
    figures = {key: _float(cell) for key, cell in cells.items() if key not in OTHER}
    step, samples, seconds = (_float(cells.get(key, "")) for key in TAKEN)
    return Trial(
        number=job.number,
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
    if any(key in options for key in RECIPES):
        words.append(REPEATS)
    return shlex.join(["python", "src/train.py", *words])


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
    words = job.overrides or ()
    return tuple(word for word in words if word.lstrip("+").partition("=")[0] not in swept)
