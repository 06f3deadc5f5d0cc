"""Jobs that do not belong together: of another multirun, metric or task than most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descent.study.table import Job, Row, numbered
from descent.summary import is_problem, is_seed

METRIC = "optimized_metric"
TASKS = ("val/accuracy", "val/r2")  # each measured in one kind of task only
# What a multirun that is continued may be given anew: none of it changes what is learnt.
INCIDENTAL = ("trust", "picture", "report", "logger", "name", "resume", "sweep_dir", "after")


@dataclass(frozen=True)
class Found:
    """A job, its row of the table, its options by name, and the multirun that it is of."""

    job: Job
    row: Row
    options: Mapping[str, str]
    sweep: Path

    @property
    def seed(self) -> str:
        """What makes it differ from others of its setting, such as `seed=3`; empty if nothing."""
        return " ".join(f"{key}={value}" for key, value in self.options.items() if is_seed(key))


def found(job: Job, row: Row, sweep: Path) -> Found:
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
