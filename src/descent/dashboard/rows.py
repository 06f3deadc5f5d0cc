"""The runs of a directory as rows: what was varied, what came of it, where it lies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descent.analysis.summary import swept
from descent.config.spelling import command
from descent.dashboard.hparams import recorded_options
from descent.errors import UserError
from descent.metrics import take_mode
from descent.records.multirun import JOBS, compare, inside, is_sweep, runs_below
from descent.records.run import SWEEP, Run
from descent.records.tables import FULL_LOSS

EVENTS = "events.out.tfevents.*"
ADVICE = f"train some first: {command('train')} -m optimizer.lr=1e-3,1e-2,1e-1 'seed=range(3)'"


def find(given: str | None, outputs: Path) -> Path:
    """Return the directory whose runs are meant: a multirun's, a run's, or one that holds runs.

    Args:
        given: what the user named; None for the latest multirun, else the latest single runs.
        outputs: where results go.

    Raises:
        UserError: there is no such directory, or nothing has been trained yet.
    """
    if given is not None:
        path = Path(given)
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise UserError(
                f"{path} {what}; give the directory of a multirun or a run: run={outputs}/..."
            )
        return path
    sweeps = [p for p in inside(outputs / "multiruns") if is_sweep(p) and _has_events(p)]
    if sweeps:
        return max(sweeps, key=_written)
    if any(event_file(p) for p in inside(outputs / "runs")):
        return outputs / "runs"
    raise UserError(f"{outputs} holds no multirun and no run to show; {ADVICE}")


def event_file(run: Path) -> Path | None:
    """Return a run's event file; None if it has none."""
    return min((file for file in run.glob(EVENTS) if file.is_file()), default=None)


def _has_events(sweep: Path) -> bool:
    return any(event_file(run) for run in runs_below(sweep))


def _written(sweep: Path) -> float:
    """Return when a multirun was last written to."""
    named = [sweep / name for name in (JOBS, SWEEP)]
    return max((p.stat().st_mtime for p in named if p.is_file()), default=sweep.stat().st_mtime)


Row = Mapping[str, Any]
METRIC_NAME = re.compile(r"(?!best/)\w+/")  # `val/loss`, but no `weight of litres/100 km`
METRIC = "val/loss"  # by which runs are ranked, where no run says what was optimized


@dataclass(frozen=True)
class Rows:
    """Runs that may be shown.

    Args:
        directory: they lie in.
        rows: as `descent.records.multirun.compare` returns them: options, then status and figures.
        metric: what was optimized.
        there_are: runs in the directory that recorded anything; more than the rows where only the
            latest were read.
        without: jobs of the multirun that recorded nothing.
        ranked: whether they are of one sweep, so that one can be called better than another.
    """

    directory: Path
    rows: tuple[Row, ...]
    metric: str
    there_are: int
    without: int
    ranked: bool

    @property
    def options(self) -> list[str]:
        """What differs between the runs."""
        return swept(self.rows)

    @property
    def metrics(self) -> list[str]:
        """The final metrics that any run has, the optimized one and the full loss first."""
        known = dict.fromkeys(name for row in self.rows for name in row if row[name] is not None)
        names = [name for name in known if METRIC_NAME.match(name)]
        return sorted(names, key=lambda name: (name != self.metric, name != FULL_LOSS))


def read_rows(directory: Path, most: int | None) -> Rows:
    """Return the runs of a multirun that recorded anything, or the latest runs in a directory.

    Args:
        directory: of a multirun, of a run, or one that holds runs.
        most: how many to read where they are not of one multirun; None for all.

    Raises:
        UserError: no run in it recorded an event file.
    """
    if is_sweep(directory):
        rows = compare(directory)
        found = (row for row in rows if event_file(Path(row["directory"])))
        shown = tuple[Row, ...](found)
        there_are, without, ranked = len(shown), len(rows) - len(shown), True
    else:
        shown, there_are = _latest(directory, most)
        without, ranked = 0, False
    if not shown:
        raise UserError(
            f"{directory} holds no run that recorded an event file yet; wait for the first to end, "
            "or name others by run=<directory> (logger=none records nothing)."
        )
    metric = _metric(Path(shown[0]["directory"]))
    return Rows(directory, shown, metric, there_are, without, ranked)


def _latest(directory: Path, most: int | None) -> tuple[tuple[Row, ...], int]:
    """Return the runs whose event files were written to last, the latest first; and how many."""
    found = {run: file for run in runs_below(directory) if (file := event_file(run))}
    runs = sorted(found, key=lambda run: -found[run].stat().st_mtime)[:most]
    options = [recorded_options(found[run]) for run in runs]
    names = dict.fromkeys(name for own in options for name in own)
    differ = [n for n in names if len({own.get(n) for own in options}) > 1]
    rows = tuple(
        {name: own.get(name, "") for name in (differ if len(runs) > 1 else names)}
        | _figures(run)
        | {"directory": str(run)}
        for run, own in zip(runs, options, strict=True)
    )
    return rows, len(found)


def _figures(run: Path) -> dict[str, Any]:
    try:
        result = Run(run).result()
    except UserError:
        return {"status": "unknown", "step": None}
    return {"status": result["status"], "step": result.get("step"), **(result.get("metrics") or {})}


def _metric(run: Path) -> str:
    try:
        name = Run(run).result().get("optimized_metric") or METRIC
        take_mode(Run(run).config())
        return str(name)
    except UserError:
        return METRIC
