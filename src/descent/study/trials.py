"""A multirun as a table of trials: what was varied, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from descent.endings import Status

# of a trial that will not go on
ENDED = (Status.OK, Status.DIVERGED, Status.FAILED)

Value = float | str  # of a swept option: a number where all its values are numbers


@dataclass(frozen=True)
class Trial:
    """A run of a multirun.

    Args:
        number: of the job.
        values: of the swept options, without seeds.
        seed: what makes it differ from others of its setting, such as `seed=3`; empty if nothing.
        status: `ok`, `diverged`, `failed`, `interrupted`, `running` or `not begun`.
        reason: why it ended.
        step, samples, seconds: taken; None where it never trained.
        figures: every other number that the table holds, by the column's name.
        directory: of the run.
        command: repeats it.
    """

    number: int
    values: Mapping[str, Value]
    seed: str
    status: str
    reason: str
    step: int | None
    samples: int | None
    seconds: float | None
    figures: Mapping[str, float]
    directory: Path
    command: str


@dataclass(frozen=True)
class Study:
    """A multirun, read.

    Args:
        directory: of the multirun.
        trials: by number.
        swept: options that differ, without seeds: lr, batch size, then the most influential first.
        metric: what the sweep optimized, such as `val/loss`.
        config: resolved, of one of its runs: what was not swept.
        left_out: sentences on what the directory holds that is not among the trials, and why.
        shared: overrides that all trials have in common, as typed.
        influence: the share of the scores' variance, on ranks, that each swept option explains.
        earlier: multiruns that this one follows (`after=`), whose trials are among these.
        confirms: what was known before this multirun, where it repeats settings of an earlier one
            with fresh seeds; else None.
    """

    directory: Path
    trials: tuple[Trial, ...]
    swept: tuple[str, ...]
    metric: str
    config: Mapping[str, Any]
    left_out: tuple[str, ...]
    shared: tuple[str, ...] = ()
    influence: Mapping[str, float] = field(default_factory=dict)
    earlier: tuple[Path, ...] = ()
    confirms: Study | None = None
