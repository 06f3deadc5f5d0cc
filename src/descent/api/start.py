"""`descent.train` and `descent.sweep`: what the commands do, from Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descent.api.contained import contained, logged
from descent.api.given import Given
from descent.errors import DescentError

if TYPE_CHECKING:
    from descent.api.swept import SweepResult
    from descent.api.trained import TrainedRun


def train(*overrides: str, data: Any = None, target: Any = None, quiet: bool = False) -> TrainedRun:
    """Train one run, as `python src/train.py` does with these overrides.

    Args:
        *overrides: as typed behind the command, one text each: `"optimizer=adam"`.
        data: rows to train on in the place of a named data set: a frame of Polars or pandas, a
            mapping of columns, an array or tensor [rows, columns], or the path of a table. Rows in
            memory are written once to `<outputs>/tables`, where the run finds them again.
        target: with data, the column to predict, by name; or its values, [rows].
        quiet: print nothing, and draw no picture unless `picture=true` asks for it.

    Returns:
        The run, read back from its directory.

    Raises:
        DescentError: what the command would refuse, in the same sentence.
        KeyboardInterrupt: it was interrupted; `descent.train("resume=<directory>")` goes on.
    """
    given = _given(overrides, data, target)
    words = [*(given.overrides if given else ()), *overrides]
    with contained(words, quiet):
        from descent.api.composed import opened_job
        from descent.training import train as train_job

        with opened_job(words, given) as job:
            job.one_of_many = quiet
            with logged(job.run.path):
                train_job(job)
    from descent.api.trained import TrainedRun

    return TrainedRun(job.run.path)


def sweep(
    *overrides: str, data: Any = None, target: Any = None, quiet: bool = False
) -> SweepResult:
    """Train every combination of the values that are given, as `python src/train.py -m` does.

    Args:
        *overrides: as typed behind the command, one text each: `"optimizer.lr=0.01,0.1"`.
        data: as in `train`.
        target: as in `train`.
        quiet: print nothing, and write no report unless `report=true` asks for it.

    Returns:
        The multirun, read back from its directory; jobs that failed are in it with their reasons.

    Raises:
        DescentError: what the command would refuse, in the same sentence.
        KeyboardInterrupt: it was interrupted; the same call with `"sweep_dir=<directory>"` goes on.
    """
    given = _given(overrides, data, target)
    words = [*(given.overrides if given else ()), *overrides]
    asked = any(word.lstrip("+").startswith("report=") for word in words)
    words += ["report=false"] if quiet and not asked else []
    with contained(words, quiet):
        from descent.api.composed import swept
        from descent.cli import from_here
        from descent.sweep.after import conclude

        with logged(None):
            cfg = swept(words, given)
            conclude(cfg, quiet)
        directory = from_here(Path(str(cfg.hydra.sweep.dir)))
    from descent.api.swept import SweepResult

    return SweepResult(directory)


def _given(overrides: tuple[str, ...], data: Any, target: Any) -> Given | None:
    """Return the rows that were given; None where a named data set is trained on."""
    odd = [word for word in overrides if not isinstance(word, str)]
    if odd:
        raise DescentError(
            f"Overrides are texts such as 'optimizer=adam'; {odd[0]!r} is none (rows go to data=)."
        )
    if data is None:
        if target is not None:
            raise DescentError("target=... goes with data=..., the rows it is a column of.")
        return None
    if any(
        word.lstrip("+").startswith(("data=", "data.path=", "data.target=")) for word in overrides
    ):
        raise DescentError("The rows are given by data=..., so 'data=...' cannot be typed as well.")
    return Given(data, target)


def load(directory: str | os.PathLike[str]) -> TrainedRun:
    """Return a trained run by its directory; by a multirun's, the best run of its best setting.

    Raises:
        DescentError: there is no run, or the multirun has no best one.
    """
    from descent.api.trained import TrainedRun

    with contained(quiet=True):
        from descent.analysis.best import run_meant

        path, sentence = run_meant(Path(directory))
    return TrainedRun(path, sentence)
