"""A study of several problems, such as datasets, in its parts: scores compare within one only."""

from __future__ import annotations

from descent.study.options import label, problem_keys
from descent.study.reading import part_of
from descent.study.trials import Study, Trial, Value


def problems_of(study: Study) -> tuple[tuple[str, Study], ...]:
    """Return each problem's name and trials, as a study of its own; the study itself if it has one.

    Of a part, the option that makes the problem is a shared override and no longer swept.
    """
    keys = problem_keys(study)
    if not keys:
        return (("", study),)
    groups: dict[tuple[Value, ...], list[Trial]] = {}
    for trial in study.trials:
        groups.setdefault(tuple(trial.values[key] for key in keys), []).append(trial)
    return tuple(
        (_name(dict(zip(keys, values, strict=True))), part_of(study, own, drop=keys))
        for values, own in groups.items()
    )


def _name(values: dict[str, Value]) -> str:
    """Return `digits` for data=digits; options beside it are told in full."""
    only = len(values) == 1 and next(iter(values)) in ("data", "landscape", "experiment")
    return str(next(iter(values.values()))) if only else label(values)
