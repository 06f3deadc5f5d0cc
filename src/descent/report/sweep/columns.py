"""The runs of a sweep as the page's script reads them: one list a column, one entry a run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from descent.endings import Status
from descent.study.options import ordered
from descent.study.settings import Measure, Setting
from descent.study.trials import Study, Trial

Column = dict[str, Any]

TAKEN = ("step", "samples", "seconds")


def study_columns(
    study: Study,
    measures: Sequence[Measure],
    settings: Mapping[str, Sequence[Setting]],
    place: Path,
) -> dict[str, Any]:
    """Return what the page embeds as JSON.

    Args:
        study: the trials.
        measures: by what they are compared.
        settings: by the measure's name; they hold the scores.
        place: the directory of the page, from which links start.

    Returns:
        `columns`, in the order of the table: each has a name and `numbers` or `texts`; `more`
        marks those shown on request. `measures`, each with the number of its column. `commands`.
        Numbers that JSON does not know are the words nan, inf and -inf.
    """
    trials = study.trials
    names = list(dict.fromkeys(name for trial in trials for name in trial.figures))
    # test scores of all runs would make the test rows a second validation set
    names = [name for name in names if not name.startswith("test/")]
    figures = {name: _numbers(name, [t.figures.get(name) for t in trials]) for name in names}
    scored = []
    for measure in measures:
        scores = {n: s for setting in settings[measure.name] for n, s in setting.scores.items()}
        if _agrees(trials, measure.name, scores):
            scored.append(figures.pop(measure.name))
        else:
            name = measure.label if measure.name in figures else measure.name
            scored.append(_numbers(name, [scores.get(t.number) for t in trials]))
    before = [
        _texts("run", [str(t.number) for t in trials]),
        *(_swept(trials, option) for option in study.swept),
        *_seeds(trials),
        _texts("status", [t.status for t in trials]) | {"reasons": [t.reason for t in trials]},
    ]
    after = [
        *(_numbers(name, [getattr(t, name) for t in trials]) for name in TAKEN),
        *(column | {"more": True} for column in figures.values()),
        _directories(trials, place),
    ]
    return {
        "count": len(trials),
        "columns": [*before, *scored, *after],
        "measures": [
            {"label": measure.label, "lower": measure.lower, "column": len(before) + i}
            for i, measure in enumerate(measures)
        ],
        "commands": [trial.command for trial in trials],
    }


def _numbers(name: str, values: Sequence[Any]) -> Column:
    whole = all(isinstance(value, int) for value in values if value is not None)
    numbers = [_speakable(value) for value in values]
    return {"name": name, "numbers": numbers} | ({"whole": True} if whole else {})


def _texts(name: str, values: Sequence[str | None]) -> Column:
    return {"name": name, "texts": list(values)}


def _swept(trials: Sequence[Trial], option: str) -> Column:
    values = [trial.values.get(option) for trial in trials]
    if any(isinstance(value, str) for value in values):
        texts = [value if value is None else str(value) for value in values]
        order = [str(value) for value in ordered(v for v in values if v is not None)]
        return _texts(option, texts) | {"swept": True, "order": order}
    return _numbers(option, values) | {"swept": True}


def _seeds(trials: Sequence[Trial]) -> list[Column]:
    """Return the seeds, without `seed=` where that is all there is; nothing where none is."""
    if not any(trial.seed for trial in trials):
        return []
    keys = {trial.seed.partition("=")[0] for trial in trials if trial.seed}
    alike = len(keys) == 1 and not any(" " in trial.seed for trial in trials)
    name = keys.pop() if alike else "seed"
    cut = len(name) + 1 if alike else 0
    return [_texts(name, [trial.seed[cut:] or None for trial in trials]) | {"seed": True}]


def _directories(trials: Sequence[Trial], place: Path) -> Column:
    """Return the names of the runs' directories, and links to those that there are."""
    links = [
        quote(os.path.relpath(trial.directory, place)) + "/" if trial.directory.is_dir() else None
        for trial in trials
    ]
    return _texts("directory", [trial.directory.name for trial in trials]) | {"links": links}


def _agrees(trials: Sequence[Trial], name: str, scores: Mapping[int, float]) -> bool:
    """Whether the table's own column says what the scores say, so that one of them is enough."""
    return any(name in trial.figures for trial in trials) and all(
        _known(trial.figures.get(name)) == scores.get(trial.number)
        for trial in trials
        if trial.status == Status.OK
    )


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _speakable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
