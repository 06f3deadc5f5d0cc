"""`descent.train` and `descent.sweep`: what the commands do, from Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from descent.api.contained import contained, logged
from descent.api.given import Given
from descent.config.check import flatten
from descent.config.spelling import own_conf
from descent.errors import DescentError

if TYPE_CHECKING:
    from descent.api.swept import SweepResult
    from descent.api.trained import TrainedRun


def train(
    *overrides: str, data: Any = None, target: Any = None, quiet: bool = False,
    config_dir: str | os.PathLike[str] | None = None,
) -> TrainedRun:  # fmt: skip
    """Train one run, as `python src/train.py` does with these overrides.

    Args:
        *overrides: as typed behind the command, one text each: `"optimizer=adam"`.
        data: rows to train on in the place of a named data set: a frame of Polars or pandas, a
            mapping of columns, an array or tensor [rows, columns], or the path of a table. Rows in
            memory are written once to `<outputs>/tables`, where the run finds them again.
        target: with data, the column to predict, by name; or its values, [rows].
        quiet: print nothing, and draw no picture unless `picture=true` asks for it.
        config_dir: of choices of your own, beside Descent's; None for `./conf`, if there is one.

    Returns:
        The run, read back from its directory.

    Raises:
        DescentError: what the command would refuse, in the same sentence.
        KeyboardInterrupt: it was interrupted; `descent.train("resume=<directory>")` goes on.
    """
    given = _given(overrides, data, target)
    words = [*(given.overrides if given else ()), *overrides]
    beside = _beside(config_dir)
    with contained([*beside, *words], quiet):
        from descent.api.composed import opened_job
        from descent.training import train as train_job

        with opened_job(words, given, beside) as job:
            job.one_of_many = quiet
            with logged(job.run.path):
                train_job(job)
    from descent.api.trained import TrainedRun

    return TrainedRun(job.run.path, trust=_own(job.config))


def sweep(
    *overrides: str, data: Any = None, target: Any = None, quiet: bool = False,
    config_dir: str | os.PathLike[str] | None = None,
) -> SweepResult:  # fmt: skip
    """Train every combination of the values that are given, as `python src/train.py -m` does.

    Args:
        *overrides: as typed behind the command, one text each: `"optimizer.lr=0.01,0.1"`.
        data: as in `train`.
        target: as in `train`.
        quiet: print nothing, and write no report unless `report=true` asks for it.
        config_dir: as in `train`.

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
    beside = _beside(config_dir)
    with contained([*beside, *words], quiet):
        from descent.api.composed import swept
        from descent.cli import from_here
        from descent.sweep.after import conclude

        with logged(None):
            cfg = swept(words, given, beside)
            conclude(cfg, quiet)
        directory = from_here(Path(str(cfg.hydra.sweep.dir)))
    from descent.api.swept import SweepResult

    return SweepResult(directory, _own(OmegaConf.to_container(cfg, resolve=False)))


def _beside(config_dir: str | os.PathLike[str] | None) -> list[str]:
    """Return the flag that adds choices of the user's own."""
    if config_dir is None:
        found, note = own_conf()
        if note:
            print(f"note: {note}", file=sys.stderr)
        return [] if found is None else ["--config-dir", str(found)]
    return ["--config-dir", os.fspath(config_dir)]


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


def load(directory: str | os.PathLike[str], trust: Sequence[str] = ()) -> TrainedRun:
    """Return a trained run by its directory; by a multirun's, the best run of its best setting.

    Args:
        directory: of the run, or of the multirun.
        trust: packages beyond Descent's own that the run's config may build from.

    Raises:
        DescentError: there is no run, or the multirun has no best one.
    """
    from descent.api.trained import TrainedRun

    with contained(quiet=True):
        from descent.analysis.best import run_meant

        path, sentence = run_meant(Path(directory))
    return TrainedRun(path, sentence, trust)


def _own(config: Any) -> list[str]:
    """Return the packages whose code the caller's own overrides named."""
    return sorted({str(v).split(".")[0] for k, v in flatten(config) if k.endswith("_target_")})
